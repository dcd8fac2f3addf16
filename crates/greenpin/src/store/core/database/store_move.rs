//! Move of an SQLite database to PostgreSQL.
//!
//! Each table is copied in a transaction of its own, with a mark that it is complete. A move that was interrupted copies
//! the remaining tables. Until its end the schema of the target has a version that no server accepts.

use std::path::{Path, PathBuf};

use futures_util::pin_mut;
use rusqlite::Connection;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::postgres::{PostgresConnection, PostgresTarget};
use super::sqlite::SqliteTarget;
use super::sqlite_copy::{self, DatabaseState, KeyCheck};
use super::value::{OwnedValue, Value, sqlite_value};
use crate::store::OpenError;
use crate::store::core::ids::EventId;
use crate::store::core::schema::MOVE_IN_PROGRESS;
use crate::store::core::sql;
use crate::store::core::statement::TABLES;
use crate::store::core::write_scope::WriteScope;

/// Tables that the migration fills.
const NOT_COPIED: [&str; 2] = ["schema_version", "writer_shards"];
/// Name of the table of marks in the target, until the end of the move.
const MARKS: &str = "moved_tables";
/// A large table takes long.
const NO_LIMITS: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// Failure of a move.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There is no source.
    #[error("{}: there is no such database", .0.display())]
    NoSource(PathBuf),
    /// The source cannot be read.
    #[error("source: {0}")]
    Source(OpenError),
    /// The target cannot be used.
    #[error("target: {0}")]
    Target(OpenError),
    /// A rotation of the master key is under way in the source.
    #[error("a rotation of the master key is under way: finish it with `greenpin key rotate`")]
    Rotating,
    /// The target holds data that no move has copied.
    #[error("the target is not empty: its table {0} has rows; create a new database for the move")]
    NotEmpty(String),
    /// The target holds an unfinished move of another database.
    #[error(
        "the target holds an unfinished move of another database: create a new database for the move"
    )]
    OtherSource,
    /// A copied table differs from its source.
    #[error("table {table} has {target} rows in the target, and {expected} in the source")]
    Differs {
        /// Name of the table.
        table: &'static str,
        /// Rows of the source.
        expected: u64,
        /// Rows of the target.
        target: u64,
    },
    /// A value of the source has an unknown form.
    #[error("table {0} of the source has a value of an unknown form")]
    Unreadable(&'static str),
}

/// Table of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableToMove {
    /// Name of the table.
    pub name: &'static str,
    /// Rows in the source.
    pub rows: u64,
    /// The table is copied.
    pub is_copied: bool,
}

/// Move from a database that no server uses into one that no server may use until its end.
pub struct StoreMove {
    source: Connection,
    target: PostgresConnection,
    tables: Vec<TableToMove>,
}

/// Returns the tables that a move copies, with their rows. Changes nothing.
///
/// # Errors
///
/// There is no source, or the target cannot be reached or holds other data.
pub fn plan_move(
    source: &Path,
    server: &tokio_postgres::Config,
    ca: Option<&Path>,
) -> Result<Vec<TableToMove>, MoveError> {
    let state = check_source(source)?;
    let (_, target) = connect(server, ca)?;
    let marks = target.run(read_marks)?;
    check_target(&target, marks.as_ref(), &state)?;
    let source = sqlite_copy::open(source).map_err(MoveError::Source)?;
    tables(&source, marks.as_ref())
}

fn connect(
    server: &tokio_postgres::Config,
    ca: Option<&Path>,
) -> Result<(PostgresTarget, PostgresConnection), MoveError> {
    let target = PostgresTarget::new(server.clone(), ca);
    let target = target.map_err(|error| MoveError::Target(error.into()))?;
    let connection = target
        .connect(WriteScope::Whole)
        .map_err(MoveError::Target)?;
    connection.run(async |client: &Client| client.batch_execute(NO_LIMITS).await)?;
    Ok((target, connection))
}

fn check_source(source: &Path) -> Result<DatabaseState, MoveError> {
    if !source.is_file() {
        return Err(MoveError::NoSource(source.to_owned()));
    }
    let state = DatabaseState::read(source).map_err(MoveError::Source)?;
    if state.is_rotating {
        return Err(MoveError::Rotating);
    }
    Ok(state)
}

/// Marks in a target.
struct Marks {
    /// Check of the master key of the source.
    source: String,
    copied: Vec<String>,
}

async fn read_marks(client: &Client) -> Result<Option<Marks>, Error> {
    if !exists(client, MARKS).await? {
        return Ok(None);
    }
    let rows = client.query("SELECT name, source FROM moved_tables", &[]);
    let rows = rows.await?;
    let source = rows.first().map(|row| row.get(1)).unwrap_or_default();
    let copied = rows.iter().map(|row| row.get(0)).collect();
    Ok(Some(Marks { source, copied }))
}

