//! Replacement of the master key, beside running servers.
//!
//! | step | key files | database |
//! |---|---|---|
//! | prepare | the next key is created | |
//! | begin | | a new generation: all derived keys are encrypted with both master keys; new tenants use the next one |
//! | reseal | | the keys of tenants are encrypted with the next key, in batches |
//! | switch | the next key becomes the key, the key the previous one | |
//! | finish | | nothing that is encrypted with the previous key is left |
//! | destroy | the previous key is overwritten and removed | |
//!
//! A kill between or in any steps leaves a database and key files that belong together: servers start, and the same
//! command continues. A server reads the key files again when it meets a key that it does not have.

use std::path::PathBuf;

use crate::store::core::crypto::{DerivedKeys, LoadedKeys, MasterKey, WrappedKey};
use crate::store::core::key_sql;
use crate::store::core::key_sql::MasterKeyRow;
use crate::store::keys::sql;
use crate::store::keys::sql::SealedTenantRow;
use crate::store::tenants::audit::{self, AuditAction};
use crate::store::{Actor, OpenError, OperatorStore, StoreError, TenantId, Timestamp, Tx};

/// Tenants in one transaction, so that calls and creates do not wait long.
const MAX_BATCH_TENANTS: i64 = 200;

/// State after [`OperatorStore::rotate_master_key`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The next key exists and must be copied to the other nodes first.
    Prepared {
        /// File of the next key.
        next: PathBuf,
    },
    /// The new key is in use, and the old one is destroyed.
    Finished {
        /// Number of tenants whose keys were encrypted again.
        tenants: u64,
    },
    /// Only the remains of an interrupted rotation were removed: its old key file.
    CleanedUp,
}

/// Step of a rotation that was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// The next key exists.
    Prepared,
    /// The database has the new generation.
    Begun,
    /// So many tenants in total have been examined.
    Resealed(u64),
    /// The new key is in the key file.
    Switched,
    /// The database needs the new key only.
    Finished,
}

