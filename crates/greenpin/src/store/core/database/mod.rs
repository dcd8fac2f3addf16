//! Common interface of both databases: SQLite in a file, or PostgreSQL for many nodes. Both run the same statements.

mod batch_insert;
pub(crate) mod postgres;
mod read_ahead;
pub(crate) mod sqlite;
pub(crate) mod sqlite_copy;
pub(crate) mod store_move;
mod value;

use std::path::Path;

pub(crate) use read_ahead::ReadAhead;
pub(crate) use value::{Column, ColumnNames, OwnedValue, Params, Row, Value, word_columns};

use crate::store::core::statement::Statement;
use crate::store::core::write_scope::WriteScope;
use crate::store::{Database, OpenError, StoreError};

/// Connection of one thread, which blocks while the database works.
pub(crate) enum DatabaseConnection {
    Sqlite(sqlite::SqliteConnection),
    Postgres(Box<postgres::PostgresConnection>),
}

/// Location of the database.
#[derive(Clone)]
pub(crate) enum DatabaseTarget {
    Sqlite(sqlite::SqliteTarget),
    Postgres(Box<postgres::PostgresTarget>),
}

/// Lease of the writers: the state of the database, or of a shard, at the start of a transaction.
#[derive(Default)]
pub(crate) struct WriterLease {
    /// Version of cached rows; changes after another process has changed settings or endpoints.
    pub(crate) cache_version: i64,
    /// Id of the last event of another node, without its prefix; 0 if there is none.
    pub(crate) last_event: u128,
    /// Version that the previous transaction of any writer has left behind.
    pub(crate) version: i64,
    /// Version that this transaction leaves behind.
    pub(crate) next_version: i64,
}

impl DatabaseTarget {
    /// Creates the target of a database. `tls_ca`: CA certificates for `sslmode=require`; `None` for those of the system.
    pub(crate) fn new(database: &Database, tls_ca: Option<&Path>) -> Result<Self, OpenError> {
        Ok(match database {
            Database::File(path) => Self::Sqlite(sqlite::SqliteTarget(path.clone())),
            Database::Server(server) => {
                let target = postgres::PostgresTarget::new(server.as_ref().clone(), tls_ca)?;
                Self::Postgres(Box::new(target))
            }
        })
    }

    /// Creates the database file and migrates the schema. Called once, at the start.
    pub(crate) fn prepare(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(target) => target.prepare(),
            Self::Postgres(target) => target.prepare(),
        }
    }

    /// Returns whether writes of different shards need not wait for each other.
    pub(crate) fn is_sharded(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Opens a connection for the writer of a scope.
    pub(crate) fn writer(&self, scope: WriteScope) -> Result<DatabaseConnection, OpenError> {
        Ok(match self {
            Self::Sqlite(target) => DatabaseConnection::Sqlite(target.writer()?),
            Self::Postgres(target) => {
                DatabaseConnection::Postgres(Box::new(target.connect(scope)?))
            }
        })
    }

    /// Opens a read-only connection.
    pub(crate) fn reader(&self) -> Result<DatabaseConnection, OpenError> {
        Ok(match self {
            Self::Sqlite(target) => DatabaseConnection::Sqlite(target.reader()?),
            Self::Postgres(target) => {
                DatabaseConnection::Postgres(Box::new(target.connect(WriteScope::Whole)?))
            }
        })
    }

    /// Opens a connection that cannot write, to a database that is in use or not: checks of the start, without its
    /// migration.
    pub(crate) fn inspector(&self) -> Result<DatabaseConnection, OpenError> {
        Ok(match self {
            Self::Sqlite(target) => DatabaseConnection::Sqlite(target.reader()?),
            Self::Postgres(target) => {
                DatabaseConnection::Postgres(Box::new(target.connect_to_inspect()?))
            }
        })
    }
}

impl DatabaseConnection {
    /// Runs a statement. Returns the number of changed rows.
    pub(crate) fn execute(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
    ) -> Result<usize, StoreError> {
        let rows = match self {
            Self::Sqlite(connection) => connection.execute(statement.sql, params),
            Self::Postgres(connection) => connection.execute(statement, params),
        };
        statement.check(rows?)
    }

