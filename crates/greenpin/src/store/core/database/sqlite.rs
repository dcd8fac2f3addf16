//! SQLite: file, pragmas and migrations.

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{OpenFlags, Statement, TransactionBehavior};

use super::{ColumnNames, Row, Value, WriterLease};
use crate::crypto::private_folder;
use crate::store::core::ids::EventId;
use crate::store::core::schema;
use crate::store::core::sql;
use crate::store::{OpenError, StoreError, Timestamp};

/// Older versions can corrupt a write-ahead log if a checkpoint meets a writer.
const MIN_SQLITE_VERSION: i32 = 3_051_003;
/// Maximum wait for another process that writes, such as a command or a backup.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(4);
const MAX_CACHED_STATEMENTS: usize = 256;
/// Page cache of the writer. A negative value is in KiB.
const CACHE_KIB: i64 = -32 * 1024;
/// Pages in the log before a checkpoint. A page that changes often is then copied once for many changes.
const CHECKPOINT_PAGES: i64 = 8000;

/// Path of a database file.
#[derive(Clone)]
pub(crate) struct SqliteTarget(pub(crate) PathBuf);

/// Open database file.
pub(crate) struct SqliteConnection {
    connection: rusqlite::Connection,
    /// Version of the data at the last begin of a transaction. It changes with each commit of another process.
    data_version: Cell<Option<i64>>,
    /// Greatest event id of other processes, as of `data_version`.
    last_event: Cell<u128>,
}

impl SqliteConnection {
    fn new(connection: rusqlite::Connection) -> Self {
        Self {
            connection,
            data_version: Cell::new(None),
            last_event: Cell::new(0),
        }
    }
}

impl SqliteTarget {
    /// Creates the file if it does not exist, and migrates its schema.
    pub(crate) fn prepare(&self) -> Result<(), OpenError> {
        if rusqlite::version_number() < MIN_SQLITE_VERSION {
            return Err(OpenError::OldSqlite(rusqlite::version()));
        }
        create_file(&self.0).map_err(|source| OpenError::Io {
            path: self.0.clone(),
            source,
        })?;
        let mut connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        migrate(&mut connection)
    }

    /// Opens a connection for the writer.
    pub(crate) fn writer(&self) -> Result<SqliteConnection, OpenError> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // NORMAL can lose acknowledged rows in a power cut.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Deleted content is overwritten: the key of an erased tenant must not remain in free space of a page.
        connection.pragma_update(None, "secure_delete", true)?;
        // Savepoints copy changed pages: in memory, not in a file.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        Ok(SqliteConnection::new(connection))
    }

    /// Opens a read-only connection.
    pub(crate) fn reader(&self) -> Result<SqliteConnection, OpenError> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(SqliteConnection::new(connection))
    }

    fn open(&self, flags: OpenFlags) -> rusqlite::Result<rusqlite::Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(&self.0, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(MAX_CACHED_STATEMENTS);
        // Without this setting SQLite prepares a statement again for each value if a partial index could serve it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    }
}

