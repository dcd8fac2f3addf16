//! Event log. An event is written in the transaction of its cause, with a delivery for each subscribed endpoint.

use std::cell::Cell;

use call::words;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::store::Tx;
use crate::store::core::crypto::TenantKey;
use crate::store::core::database::Row;
use crate::store::events::Payload;
use crate::store::events::sql;
use crate::store::events::sql::LogRow;
use crate::store::tenants::endpoints;
use crate::store::{
    EndpointId, EventId, GreenpinId, LocalTime, StoreError, TenantId, TenantStore, Timestamp,
};

/// Sequence number of the first event of an allocation.
pub(crate) const FIRST_SEQUENCE: i64 = 1;

words! {
    /// Type of an event.
    pub enum EventType {
        /// An allocation was created.
        AllocationCreated = "allocation.created",
        /// An allocation was changed.
        AllocationUpdated = "allocation.updated",
        /// An allocation has expired.
        AllocationExpired = "allocation.expired",
        /// An allocation was deleted.
        AllocationDeleted = "allocation.deleted",
        /// An allocation has reached its limit of wrong PINs.
        AllocationLocked = "allocation.locked",
        /// The number of wrong PINs of an allocation was reset.
        AllocationUnlocked = "allocation.unlocked",
        /// An allocation has a new PIN.
        AllocationPinRotated = "allocation.pin_rotated",
        /// A call to a virtual number has arrived.
        CallInitiated = "call.initiated",
        /// A PIN was refused.
        CallPinFailed = "call.pin_failed",
        /// A PIN was correct.
        CallPinAccepted = "call.pin_accepted",
        /// The dialled party is being alerted.
        CallRinging = "call.ringing",
        /// The dialled party has answered.
        CallAnswered = "call.answered",
        /// The call has ended. Only `recording.ready` may follow.
        CallCompleted = "call.completed",
        /// A recording can be downloaded.
        RecordingReady = "recording.ready",
        /// A number has little capacity left.
        NumberCapacityLow = "number.capacity_low",
        /// Unlisted callers have exhausted a number's budget of wrong PINs.
        NumberPinAttack = "number.pin_attack",
        /// A webhook endpoint has failed for days and gets no events until it is enabled again.
        EndpointDisabled = "endpoint.disabled",
    }
}

/// Event of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Id of the event.
    pub event_id: String,
    /// JSON of the event, as endpoints receive it.
    pub body: String,
}

/// Allocation of an event.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// None: the event belongs to the tenant or to a number.
    Tenant,
    /// Allocation whose row is inserted in this transaction and already counts this event.
    NewAllocation {
        /// Id of the allocation.
        greenpin_id: &'a GreenpinId,
        /// Its `custom_field`.
        custom_field: Option<&'a str>,
    },
    /// Stored allocation.
    Allocation(&'a GreenpinId),
    /// Stored allocation whose row was read in this transaction.
    Read(&'a EventAllocation),
}

/// Allocation of events, as it was read in this transaction. No other event of the allocation may be written between the
/// read and the event.
#[derive(Debug, Clone)]
pub(crate) struct EventAllocation {
    pub(crate) greenpin_id: GreenpinId,
    /// Sequence number of its last event.
    pub(crate) sequence: Cell<i64>,
    pub(crate) custom_field: Option<String>,
}

impl<'a> Subject<'a> {
    /// Returns the id of the allocation.
    pub(crate) fn greenpin_id(self) -> Option<&'a GreenpinId> {
        match self {
            Self::Tenant => None,
            Self::NewAllocation { greenpin_id, .. } | Self::Allocation(greenpin_id) => {
                Some(greenpin_id)
            }
            Self::Read(allocation) => Some(&allocation.greenpin_id),
        }
    }
}

impl<'a> From<Option<&'a EventAllocation>> for Subject<'a> {
    fn from(allocation: Option<&'a EventAllocation>) -> Self {
        allocation.map_or(Self::Tenant, Self::Read)
    }
}