    /// Runs a statement whose result is not needed. It may still be in flight on return; if it fails, the transaction
    /// fails.
    pub(crate) fn execute_deferred(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => {
                statement.log_unexpected(connection.execute(statement.sql, params)?);
                Ok(())
            }
            Self::Postgres(connection) => connection.execute_deferred(statement, params),
        }
    }

    /// Inserts a row with a statement of the form `INSERT … VALUES ($1, $2, …)`. PostgreSQL collects rows until a
    /// statement reads or writes their table. If an insert fails, the transaction fails.
    pub(crate) fn insert_batched(
        &self,
        statement: &'static Statement,
        row: &[Value<'_>],
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => statement
                .check(connection.execute(statement.sql, row)?)
                .map(|_| ()),
            Self::Postgres(connection) => connection.insert_batched(statement, row),
        }
    }

    /// Sends the collected rows.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => connection.flush(),
        }
    }

    /// Returns whether each answer costs a round trip to another process.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Passes each row of a result to `each` until it returns `false`.
    pub(crate) fn query(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.query(statement.sql, params, each),
            Self::Postgres(connection) => connection.query(statement, params, each),
        }
    }

    /// Begins an exclusive write transaction.
    pub(crate) fn begin(&self) -> Result<WriterLease, StoreError> {
        match self {
            Self::Sqlite(connection) => connection.begin(),
            Self::Postgres(connection) => connection.begin(),
        }
    }

    /// Like [`DatabaseConnection::begin`]; a remote database answers the reads in the same round trip.
    pub(crate) fn begin_with(&self, reads: &[&ReadAhead]) -> Result<WriterLease, StoreError> {
        match self {
            Self::Sqlite(connection) => connection.begin(),
            Self::Postgres(connection) => connection.begin_with(reads),
        }
    }

    /// Reads rows for the next jobs in one round trip. Does nothing on a local database.
    pub(crate) fn fetch(&self, reads: &[&ReadAhead]) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => connection.fetch(reads),
        }
    }

    /// Forgets all rows that were read ahead.
    pub(crate) fn forget_fetched(&self) {
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(connection) => connection.forget_fetched(),
        }
    }

    /// Begins a read-only transaction on one snapshot.
    pub(crate) fn begin_read(&self) -> Result<(), StoreError> {
        self.control("BEGIN")
    }

    /// Commits the transaction. The ids of the next writer continue after `last_event`. `cleared`: other processes
    /// must drop their cached rows.
    pub(crate) fn commit(&self, last_event: u128, cleared: bool) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.commit(),
            Self::Postgres(connection) => connection.commit(last_event, cleared),
        }
    }

    /// Sends the commit together with the begin of the next transaction and waits for neither. The following
    /// statements belong to the next transaction. [`DatabaseConnection::await_commit`] and
    /// [`DatabaseConnection::await_lease`] return the results. Only for remote connections.
    pub(crate) fn commit_and_begin(&self, last_event: u128) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.commit(),
            Self::Postgres(connection) => connection.commit_and_begin(last_event),
        }
    }

    /// Returns whether the answer to the pipelined commit has arrived. Does not block.
    pub(crate) fn has_committed(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(connection) => connection.has_committed(),
        }
    }

    /// Waits for the result of the pipelined commit.
    pub(crate) fn await_commit(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => connection.await_commit(),
        }
    }

    /// Waits for the lease of the pipelined begin; `None` if it failed or nothing was pipelined.
    pub(crate) fn await_lease(&self) -> Option<WriterLease> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(connection) => connection.await_lease(),
        }
    }

    /// Rolls the transaction back, if one is open.
    pub(crate) fn roll_back(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.roll_back(),
            Self::Postgres(connection) => connection.roll_back(),
        }
    }

    /// Sets a savepoint.
    pub(crate) fn save(&self) -> Result<(), StoreError> {
        self.control("SAVEPOINT job")
    }

    /// Waits for the answers to all deferred statements.
    pub(crate) fn await_deferred(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => connection.await_deferred(),
        }
    }

    /// Releases the savepoint, after a rollback to it unless `keep_changes`.
    pub(crate) fn release(&self, keep_changes: bool) -> Result<(), StoreError> {
        if !keep_changes {
            self.control("ROLLBACK TO SAVEPOINT job")?;
        }
        self.control("RELEASE SAVEPOINT job")
    }

    fn control(&self, sql: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql, &[]).map(|_| ()),
            Self::Postgres(connection) => connection.control(sql),
        }
    }

    /// Returns a counter that grows with every change of a row.
    pub(crate) fn changes(&self) -> u64 {
        match self {
            Self::Sqlite(connection) => connection.changes(),
            Self::Postgres(connection) => connection.changes(),
        }
    }

    /// Returns whether the transaction can continue. Some failures end it.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Sqlite(connection) => connection.is_sound(),
            Self::Postgres(connection) => connection.is_sound(),
        }
    }

    /// Sets whether the next statements may take long.
    pub(crate) fn set_long(&self, is_long: bool) {
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(connection) => connection.set_long(is_long),
        }
    }

    /// Returns whether the connection is lost.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(connection) => connection.is_closed(),
        }
    }

    /// Releases memory that a burst has filled.
    pub(crate) fn release_memory(&self) {
        match self {
            Self::Sqlite(connection) => connection.release_memory(),
            Self::Postgres(_) => {}
        }
    }
}
