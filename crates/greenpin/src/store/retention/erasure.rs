//! Erasure of a tenant: its personal data is deleted, a receipt remains.
//!
//! The erasure starts with a mark, from which on the tenant has no credentials, endpoints or numbers. Then recordings
//! and rows are deleted in batches, so that other tenants' calls and creates do not wait long. A repeated request
//! continues an interrupted erasure.

use std::collections::BTreeMap;

use crate::store::Tx;
use crate::store::allocations;
use crate::store::core::statement::Statement;
use crate::store::numbers;
use crate::store::retention::sql;
use crate::store::retention::sql::ReceiptRow;
use crate::store::tenants::audit;
use crate::store::tenants::audit::AuditAction;
use crate::store::tenants::operator::{Actor, OperatorStore};
use crate::store::tenants::status;
use crate::store::{
    CallSid, ErasureId, GreenpinId, RecordingStorage, Store, StoreError, StoredRecording, TenantId,
    TenantSettings, Timestamp,
};

/// Maximum number of rows of a table in one transaction.
const MAX_BATCH_ROWS: i64 = 200;
/// Maximum number of numbers in one transaction. Each has its own PINs and callers.
const MAX_BATCH_NUMBERS: i64 = 20;

/// Receipt of an erasure, as proof for the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureReceipt {
    /// Id of the erasure.
    pub erasure_id: ErasureId,
    /// Erased tenant.
    pub tenant_id: TenantId,
    /// Start of the erasure; the tenant is unusable from then on.
    pub begun_at: Timestamp,
    /// Time of the last deletion; `None` if the erasure was interrupted and must be requested again.
    pub finished_at: Option<Timestamp>,
    /// Time from which on copies of the database from before the erasure cannot be read with the master key: the end of
    /// the first rotation after the erasure. `None` if there was none yet.
    pub key_destroyed_at: Option<Timestamp>,
    /// Number of deleted rows of each table, and of `recordings`.
    pub erased: BTreeMap<String, u64>,
}

