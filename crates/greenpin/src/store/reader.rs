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

/// The database, as a read sees it: each query sees one moment.
pub(super) struct Snapshot<'a>(&'a Connection);

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let first = connect(path)?;
        Ok(Self(Arc::new(Pool { path: path.to_owned(), idle: Mutex::new(vec![first]) })))
    }

    /// Looks one row up by its key, on the calling thread: it takes some ten microseconds, less than the way to
    /// another thread and back.
    pub(super) fn look_up<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.0.run(|snapshot| snapshot.row(sql, params, read))
    }

    /// Runs a read that may take longer, on a thread that may block.
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
        let result = work(&Snapshot(&connection));
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
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

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    schema::configure(&connection)?;
    Ok(connection)
}
