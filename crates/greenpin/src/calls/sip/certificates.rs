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
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What encrypts the connections of one user agent.
pub struct Certificates {
    listen: Option<Renewed<TlsListen, TlsAcceptor>>,
    peers: Vec<Option<Renewed<TlsPeer, Connector>>>,
    asked: Notify,
}

/// What is made of files, and made again when they change.
struct Renewed<S, T> {
    settings: S,
    in_use: RwLock<InUse<T>>,
}

struct InUse<T> {
    made: T,
    /// The files that it was made of.
    of: Vec<Stamp>,
    /// The files that it could not be made of, which was told.
    not_of: Option<Vec<Stamp>>,
}

/// What tells that a file is another one.
type Stamp = Option<(SystemTime, u64)>;

trait Source<T> {
    fn read(&self) -> Result<T, TlsError>;
    fn files(&self) -> Vec<&Path>;
    /// The trunk's name; empty: what those who connect to us are shown.
    fn trunk(&self) -> &str;
    fn identity(&self) -> Option<&Identity>;
}

impl Certificates {
    /// Reads every file.
    pub(super) fn read(settings: Tls) -> Result<Self, TlsError> {
        let listen = settings.listen.map(Renewed::new).transpose()?;
        let peers = settings
            .peers
            .into_iter()
            .map(|peer| peer.map(Renewed::new).transpose());
        Ok(Self {
            listen,
            peers: peers.collect::<Result<_, _>>()?,
            asked: Notify::new(),
        })
    }

    /// Asks for all files to be read again, whether they have changed or not.
    pub fn read_again(&self) {
        self.asked.notify_one();
    }

    /// What encrypts a connection that is accepted now.
    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        self.listen.as_ref().map(Renewed::now).ok_or_else(unnamed)
    }

    /// What encrypts a connection to a trunk's peer that is made now.
    pub(super) fn connector(&self, trunk: Option<usize>) -> io::Result<Connector> {
        let peer = trunk.and_then(|trunk| self.peers.get(trunk)?.as_ref());
        peer.map(Renewed::now).ok_or_else(unnamed)
    }

    /// Keeps what is in use as the files are. Never ends.
    pub async fn follow(self: Arc<Self>) {
        loop {
            let asked = tokio::time::timeout(LOOK_EVERY, self.asked.notified())
                .await
                .is_ok();
            let own = self.clone();
            // Only a panic would make it fail, and that is told already.
            let _ = tokio::task::spawn_blocking(move || own.renew(asked)).await;
        }
    }

    fn renew(&self, asked: bool) {
        self.listen.iter().for_each(|listen| listen.renew(asked));
        self.peers
            .iter()
            .flatten()
            .for_each(|peer| peer.renew(asked));
    }
}

impl<S: Source<T>, T: Clone> Renewed<S, T> {
    fn new(settings: S) -> Result<Self, TlsError> {
        let stamps = stamps(&settings);
        let in_use = InUse {
            made: settings.read()?,
            of: stamps,
            not_of: None,
        };
        let renewed = Self {
            in_use: RwLock::new(in_use),
            settings,
        };
        renewed.show_expiry();
        Ok(renewed)
    }

    fn now(&self) -> T {
        self.in_use
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .made
            .clone()
    }

    /// Reads again what has changed, or all: what cannot be used changes nothing, and is tried again each time, since a
    /// file may become readable without a change; it is told once.
    fn renew(&self, asked: bool) {
        let stamps = stamps(&self.settings);
        let changed = self
            .in_use
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .of
            != stamps;
        if !asked && !changed {
            return;
        }
        let read = self.settings.read();
        let trunk = self.settings.trunk();
        let mut in_use = self.in_use.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(made) => {
                *in_use = InUse {
                    made,
                    of: stamps,
                    not_of: None,
                };
                self.show_expiry();
                tracing::info!(trunk, "read the certificates for SIP over TLS again");
            }
            Err(_) if !asked && in_use.not_of.as_ref() == Some(&stamps) => {}
            Err(error) => {
                in_use.not_of = Some(stamps);
                tracing::error!(trunk, %error, "the certificates for SIP over TLS stay as they were");
            }
        }
    }

    fn show_expiry(&self) {
        let expiry = self.settings.identity().and_then(Identity::expiry);
        expiry
            .into_iter()
            .for_each(|expiry| METRICS.certificate_expires(self.settings.trunk(), expiry));
    }
}

impl Source<TlsAcceptor> for TlsListen {
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

impl Source<Connector> for TlsPeer {
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

fn stamps<T>(settings: &impl Source<T>) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    settings.files().into_iter().map(stamp).collect()
}

/// Why a connection is not made.
fn unnamed() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "nothing says what the certificate must be for",
    )
}
