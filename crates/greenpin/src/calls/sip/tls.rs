//! TLS for SIP (RFC 3261, section 26.2): server and client certificates, and verification of the peers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use signalling::Host;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::crypto::tls_roots;
use crate::crypto::tls_roots::{TrustError, certificates, provider, roots};

/// TLS settings of one user agent.
#[derive(Debug, Default)]
pub struct Tls {
    /// TLS listener; `None`: off.
    pub listen: Option<TlsListen>,
    /// TLS settings for the peer of each trunk; `None`: no TLS.
    pub peers: Vec<Option<TlsPeer>>,
    /// Name in the client certificate of each trunk's peer (`tls_peer_name`); `None`: the trunk is known by its address.
    pub peer_names: Vec<Option<String>>,
}

/// Certificate and private key of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with the certificate and its intermediate certificates.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Settings of the TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListen {
    /// Address. Port 0 takes any free port.
    pub address: SocketAddr,
    /// Server certificate.
    pub identity: Identity,
    /// PEM file with the CA certificates for client certificates; `None`: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// TLS settings for a trunk's peer.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    /// Name of the trunk, for the log.
    pub trunk: String,
    /// Name or address of the peer. The peer's certificate must match it.
    pub host: Host,
    /// PEM file with the CA certificates for the peer; `None`: the system's CA certificates.
    pub ca: Option<PathBuf>,
    /// Client certificate; `None`: no client certificate.
    pub identity: Option<Identity>,
}

/// TLS client configuration and the server name to verify.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
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

    /// Returns the end of the certificate's validity in seconds since 1970-01-01T00:00:00Z; `None` if the certificate
    /// cannot be read.
    pub(super) fn expiry(&self) -> Option<i64> {
        let chain = certificates(&self.certificate).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }
}

impl TlsListen {
    /// Loads the files into a TLS acceptor.
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

    /// Returns the files of this configuration.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.identity.certificate, &self.identity.key]
            .into_iter()
            .chain(&self.client_ca)
    }
}

impl TlsPeer {
    /// Returns `true` if the files, or the system's CA certificates, are usable now.
    pub fn is_usable(&self) -> bool {
        self.connector().is_ok()
    }

    /// Loads the files into a TLS connector.
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

    /// Returns the files of this configuration.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let replies = self
            .identity
            .iter()
            .flat_map(|identity| [&identity.certificate, &identity.key]);
        replies.chain(&self.ca)
    }
}

/// Returns `true` if a certificate is for this DNS name or IP address (RFC 5922, section 7.2).
pub(super) fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let parsed = ParsedCertificate::try_from(certificate);
    let name = ServerName::try_from(name);
    parsed
        .ok()
        .zip(name.ok())
        .is_some_and(|(certificate, name)| verify_server_name(&certificate, &name).is_ok())
}

fn name(host: &Host) -> Result<ServerName<'static>, TlsError> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress(address.ip().to_canonical().into())),
        Host::Name { host, .. } | Host::Domain(host) => {
            ServerName::try_from(host.clone()).map_err(|_| TlsError::Name(host.clone()))
        }
    }
}
