//! Errors of the store below the rules of the product.

use std::path::PathBuf;

use crate::crypto::tls_roots::TrustError;
use crate::store::core::database::postgres::CONNECT_TIMEOUT;

/// Failure of an operation of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The queue of writes is full; retry after a second.
    #[error("the store is overloaded")]
    Overloaded,
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The database server cannot be reached or is shutting down.
    #[error("the database server cannot be reached")]
    Unreachable,
    /// The database does not take the work now: it is full, locked, read-only, or does not answer in time.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database returned an error; the transaction is rolled back.
    #[error("the database failed: {0}")]
    Database(String),
    /// A statement changed an unexpected number of rows; the transaction is rolled back.
    #[error("the statement {statement} changed {rows} rows")]
    RowCount {
        /// Name of the statement.
        statement: &'static str,
        /// Number of changed rows.
        rows: usize,
    },
    /// A stored value has an unknown form.
    #[error("a stored value is unreadable: {0}")]
    Unreadable(&'static str),
}

impl StoreError {
    /// Returns `true` if the same request may succeed later: the database is away, full or busy.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Overloaded
            | Self::Closed
            | Self::Unreachable
            | Self::Unavailable(_)
            | Self::Database(_) => true,
            Self::RowCount { .. } | Self::Unreadable(_) => false,
        }
    }
}

impl StoreError {
    /// Returns `true` if the database as a whole fails, and not only this statement.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable | Self::Unavailable(_))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, ReadOnly, SystemIoFailure,
        };
        match error.sqlite_error_code() {
            Some(
                CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | ReadOnly | SystemIoFailure,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::Database(error.to_string()),
        }
    }
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Server(_) | OpenError::NoAnswer => Self::Unreachable,
            OpenError::Database(error) => error.into(),
            error => Self::Database(error.to_string()),
        }
    }
}

/// Failure to open the store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder cannot be created or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The key file does not hold a key.
    #[error("{path}: the key file must hold exactly 32 bytes, not {length}", path = path.display())]
    Key {
        /// Path of the file.
        path: PathBuf,
        /// Size of the file in bytes.
        length: usize,
    },
    /// The key file is missing, and the database needs it.
    #[error("{path}: the key file is missing, and {database} was written with its key: restore it from a backup", path = path.display())]
    MissingKey {
        /// Path of the key file.
        path: PathBuf,
        /// Database.
        database: String,
    },
    /// The key file can be read by others.
    #[error("{path}: others can use the key file (mode {mode:04o}): run chmod 600 on it", path = path.display())]
    ExposedKey {
        /// Path of the file.
        path: PathBuf,
        /// Mode of the file.
        mode: u32,
    },
    /// The CA certificates for the database server cannot be used.
    #[error("TLS to the database server: {0} (store.tls_ca, or sslrootcert in store.url)")]
    Trust(#[from] TrustError),
    /// The database was written with another master key.
    #[error("the database was written with another master key: copy its key file here")]
    OtherKey,
    /// The linked SQLite can corrupt a write-ahead log.
    #[error("SQLite {0} can corrupt a write-ahead log; 3.51.3 or newer is needed")]
    OldSqlite(&'static str),
    /// The database is older than the encryption of its data.
    #[error(
        "the database has schema version {found}, which stores data in clear: start with a new database"
    )]
    OlderSchema {
        /// Version of the database.
        found: i64,
    },
    /// The database was written by a newer version of greenpin.
    #[error(
        "the database has schema version {found}, this version of greenpin supports up to {known}: use the version that wrote it, or a newer one"
    )]
    NewerSchema {
        /// Version of the database.
        found: i64,
        /// Newest version of this program.
        known: i64,
    },
    /// A move into the database was interrupted.
    #[error("the database holds an unfinished move: run the same `greenpin store move` again")]
    UnfinishedMove,
    /// SQLite returned an error.
    #[error("the database cannot be opened: {0}")]
    Database(#[from] rusqlite::Error),
    /// The store failed during its start.
    #[error(transparent)]
    Store(StoreError),
    /// The encoding of the database is not that of the API.
    #[error(
        "the encoding of the database is {0}: it must be UTF8; create the database with ENCODING 'UTF8'"
    )]
    Encoding(String),
    /// A pooler gives each transaction another session.
    #[error(
        "the database server is behind a pooler that mixes the sessions of its clients: connect to the server itself, or set the pooler to session mode"
    )]
    PooledSessions,
    /// The database server does not answer.
    #[error("database server: no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    NoAnswer,
    /// The database server returned an error or cannot be reached.
    #[error("database server: {}", server_words(.0))]
    Server(#[from] tokio_postgres::Error),
}

/// Returns the message of the server, or the cause of the failure.
fn server_words(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    match (error.as_db_error(), error.source()) {
        (Some(reply), _) => format!("{}: {}", reply.code().code(), reply.message()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
