//! SIP over TLS (RFC 3261, section 26.2): what we show to those who connect and to a trunk's peer, and what each must show
//! to us.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use signalling::Host;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::crypto::tls_roots;
use crate::crypto::tls_roots::{TrustError, certificates, provider, roots};

/// How connections are encrypted.
#[derive(Debug, Default)]
pub struct Tls {
    /// Where encrypted connections are accepted, if anywhere.
    pub listen: Option<TlsListen>,
    /// Each trunk's peer, where it is reached over TLS.
    pub peers: Vec<Option<TlsPeer>>,
}

/// A certificate of ours and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A PEM file of the certificate, and of those that lead from it to a root.
    pub certificate: PathBuf,
    /// A PEM file of its key.
    pub key: PathBuf,
}

/// Where SIP over TLS is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListen {
    /// Port 0 takes any free port.
    pub address: SocketAddr,
    /// What those who connect are shown.
    pub identity: Identity,
    /// A PEM file of the certificates that those of who connects must lead to; `None`: they need none.
    pub client_ca: Option<PathBuf>,
}

/// A trunk's peer.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    /// The trunk's name, for the log.
    pub trunk: String,
    /// What its certificate must be for: the name or address that it is reached by.
    pub host: Host,
    /// A PEM file of the certificates that its own must lead to; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// What it is shown where it asks who we are; `None`: nothing.
    pub identity: Option<Identity>,
}

/// What makes connections to a peer.
#[derive(Clone)]
pub(super) struct Connector {
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
    /// The key is not that of the certificate, or cannot be used.
    #[error("cannot use the certificate in {}: {source}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// How it failed.
        source: rustls::Error,
    },
    /// Nobody's certificate could lead to these.
    #[error("cannot use the certificates in {}: {source}", path.display())]
    ClientCa {
        /// Their file.
        path: PathBuf,
        /// How it failed.
        source: VerifierBuilderError,
    },
    /// Certificates that others must lead to cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A name that no certificate can have.
    #[error("no certificate can be for {0:?}")]
    Name(String),
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|source| TlsError::File {
            path: self.key.clone(),
            source,
        })?;
        Ok((certificates(&self.certificate)?, key))
    }

    fn failed(&self) -> impl Fn(rustls::Error) -> TlsError {
        |source| TlsError::Certificate {
            path: self.certificate.clone(),
            source,
        }
    }

    /// When the certificate is no longer valid, in seconds since 1970-01-01T00:00:00Z; `None`: it cannot be read.
    pub(super) fn expiry(&self) -> Option<i64> {
        let chain = certificates(&self.certificate).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }
}

impl TlsListen {
    /// Reads its files.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let (chain, key) = self.identity.read()?;
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(self.identity.failed())?;
        let builder = match &self.client_ca {
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                let failed = |source| TlsError::ClientCa {
                    path: path.clone(),
                    source,
                };
                builder.with_client_cert_verifier(verifier.map_err(failed)?)
            }
            None => builder.with_no_client_auth(),
        };
        let config = builder
            .with_single_cert(chain, key)
            .map_err(self.identity.failed())?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// What it is made of.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.identity.certificate, &self.identity.key]
            .into_iter()
            .chain(&self.client_ca)
    }
}

impl TlsPeer {
    /// Whether its files, or the certificates that the system trusts, can be used now.
    pub fn is_usable(&self) -> bool {
        self.connector().is_ok()
    }

    /// Reads its files.
    pub(super) fn connector(&self) -> Result<Connector, TlsError> {
        let builder = tls_roots::client(self.ca.as_deref())?;
        let config = match &self.identity {
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(identity.failed())?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Connector {
            connector: TlsConnector::from(Arc::new(config)),
            name: name(&self.host)?,
        })
    }

    /// What it is made of.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let replies = self
            .identity
            .iter()
            .flat_map(|identity| [&identity.certificate, &identity.key]);
        replies.chain(&self.ca)
    }
}

fn name(host: &Host) -> Result<ServerName<'static>, TlsError> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress(address.ip().to_canonical().into())),
        Host::Name { host, .. } | Host::Domain(host) => {
            ServerName::try_from(host.clone()).map_err(|_| TlsError::Name(host.clone()))
        }
    }
}
