//! SIP over TLS (RFC 3261, section 26.2): our certificate for those who connect, and what a trunk's peer must show.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_platform_verifier::BuilderVerifierExt;
use signalling::Place;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Where SIP over TLS is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListen {
    /// Port 0 takes any free port.
    pub address: SocketAddr,
    /// A PEM file of our certificate, and of those that lead from it to a root.
    pub certificate: PathBuf,
    /// A PEM file of its key.
    pub key: PathBuf,
}

/// What a trunk's peer must show: a certificate for its name, by somebody who is trusted.
#[derive(Clone)]
pub struct TlsPeer {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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
    /// The key is not that of the certificate, or cannot be used.
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
    /// A name that no certificate can have.
    #[error("no certificate can be for {0:?}")]
    Name(String),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl TlsListen {
    /// Reads the certificate and its key.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| TlsError::File { path: self.key.clone(), source })?;
        let chain = certificates(&self.certificate)?;
        let failed = |source| TlsError::Certificate { path: self.certificate.clone(), source };
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
        let config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(failed)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl TlsPeer {
    /// A peer whose certificate is by one of those in `ca`, else by one that the system trusts, for the name or address
    /// that it is reached by.
    pub fn new(place: &Place, ca: Option<&Path>) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::System)?;
        let config = match ca {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    let added = roots.add(certificate);
                    added.map_err(|source| TlsError::Certificate { path: path.to_owned(), source })?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => builder.with_platform_verifier().map_err(TlsError::System)?.with_no_client_auth(),
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name: name(place)? })
    }
}

fn name(place: &Place) -> Result<ServerName<'static>, TlsError> {
    match place {
        Place::Address(address) => Ok(ServerName::IpAddress(address.ip().to_canonical().into())),
        Place::Name { host, .. } => {
            ServerName::try_from(host.clone()).map_err(|_| TlsError::Name(host.clone()))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

/// Why a connection to a peer is not made.
pub(super) fn unnamed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "nothing says what the certificate must be for")
}
