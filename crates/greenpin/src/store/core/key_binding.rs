//! Binding of a database to its master key.
//!
//! A new database gets random derived keys, encrypted with the master key. A database of an earlier version gets those
//! that it derived from its master key. A database that has them is opened with a master key that decrypts them.

use std::path::Path;

use crate::store::core::crypto::{
    DerivedKeys, Generation, KeyFiles, Keyring, LoadedKeys, MasterKey, legacy_digest,
};
use crate::store::core::database::{DatabaseConnection, Row, Value};
use crate::store::core::key_sql as sql;
use crate::store::core::key_sql::{DerivedKeysRow, MasterKeyRow};
use crate::store::core::statement::Statement;
use crate::store::{OpenError, StoreError, Timestamp};

/// Generation of the first master key.
const FIRST_GENERATION: i64 = 1;

/// Opens the keys of a database on its writer's connection. Creates the key file of a new database.
pub(crate) fn bind(connection: &DatabaseConnection, path: &Path) -> Result<Keyring, OpenError> {
    let lease = connection.begin().map_err(OpenError::Store)?;
    let files = KeyFiles::new(path);
    let bound = bind_in_transaction(connection, &files);
    let ended = match &bound {
        Ok(_) => connection.commit(lease.last_event, false),
        Err(_) => connection.roll_back(),
    };
    let loaded = bound?;
    ended.map_err(OpenError::Store)?;
    Keyring::new(files, loaded).ok_or(OpenError::OtherKey)
}

/// Opens the keys of a database in use, without any change.
pub(crate) fn read(connection: &DatabaseConnection, path: &Path) -> Result<Keyring, OpenError> {
    let files = KeyFiles::new(path);
    if files.all()?.is_empty() {
        return Err(missing(&files));
    }
    let loaded = load(connection, &files)?.ok_or(OpenError::OtherKey)?;
    Keyring::new(files, loaded).ok_or(OpenError::OtherKey)
}

fn bind_in_transaction(
    connection: &DatabaseConnection,
    files: &KeyFiles,
) -> Result<LoadedKeys, OpenError> {
    let masters = all(connection, sql::MASTER_KEYS, MasterKeyRow::read)?;
    if let Some(newest) = masters.last() {
        let is_missing = files.all()?.is_empty();
        if is_missing {
            return Err(missing(files));
        }
        let loaded = load(connection, files)?.ok_or(OpenError::OtherKey)?;
        adopt_next_key(files, newest);
        return Ok(loaded);
    }
    let digests = all(connection, sql::LEGACY_KEY, |row| {
        row.get::<String>("digest")
    })?;
    let (master, keys) = match (files.current()?, digests.first()) {
        (None, Some(_)) => return Err(missing(files)),
        (None, None) => (files.create()?, DerivedKeys::random()),
        (Some(master), None) => (master, DerivedKeys::random()),
        (Some(master), Some(digest)) if legacy_digest(&master) == *digest => {
            let keys = master.legacy_keys();
            (master, keys)
        }
        (Some(_), Some(_)) => return Err(OpenError::OtherKey),
    };
    insert_first(connection, &master, &keys).map_err(OpenError::Store)?;
    load(connection, files)?.ok_or(OpenError::OtherKey)
}

fn missing(files: &KeyFiles) -> OpenError {
    OpenError::MissingKey {
        path: files.path().to_owned(),
        database: "the database".to_owned(),
    }
}

fn insert_first(
    connection: &DatabaseConnection,
    master: &MasterKey,
    keys: &DerivedKeys,
) -> Result<(), StoreError> {
    let now = Value::Integer(Timestamp::now().micros());
    let (generation, id) = (Value::Integer(FIRST_GENERATION), Value::Text(master.id()));
    connection.execute(sql::MASTER_KEY_INSERT, &[generation, id, now, now])?;
    let sealed = master.seal(FIRST_GENERATION, keys)?;
    let row = [generation, id, Value::Text(&sealed)];
    connection
        .execute(sql::DERIVED_KEYS_INSERT, &row)
        .map(|_| ())
}

/// Puts the next key file in the place of the key file, on a node that did not run the finished rotation.
fn adopt_next_key(files: &KeyFiles, newest: &MasterKeyRow) {
    let is_newest = |key: Option<MasterKey>| key.is_some_and(|key| key.id() == newest.master_id);
    let current = files.current().ok().flatten();
    let next = files.next().ok().flatten();
    if newest.finished_at.is_none() || is_newest(current) || !is_newest(next) {
        return;
    }
    match files.promote() {
        Ok(()) => tracing::info!("the key rotation is complete; the new key file is in use"),
        Err(error) => {
            tracing::warn!(%error, "the new key file cannot replace the old one; do it by hand");
        }
    }
}

/// Reads the keys; `None` if the key files hold no master key of this database.
fn load(
    connection: &DatabaseConnection,
    files: &KeyFiles,
) -> Result<Option<LoadedKeys>, OpenError> {
    let masters = all(connection, sql::MASTER_KEYS, MasterKeyRow::read)?;
    let sealed = all(connection, sql::DERIVED_KEYS, DerivedKeysRow::read)?;
    let found = files.all()?;
    let Some(newest) = masters.last() else {
        return Ok(None);
    };
    let mut generations = Vec::new();
    for master in masters.iter().rev() {
        let next = masters
            .iter()
            .find(|other| other.generation > master.generation);
        let mut candidates = sealed
            .iter()
            .filter(|row| row.generation == master.generation);
        let keys = candidates.find_map(|row| {
            let key = found.iter().find(|key| key.id() == row.master_id)?;
            key.unseal(row.generation, &row.sealed).ok()
        });
        let Some(keys) = keys else {
            return Ok(None);
        };
        generations.push(Generation {
            keys,
            retired_at: next.map(|next| next.begun_at),
        });
    }
    Ok(Some(LoadedKeys {
        generation: newest.generation,
        current: newest.master_id.clone(),
        masters: found,
        generations,
    }))
}

/// Reads the keys and the key files again, after another process has begun or ended a rotation.
pub(crate) fn refresh(connection: &DatabaseConnection, keys: &Keyring) -> Result<(), StoreError> {
    let loaded = load(connection, keys.files()).map_err(StoreError::from)?;
    keys.replace(loaded.ok_or(StoreError::Unreadable(
        "derived keys: copy the new master key to this node, see the guide on rotating secrets",
    ))?);
    Ok(())
}

fn all<T>(
    connection: &DatabaseConnection,
    statement: &'static Statement,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, OpenError> {
    let mut rows = Vec::new();
    connection
        .query(statement, &[], &mut |row| {
            rows.push(read(row)?);
            Ok(true)
        })
        .map_err(OpenError::Store)?;
    Ok(rows)
}