/// Event to write.
pub(crate) struct Draft<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) zone: &'a TimeZone,
    pub(crate) subject: Subject<'a>,
    pub(crate) occurred_at: Timestamp,
    pub(crate) payload: Payload<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    event_id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    sequence: i64,
    occurred_at: LocalTime,
    tenant_id: &'a str,
    greenpin_id: Option<&'a str>,
    custom_field: Option<String>,
    data: &'a Payload<'a>,
}

/// Writes an event. Events without an allocation have the sequence number 0.
pub(crate) fn write(tx: &Tx<'_>, draft: &Draft<'_>) -> Result<(), StoreError> {
    let event_id = tx.event_id(draft.occurred_at);
    let event_type = draft.payload.event_type().as_str();
    let (sequence, custom_field) = next_sequence(tx, draft)?;
    let body = Body {
        event_id: event_id.as_str(),
        event_type,
        sequence,
        occurred_at: draft.occurred_at.in_zone(draft.zone),
        tenant_id: draft.tenant.as_str(),
        greenpin_id: draft.subject.greenpin_id().map(GreenpinId::as_str),
        custom_field,
        data: &draft.payload,
    };
    let body = serde_json::to_string(&body).map_err(|_| StoreError::Unreadable("event"))?;
    let row = (
        draft.tenant.as_str(),
        event_id.as_str(),
        draft.subject.greenpin_id().map(GreenpinId::as_str),
        event_type,
        sequence,
        draft.occurred_at.micros(),
        tx.tenant_key(draft.tenant)?
            .encrypt(&context(&event_id), body)?,
    );
    tx.insert_batched(sql::EVENT_INSERT, row)?;
    deliver(tx, draft, &event_id, sequence)
}

/// Returns the encryption context of an event's body.
pub(crate) fn context(event_id: &EventId) -> String {
    ["event ", event_id.as_str()].concat()
}

/// Returns the sequence number of an event and the `custom_field` of its allocation.
fn next_sequence(tx: &Tx<'_>, draft: &Draft<'_>) -> Result<(i64, Option<String>), StoreError> {
    let (greenpin_id, (last, custom_field)) = match draft.subject {
        Subject::Tenant => return Ok((0, None)),
        Subject::NewAllocation { custom_field, .. } => {
            return Ok((FIRST_SEQUENCE, custom_field.map(ToOwned::to_owned)));
        }
        Subject::Allocation(greenpin_id) => {
            let key = (draft.tenant.as_str(), greenpin_id.as_str());
            let found = tx.row(sql::ALLOCATION_SEQUENCE, key, |row| {
                Ok((row.get::<i64>("sequence")?, row.get("custom_field")?))
            })?;
            let found = found.ok_or(StoreError::Unreadable("allocation of an event"))?;
            (greenpin_id, found)
        }
        Subject::Read(allocation) => {
            let last = allocation.sequence.get();
            allocation.sequence.set(last.saturating_add(1));
            let custom_field = allocation.custom_field.clone();
            (&allocation.greenpin_id, (last, custom_field))
        }
    };
    let sequence = last.saturating_add(1);
    let row = (sequence, draft.tenant.as_str(), greenpin_id.as_str());
    tx.execute_deferred(sql::ALLOCATION_SET_SEQUENCE, row)?;
    Ok((sequence, custom_field))
}

/// Returns the queue of an event at each endpoint. Events of one allocation share a queue; any other event has its
/// own.
pub(crate) fn queue<'a>(event_id: &'a EventId, greenpin_id: Option<&'a GreenpinId>) -> &'a str {
    greenpin_id.map_or(event_id.as_str(), GreenpinId::as_str)
}

/// Queues the event for each subscribed endpoint. Events of one allocation are delivered in order, others
/// independently.
fn deliver(
    tx: &Tx<'_>,
    draft: &Draft<'_>,
    event_id: &EventId,
    sequence: i64,
) -> Result<(), StoreError> {
    let queue = queue(event_id, draft.subject.greenpin_id());
    for endpoint in endpoints::cached(tx, draft.tenant)?.iter() {
        if endpoint.takes(draft.payload.event_type().as_str()) {
            let (tenant, event) = (draft.tenant.as_str(), event_id.as_str());
            let row = (
                tenant,
                event,
                endpoint.id.as_str(),
                queue,
                sequence,
                draft.occurred_at.micros(),
            );
            tx.execute_deferred(sql::DELIVERY_INSERT, row)?;
            tx.wake_deliverer();
        }
    }
    Ok(())
}

