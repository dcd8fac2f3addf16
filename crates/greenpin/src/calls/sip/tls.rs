//! TLS for SIP (RFC 3261, section 26.2): server and client certificates, and verification of the peers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use signalling::Host;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use crate::crypto::tls_identity::{Identity, TlsError};
use crate::crypto::tls_roots;

/// TLS settings of one user agent.
#[derive(Debug, Default)]
pub struct Tls {
    /// Settings of the TLS listeners; `None`: none.
    pub server: Option<TlsServer>,
    /// TLS settings for the peer of each trunk; `None`: no TLS.
    pub peers: Vec<Option<TlsPeer>>,
    /// Name in the client certificate of each trunk's peer (`tls_peer_name`); `None`: the trunk is known by its address.
    pub peer_names: Vec<Option<String>>,
}

/// Settings of the TLS listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsServer {
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

impl TlsServer {
    /// Loads the files, and returns why they cannot be used.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        self.acceptor().map(|_| ())
    }

    /// Loads the files into a TLS acceptor.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let config = self.identity.server_config(self.client_ca.as_deref())?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Returns the files of this configuration.
    pub(super) fn files(&self) -> Vec<&Path> {
        let client_ca = self.client_ca.as_deref();
        self.identity.files().into_iter().chain(client_ca).collect()
    }
}

impl TlsPeer {
    /// Returns `true` if the files, or the system's CA certificates, are usable now.
    pub fn is_usable(&self) -> bool {
        self.check().is_ok()
    }

    /// Loads the files, and returns why they cannot be used.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        self.connector().map(|_| ())
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
    pub(super) fn files(&self) -> Vec<&Path> {
        let identity = self.identity.iter().flat_map(Identity::files);
        identity.chain(self.ca.as_deref()).collect()
    }
}

/// Returns `true` if a certificate is for this DNS name or IP address (RFC 5922, section 7.2).
pub(crate) fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
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