/// Checks that the target holds nothing, or an unfinished move of this source.
fn check_target(
    target: &PostgresConnection,
    marks: Option<&Marks>,
    source: &DatabaseState,
) -> Result<(), MoveError> {
    match marks {
        Some(marks) if marks.source == source_text(source) => Ok(()),
        Some(_) => Err(MoveError::OtherSource),
        None => match target.run(first_filled)? {
            Some(table) => Err(MoveError::NotEmpty(table)),
            None => Ok(()),
        },
    }
}

/// Returns whether the target has a table.
async fn exists(client: &Client, table: &str) -> Result<bool, Error> {
    let select = "SELECT to_regclass($1) IS NOT NULL";
    client.query_one(select, &[&table]).await?.try_get(0)
}

/// Returns a table of the target that has rows.
async fn first_filled(client: &Client) -> Result<Option<String>, Error> {
    for table in moved_tables() {
        if !exists(client, table).await? {
            continue;
        }
        let select = format!("SELECT 1 FROM {table} LIMIT 1");
        if client.query_opt(&select, &[]).await?.is_some() {
            return Ok(Some(table.to_owned()));
        }
    }
    Ok(None)
}

/// Returns the text that identifies the source of a move.
fn source_text(state: &DatabaseState) -> String {
    match &state.key_check {
        Some(KeyCheck::Id(text) | KeyCheck::Digest(text)) => text.clone(),
        None => String::new(),
    }
}

fn moved_tables() -> impl Iterator<Item = &'static str> {
    TABLES
        .into_iter()
        .filter(|table| !NOT_COPIED.contains(table))
}

fn tables(source: &Connection, marks: Option<&Marks>) -> Result<Vec<TableToMove>, MoveError> {
    let failed = |error| MoveError::Source(OpenError::Database(error));
    let mut tables = Vec::new();
    for name in moved_tables() {
        // An earlier schema lacks some tables.
        if !sqlite_copy::has_table(source, name).map_err(failed)? {
            continue;
        }
        let count = source.query_row(&format!("SELECT COUNT(*) FROM {name}"), [], |row| {
            row.get::<_, i64>(0)
        });
        tables.push(TableToMove {
            name,
            rows: u64::try_from(count.map_err(failed)?).unwrap_or_default(),
            is_copied: marks.is_some_and(|marks| marks.copied.iter().any(|copied| copied == name)),
        });
    }
    Ok(tables)
}

impl StoreMove {
    /// Begins a move, or continues one that was interrupted. Upgrades the schema of the source.
    ///
    /// # Errors
    ///
    /// There is no source, or the target cannot be reached or holds other data.
    pub fn begin(
        source: &Path,
        server: &tokio_postgres::Config,
        ca: Option<&Path>,
    ) -> Result<Self, MoveError> {
        check_source(source)?;
        let upgraded = SqliteTarget(source.to_owned()).prepare();
        upgraded.map_err(MoveError::Source)?;
        let state = check_source(source)?;
        let (target, connection) = connect(server, ca)?;
        let marks = connection.run(read_marks)?;
        check_target(&connection, marks.as_ref(), &state)?;
        if marks.is_none() {
            target.prepare().map_err(MoveError::Target)?;
            let text = source_text(&state);
            connection.run(async |client: &Client| {
                let begin = format!(
                    "BEGIN; CREATE TABLE {MARKS} (name TEXT PRIMARY KEY, source TEXT NOT NULL); \
                     INSERT INTO schema_version VALUES ({MOVE_IN_PROGRESS}, 0)"
                );
                client.batch_execute(&begin).await?;
                let mark = "INSERT INTO moved_tables VALUES ('', $1)";
                client.execute(mark, &[&text]).await?;
                client.batch_execute("COMMIT").await
            })?;
        }
        let source = sqlite_copy::open(source).map_err(MoveError::Source)?;
        Ok(Self {
            tables: tables(&source, marks.as_ref())?,
            source,
            target: connection,
        })
    }

    /// Returns the tables in the order of their copies.
    pub fn tables(&self) -> &[TableToMove] {
        &self.tables
    }

