//! Redelivery of events.

use std::collections::HashSet;

use crate::store::Tx;
use crate::store::events;
use crate::store::events::sql;
use crate::store::events::sql::{FailedRow, HeadRow};
use crate::store::tenants::endpoints;
use crate::store::tenants::endpoints::Endpoint;
use crate::store::{
    EndpointId, EventId, StoreError, StoredAnswer, TenantId, TenantStore, Timestamp,
};

/// Maximum number of events in one transaction, so that calls and creates do not wait long.
pub const MAX_BATCH_EVENTS: u32 = 100;
/// Maximum number of transactions for one request.
pub const MAX_BATCHES: u32 = 10;

/// Selection of events for a replay.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// Earliest time of the write, inclusive.
    pub after: Timestamp,
    /// Latest time of the write, exclusive.
    pub before: Timestamp,
    /// Event types; `None` for all.
    pub types: Option<Vec<String>>,
    /// Endpoint; `None` for every subscribed one.
    pub endpoint_id: Option<EndpointId>,
    /// Failed deliveries only.
    pub failed: bool,
    /// Position after the previous request.
    pub cursor: Option<EventId>,
}

/// Result of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Number of events queued for at least one endpoint.
    pub events: usize,
    /// Number of queued deliveries.
    pub deliveries: usize,
}

impl TenantStore {
    /// Queues an event again, with the same id, for each subscribed endpoint. An open delivery becomes due now.
    /// Returns the number of endpoints; `None` if the tenant does not have the event.
    pub async fn redeliver(
        &self,
        event: &EventId,
        now: Timestamp,
        answer: impl Fn(&usize) -> StoredAnswer + Send + 'static,
    ) -> Result<Option<usize>, StoreError> {
        let event = event.clone();
        let requeue_event = move |tx: &Tx<'_>, tenant: &TenantId| {
            let key = (tenant.as_str(), event.as_str());
            let Some(found) = tx.row(sql::EVENT_SELECT, key, HeadRow::read)? else {
                return Ok(None);
            };
            requeue(tx, tenant, &found, now, |_| true).map(Some)
        };
        self.write_answered(requeue_event, answer).await
    }

    /// Queues events again, oldest first. Reads up to 1,000 events and returns the position to continue from, if more
    /// may follow.
    pub async fn replay(
        &self,
        mut wanted: ReplayRequest,
        now: Timestamp,
    ) -> Result<(Replayed, Option<EventId>), StoreError> {
        let mut sum = Replayed::default();
        for _ in 0..MAX_BATCHES {
            let (tenant, asked) = (self.tenant_id.clone(), wanted.clone());
            let write = self
                .writer()
                .write(move |tx| replay(tx, &tenant, &asked, now));
            let (done, next): (Replayed, Option<EventId>) = write.await?;
            sum.events += done.events;
            sum.deliveries += done.deliveries;
            wanted.cursor = next;
            if wanted.cursor.is_none() {
                break;
            }
        }
        Ok((sum, wanted.cursor))
    }
}

/// Processes one batch. Returns its last event if the batch was full.
fn replay(
    tx: &Tx<'_>,
    tenant: &TenantId,
    wanted: &ReplayRequest,
    now: Timestamp,
) -> Result<(Replayed, Option<EventId>), StoreError> {
    let from = wanted
        .cursor
        .clone()
        .unwrap_or_else(|| EventId::before(wanted.after));
    let until = EventId::first(wanted.before);
    let found = tx.rows(
        sql::EVENTS_BETWEEN,
        (
            tenant.as_str(),
            from.as_str(),
            until.as_str(),
            MAX_BATCH_EVENTS,
        ),
        HeadRow::read,
    )?;
    let failed = if wanted.failed {
        Some(failed(tx, tenant, &found)?)
    } else {
        None
    };
    let mut sum = Replayed::default();
    for event in &found {
        if wanted
            .types
            .as_ref()
            .is_some_and(|types| !types.contains(&event.event_type))
        {
            continue;
        }
        let count = requeue(tx, tenant, event, now, |endpoint| {
            let delivery = (event.event_id.clone(), endpoint.id.clone());
            wanted
                .endpoint_id
                .as_ref()
                .is_none_or(|id| *id == endpoint.id)
                && failed
                    .as_ref()
                    .is_none_or(|failed| failed.contains(&delivery))
        })?;
        sum.deliveries += count;
        sum.events += usize::from(count > 0);
    }
    let full = found.len() >= usize::try_from(MAX_BATCH_EVENTS).unwrap_or(usize::MAX);
    let last = found
        .last()
        .filter(|_| full)
        .map(|last| last.event_id.clone());
    Ok((sum, last))
}

/// Returns the failed deliveries of some events.
fn failed(
    tx: &Tx<'_>,
    tenant: &TenantId,
    found: &[HeadRow],
) -> Result<HashSet<(EventId, EndpointId)>, StoreError> {
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        return Ok(HashSet::new());
    };
    let key = (
        tenant.as_str(),
        first.event_id.as_str(),
        last.event_id.as_str(),
    );
    let rows = tx.rows(sql::DELIVERIES_FAILED_BETWEEN, key, FailedRow::read)?;
    let failed = rows.into_iter().map(|row| (row.event_id, row.endpoint_id));
    Ok(failed.collect())
}

/// Queues an event for the subscribed endpoints that `meant` selects. Returns their number.
fn requeue(
    tx: &Tx<'_>,
    tenant: &TenantId,
    event: &HeadRow,
    now: Timestamp,
    meant: impl Fn(&Endpoint) -> bool,
) -> Result<usize, StoreError> {
    let queue = events::queue(&event.event_id, event.greenpin_id.as_ref());
    let endpoints = endpoints::cached(tx, tenant)?;
    let wanting = endpoints
        .iter()
        .filter(|endpoint| endpoint.takes(&event.event_type) && meant(endpoint));
    let mut count = 0;
    for endpoint in wanting {
        let key = (
            tenant.as_str(),
            event.event_id.as_str(),
            endpoint.id.as_str(),
        );
        // A node that is just sending the event holds the old creation time. Its result does not end this delivery.
        tx.execute(
            sql::DELIVERY_REQUEUE,
            (key.0, key.1, key.2, queue, event.sequence, now.micros()),
        )?;
        count += 1;
    }
    if count > 0 {
        tx.wake_deliverer();
    }
    Ok(count)
}
