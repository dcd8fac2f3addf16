//! Certificates for TLS, loaded at the start and again after a change of the files or on request. Open connections keep
//! their certificates.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::inbound::CertifiedTrunks;
use super::tls::{Connector, Identity, Tls, TlsError, TlsPeer, TlsServer, is_named};
pub use crate::crypto::reloadable::RELOAD_INTERVAL;
use crate::crypto::reloadable::{CertificateFiles, Reloadable};
use crate::metrics::METRICS;

/// TLS certificates of one user agent.
pub struct TlsCertificates {
    server: Option<Reloadable<TlsServer, TlsAcceptor>>,
    peers: Vec<Option<Reloadable<TlsPeer, Connector>>>,
    /// Name in the client certificate of each trunk.
    peer_names: Vec<Option<String>>,
    requested: Notify,
}

impl TlsCertificates {
    /// Loads every file.
    pub(super) fn read(settings: Tls) -> Result<Self, TlsError> {
        let server = settings.server.map(Reloadable::new).transpose()?;
        let peers = settings
            .peers
            .into_iter()
            .map(|peer| peer.map(Reloadable::new).transpose());
        Ok(Self {
            server,
            peers: peers.collect::<Result<_, _>>()?,
            peer_names: settings.peer_names,
            requested: Notify::new(),
        })
    }

    /// Requests a reload of all files, even if unchanged.
    pub fn request_reload(&self) {
        self.requested.notify_one();
    }

    /// Returns the TLS acceptor for a new incoming connection.
    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        self.server
            .as_ref()
            .map(Reloadable::current)
            .ok_or_else(no_certificate)
    }

    /// Returns the TLS connector for a new connection to a trunk's peer.
    pub(super) fn connector(&self, trunk: Option<usize>) -> io::Result<Connector> {
        let peer = trunk.and_then(|trunk| self.peers.get(trunk)?.as_ref());
        peer.map(Reloadable::current).ok_or_else(no_certificate)
    }

    /// Returns the trunks that the certificate of a verified peer names.
    pub(super) fn certified_trunks(&self, chain: Option<&[CertificateDer<'_>]>) -> CertifiedTrunks {
        let Some(certificate) = chain.and_then(<[_]>::first) else {
            return CertifiedTrunks::default();
        };
        let names = self.peer_names.iter().enumerate();
        names
            .filter(|(_, name)| {
                let name = name.as_deref();
                name.is_some_and(|name| is_named(certificate, name))
            })
            .map(|(trunk, _)| trunk)
            .collect()
    }

    /// Reloads changed files periodically. Never returns.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let requested = tokio::time::timeout(RELOAD_INTERVAL, self.requested.notified())
                .await
                .is_ok();
            let certificates = self.clone();
            // Only a panic makes this fail, and the panic handler has logged it.
            let _ = tokio::task::spawn_blocking(move || certificates.reload_if_changed(requested))
                .await;
        }
    }

    fn reload_if_changed(&self, requested: bool) {
        self.server
            .iter()
            .for_each(|server| server.reload_if_changed(requested));
        self.peers
            .iter()
            .flatten()
            .for_each(|peer| peer.reload_if_changed(requested));
    }
}

impl CertificateFiles<TlsAcceptor> for TlsServer {
    fn read(&self) -> Result<TlsAcceptor, TlsError> {
        self.acceptor()
    }

    fn files(&self) -> Vec<&Path> {
        Self::files(self)
    }

    fn on_loaded(&self) {
        set_expiry("", Some(&self.identity));
    }

    fn log_reload(&self, failure: Option<&TlsError>) {
        log_reload("", failure);
    }
}

impl CertificateFiles<Connector> for TlsPeer {
    fn read(&self) -> Result<Connector, TlsError> {
        self.connector()
    }

    fn files(&self) -> Vec<&Path> {
        Self::files(self)
    }

    fn on_loaded(&self) {
        set_expiry(&self.trunk, self.identity.as_ref());
    }

    fn log_reload(&self, failure: Option<&TlsError>) {
        log_reload(&self.trunk, failure);
    }
}

/// Sets the metric of a certificate; `trunk` is empty for the server's.
fn set_expiry(trunk: &str, identity: Option<&Identity>) {
    if let Some(expiry) = identity.and_then(Identity::expiry) {
        METRICS.set_certificate_expiry(trunk, expiry);
    }
}

fn log_reload(trunk: &str, failure: Option<&TlsError>) {
    match failure {
        None => tracing::info!(trunk, "reloaded the certificates for SIP over TLS"),
        Some(error) => {
            tracing::error!(trunk, %error, "cannot reload the certificates for SIP over TLS; keeping the previous ones");
        }
    }
}

/// Error for a connection without a TLS configuration.
fn no_certificate() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "no TLS settings for this peer")
}
