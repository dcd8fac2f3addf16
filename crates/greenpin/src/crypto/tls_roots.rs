//! Whom we believe when we connect over TLS: those that a PEM file or this system names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore};

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A PEM file cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: pem::Error,
    },
    /// There is no certificate in a file.
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// No certificate could lead to this one.
    #[error("cannot use the certificate in {}: {source}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// How it failed.
        source: rustls::Error,
    },
    /// The certificates that the system trusts cannot be used.
    #[error("cannot use the certificates that this system trusts (give tls_ca): {0}")]
    System(rustls::Error),
}

/// The cryptography of every TLS connection.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client that believes whom the certificates of a PEM file lead to; `None`: whom the system trusts.
pub(crate) fn client(
    ca: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(TrustError::System)?;
    match ca {
        Some(path) => Ok(builder.with_root_certificates(roots(path)?)),
        None => builder.with_platform_verifier().map_err(TrustError::System),
    }
}

/// The certificates of a PEM file: at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |source| TrustError::File {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        Err(TrustError::NoCertificate(path.to_owned()))
    } else {
        Ok(certificates)
    }
}

/// The certificates of a PEM file, as what others must lead to.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|source| TrustError::Certificate {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}