/// Failure to erase a tenant.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The tenant does not exist.
    #[error("there is no such tenant")]
    NotFound,
    /// The tenant has open calls.
    #[error("calls of the tenant are under way: suspend it and wait, or end them")]
    HasCalls,
    /// A recording cannot be deleted. Earlier deletions are final.
    #[error("the recording of {call_sid} cannot be deleted: {source}")]
    Recording {
        /// Call of the recording.
        call_sid: CallSid,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// Recordings lie on the disks of other nodes, which delete them while they run.
    #[error("{recordings} recordings lie on other nodes ({}), which delete them within minutes while they run; repeat the command then", nodes.join(", "))]
    OtherNodes {
        /// Number of recordings.
        recordings: u64,
        /// Names of the nodes.
        nodes: Vec<String>,
    },
    /// The store failed. Earlier deletions are final.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OperatorStore {
    /// Erases a tenant's data, or continues an interrupted erasure. After its end, returns the receipt again.
    /// `storage` holds the recordings.
    pub async fn erase_tenant(
        &self,
        tenant: &TenantId,
        storage: &impl RecordingStorage,
        now: impl Fn() -> Timestamp,
    ) -> Result<ErasureReceipt, EraseError> {
        let receipt = self.begin_erasure(tenant, now()).await?;
        if receipt.finished_at.is_some() {
            return Ok(receipt);
        }
        self.store.erase_recordings(tenant, storage).await?;
        if let Some(node) = storage.node() {
            self.require_no_recordings_elsewhere(tenant, node).await?;
        }
        for step in ERASE_STEPS {
            while self.erase_batch(tenant, *step).await? > 0 {}
        }
        self.finish_erasure(tenant, now()).await?;
        let receipt = self.erasure(tenant).await?;
        receipt.ok_or(EraseError::NotFound)
    }

    /// Returns the receipt of an erasure; `None` if the tenant was not erased.
    pub async fn erasure(&self, tenant: &TenantId) -> Result<Option<ErasureReceipt>, StoreError> {
        let key = tenant.clone();
        let read = self.store.readers.read(move |snapshot| {
            snapshot.row(sql::ERASURE_SELECT, [key.as_str()], ReceiptRow::read)
        });
        read.await?
            .map(|row: ReceiptRow| row.receipt(tenant))
            .transpose()
    }

    async fn begin_erasure(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<ErasureReceipt, EraseError> {
        let (actor, tenant) = (self.actor.clone(), tenant.clone());
        self.store
            .writers
            .whole()
            .write(move |tx| begin(tx, &actor, &tenant, now))
            .await
    }

    /// Checks that no other node than `node` has files of the tenant.
    async fn require_no_recordings_elsewhere(
        &self,
        tenant: &TenantId,
        node: &str,
    ) -> Result<(), EraseError> {
        let (tenant, node) = (tenant.clone(), node.to_owned());
        let read = self.store.readers.read(move |snapshot| {
            snapshot.rows(
                sql::RECORDINGS_ON_OTHER_NODES,
                (tenant.as_str(), &node),
                |row| Ok((row.get("node")?, row.get("count")?)),
            )
        });
        let left: Result<Vec<(String, u64)>, StoreError> = read.await;
        let (nodes, counts): (Vec<String>, Vec<u64>) = left?.into_iter().unzip();
        if nodes.is_empty() {
            return Ok(());
        }
        let recordings = counts.iter().sum();
        Err(EraseError::OtherNodes { recordings, nodes })
    }

    async fn erase_batch(&self, tenant: &TenantId, step: EraseStep) -> Result<usize, EraseError> {
        let writer = self.store.writers.tenant(tenant);
        let tenant = tenant.clone();
        let write = writer.write(move |tx| {
            let erased = step(tx, &tenant)?;
            count(tx, &tenant, &erased)?;
            Ok::<_, StoreError>(erased.iter().map(|(_, rows)| rows).sum())
        });
        Ok(write.await?)
    }

    async fn finish_erasure(&self, tenant: &TenantId, now: Timestamp) -> Result<(), EraseError> {
        let (actor, tenant) = (self.actor.clone(), tenant.clone());
        self.store
            .writers
            .whole()
            .write(move |tx| finish(tx, &actor, &tenant, now))
            .await?;
        self.store.keys.evict_tenants();
        // Until then the log holds old versions of the pages. Later checkpoints truncate it as well.
        if let Some(checkpoints) = &self.store.checkpoints
            && let Err(error) = checkpoints.truncate_log().await
        {
            tracing::warn!(%error, "write-ahead log not truncated after an erasure");
        }
        Ok(())
    }
}

impl Store {
    /// Deletes the recordings on this node of all tenants whose erasure is incomplete: another node may have begun it.
    pub async fn continue_erasures(
        &self,
        storage: &impl RecordingStorage,
    ) -> Result<(), EraseError> {
        let read = self.readers.read(|snapshot| {
            snapshot.rows(sql::TENANTS_IN_ERASURE, (), |row| row.get("tenant_id"))
        });
        let tenants: Result<Vec<TenantId>, StoreError> = read.await;
        for tenant in tenants? {
            self.erase_recordings(&tenant, storage).await?;
        }
        Ok(())
    }

    /// Deletes the recordings of a tenant that the storage can delete.
    async fn erase_recordings(
        &self,
        tenant: &TenantId,
        storage: &impl RecordingStorage,
    ) -> Result<(), EraseError> {
        let mut after = String::new();
        loop {
            let page = self.recordings_of(tenant, after).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.call_sid.to_string();
            let here = page
                .iter()
                .filter(|recording| recording.is_on(storage.node()));
            let (mut deleted, mut cleared) = (0, Vec::new());
            for recording in here {
                let removed = storage.remove(recording).await;
                deleted += usize::from(removed.map_err(|source| EraseError::Recording {
                    call_sid: recording.call_sid.clone(),
                    source,
                })?);
                cleared.push(recording.call_sid.clone());
            }
            if cleared.is_empty() {
                continue;
            }
            let writer = self.writers.tenant(tenant);
            let tenant = tenant.clone();
            writer
                .write(move |tx| {
                    for sid in &cleared {
                        let key = (tenant.as_str(), sid.as_str());
                        tx.execute(sql::RETENTION_RECORDING_CLEAR, key)?;
                    }
                    count(tx, &tenant, &[("recordings", deleted)])
                })
                .await?;
        }
    }

    async fn recordings_of(
        &self,
        tenant: &TenantId,
        after: String,
    ) -> Result<Vec<StoredRecording>, StoreError> {
        let tenant_id = tenant.clone();
        let read = self.readers.read(move |snapshot| {
            snapshot.rows(
                sql::RECORDINGS_OF_TENANT,
                (tenant_id.as_str(), &after, MAX_BATCH_ROWS),
                |row| StoredRecording::read(&tenant_id, row),
            )
        });
        read.await
    }
}

/// Deletes a batch of rows of a tenant. Returns the number for each table; all zero if none is left.
type EraseStep = fn(&Tx<'_>, &TenantId) -> Result<Vec<(&'static str, usize)>, StoreError>;

/// Steps in order: references are deleted before their targets.
const ERASE_STEPS: &[EraseStep] = &[
    |tx, tenant| erase_rows(tx, tenant, "attempts", sql::ERASE_ATTEMPTS),
    |tx, tenant| erase_rows(tx, tenant, "deliveries", sql::ERASE_DELIVERIES),
    |tx, tenant| erase_rows(tx, tenant, "events", sql::ERASE_EVENTS),
    |tx, tenant| erase_rows(tx, tenant, "calls", sql::ERASE_CALLS),
    // After the calls: the trace of a call that is removed is not written any more.
    |tx, tenant| erase_rows(tx, tenant, "call_traces", sql::ERASE_TRACES),
    |tx, tenant| erase_rows(tx, tenant, "parties", sql::ERASE_PARTIES),
    |tx, tenant| erase_rows(tx, tenant, "prompts", sql::ERASE_PROMPTS),
    |tx, tenant| erase_rows(tx, tenant, "idempotency_keys", sql::ERASE_IDEMPOTENCY_KEYS),
    erase_allocations,
    erase_numbers,
];

fn erase_rows(
    tx: &Tx<'_>,
    tenant: &TenantId,
    table: &'static str,
    statement: &'static Statement,
) -> Result<Vec<(&'static str, usize)>, StoreError> {
    Ok(vec![(
        table,
        tx.execute(statement, (tenant.as_str(), MAX_BATCH_ROWS))?,
    )])
}

fn begin(
    tx: &Tx<'_>,
    actor: &Actor,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<ErasureReceipt, EraseError> {
    if status::find(tx, tenant)?.is_none() {
        return Err(EraseError::NotFound);
    }
    if let Some(raw) = tx.row(sql::ERASURE_SELECT, [tenant.as_str()], ReceiptRow::read)? {
        return Ok(raw.receipt(tenant)?);
    }
    if tx
        .row(sql::TENANT_OPEN_CALL, [tenant.as_str()], |_| Ok(()))?
        .is_some()
    {
        return Err(EraseError::HasCalls);
    }
    tx.execute(sql::TENANT_MARK_ERASED, (now.micros(), tenant.as_str()))?;
    let erased = BTreeMap::from([
        (
            "credentials".to_owned(),
            erase_all(tx, sql::ERASE_CREDENTIALS, tenant)?,
        ),
        (
            "sessions".to_owned(),
            erase_all(tx, sql::ERASE_SESSIONS, tenant)?,
        ),
        (
            "endpoints".to_owned(),
            erase_all(tx, sql::ERASE_ENDPOINTS, tenant)?,
        ),
    ]);
    tx.cache().tenants.change();
    let erasure_id = ErasureId::new(now);
    let row = (
        tenant.as_str(),
        erasure_id.as_str(),
        now.micros(),
        text(&erased)?,
    );
    tx.execute(sql::ERASURE_INSERT, row)?;
    let action = AuditAction {
        name: "tenant.erase",
        tenant: Some(tenant),
        object: Some(erasure_id.as_str()),
    };
    audit::write(tx, actor, action, now)?;
    Ok(ErasureReceipt {
        erasure_id,
        tenant_id: tenant.clone(),
        begun_at: now,
        finished_at: None,
        key_destroyed_at: None,
        erased,
    })
}

fn erase_all(
    tx: &Tx<'_>,
    statement: &'static Statement,
    tenant: &TenantId,
) -> Result<u64, StoreError> {
    Ok(u64::try_from(tx.execute(statement, [tenant.as_str()])?).unwrap_or(u64::MAX))
}

/// Deletes allocations with their PINs, also on a number that now belongs to another tenant.
fn erase_allocations(
    tx: &Tx<'_>,
    tenant: &TenantId,
) -> Result<Vec<(&'static str, usize)>, StoreError> {
    let ids: Vec<GreenpinId> = tx.rows(
        sql::ALLOCATIONS_OF_TENANT,
        (tenant.as_str(), MAX_BATCH_ROWS),
        |row| row.get("greenpin_id"),
    )?;
    let key = tx.tenant_key(tenant)?;
    let (mut erased, mut pins, mut callers) = (0, 0, 0);
    for id in &ids {
        match allocations::find(tx, tenant, id) {
            Ok(Some(allocation)) => {
                let vn = tx.keys().number_key(allocation.virtual_number);
                let pin = tx.keys().pin_key(&vn, &allocation.pin);
                pins += tx.execute(sql::PIN_DELETE, (&vn, pin, id.as_str()))?;
                for party in allocation.parties() {
                    callers += tx.execute(
                        allocations::sql::LISTED_CALLER_DELETE,
                        (&vn, key.party_key(party), id.as_str()),
                    )?;
                }
            }
            // An unreadable allocation is deleted as well.
            Ok(None) | Err(StoreError::Unreadable(_)) => {}
            Err(error) => return Err(error),
        }
        erased += tx.execute(sql::ALLOCATION_ERASE, (tenant.as_str(), id.as_str()))?;
    }
    Ok(vec![
        ("allocations", erased),
        ("pins", pins),
        ("listed_callers", callers),
    ])
}

/// Deletes numbers with their remaining PINs, listed callers and unlisted callers.
fn erase_numbers(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<(&'static str, usize)>, StoreError> {
    let keys: Vec<String> = tx.rows(
        sql::NUMBERS_OF_TENANT,
        (tenant.as_str(), MAX_BATCH_NUMBERS),
        |row| row.get("number_key"),
    )?;
    let (mut numbers, mut pins, mut unlisted, mut sources, mut callers) = (0, 0, 0, 0, 0);
    for key in &keys {
        pins += tx.execute(numbers::sql::PINS_DELETE, (key, MAX_BATCH_ROWS))?;
        if pins >= usize::try_from(MAX_BATCH_ROWS).unwrap_or(usize::MAX) {
            break;
        }
        unlisted += tx.execute(numbers::sql::NUMBER_DELETE_UNLISTED_CALLERS, [key])?;
        sources += tx.execute(numbers::sql::NUMBER_DELETE_CALLER_SOURCES, [key])?;
        callers += tx.execute(numbers::sql::NUMBER_DELETE_LISTED_CALLERS, [key])?;
        numbers += tx.execute(numbers::sql::NUMBER_DELETE, [key])?;
    }
    Ok(vec![
        ("numbers", numbers),
        ("pins", pins),
        ("strangers", unlisted),
        ("caller_sources", sources),
        ("listed_callers", callers),
    ])
}

fn finish(tx: &Tx<'_>, actor: &Actor, tenant: &TenantId, now: Timestamp) -> Result<(), StoreError> {
    // A request that was in progress at the start may have written these.
    tx.execute(sql::ERASE_ENDPOINTS, [tenant.as_str()])?;
    // Old copies of the encrypted key become unreadable with the next rotation of the master key.
    tx.execute(
        sql::TENANT_KEY_DESTROY,
        (TenantSettings::default().stored()?, tenant.as_str()),
    )?;
    tx.cache().tenants.change();
    tx.execute(sql::ERASURE_FINISH, (now.micros(), tenant.as_str()))?;
    audit::write(
        tx,
        actor,
        AuditAction {
            name: "tenant.erased",
            tenant: Some(tenant),
            object: None,
        },
        now,
    )
}

/// Adds to the receipt.
fn count(
    tx: &Tx<'_>,
    tenant: &TenantId,
    erased: &[(&'static str, usize)],
) -> Result<(), StoreError> {
    let raw = tx.row(sql::ERASURE_SELECT, [tenant.as_str()], ReceiptRow::read)?;
    let mut receipt = raw
        .ok_or(StoreError::Unreadable("erasure"))?
        .receipt(tenant)?;
    for (table, rows) in erased {
        *receipt.erased.entry((*table).to_owned()).or_default() +=
            u64::try_from(*rows).unwrap_or(0);
    }
    tx.execute(
        sql::ERASURE_COUNT,
        (text(&receipt.erased)?, tenant.as_str()),
    )
    .map(|_| ())
}

fn text(erased: &BTreeMap<String, u64>) -> Result<String, StoreError> {
    serde_json::to_string(erased).map_err(|_| StoreError::Unreadable("erasure"))
}

impl ReceiptRow {
    fn receipt(self, tenant: &TenantId) -> Result<ErasureReceipt, StoreError> {
        Ok(ErasureReceipt {
            erasure_id: self.erasure_id,
            tenant_id: tenant.clone(),
            begun_at: self.begun_at,
            finished_at: self.finished_at,
            key_destroyed_at: self.key_destroyed_at,
            erased: serde_json::from_str(&self.erased)
                .map_err(|_| StoreError::Unreadable("erasure"))?,
        })
    }
}