impl TenantStore {
    /// Returns the events after one, oldest first.
    pub async fn events_after(
        &self,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let after = after.as_ref().map_or("", EventId::as_str);
            let key = snapshot.tenant_key(&tenant)?;
            snapshot.rows(sql::EVENTS_AFTER, (tenant.as_str(), after, limit), |row| {
                logged(row, &key)
            })
        });
        read.await
    }

    /// Returns an event; `None` if there is no such event.
    pub async fn event(&self, event_id: EventId) -> Result<Option<LoggedEvent>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.look_up(move |snapshot| {
            let key = snapshot.tenant_key(&tenant)?;
            let asked = (tenant.as_str(), event_id.as_str());
            snapshot.row(sql::EVENT_LOGGED, asked, |row| logged(row, &key))
        });
        read.await
    }

    /// Returns the events of an allocation, or those without one, between two times, oldest first. It looks at the first
    /// `max` events of the tenant between these times.
    pub async fn events_between(
        &self,
        greenpin_id: Option<GreenpinId>,
        after: Timestamp,
        before: Timestamp,
        max: u32,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = snapshot.tenant_key(&tenant)?;
            let (after, before) = (EventId::before(after), EventId::before(before));
            let asked = (
                tenant.as_str(),
                after.as_str(),
                before.as_str(),
                max,
                greenpin_id.as_ref().map_or("", GreenpinId::as_str),
            );
            snapshot.rows(sql::EVENTS_OF_SUBJECT, asked, |row| logged(row, &key))
        });
        read.await
    }

    /// Returns the event before the last `count` events; `None` if there is none.
    pub async fn event_before_last(&self, count: u32) -> Result<Option<EventId>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = (tenant.as_str(), count.saturating_add(1));
            let ids = snapshot.rows(sql::EVENTS_LAST, key, |row| row.get("event_id"))?;
            let index = usize::try_from(count).unwrap_or(usize::MAX);
            Ok(ids.into_iter().nth(index))
        });
        read.await
    }

    /// Returns the position after the last event of the log.
    pub async fn end_of_events(&self) -> Result<EventId, StoreError> {
        let last = self.event_before_last(0).await?;
        Ok(last.unwrap_or_else(|| EventId::before(Timestamp::from_micros(0))))
    }

    /// Returns the events after one that were queued for an endpoint, oldest first.
    pub async fn events_of_endpoint_after(
        &self,
        after: Option<EventId>,
        endpoint: EndpointId,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let after = after.as_ref().map_or("", EventId::as_str);
            let key = snapshot.tenant_key(&tenant)?;
            let asked = (tenant.as_str(), after, endpoint.as_str(), limit);
            snapshot.rows(sql::EVENTS_OF_ENDPOINT_AFTER, asked, |row| {
                logged(row, &key)
            })
        });
        read.await
    }

    /// Returns the events after one with a failed delivery, oldest first, optionally for one endpoint.
    pub async fn failed_events_after(
        &self,
        after: Option<EventId>,
        endpoint: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let after = after.as_ref().map_or("", EventId::as_str);
            let endpoint = endpoint.as_ref().map_or("", EndpointId::as_str);
            let key = snapshot.tenant_key(&tenant)?;
            let asked = (tenant.as_str(), after, endpoint, limit);
            snapshot.rows(sql::EVENTS_FAILED_AFTER, asked, |row| logged(row, &key))
        });
        read.await
    }
}

fn logged(row: &Row<'_>, key: &TenantKey) -> Result<LoggedEvent, StoreError> {
    let row = LogRow::read(row)?;
    let body = key.decrypt(&context(&row.event_id), &row.sealed)?;
    Ok(LoggedEvent {
        event_id: row.event_id.to_string(),
        body,
    })
}
