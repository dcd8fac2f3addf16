//! Look at a database without any change: it creates, locks, migrates and writes nothing.

use std::path::Path;

use crate::store::core::crypto::{KeyFiles, Keyring};
use crate::store::core::database::{DatabaseConnection, DatabaseTarget, Row};
use crate::store::core::key_sql::MasterKeyRow;
use crate::store::core::reader::Snapshot;
#[cfg(test)]
use crate::store::core::statement::Statement;
use crate::store::core::{key_binding, key_sql, schema, sql};
use crate::store::tenants::endpoints::secret_context;
use crate::store::tenants::sql as tenant_sql;
use crate::store::tenants::sql::InspectedEndpointRow;
use crate::store::{Database, EventId, OpenError, StoreError, TenantId, Timestamp};

/// Read-only connection to a database. Its methods block.
pub(crate) struct Inspection {
    connection: DatabaseConnection,
}

/// Version of a schema, compared with that of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaState {
    /// No program has used the database yet.
    Empty,
    /// The version of this program.
    Current(i64),
    /// An earlier version. The next start of a server migrates it.
    Older(i64),
}

/// Database server, as it describes itself.
#[derive(Debug, Clone)]
pub(crate) struct ServerState {
    pub(crate) version: String,
    pub(crate) clock: Timestamp,
}

/// Webhook endpoint of a tenant.
#[derive(Debug, Clone)]
pub(crate) struct InspectedEndpoint {
    pub(crate) tenant_id: TenantId,
    pub(crate) url: String,
    /// The tenant has paused it.
    pub(crate) paused: bool,
    /// It was disabled after too many failures.
    pub(crate) disabled: bool,
    /// Its secret can be decrypted with the master key.
    pub(crate) has_secret: bool,
}

impl Inspection {
    /// Connects to a database that exists.
    pub(crate) fn open(database: &Database, tls_ca: Option<&Path>) -> Result<Self, OpenError> {
        let target = DatabaseTarget::new(database, tls_ca)?;
        let connection = target.inspector()?;
        Ok(Self { connection })
    }

    /// Reads the version of the schema.
    ///
    /// # Errors
    ///
    /// A server of this version does not start on the database.
    pub(crate) fn schema(&self) -> Result<SchemaState, OpenError> {
        let mut found = 0;
        let read = self
            .connection
            .query(schema::SCHEMA_FOUND, &[], &mut |row| {
                found = row.get("version")?;
                Ok(false)
            });
        match read {
            Err(error) if is_missing_table(&error) => return Ok(SchemaState::Empty),
            read => read.map_err(OpenError::Store)?,
        }
        let has_steps = schema::missing_steps(found)?.next().is_some();
        Ok(match (found, has_steps) {
            (0, _) => SchemaState::Empty,
            (found, true) => SchemaState::Older(found),
            (found, false) => SchemaState::Current(found),
        })
    }

    /// Returns whether an event was written after a moment, by the clock of its writer.
    pub(crate) fn has_event_after(&self, moment: Timestamp) -> Result<bool, StoreError> {
        let mut last: Option<String> = None;
        self.connection.query(sql::LAST_EVENT, &[], &mut |row| {
            last = row.get("event_id")?;
            Ok(false)
        })?;
        let last = last.as_deref().and_then(EventId::parse);
        Ok(last.is_some_and(|last| last > EventId::first(moment)))
    }

    /// Reads one row, to measure the time that it takes.
    pub(crate) fn read_one_row(&self) -> Result<(), StoreError> {
        self.connection.query(sql::READY, &[], &mut |_| Ok(false))
    }

    /// Returns the version and the clock of the server; `None` for a file.
    pub(crate) fn server(&self) -> Result<Option<ServerState>, OpenError> {
        match &self.connection {
            DatabaseConnection::Sqlite(_) => Ok(None),
            DatabaseConnection::Postgres(connection) => {
                let (version, micros) = connection.server_state()?;
                let clock = Timestamp::from_micros(micros);
                Ok(Some(ServerState { version, clock }))
            }
        }
    }

    /// Opens the keys of a database with a current schema.
    ///
    /// # Errors
    ///
    /// The key files hold no master key of the database, or cannot be used.
    pub(crate) fn keys(&self, key_file: &Path) -> Result<Keyring, OpenError> {
        key_binding::read(&self.connection, key_file)
    }

    /// Tries to run a statement that changes rows.
    #[cfg(test)]
    pub(crate) fn try_write(&self, statement: &'static Statement) -> Result<usize, StoreError> {
        self.connection.execute(statement, &[])
    }

    /// Returns whether a rotation of the master key is under way.
    pub(crate) fn is_rotating(&self) -> Result<bool, StoreError> {
        let mut is_rotating = false;
        let read = |row: &Row<'_>| MasterKeyRow::read(row).map(|row| row.finished_at.is_none());
        self.connection
            .query(key_sql::MASTER_KEYS, &[], &mut |row| {
                is_rotating = read(row)?;
                Ok(true)
            })?;
        Ok(is_rotating)
    }

    /// Returns the webhook endpoints of all tenants, at most `limit`.
    pub(crate) fn endpoints(
        &self,
        keys: &Keyring,
        limit: u32,
    ) -> Result<Vec<InspectedEndpoint>, StoreError> {
        let snapshot = Snapshot::new(&self.connection, keys);
        let rows = snapshot.rows(
            tenant_sql::ENDPOINTS_OF_ALL,
            [i64::from(limit)],
            InspectedEndpointRow::read,
        )?;
        let endpoints = rows.into_iter().map(|row| InspectedEndpoint {
            has_secret: has_secret(&snapshot, &row),
            tenant_id: row.tenant_id,
            url: row.url,
            paused: row.paused,
            disabled: row.disabled_at.is_some(),
        });
        Ok(endpoints.collect())
    }
}

/// Returns whether there is a key file with a master key.
///
/// # Errors
///
/// A file cannot be read, holds no key, or can be used by others.
pub(crate) fn has_key(key_file: &Path) -> Result<bool, OpenError> {
    let keys = KeyFiles::new(key_file).all()?;
    Ok(!keys.is_empty())
}

fn has_secret(snapshot: &Snapshot<'_>, row: &InspectedEndpointRow) -> bool {
    let key = snapshot.tenant_key(&row.tenant_id);
    let context = secret_context(&row.endpoint_id);
    let secret = key.and_then(|key| key.decrypt(&context, &row.sealed_secret));
    secret.is_ok_and(|secret| !secret.is_empty())
}

/// Returns `true` for the error of either database about a table that does not exist.
fn is_missing_table(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(text) if text.contains("no such table") || text.starts_with("42P01"))
}
