//! Certificates of this server for TLS, with their private keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, ServerConfig};

use super::tls_roots::{TrustError, certificates, provider, roots};
use super::validity::Validity;

/// Certificate and private key of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with the certificate and its intermediate certificates.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Error in the TLS settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read or parsed.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Cause.
        source: pem::Error,
    },
    /// The private key does not match the certificate, or cannot be used.
    #[error("cannot use the certificate in {}: {source}", path.display())]
    Certificate {
        /// File of the certificate.
        path: PathBuf,
        /// Cause.
        source: rustls::Error,
    },
    /// The CA certificates for clients cannot be used.
    #[error("cannot use the CA certificates in {}: {source}", path.display())]
    ClientCa {
        /// File of the CA certificates.
        path: PathBuf,
        /// Cause.
        source: VerifierBuilderError,
    },
    /// The CA certificates for a peer cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The host name of a peer is not valid in a certificate.
    #[error("{0:?} is not a valid host name for a certificate")]
    Name(String),
}

impl Identity {
    /// Reads the certificate chain and the key.
    pub(crate) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|source| TlsError::File {
            path: self.key.clone(),
            source,
        })?;
        Ok((certificates(&self.certificate)?, key))
    }

    /// Returns the error for a certificate that cannot be used.
    pub(crate) fn failed(&self) -> impl Fn(rustls::Error) -> TlsError {
        |source| TlsError::Certificate {
            path: self.certificate.clone(),
            source,
        }
    }

    /// Loads the files into the configuration of a TLS server. With `client_ca`, clients must present a certificate
    /// issued by one of these CAs.
    pub(crate) fn server_config(&self, client_ca: Option<&Path>) -> Result<ServerConfig, TlsError> {
        let (chain, key) = self.read()?;
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(self.failed())?;
        let builder = match client_ca {
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                let failed = |source| TlsError::ClientCa {
                    path: path.to_owned(),
                    source,
                };
                builder.with_client_cert_verifier(verifier.map_err(failed)?)
            }
            None => builder.with_no_client_auth(),
        };
        builder.with_single_cert(chain, key).map_err(self.failed())
    }

    /// Returns the files.
    pub(crate) fn files(&self) -> [&Path; 2] {
        [&self.certificate, &self.key]
    }

    /// Returns the end of the certificate's validity in seconds since 1970-01-01T00:00:00Z; `None` if the certificate
    /// cannot be read.
    pub(crate) fn expiry(&self) -> Option<i64> {
        let chain = certificates(&self.certificate).ok()?;
        Some(Validity::of(chain.first()?)?.until)
    }
}