/// Failure of a rotation. The same command continues it.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A key file cannot be read or written.
    #[error(transparent)]
    File(#[from] OpenError),
    /// The key of a rotation under way is not here.
    #[error(
        "another rotation is under way, and its key is not here: run the command on the node that began it, or copy its file to {path}",
        path = .path.display()
    )]
    OtherRotation {
        /// File in which the key is missing.
        path: PathBuf,
    },
    /// Tenants have keys that are encrypted with a further master key.
    #[error("the keys of {tenants} tenants could not be encrypted again")]
    Left {
        /// Number of tenants.
        tenants: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OperatorStore {
    /// Replaces the master key, or continues an interrupted rotation. `is_distributed`: every node has the file of the
    /// next key, or there is no other node. `on_step` is called after each step.
    pub async fn rotate_master_key(
        &self,
        is_distributed: bool,
        now: impl Fn() -> Timestamp,
        mut on_step: impl FnMut(RotationStep),
    ) -> Result<Rotation, RotateError> {
        let files = self.store.keys.files().clone();
        let _lock = files.lock()?;
        self.refresh_keys().await?;
        let newest = self.newest_master_key().await?;
        let current = files.current()?.map(|key| key.id().to_owned());
        let is_current = current.as_deref() == Some(&newest.master_id);
        if newest.finished_at.is_some() && is_current && files.previous_path().exists() {
            files.destroy_previous()?;
            return Ok(Rotation::CleanedUp);
        }
        let is_switched = newest.finished_at.is_none() && is_current;
        if !is_switched {
            if newest.finished_at.is_none() && !has_id(files.next()?, &newest.master_id) {
                let path = files.next_path();
                return Err(RotateError::OtherRotation { path });
            }
            files.create_next()?;
            on_step(RotationStep::Prepared);
            if !is_distributed {
                let next = files.next_path();
                return Ok(Rotation::Prepared { next });
            }
            self.begin_rotation(now()).await?;
            on_step(RotationStep::Begun);
        }
        let tenants = self.reseal_tenants(&mut on_step).await?;
        if !is_switched {
            files.switch()?;
            on_step(RotationStep::Switched);
        }
        self.finish_rotation(now()).await?;
        on_step(RotationStep::Finished);
        files.destroy_previous()?;
        Ok(Rotation::Finished { tenants })
    }

    async fn newest_master_key(&self) -> Result<MasterKeyRow, StoreError> {
        let read = self
            .store
            .readers
            .read(|snapshot| snapshot.rows(key_sql::MASTER_KEYS, (), MasterKeyRow::read));
        let rows: Result<_, StoreError> = read.await;
        rows?.pop().ok_or(StoreError::Unreadable("master key"))
    }

    /// Reads keys and key files again.
    async fn refresh_keys(&self) -> Result<(), StoreError> {
        let refresh = self.store.writers.whole().write(|tx| tx.reload_keys());
        refresh.await
    }

    async fn begin_rotation(&self, now: Timestamp) -> Result<(), RotateError> {
        let actor = self.actor.clone();
        let begin = self
            .store
            .writers
            .whole()
            .write(move |tx| begin(tx, &actor, now));
        begin.await?;
        Ok(self.refresh_keys().await?)
    }

    async fn reseal_tenants(
        &self,
        on_step: &mut impl FnMut(RotationStep),
    ) -> Result<u64, RotateError> {
        let (mut after, mut examined, mut resealed) = (String::new(), 0, 0);
        loop {
            let start = after.clone();
            let write = self
                .store
                .writers
                .whole()
                .write(move |tx| reseal(tx, &start));
            let batch: Result<Batch, StoreError> = write.await;
            let batch = batch?;
            let Some(last) = batch.last else {
                return Ok(resealed);
            };
            after = last.to_string();
            examined += batch.examined;
            resealed += batch.resealed;
            on_step(RotationStep::Resealed(examined));
        }
    }

    async fn finish_rotation(&self, now: Timestamp) -> Result<(), RotateError> {
        let actor = self.actor.clone();
        let finish = self
            .store
            .writers
            .whole()
            .write(move |tx| finish(tx, &actor, now));
        finish.await?;
        self.refresh_keys().await?;
        // Until then the log holds old versions of the pages. Later checkpoints truncate it as well.
        if let Some(checkpoints) = &self.store.checkpoints
            && let Err(error) = checkpoints.truncate_log().await
        {
            tracing::warn!(%error, "write-ahead log not truncated after a key rotation");
        }
        Ok(())
    }
}

fn has_id(key: Option<MasterKey>, id: &str) -> bool {
    key.is_some_and(|key| key.id() == id)
}

/// Result of a batch of tenants.
struct Batch {
    /// Last tenant of the batch; `None` if no tenant is left.
    last: Option<TenantId>,
    examined: u64,
    resealed: u64,
}

/// Adds the generation of the next key, unless it exists.
fn begin(tx: &Tx<'_>, actor: &Actor, now: Timestamp) -> Result<(), StoreError> {
    tx.reload_keys()?;
    let next = tx.keys().files().next().map_err(StoreError::from)?;
    let next = next.ok_or(StoreError::Unreadable("next master key"))?;
    let loaded = tx.keys().loaded();
    if loaded.current == next.id() {
        return Ok(());
    }
    let current = loaded.master(&loaded.current);
    let current = current.ok_or(StoreError::Unreadable("master key"))?;
    let generation = loaded.generation.saturating_add(1);
    let row = (generation, next.id(), now.micros(), None::<i64>);
    tx.execute(key_sql::MASTER_KEY_INSERT, row)?;
    insert_derived_keys(tx, &loaded, &next)?;
    // The current master key reads them as well, until the end: a node may start without the next one.
    let keys = DerivedKeys::random();
    for master in [current, &next] {
        let row = (generation, master.id(), master.seal(generation, &keys)?);
        tx.execute(key_sql::DERIVED_KEYS_INSERT, row)?;
    }
    let action = AuditAction {
        name: "key.rotate",
        tenant: None,
        object: Some(next.id()),
    };
    audit::write(tx, actor, action, now)
}

/// Encrypts the derived keys of all generations with the next key as well.
fn insert_derived_keys(
    tx: &Tx<'_>,
    loaded: &LoadedKeys,
    next: &MasterKey,
) -> Result<(), StoreError> {
    let numbers = (1..=loaded.generation).rev();
    for (generation, known) in numbers.zip(&loaded.generations) {
        let row = (generation, next.id(), next.seal(generation, &known.keys)?);
        tx.execute(key_sql::DERIVED_KEYS_INSERT, row)?;
    }
    Ok(())
}

/// Encrypts the keys of a batch of tenants with the current master key.
fn reseal(tx: &Tx<'_>, after: &str) -> Result<Batch, StoreError> {
    let rows = tx.rows(
        sql::TENANT_KEYS_AFTER,
        (after, MAX_BATCH_TENANTS),
        SealedTenantRow::read,
    )?;
    let loaded = tx.keys().loaded();
    let mut batch = Batch {
        last: rows.last().map(|row| row.tenant_id.clone()),
        examined: u64::try_from(rows.len()).unwrap_or(0),
        resealed: 0,
    };
    for row in rows {
        let wrapped = WrappedKey::stored(row.sealed_key);
        if wrapped.master_id() == Some(&loaded.current) {
            continue;
        }
        match loaded.rewrap(&row.tenant_id, &wrapped) {
            Ok(new) => {
                let change = (new.as_str(), row.tenant_id.as_str(), wrapped.as_str());
                tx.execute(sql::TENANT_KEY_RESEAL, change)?;
                batch.resealed += 1;
            }
            // The last step counts it, so that one damaged row does not hide the others.
            Err(error) => {
                tracing::error!(tenant = %row.tenant_id, %error, "the key of a tenant was not encrypted again");
            }
        }
    }
    Ok(batch)
}

/// Removes everything that is encrypted with an earlier master key.
fn finish(tx: &Tx<'_>, actor: &Actor, now: Timestamp) -> Result<(), RotateError> {
    let loaded = tx.keys().loaded();
    let id = &loaded.current;
    // '/' follows '.' in ASCII.
    let left = tx.count(sql::TENANT_KEYS_LEFT, (format!("{id}."), format!("{id}/")))?;
    if left > 0 {
        return Err(RotateError::Left { tenants: left });
    }
    tx.execute(sql::DERIVED_KEYS_DELETE_OTHER, [id.as_str()])?;
    tx.execute(sql::MASTER_KEY_FINISH, (now.micros(), loaded.generation))?;
    let action = AuditAction {
        name: "key.rotated",
        tenant: None,
        object: Some(id),
    };
    Ok(audit::write(tx, actor, action, now)?)
}
