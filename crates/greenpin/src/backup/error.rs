//! Errors of backups.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::OpenError;

/// Failure of a backup or a restoration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// The database does not exist.
    #[error("{path}: there is no database", path = .0.display())]
    NoDatabase(PathBuf),
    /// The folder of a new backup is in use.
    #[error("{path}: the folder is not empty; name a new one", path = .0.display())]
    NotEmpty(PathBuf),
    /// The master key is being replaced.
    #[error("a rotation of the master key is under way: finish it with greenpin key rotate")]
    Rotating,
    /// The key file is missing.
    #[error("{path}: the key file is missing; copy the master key of the database here", path = .0.display())]
    MissingKey(PathBuf),
    /// The key file holds another key.
    #[error("{path}: this is not the master key of the database", path = .0.display())]
    OtherKey(PathBuf),
    /// The folder holds no backup.
    #[error("{path}: this is not a complete backup: {reason}", path = .path.display())]
    NoBackup {
        /// Folder or file.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// A file of the backup was changed.
    #[error("{path}: the file was changed after the backup: {reason}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Difference.
        reason: &'static str,
    },
    /// A newer version has made the backup.
    #[error(
        "the backup is from version {version} of greenpin, which this version is too old for: use that version, or a newer one"
    )]
    NewerVersion {
        /// Version that made the backup.
        version: String,
    },
    /// There is a database at the place of the restoration.
    #[error("{path}: the file exists; move it away before restoring", path = .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The database or the key cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl BackupError {
    /// Returns a function that adds a path to an error.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
