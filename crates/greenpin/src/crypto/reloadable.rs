//! TLS configuration loaded from files, and loaded again after a change of the files or on request. Open connections
//! keep their certificates.

use std::fs;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::tls_identity::TlsError;

/// Interval between two checks of the files.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// TLS configuration loaded from files, and replaced after they change.
pub(crate) struct Reloadable<S, T> {
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

/// Files of a TLS configuration.
pub(crate) trait CertificateFiles<T> {
    /// Loads the files.
    fn read(&self) -> Result<T, TlsError>;
    /// Returns the files.
    fn files(&self) -> Vec<&Path>;
    /// Reports loaded files, for the metric of their expiry.
    fn on_loaded(&self);
    /// Logs that changed files were loaded, or that they cannot be used and the previous ones stay in use.
    fn log_reload(&self, failure: Option<&TlsError>);
}

impl<S: CertificateFiles<T>, T: Clone> Reloadable<S, T> {
    /// Loads the files.
    pub(crate) fn new(settings: S) -> Result<Self, TlsError> {
        let stamps = stamps(&settings);
        let loaded = Loaded {
            value: settings.read()?,
            stamps,
            failed_stamps: None,
        };
        settings.on_loaded();
        Ok(Self {
            loaded: RwLock::new(loaded),
            settings,
        })
    }

    /// Returns the configuration for a new connection.
    pub(crate) fn current(&self) -> T {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .value
            .clone()
    }

    /// Reloads the files if they changed or on request. A failed load keeps the previous configuration and is logged
    /// once. The next check tries again, because a file may become readable without a change.
    pub(crate) fn reload_if_changed(&self, requested: bool) {
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
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(value) => {
                *loaded = Loaded {
                    value,
                    stamps,
                    failed_stamps: None,
                };
                self.settings.on_loaded();
                self.settings.log_reload(None);
            }
            Err(_) if !requested && loaded.failed_stamps.as_ref() == Some(&stamps) => {}
            Err(error) => {
                loaded.failed_stamps = Some(stamps);
                self.settings.log_reload(Some(&error));
            }
        }
    }
}

fn stamps<T>(settings: &impl CertificateFiles<T>) -> Vec<FileStamp> {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    settings.files().into_iter().map(stamp).collect()
}
