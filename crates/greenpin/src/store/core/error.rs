//! What can go wrong below the rules of the product.

use std::path::PathBuf;

use crate::crypto::tls_roots::TrustError;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More writes wait than the store takes; worth another try after a second.
    #[error("the store is overloaded")]
    Overloaded,
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The database server cannot be reached, or is being stopped.
    #[error("the database server cannot be reached")]
    Unreachable,
    /// The database refused or failed; nothing of the transaction is kept.
    #[error("the database failed: {0}")]
    Database(String),
    /// A statement changed another number of rows than it must; nothing of the transaction is kept.
    #[error("the statement {statement} changed {rows} rows")]
    RowCount {
        /// Name of the statement.
        statement: &'static str,
        /// Number of changed rows.
        rows: usize,
    },
    /// A row holds what this version cannot read.
    #[error("the database holds an unreadable {0}")]
    Unreadable(&'static str),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Server(_) => Self::Unreachable,
            error => Self::Database(error.to_string()),
        }
    }
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder cannot be made or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// How it failed.
        source: std::io::Error,
    },
    /// The key file does not hold a key.
    #[error("{path}: the key file must hold exactly 32 bytes, not {length}", path = path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// How many bytes it holds.
        length: usize,
    },
    /// The certificates that a database server's are to lead to cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The database was written with another master key.
    #[error(
        "the master key is not the one that this database was written with: copy that key file here"
    )]
    OtherKey,
    /// The SQLite that is linked can corrupt a write-ahead log.
    #[error("SQLite {0} can corrupt a write-ahead log; 3.51.3 or newer is needed")]
    OldSqlite(&'static str),
    /// The database was made before data was encrypted.
    #[error(
        "the database has schema version {found}, made before data was encrypted: start with a new one"
    )]
    OlderSchema {
        /// What the database says.
        found: i64,
    },
    /// A newer greenpin has written this database.
    #[error(
        "the database has schema version {found}, this greenpin knows {known}: use the greenpin that wrote it, or a newer one"
    )]
    NewerSchema {
        /// What the database says.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The database refused or failed.
    #[error("the database cannot be opened: {0}")]
    Database(#[from] rusqlite::Error),
    /// The store failed as it was opened.
    #[error(transparent)]
    Store(StoreError),
    /// The database server refused, failed, or cannot be reached.
    #[error("the database server: {}", server_words(.0))]
    Server(#[from] tokio_postgres::Error),
}

/// The server's own words, or the cause of there being none.
fn server_words(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    match (error.as_db_error(), error.source()) {
        (Some(told), _) => format!("{}: {}", told.code().code(), told.message()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
