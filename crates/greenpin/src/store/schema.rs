//! Opening the database file: where it lies, how it is written, which schema it has.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{OpenError, Timestamp, key, sql};

/// Versions before this one can corrupt a write-ahead log when a checkpoint meets a writer.
const OLDEST_SQLITE: i32 = 3_051_003;
/// How long to wait for another process (the command line, a backup) that is writing.
const BUSY: Duration = Duration::from_secs(10);
const STATEMENTS: usize = 128;
/// The writer's page cache: negative means KiB.
const CACHE_KIB: i64 = -32 * 1024;
/// Pages in the log before they go to the database file: a page that changes often is copied once for many changes.
const CHECKPOINT_PAGES: i64 = 8000;

/// Opens the file for writing; makes it, and its schema, where there is none.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite(rusqlite::version()));
    }
    create_file(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL loses acknowledged rows in a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Each job's savepoint keeps the pages that it changes: in memory, not in a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// What every connection needs, also one that only reads.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// SQLite gives its log files the mode of the database file: personal data is for the owner alone.
fn create_file(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => key::sync_folder(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL, applied_at BIGINT NOT NULL)",
    )?;
    let found: i64 =
        transaction
            .query_row("SELECT COALESCE(MAX(version), 0) FROM schema_version", [], |row| row.get(0))?;
    let known = i64::try_from(sql::MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    for (version, step) in (1_i64..).zip(sql::MIGRATIONS).filter(|(version, _)| *version > found) {
        transaction.execute_batch(&for_sqlite(step))?;
        transaction.execute(
            "INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)",
            (version, Timestamp::now().micros()),
        )?;
    }
    transaction.commit()?;
    Ok(())
}

/// A table that is kept in the order of its key needs one tree instead of two. Only SQLite is told of it.
pub(super) fn for_sqlite(step: &str) -> String {
    step.replace("/* SQLite: WITHOUT ROWID */", "WITHOUT ROWID")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_is_its_owners_alone_and_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/greenpin.db");
        drop(open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = open(&path).unwrap();
        let mode: String = again.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        let synchronous: i64 = again.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }

    #[test]
    fn a_database_of_a_newer_greenpin_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("greenpin.db");
        open(&path).unwrap().execute("INSERT INTO schema_version VALUES (999, 0)", []).unwrap();
        assert!(matches!(open(&path), Err(OpenError::NewerSchema { found: 999, .. })));
    }
}
