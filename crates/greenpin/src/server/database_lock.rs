//! Lock of an SQLite database against a second server. PostgreSQL needs none: it serves many nodes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::crypto::private_folder;
use crate::store::Database;

/// Lock of a database, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: File,
    /// The database itself, which can have several names. SQLite's own locks are of another kind (`fcntl`), and last
    /// as long as the process has the file open, so this field is dropped after the store.
    _database: Option<File>,
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
    /// The path of the database is that of a folder or a device.
    #[error("{}: store.url must name a file", .0.display())]
    NoFile(PathBuf),
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

    /// Returns the process id of the server that has locked an SQLite database, without a lock of its own; `None` if
    /// there is none, or the system does not list locks.
    pub(crate) fn holder(database: &Path) -> Option<u32> {
        let path = lock_file_of(database);
        let pid = std::fs::read_to_string(&path).ok()?.trim().parse().ok()?;
        let inode = path.metadata().ok()?.ino();
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        is_locked(&locks, pid, inode).then_some(pid)
    }

    fn lock(database: &Path) -> Result<Self, LockError> {
        if database
            .metadata()
            .is_ok_and(|found| !found.file_type().is_file())
        {
            return Err(LockError::NoFile(database.to_owned()));
        }
        let path = lock_file_of(database);
        let real = database.canonicalize();
        let database = real.as_deref().unwrap_or(database);
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
        Ok(Self {
            _file: file,
            _database: Self::lock_file(database)?,
        })
    }

    /// Locks the database itself against a server that knows it by another name (a hard link); `None`: it does not exist
    /// yet.
    fn lock_file(database: &Path) -> Result<Option<File>, LockError> {
        let failed = |source| LockError::Io {
            path: database.to_owned(),
            source,
        };
        let file = match File::open(database) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse {
                database: database.to_owned(),
                pid: "unknown: it knows the file by another name".to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Returns the lock file of a database. A link has its lock beside the file that it names.
fn lock_file_of(database: &Path) -> PathBuf {
    let real = database.canonicalize();
    let mut path = real.as_deref().unwrap_or(database).as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

/// Returns `true` if `/proc/locks` lists a lock (`flock(2)`) of this process on the file with this inode.
fn is_locked(locks: &str, pid: u32, inode: u64) -> bool {
    locks.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        let kind = words.nth(1);
        let owner = words.nth(2).and_then(|word| word.parse().ok());
        let file = words.next().and_then(|file| file.rsplit(':').next());
        let file = file.and_then(|word| word.parse().ok());
        kind == Some("FLOCK") && owner == Some(pid) && file == Some(inode)
    })
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

    #[test]
    fn the_holder_of_a_lock_is_known_without_a_second_lock() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("greenpin.db");
        assert_eq!(DatabaseLock::holder(&file), None);
        let held = DatabaseLock::acquire(&Database::File(file.clone())).unwrap();
        assert_eq!(DatabaseLock::holder(&file), Some(std::process::id()));
        drop(held);
        assert_eq!(DatabaseLock::holder(&file), None, "the file stays");
    }

    #[test]
    fn a_lock_is_found_by_process_and_inode() {
        let locks = "1: FLOCK  ADVISORY  WRITE 14102 fe:00:10035612 0 EOF\n\
                     2: POSIX  ADVISORY  READ 14103 fe:00:10035863 128 128\n\
                     2: -> FLOCK  ADVISORY  WRITE 14104 fe:00:10035612 0 EOF\n";
        assert!(is_locked(locks, 14102, 10_035_612));
        assert!(!is_locked(locks, 14102, 10_035_613));
        assert!(!is_locked(locks, 14103, 10_035_863), "of another kind");
        assert!(!is_locked(locks, 14104, 10_035_612), "waits for it");
    }

    #[test]
    fn a_database_with_several_names_has_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("greenpin.db"), "").unwrap();
        std::fs::hard_link(path("greenpin.db"), path("hard.db")).unwrap();
        std::os::unix::fs::symlink(path("greenpin.db"), path("soft.db")).unwrap();
        for (first, second) in [
            ("greenpin.db", "soft.db"),
            ("soft.db", "greenpin.db"),
            ("hard.db", "greenpin.db"),
        ] {
            let database = |name: &str| Database::File(path(name));
            let held = DatabaseLock::acquire(&database(first)).unwrap();
            let refused = DatabaseLock::acquire(&database(second));
            assert!(matches!(refused, Err(LockError::InUse { .. })), "{second}");
            drop(held);
            assert!(DatabaseLock::acquire(&database(second)).is_ok());
        }
    }

    #[test]
    fn a_folder_or_a_device_is_no_database() {
        for path in ["/dev/null", "/"] {
            let refused = DatabaseLock::acquire(&Database::File(path.into()));
            assert!(matches!(refused, Err(LockError::NoFile(_))), "{path}");
        }
    }
}
