//! Retention: removal of data older than a tenant's limits.

use std::io;
use std::time::Duration;

use crate::store::Tx;
use crate::store::allocations;
use crate::store::core::database::Row;
use crate::store::retention::sql;
use crate::store::tenants::settings;
use crate::store::{
    CallSid, EventId, GreenpinId, Retention, Store, StoreError, TenantId, Timestamp,
};

/// Maximum number of rows in one transaction, so that calls and creates do not wait long.
const MAX_BATCH_ROWS: u32 = 200;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Minimum retention of events: the period in which endpoints may still receive them.
pub const MIN_EVENT_DAYS: u32 = 7;

/// Recording to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecording {
    /// Tenant of the recording.
    pub tenant_id: TenantId,
    /// Call of the recording.
    pub call_sid: CallSid,
    /// Location: a file, or `s3://BUCKET/KEY`.
    pub location: String,
    /// Node that made the recording. A file lies on its disk, unless all nodes share the folder.
    pub node: String,
}

impl StoredRecording {
    /// Returns whether a node can remove the recording: its own files, and those in a bucket. `None`: all files.
    pub fn is_on(&self, node: Option<&str>) -> bool {
        node.is_none_or(|node| self.node == node) || self.location.starts_with("s3://")
    }

    /// Reads the id of a call and the location of its recording.
    pub(crate) fn read(tenant_id: &TenantId, row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            tenant_id: tenant_id.clone(),
            call_sid: row.get("call_sid")?,
            location: row.get("recording_file")?,
            node: row.get("node")?,
        })
    }
}

/// Storage of recordings. The store knows their locations only.
pub trait RecordingStorage: Sync {
    /// Returns the node whose files this storage can remove; `None` if it can remove all files. Recordings in a bucket
    /// can be removed by any node.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Removes a recording. Returns whether it existed; a missing recording is not an error.
    ///
    /// # Errors
    ///
    /// The recording still exists and must be removed later.
    fn remove(&self, recording: &StoredRecording) -> impl Future<Output = io::Result<bool>> + Send;
}

