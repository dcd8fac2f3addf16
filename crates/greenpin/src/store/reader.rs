//! Reads: a pool of connections that can only read, on threads that may block.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, Params, Row};

use super::writer::{row, rows};
use super::{OpenError, StoreError, schema};

/// Connections that are kept open when idle; more are opened while more reads run at once.
const IDLE: usize = 16;

#[derive(Clone)]
pub(super) struct Readers(Arc<Pool>);

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// A snapshot of the database, as a read sees it.
pub(super) struct Snapshot<'a>(&'a Connection);

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let first = connect(path)?;
        Ok(Self(Arc::new(Pool { path: path.to_owned(), idle: Mutex::new(vec![first]) })))
    }

    /// Runs a read. All its queries see the same moment.
    pub(super) async fn read<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: FnOnce(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let pool = self.0.clone();
        let task = tokio::task::spawn_blocking(move || pool.run(work));
        task.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

impl Pool {
    fn run<T, E: From<StoreError>>(&self, work: impl FnOnce(&Snapshot<'_>) -> Result<T, E>) -> Result<T, E> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path).map_err(StoreError::from)?,
        };
        let result = snapshot(&connection, work);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && connection.is_autocommit() {
            idle.push(connection);
        }
        result
    }
}

impl Snapshot<'_> {
    /// The first row, if there is one.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        row(self.0, sql, params, read)
    }

    /// Every row.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        rows(self.0, sql, params, read)
    }
}

fn snapshot<T, E: From<StoreError>>(
    connection: &Connection,
    work: impl FnOnce(&Snapshot<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = connection.unchecked_transaction().map_err(StoreError::from)?;
    let result = work(&Snapshot(connection));
    transaction.commit().map_err(StoreError::from)?;
    result
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    schema::configure(&connection)?;
    Ok(connection)
}
