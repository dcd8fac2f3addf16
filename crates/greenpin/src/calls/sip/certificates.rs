//! Certificates for TLS, loaded at the start and again after a change of the files or on request. Open connections keep
//! their certificates.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::inbound::CertifiedTrunks;
use super::tls::{Connector, Identity, Tls, TlsError, TlsListen, TlsPeer, is_named};
use crate::metrics::METRICS;

/// Interval between two checks of the files.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// TLS certificates of one user agent.
pub struct TlsCertificates {
    listen: Option<Reloadable<TlsListen, TlsAcceptor>>,
    peers: Vec<Option<Reloadable<TlsPeer, Connector>>>,
    /// Name in the client certificate of each trunk.
    peer_names: Vec<Option<String>>,
    requested: Notify,
}

/// TLS configuration loaded from files, and replaced after they change.
struct Reloadable<S, T> {
    settings: S,
    loaded: RwLock<Loaded<T>>,
}

struct Loaded<T> {
    value: T,
    /// State of the files at the time of loading.
    stamps: Vec<FileStamp>,
    /// State of the files at the last failed load, so that each failure is logged once.
    failed_stamps: Option<Vec<FileStamp>>,
}

/// Modification time and length of a file, to detect changes; `None` if the file is not readable.
type FileStamp = Option<(SystemTime, u64)>;

trait CertificateFiles<T> {
    fn read(&self) -> Result<T, TlsError>;
    fn files(&self) -> Vec<&Path>;
    /// Returns the trunk's name; empty for the server certificate.
    fn trunk(&self) -> &str;
    fn identity(&self) -> Option<&Identity>;
}

impl TlsCertificates {
    /// Loads every file.
    pub(super) fn read(settings: Tls) -> Result<Self, TlsError> {
        let listen = settings.listen.map(Reloadable::new).transpose()?;
        let peers = settings
            .peers
            .into_iter()
            .map(|peer| peer.map(Reloadable::new).transpose());
        Ok(Self {
            listen,
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
        self.listen
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
        self.listen
            .iter()
            .for_each(|listen| listen.reload_if_changed(requested));
        self.peers
            .iter()
            .flatten()
            .for_each(|peer| peer.reload_if_changed(requested));
    }
}

impl<S: CertificateFiles<T>, T: Clone> Reloadable<S, T> {
    fn new(settings: S) -> Result<Self, TlsError> {
        let stamps = stamps(&settings);
        let loaded = Loaded {
            value: settings.read()?,
            stamps,
            failed_stamps: None,
        };
        let reloadable = Self {
            loaded: RwLock::new(loaded),
            settings,
        };
        reloadable.update_expiry_metric();
        Ok(reloadable)
    }

    fn current(&self) -> T {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .value
            .clone()
    }

    /// Reloads the files if they changed or on request. A failed load keeps the previous configuration and is logged
    /// once. The next check tries again, because a file may become readable without a change.
    fn reload_if_changed(&self, requested: bool) {
        let stamps = stamps(&self.settings);
        let changed = self
            .loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .stamps
            != stamps;
        if !requested && !changed {
            return;
        }
        let read = self.settings.read();
        let trunk = self.settings.trunk();
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(value) => {
                *loaded = Loaded {
                    value,
                    stamps,
                    failed_stamps: None,
                };
                self.update_expiry_metric();
                tracing::info!(trunk, "reloaded the certificates for SIP over TLS");
            }
            Err(_) if !requested && loaded.failed_stamps.as_ref() == Some(&stamps) => {}
            Err(error) => {
                loaded.failed_stamps = Some(stamps);
                tracing::error!(trunk, %error, "cannot reload the certificates for SIP over TLS; keeping the previous ones");
            }
        }
    }

    fn update_expiry_metric(&self) {
        let expiry = self.settings.identity().and_then(Identity::expiry);
        expiry
            .into_iter()
            .for_each(|expiry| METRICS.set_certificate_expiry(self.settings.trunk(), expiry));
    }
}

impl CertificateFiles<TlsAcceptor> for TlsListen {
    fn read(&self) -> Result<TlsAcceptor, TlsError> {
        self.acceptor()
    }

    fn files(&self) -> Vec<&Path> {
        Self::files(self).map(PathBuf::as_path).collect()
    }

    fn trunk(&self) -> &str {
        ""
    }

    fn identity(&self) -> Option<&Identity> {
        Some(&self.identity)
    }
}

impl CertificateFiles<Connector> for TlsPeer {
    fn read(&self) -> Result<Connector, TlsError> {
        self.connector()
    }

    fn files(&self) -> Vec<&Path> {
        Self::files(self).map(PathBuf::as_path).collect()
    }

    fn trunk(&self) -> &str {
        &self.trunk
    }

    fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}

fn stamps<T>(settings: &impl CertificateFiles<T>) -> Vec<FileStamp> {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    settings.files().into_iter().map(stamp).collect()
}

/// Error for a connection without a TLS configuration.
fn no_certificate() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "no TLS settings for this peer")
}
