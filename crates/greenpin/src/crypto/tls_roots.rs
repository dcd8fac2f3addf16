//! CA certificates for outgoing TLS connections, from a PEM file or from the system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore};

/// Error in CA certificates.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A PEM file cannot be read or parsed.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Cause.
        source: pem::Error,
    },
    /// The file contains no certificate.
    #[error("no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate cannot be used as a CA certificate.
    #[error("cannot use the certificate in {}: {source}", path.display())]
    Certificate {
        /// File.
        path: PathBuf,
        /// Cause.
        source: rustls::Error,
    },
    /// The system's CA certificates cannot be used.
    #[error("cannot use the system's CA certificates (set tls_ca): {0}")]
    System(rustls::Error),
}

/// Returns the cryptography provider for every TLS connection.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Starts the configuration of a TLS client with the CA certificates of a PEM file, or the system's if `ca` is `None`.
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

/// Reads the certificates of a PEM file, at least one.
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

/// Reads a PEM file as CA certificates.
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