impl SqliteConnection {
    pub(crate) fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, params)?;
        Ok(statement.raw_execute()?)
    }

    pub(crate) fn query(
        &self,
        sql: &str,
        params: &[Value<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, params)?;
        let mut rows = statement.raw_query();
        let names = ColumnNames::default();
        // The first step completes an INSERT, UPDATE or DELETE with RETURNING.
        while let Some(row) = rows.next()? {
            if !each(&Row::Sqlite(row, &names))? {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn begin(&self) -> Result<WriterLease, StoreError> {
        self.execute("BEGIN IMMEDIATE", &[])?;
        // SQLite counts the commits of other processes.
        let mut version = 0;
        self.query("PRAGMA data_version", &[], &mut |row| {
            version = row.get("data_version")?;
            Ok(false)
        })?;
        // The ids of this process follow those of the others, and those before its start.
        if self.data_version.get() != Some(version) {
            self.last_event.set(self.read_last_event()?);
            self.data_version.set(Some(version));
        }
        Ok(WriterLease {
            cache_version: version,
            last_event: self.last_event.get(),
            version,
            next_version: version,
        })
    }

    /// Returns the greatest event id; 0 if there is none.
    fn read_last_event(&self) -> Result<u128, StoreError> {
        let mut last = None;
        self.query(sql::LAST_EVENT.sql, &[], &mut |row| {
            last = row.get::<Option<String>>("event_id")?;
            Ok(false)
        })?;
        Ok(last
            .as_deref()
            .and_then(EventId::parse)
            .map_or(0, |id| id.value()))
    }

    pub(crate) fn commit(&self) -> Result<(), StoreError> {
        self.execute("COMMIT", &[]).map(|_| ())
    }

    pub(crate) fn roll_back(&self) -> Result<(), StoreError> {
        // Some failures end the transaction.
        if self.is_sound() {
            self.execute("ROLLBACK", &[]).map(|_| ())
        } else {
            Ok(())
        }
    }

    pub(crate) fn changes(&self) -> u64 {
        self.connection.total_changes()
    }

    pub(crate) fn is_sound(&self) -> bool {
        !self.connection.is_autocommit()
    }

    pub(crate) fn release_memory(&self) {
        let _ = self.connection.execute_batch("PRAGMA shrink_memory");
    }
}

fn bind(statement: &mut Statement<'_>, params: &[Value<'_>]) -> rusqlite::Result<()> {
    params
        .iter()
        .enumerate()
        .try_for_each(|(index, value)| statement.raw_bind_parameter(index + 1, value))
}

/// Creates the database file with mode 0600. SQLite gives its log files the same mode.
fn create_file(path: &Path) -> std::io::Result<()> {
    private_folder::create_for(path)?;
    match private_folder::create_file(path) {
        Ok(_) => private_folder::sync(private_folder::of(path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn migrate(connection: &mut rusqlite::Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(schema::SCHEMA_VERSION.sql)?;
    let found: i64 =
        transaction.query_row(schema::SCHEMA_FOUND.sql, [], |row| row.get("version"))?;
    for (version, step) in schema::missing_steps(found)? {
        transaction.execute_batch(&for_sqlite(step))?;
        transaction.execute(
            schema::SCHEMA_APPLIED.sql,
            (version, Timestamp::now().micros()),
        )?;
    }
    transaction.commit()?;
    Ok(())
}

/// Adapts a migration step. A table in the order of its key needs one tree instead of two on SQLite.
pub(crate) fn for_sqlite(step: &str) -> String {
    step.replace("/* SQLite: WITHOUT ROWID */", "WITHOUT ROWID")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_is_private_to_its_owner_and_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        let target = SqliteTarget(folder.path().join("deep/greenpin.db"));
        target.prepare().unwrap();
        assert_eq!(
            std::fs::metadata(&target.0).unwrap().permissions().mode() & 0o777,
            0o600
        );
        target.prepare().unwrap();
        let again = target.writer().unwrap().connection;
        let mode: String = again
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        let synchronous: i64 = again
            .query_row("PRAGMA synchronous", [], |row| row.get(0))
            .unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }

    #[test]
    fn a_database_of_a_newer_or_too_old_version_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let target = SqliteTarget(folder.path().join("greenpin.db"));
        target.prepare().unwrap();
        target
            .writer()
            .unwrap()
            .connection
            .execute("INSERT INTO schema_version VALUES (999, 0)", [])
            .unwrap();
        assert!(matches!(
            target.prepare(),
            Err(OpenError::NewerSchema { found: 999, .. })
        ));
        target
            .writer()
            .unwrap()
            .connection
            .execute_batch("DELETE FROM schema_version")
            .unwrap();
        target
            .writer()
            .unwrap()
            .connection
            .execute("INSERT INTO schema_version VALUES (1, 0)", [])
            .unwrap();
        assert!(matches!(
            target.prepare(),
            Err(OpenError::OlderSchema { found: 1 })
        ));
    }
}
