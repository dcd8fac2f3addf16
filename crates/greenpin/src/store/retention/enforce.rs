//! What a tenant does not want to be kept any longer.

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

/// Rows in one transaction, so that calls and creates never wait long behind it.
const MAX_BATCH_ROWS: u32 = 200;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Events are kept for as long at the least: so long an endpoint may still have to get them.
const MIN_EVENT_DAYS: u32 = 7;

/// A recording that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecording {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The call that it is of.
    pub call_sid: CallSid,
    /// Where it lies: a file, or `s3://BUCKET/KEY`.
    pub location: String,
}

impl StoredRecording {
    /// Reads a call's id and its recording's location.
    pub(crate) fn read(tenant_id: &TenantId, row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            tenant_id: tenant_id.clone(),
            call_sid: row.get("call_sid")?,
            location: row.get("recording_file")?,
        })
    }
}

/// Where recordings lie: the store knows of them, and what keeps them removes them.
pub trait RecordingStorage: Sync {
    /// Removes a recording; whether there was one. One that is gone already is no fault.
    ///
    /// # Errors
    /// It is still there, and is to be removed later.
    fn remove(&self, recording: &StoredRecording) -> impl Future<Output = io::Result<bool>> + Send;
}

impl Store {
    /// Some of the recordings whose time is over. Each is to be removed, then forgotten.
    pub async fn recordings_due(&self, now: Timestamp) -> Result<Vec<StoredRecording>, StoreError> {
        let mut due = Vec::new();
        for (tenant, retention) in self.retentions().await? {
            // A call record that goes takes its recording with it.
            let days = retention
                .recordings
                .into_iter()
                .chain(retention.calls)
                .min();
            if let Some(days) = days {
                due.extend(self.recordings_before(tenant, cutoff(now, days)).await?);
            }
        }
        Ok(due)
    }

    /// A recording is there no more.
    pub async fn clear_recording(&self, recording: &StoredRecording) -> Result<(), StoreError> {
        let (tenant, sid) = (recording.tenant_id.clone(), recording.call_sid.clone());
        let write = self.writer.write(move |tx| {
            tx.execute(
                sql::RETENTION_RECORDING_CLEAR,
                (tenant.as_str(), sid.as_str()),
            )
            .map(|_| ())
        });
        write.await
    }

    /// Removes some of the call records, ended allocations and events whose time is over. Call records with a
    /// recording stay until that is forgotten. Returns how many rows; 0: none is left.
    pub async fn enforce_retention(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut removed = 0;
        for (tenant, retention) in self.retentions().await? {
            let write = self
                .writer
                .write(move |tx| enforce(tx, &tenant, &retention, now));
            removed += write.await?;
        }
        Ok(removed)
    }

    /// The tenants who do not keep everything.
    async fn retentions(&self) -> Result<Vec<(TenantId, Retention)>, StoreError> {
        let read = self.readers.read(|snapshot| {
            snapshot.rows(sql::TENANTS_SETTINGS, (), |row| {
                let retention = settings::parse(&row.get::<String>("settings")?)?.retention;
                Ok((row.get("tenant_id")?, retention))
            })
        });
        let all: Result<Vec<_>, StoreError> = read.await;
        Ok(all?
            .into_iter()
            .filter(|(_, retention)| *retention != Retention::default())
            .collect())
    }

    async fn recordings_before(
        &self,
        tenant_id: TenantId,
        before: Timestamp,
    ) -> Result<Vec<StoredRecording>, StoreError> {
        let read = self.readers.read(move |snapshot| {
            let sid = CallSid::first(before);
            let key = (
                tenant_id.as_str(),
                sid.as_str(),
                before.micros(),
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
    let mut removed = 0;
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
    // Events tell of both: they go when both have gone, and nobody waits for them any more.
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

/// Removes an ended allocation, with its PIN where that is free again.
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
