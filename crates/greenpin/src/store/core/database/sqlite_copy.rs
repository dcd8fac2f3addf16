//! Copy of an SQLite database beside a running server, and what a backup must know about it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::store::core::crypto::{KeyFiles, legacy_digest};
use crate::store::core::database::sqlite::BUSY_TIMEOUT;
use crate::store::core::schema;
use crate::store::{CallSid, OpenError, TenantId};

/// Proof that a master key belongs to a database. It reveals nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum KeyCheck {
    /// Id of the master key.
    Id(String),
    /// Digest of the master key, in databases of earlier versions.
    Digest(String),
}

/// State of an SQLite database.
#[derive(Debug, Clone)]
pub struct DatabaseState {
    /// Version of its schema.
    pub schema_version: i64,
    /// Check of its master key; `None` if no program has used the database yet.
    pub key_check: Option<KeyCheck>,
    /// A rotation of the master key is under way.
    pub is_rotating: bool,
}

/// Location of a recording in a call record.
#[derive(Debug, Clone)]
pub struct RecordingLocation {
    /// Tenant of the call.
    pub tenant_id: TenantId,
    /// Call of the recording.
    pub call_sid: CallSid,
    /// File, or `s3://BUCKET/KEY`.
    pub location: String,
}

impl KeyCheck {
    /// Returns whether a key file holds the key; `None` if the file does not exist.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no key.
    pub fn matches(&self, key_file: &Path) -> Result<Option<bool>, OpenError> {
        let key = KeyFiles::new(key_file).current()?;
        Ok(key.map(|key| match self {
            Self::Id(id) => key.id() == id,
            Self::Digest(digest) => legacy_digest(&key) == *digest,
        }))
    }
}

impl DatabaseState {
    /// Reads the state of a database file, and changes nothing.
    ///
    /// # Errors
    ///
    /// The file is not a database of this program.
    pub fn read(file: &Path) -> Result<Self, OpenError> {
        let connection = open(file)?;
        let schema_version =
            connection.query_row(schema::SCHEMA_FOUND.sql, [], |row| row.get(0))?;
        let newest: Option<(String, bool)> = if has_table(&connection, "master_keys")? {
            let newest = "SELECT master_id, finished_at IS NULL FROM master_keys ORDER BY generation DESC LIMIT 1";
            connection
                .query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?
        } else {
            None
        };
        let digest: Option<String> = connection
            .query_row("SELECT digest FROM master_key", [], |row| row.get(0))
            .optional()?;
        Ok(Self {
            schema_version,
            is_rotating: newest.as_ref().is_some_and(|(_, is_rotating)| *is_rotating),
            key_check: newest
                .map(|(id, _)| KeyCheck::Id(id))
                .or(digest.map(KeyCheck::Digest)),
        })
    }

    /// Returns whether this version of the program is too old for the schema.
    pub fn is_newer_schema(&self) -> bool {
        schema::missing_steps(self.schema_version).is_err()
    }
}

/// Copies a database into a new or empty file, in one transaction that delays no writer.
///
/// # Errors
///
/// The database cannot be read, or the copy cannot be written.
pub fn copy_database(database: &Path, copy: &Path) -> Result<(), OpenError> {
    let copy = copy.to_string_lossy();
    open(database)?.execute("VACUUM INTO ?1", [copy.as_ref()])?;
    Ok(())
}

/// Passes the location of each recording to `each`.
///
/// # Errors
///
/// The database cannot be read, or `each` fails.
pub fn for_each_recording<E: From<OpenError>>(
    database: &Path,
    mut each: impl FnMut(RecordingLocation) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |error| E::from(OpenError::Database(error));
    let connection = open(database)?;
    let mut statement = connection
        .prepare(
            "SELECT tenant_id, call_sid, recording_file FROM calls WHERE recording_file IS NOT NULL
             ORDER BY tenant_id, call_sid",
        )
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let text = |index| row.get::<_, String>(index).map_err(failed);
        let ids = (TenantId::parse(&text(0)?), CallSid::parse(&text(1)?));
        let (Some(tenant_id), Some(call_sid)) = ids else {
            continue;
        };
        let location = text(2)?;
        each(RecordingLocation {
            tenant_id,
            call_sid,
            location,
        })?;
    }
    Ok(())
}

/// Pauses all webhook endpoints of a database that no server uses.
///
/// # Errors
///
/// The database cannot be written.
pub fn pause_endpoints(database: &Path) -> Result<usize, OpenError> {
    let connection = Connection::open(database)?;
    let paused = "UPDATE endpoints SET paused = 1 WHERE removed_at IS NULL AND paused = 0";
    Ok(connection.execute(paused, [])?)
}

pub(super) fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let found = "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    connection
        .query_row(found, [name], |row| row.get::<_, i64>(0))
        .map(|count| count > 0)
}

pub(super) fn open(file: &Path) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}
