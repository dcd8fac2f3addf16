//! Lock of an SQLite database against a second server. PostgreSQL needs none: it serves many nodes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::crypto::private_folder;
use crate::store::Database;

/// Lock of a database, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: File,
}

/// Failure to lock a database.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another server uses the database.
    #[error("{database}: another server uses the database (pid {pid}); stop it first", database = .database.display())]
    InUse {
        /// File of the database.
        database: PathBuf,
        /// Process id of the other server; `unknown` if it has not written it yet.
        pid: String,
    },
    /// The lock file cannot be used.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Lock file.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
}

impl DatabaseLock {
    /// Locks an SQLite database. The lock file beside it stays after the lock: the lock counts, not the file.
    pub(crate) fn acquire(database: &Database) -> Result<Option<Self>, LockError> {
        match database {
            Database::File(file) => Self::lock(file).map(Some),
            Database::Server(_) => Ok(None),
        }
    }

    fn lock(database: &Path) -> Result<Self, LockError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        private_folder::create_for(database).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(failed)?;
                let pid = match pid.trim() {
                    "" => "unknown".to_owned(),
                    pid => pid.to_owned(),
                };
                let database = database.to_owned();
                return Err(LockError::InUse { database, pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_database_names_the_process_until_the_lock_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::File(folder.path().join("data/greenpin.db"));
        let first = DatabaseLock::acquire(&database).unwrap();
        let second = DatabaseLock::acquire(&database).unwrap_err().to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(second.contains(&pid), "{second}");
        drop(first);
        assert!(DatabaseLock::acquire(&database).unwrap().is_some());
    }
}
