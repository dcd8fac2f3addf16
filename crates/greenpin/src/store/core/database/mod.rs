//! One way to two databases: SQLite in a file, or PostgreSQL for many nodes. The statements are the same texts.

mod appended;
pub(crate) mod postgres;
pub(crate) mod sqlite;
mod value;

pub(crate) use value::{Column, Params, Row, Value};

use crate::store::core::statement::Statement;
use crate::store::{OpenError, StoreError};

/// A connection. It belongs to one thread, which blocks while the database works.
pub(crate) enum Connection {
    Sqlite(sqlite::Connection),
    Postgres(Box<postgres::Connection>),
}

/// Where the database is.
#[derive(Clone)]
pub(crate) enum Place {
    Sqlite(sqlite::Place),
    Postgres(Box<postgres::Place>),
}

/// What a writer learns as it begins a transaction.
pub(crate) struct Turn {
    /// Changes whenever somebody else may have changed settings or endpoints.
    pub(crate) version: i64,
    /// The id of the last event that another node wrote, without its prefix; 0: there is none, or no other node.
    pub(crate) last_event: u128,
    /// What the turn before this one left behind; another writer's leaves something else.
    pub(crate) mark: i64,
    /// What this turn leaves behind once it is committed.
    pub(crate) next_mark: i64,
}

impl Place {
    /// Makes the database ready: its file and its schema. To be called once, at the start.
    pub(crate) fn prepare(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(place) => place.prepare(),
            Self::Postgres(place) => place.prepare(),
        }
    }

    /// A connection that writes.
    pub(crate) fn writer(&self) -> Result<Connection, OpenError> {
        Ok(match self {
            Self::Sqlite(place) => Connection::Sqlite(place.writer()?),
            Self::Postgres(place) => Connection::Postgres(Box::new(place.connect()?)),
        })
    }

    /// A connection that only reads.
    pub(crate) fn reader(&self) -> Result<Connection, OpenError> {
        Ok(match self {
            Self::Sqlite(place) => Connection::Sqlite(place.reader()?),
            Self::Postgres(place) => Connection::Postgres(Box::new(place.connect()?)),
        })
    }
}

impl Connection {
    /// Runs a statement; how many rows it changed.
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

    /// Runs a statement whose effect is not asked for: it may still be under way when this returns, and fails the
    /// transaction if it fails.
    pub(crate) fn send(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => {
                statement.log_unexpected(connection.execute(statement.sql, params)?);
                Ok(())
            }
            Self::Postgres(connection) => connection.send(statement, params),
        }
    }

    /// Inserts a row, by a statement of the shape `INSERT … VALUES ($1, $2, …)`. Rows may be gathered until something
    /// asks for them; if one cannot be inserted, the transaction fails.
    pub(crate) fn append(
        &self,
        statement: &'static Statement,
        row: &[Value<'_>],
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => statement
                .check(connection.execute(statement.sql, row)?)
                .map(|_| ()),
            Self::Postgres(connection) => connection.append(statement, row),
        }
    }

    /// Has rows that were gathered inserted before anything else is done.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => connection.flush(),
        }
    }

    /// Whether each question that waits for its answer costs a round trip to another process.
    pub(crate) fn is_far(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Hands each row of an answer to `each`, until it wants no more.
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

    /// Begins a transaction that nobody else's runs beside.
    pub(crate) fn begin(&self) -> Result<Turn, StoreError> {
        match self {
            Self::Sqlite(connection) => connection.begin(),
            Self::Postgres(connection) => connection.begin(),
        }
    }

    /// Begins a transaction that only reads: what it sees from its first read on is one moment.
    pub(crate) fn begin_read(&self) -> Result<(), StoreError> {
        self.plain("BEGIN")
    }

    /// Makes the transaction durable. `last_event` is for the next writer to go on from.
    pub(crate) fn commit(&self, last_event: u128, cleared: bool) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.commit(),
            Self::Postgres(connection) => connection.commit(last_event, cleared),
        }
    }

    /// Sends the end of the transaction and the beginning of the next one, and waits for neither. What is done next is
    /// in that one, if there comes to be one; before anybody is told of it [`Connection::ended`] and [`Connection::begun`]
    /// are waited for. Only
    /// where the connection is far.
    pub(crate) fn hand_over(&self, last_event: u128) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.commit(),
            Self::Postgres(connection) => connection.hand_over(last_event),
        }
    }

    /// Whether the end of the transaction that was handed over is known. Does not wait.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(connection) => connection.has_ended(),
        }
    }

    /// Waits for the end of the transaction that was handed over.
    pub(crate) fn ended(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => connection.ended(),
        }
    }

    /// Waits for the beginning of the transaction after it; `None`: it was not begun, or nothing was handed over.
    pub(crate) fn begun(&self) -> Option<Turn> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(connection) => connection.begun(),
        }
    }

    /// Undoes the transaction, if there is one.
    pub(crate) fn roll_back(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.roll_back(),
            Self::Postgres(connection) => connection.roll_back(),
        }
    }

    /// Marks the place that [`Connection::release`] goes back to.
    pub(crate) fn save(&self) -> Result<(), StoreError> {
        self.plain("SAVEPOINT job")
    }

    /// Waits for everything that was sent.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(connection) => connection.settle(),
        }
    }

    /// Forgets the place; what was done since is undone if it is not kept.
    pub(crate) fn release(&self, kept: bool) -> Result<(), StoreError> {
        if !kept {
            self.plain("ROLLBACK TO SAVEPOINT job")?;
        }
        self.plain("RELEASE SAVEPOINT job")
    }

    fn plain(&self, sql: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql, &[]).map(|_| ()),
            Self::Postgres(connection) => connection.plain(sql),
        }
    }

    /// Counts up with each change that statements of this connection made.
    pub(crate) fn changes(&self) -> u64 {
        match self {
            Self::Sqlite(connection) => connection.changes(),
            Self::Postgres(connection) => connection.changes(),
        }
    }

    /// Whether the transaction can go on: some failures end it.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Sqlite(connection) => connection.is_sound(),
            Self::Postgres(connection) => connection.is_sound(),
        }
    }

    /// Whether the connection is of no use any more.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(connection) => connection.is_closed(),
        }
    }

    /// Gives back memory that a burst has filled.
    pub(crate) fn rest(&self) {
        match self {
            Self::Sqlite(connection) => connection.rest(),
            Self::Postgres(_) => {}
        }
    }
}
