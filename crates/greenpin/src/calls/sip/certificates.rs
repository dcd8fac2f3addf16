//! The certificates in use: read at the start, and again when a file of theirs changes or somebody asks for it.
//! Connections that are open keep what they began with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::tls::{Connector, Identity, Tls, TlsError, TlsListen, TlsPeer};
use crate::metrics::METRICS;

/// Between two looks at the files.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// What encrypts the connections of one user agent.
pub struct TlsCertificates {
    listen: Option<Reloadable<TlsListen, TlsAcceptor>>,
    peers: Vec<Option<Reloadable<TlsPeer, Connector>>>,
    requested: Notify,
}

/// What is made of files, and made again when they change.
struct Reloadable<S, T> {
    settings: S,
    loaded: RwLock<Loaded<T>>,
}

struct Loaded<T> {
    value: T,
    /// The files that it was made of.
    stamps: Vec<FileStamp>,
    /// The files that it could not be made of, which was told.
    failed_stamps: Option<Vec<FileStamp>>,
}

/// What tells that a file is another one.
type FileStamp = Option<(SystemTime, u64)>;

trait CertificateFiles<T> {
    fn read(&self) -> Result<T, TlsError>;
    fn files(&self) -> Vec<&Path>;
    /// The trunk's name; empty: what those who connect to us are shown.
    fn trunk(&self) -> &str;
    fn identity(&self) -> Option<&Identity>;
}

impl TlsCertificates {
    /// Reads every file.
    pub(super) fn read(settings: Tls) -> Result<Self, TlsError> {
        let listen = settings.listen.map(Reloadable::new).transpose()?;
        let peers = settings
            .peers
            .into_iter()
            .map(|peer| peer.map(Reloadable::new).transpose());
        Ok(Self {
            listen,
            peers: peers.collect::<Result<_, _>>()?,
            requested: Notify::new(),
        })
    }

    /// Asks for all files to be read again, whether they have changed or not.
    pub fn request_reload(&self) {
        self.requested.notify_one();
    }

    /// What encrypts a connection that is accepted now.
    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        self.listen
            .as_ref()
            .map(Reloadable::now)
            .ok_or_else(no_certificate)
    }

    /// What encrypts a connection to a trunk's peer that is made now.
    pub(super) fn connector(&self, trunk: Option<usize>) -> io::Result<Connector> {
        let peer = trunk.and_then(|trunk| self.peers.get(trunk)?.as_ref());
        peer.map(Reloadable::now).ok_or_else(no_certificate)
    }

    /// Keeps what is in use as the files are. Never ends.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let requested = tokio::time::timeout(RELOAD_INTERVAL, self.requested.notified())
                .await
                .is_ok();
            let replies = self.clone();
            // Only a panic would make it fail, and that is told already.
            let _ = tokio::task::spawn_blocking(move || replies.reload_if_changed(requested)).await;
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

    fn now(&self) -> T {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .value
            .clone()
    }

    /// Reads again what has changed, or all: what cannot be used changes nothing, and is tried again each time, since a
    /// file may become readable without a change; it is told once.
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
                tracing::info!(trunk, "read the certificates for SIP over TLS again");
            }
            Err(_) if !requested && loaded.failed_stamps.as_ref() == Some(&stamps) => {}
            Err(error) => {
                loaded.failed_stamps = Some(stamps);
                tracing::error!(trunk, %error, "the certificates for SIP over TLS stay as they were");
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

/// Why a connection is not made.
fn no_certificate() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "nothing says what the certificate must be for",
    )
}