impl Store {
    /// Returns a batch of recordings past their retention. Each must be removed and then cleared. With a `node`, only
    /// those in a bucket or on its disk.
    pub async fn recordings_due(
        &self,
        node: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<StoredRecording>, StoreError> {
        let mut due = Vec::new();
        for (tenant, retention) in self.retentions().await? {
            // The removal of a call record includes its recording.
            let days = retention
                .recordings
                .into_iter()
                .chain(retention.calls)
                .min();
            if let Some(days) = days {
                due.extend(
                    self.recordings_before(tenant, node, cutoff(now, days))
                        .await?,
                );
            }
        }
        Ok(due)
    }

    /// Clears a removed recording from its call record.
    pub async fn clear_recording(&self, recording: &StoredRecording) -> Result<(), StoreError> {
        let (tenant, sid) = (recording.tenant_id.clone(), recording.call_sid.clone());
        let writer = self.writers.tenant(&recording.tenant_id);
        let write = writer.write(move |tx| {
            tx.execute(
                sql::RETENTION_RECORDING_CLEAR,
                (tenant.as_str(), sid.as_str()),
            )
            .map(|_| ())
        });
        write.await
    }

    /// Removes a batch of call records, ended allocations and events past their retention. A call record stays until
    /// its recording is cleared. Returns the number of rows; 0 if none is left.
    pub async fn enforce_retention(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut removed = 0;
        for (tenant, retention) in self.retentions().await? {
            let has_other_limits =
                retention.calls.is_some() || retention.ended_allocations.is_some();
            if !has_other_limits && !self.has_old_trace(&tenant, &retention, now).await? {
                continue;
            }
            let writer = self.writers.tenant(&tenant);
            let write = writer.write(move |tx| enforce(tx, &tenant, &retention, now));
            removed += write.await?;
        }
        Ok(removed)
    }

    /// Returns the tenants with their retention. Traces have a limit for every tenant.
    async fn retentions(&self) -> Result<Vec<(TenantId, Retention)>, StoreError> {
        let read = self.readers.read(|snapshot| {
            snapshot.rows(sql::TENANTS_SETTINGS, (), |row| {
                let retention = settings::parse(&row.get::<String>("settings")?)?.retention;
                Ok((row.get("tenant_id")?, retention))
            })
        });
        read.await
    }

    /// Returns whether a tenant has a trace past its retention. Every tenant has a limit of traces: without this read
    /// each round would write for each tenant.
    async fn has_old_trace(
        &self,
        tenant: &TenantId,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (tenant, before) = (tenant.clone(), first_kept_trace(retention, now));
        let read = self.readers.read(move |snapshot| {
            let key = (tenant.as_str(), before.as_str());
            snapshot.row(sql::RETENTION_OLD_TRACE, key, |_| Ok(()))
        });
        let found: Result<Option<()>, StoreError> = read.await;
        Ok(found?.is_some())
    }

    async fn recordings_before(
        &self,
        tenant_id: TenantId,
        node: Option<&str>,
        before: Timestamp,
    ) -> Result<Vec<StoredRecording>, StoreError> {
        let node = node.unwrap_or_default().to_owned();
        let read = self.readers.read(move |snapshot| {
            let sid = CallSid::first(before);
            let key = (
                tenant_id.as_str(),
                sid.as_str(),
                before.micros(),
                node.as_str(),
                MAX_BATCH_ROWS,
            );
            snapshot.rows(sql::RETENTION_RECORDINGS, key, |row| {
                StoredRecording::read(&tenant_id, row)
            })
        });
        read.await
    }
}

fn enforce(
    tx: &Tx<'_>,
    tenant: &TenantId,
    retention: &Retention,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut removed = remove_traces(tx, tenant, retention, now)?;
    if let Some(days) = retention.calls {
        let before = cutoff(now, days);
        let sid = CallSid::first(before);
        let key = (
            tenant.as_str(),
            sid.as_str(),
            before.micros(),
            MAX_BATCH_ROWS,
        );
        removed += tx.execute(sql::RETENTION_CALLS, key)?;
    }
    if let Some(days) = retention.ended_allocations {
        for statement in [sql::RETENTION_DELETED, sql::RETENTION_EXPIRED] {
            let key = (tenant.as_str(), cutoff(now, days).micros(), MAX_BATCH_ROWS);
            let ended: Vec<GreenpinId> = tx.rows(statement, key, |row| row.get("greenpin_id"))?;
            removed += ended.len();
            for id in &ended {
                remove(tx, tenant, id, now)?;
            }
        }
    }
    // Events describe calls and allocations. They are removed after both, and after their deliveries.
    if let (Some(calls), Some(allocations)) = (retention.calls, retention.ended_allocations) {
        let before = cutoff(now, calls.max(allocations).max(MIN_EVENT_DAYS));
        let event = EventId::first(before);
        let key = (tenant.as_str(), event.as_str(), MAX_BATCH_ROWS);
        removed += tx.execute(sql::RETENTION_ATTEMPTS, key)?;
        removed += tx.execute(sql::RETENTION_DELIVERIES, key)?;
        removed += tx.execute(sql::RETENTION_EVENTS, key)?;
    }
    Ok(removed)
}

/// Removes a batch of traces. A trace is not kept longer than its call record.
fn remove_traces(
    tx: &Tx<'_>,
    tenant: &TenantId,
    retention: &Retention,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let sid = first_kept_trace(retention, now);
    let key = (tenant.as_str(), sid.as_str(), MAX_BATCH_ROWS);
    tx.execute(sql::RETENTION_TRACES, key)
}

/// Returns the id before which the traces of calls are removed.
fn first_kept_trace(retention: &Retention, now: Timestamp) -> CallSid {
    let days = retention.calls.unwrap_or(u32::MAX).min(retention.trace);
    CallSid::first(cutoff(now, days))
}

/// Removes an ended allocation, and its PIN if it is free again.
fn remove(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(allocation) = allocations::find(tx, tenant, id)? else {
        return Ok(());
    };
    allocations::delete_listed_callers(tx, tenant, &allocation)?;
    allocations::delete_party_rows(tx, tenant, &allocation)?;
    let vn = tx.keys().number_key(allocation.virtual_number);
    let pin = tx.keys().pin_key(&vn, &allocation.pin);
    tx.execute_deferred(sql::RETENTION_PIN, (&vn, pin, id.as_str(), now.micros()))?;
    tx.execute_deferred(sql::RETENTION_ALLOCATION, (tenant.as_str(), id.as_str()))
}

fn cutoff(now: Timestamp, days: u32) -> Timestamp {
    let age = i64::try_from((DAY * days).as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().saturating_sub(age))
}