    /// Copies a table in one transaction, and reports the number of copied rows after each thousand.
    ///
    /// # Errors
    ///
    /// A database fails; the table is then not copied.
    pub fn copy(
        &self,
        table: &TableToMove,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), MoveError> {
        let failed = |error| MoveError::Source(OpenError::Database(error));
        let mut select = self
            .source
            .prepare(&format!("SELECT * FROM {}", table.name))
            .map_err(failed)?;
        let columns: Vec<&str> = select.column_names().collect();
        let columns = columns.join(", ");
        let mut rows = select.query([]).map_err(failed)?;
        let mut unreadable = None;
        let mut next = || match next_row(&mut rows, table.name) {
            Ok(row) => row,
            Err(error) => {
                unreadable = Some(error);
                None
            }
        };
        let copied = self.target.run(async |client: &Client| {
            client.batch_execute("BEGIN").await?;
            copy_rows(client, (table.name, &columns), &mut next, progress).await
        });
        let ended = match unreadable {
            Some(error) => Err(error),
            None => copied,
        };
        let mark = async |client: &Client| {
            let mark =
                "INSERT INTO moved_tables SELECT $1, source FROM moved_tables WHERE name = ''";
            client.execute(mark, &[&table.name]).await?;
            client.batch_execute("COMMIT").await
        };
        match ended {
            Ok(()) => self.target.run(mark),
            Err(error) => {
                let _ = self
                    .target
                    .run(async |client: &Client| client.batch_execute("ROLLBACK").await);
                Err(error)
            }
        }
    }

    /// Compares the numbers of rows and ends the move. The target is then complete.
    ///
    /// # Errors
    ///
    /// A table differs from its source.
    pub fn finish(self) -> Result<(), MoveError> {
        for table in &self.tables {
            let name = table.name;
            let count = self.target.run(async |client: &Client| {
                let count = format!("SELECT COUNT(*) FROM {name}");
                client.query_one(&count, &[]).await?.try_get::<_, i64>(0)
            })?;
            let target = u64::try_from(count).unwrap_or_default();
            if target != table.rows {
                return Err(MoveError::Differs {
                    table: name,
                    expected: table.rows,
                    target,
                });
            }
        }
        let last_event = self.last_event()?;
        self.target.run(async |client: &Client| {
            let end = format!(
                "BEGIN; UPDATE writer_shards SET last_event = '{last_event}'; DROP TABLE {MARKS}; \
                 DELETE FROM schema_version WHERE version = {MOVE_IN_PROGRESS}; COMMIT; ANALYZE"
            );
            client.batch_execute(&end).await
        })
    }

    /// Returns the greatest event id of the source; new ids follow it.
    fn last_event(&self) -> Result<u128, MoveError> {
        let last: Option<String> = self
            .source
            .query_row(sql::LAST_EVENT.sql, [], |row| row.get(0))
            .map_err(|error| MoveError::Source(OpenError::Database(error)))?;
        let last = last.as_deref().and_then(EventId::parse);
        Ok(last.map_or(0, |id| id.value()))
    }
}

fn next_row(
    rows: &mut rusqlite::Rows<'_>,
    table: &'static str,
) -> Result<Option<Vec<OwnedValue>>, MoveError> {
    let failed = |error| MoveError::Source(OpenError::Database(error));
    let Some(row) = rows.next().map_err(failed)? else {
        return Ok(None);
    };
    let columns = 0..row.as_ref().column_count();
    let values = columns.map(|index| {
        let value = row.get_ref(index).map_err(failed)?;
        let value = sqlite_value(value).ok_or(MoveError::Unreadable(table))?;
        Ok(OwnedValue::from(&value))
    });
    values.collect::<Result<_, _>>().map(Some)
}

/// Rows between two reports of the progress.
const REPORTED_ROWS: u64 = 1000;

async fn copy_rows(
    client: &Client,
    (table, columns): (&str, &str),
    next: &mut dyn FnMut() -> Option<Vec<OwnedValue>>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let shape = client
        .prepare(&format!("SELECT {columns} FROM {table}"))
        .await?;
    let kinds: Vec<_> = shape
        .columns()
        .iter()
        .map(|column| column.type_().clone())
        .collect();
    let copy = format!("COPY {table} ({columns}) FROM STDIN BINARY");
    let writer = BinaryCopyInWriter::new(client.copy_in(&copy).await?, &kinds);
    pin_mut!(writer);
    let mut copied = 0;
    while let Some(row) = next() {
        let values: Vec<Value<'_>> = row.iter().map(OwnedValue::value).collect();
        let values: Vec<&(dyn ToSql + Sync)> = values
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        writer.as_mut().write(&values).await?;
        copied += 1;
        if copied % REPORTED_ROWS == 0 {
            progress(copied);
        }
    }
    writer.finish().await?;
    progress(copied);
    Ok(())
}

impl PostgresConnection {
    /// Runs requests of a move.
    fn run<T>(
        &self,
        requests: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, MoveError> {
        self.block_on(requests).map_err(MoveError::from)
    }
}

impl From<Error> for MoveError {
    fn from(error: Error) -> Self {
        Self::Target(OpenError::Server(error))
    }
}
