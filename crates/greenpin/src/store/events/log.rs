//! Events: written in the transaction of what they tell of, with a delivery for each endpoint that asks for them.

use call::words;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::store::Tx;
use crate::store::core::crypto::TenantKey;
use crate::store::core::database::Row;
use crate::store::events::sql;
use crate::store::events::sql::LogRow;
use crate::store::tenants::endpoints;
use crate::store::{EndpointId, EventId, GreenpinId, StoreError, TenantId, TenantStore, Timestamp};

/// The place of an allocation's first event among its events.
pub(crate) const FIRST_SEQUENCE: i64 = 1;

words! {
    /// What an event tells of.
    pub enum EventType {
        /// An allocation was made.
        AllocationCreated = "allocation.created",
        /// An allocation was changed.
        AllocationUpdated = "allocation.updated",
        /// An allocation's time is over.
        AllocationExpired = "allocation.expired",
        /// An allocation was deleted.
        AllocationDeleted = "allocation.deleted",
        /// An allocation met its limit of wrong PINs.
        AllocationLocked = "allocation.locked",
        /// An allocation's count of wrong PINs was set back.
        AllocationUnlocked = "allocation.unlocked",
        /// An allocation has a new PIN.
        AllocationPinRotated = "allocation.pin_rotated",
        /// A call to a virtual number came in.
        CallInitiated = "call.initiated",
        /// A block of digits was refused.
        CallPinFailed = "call.pin_failed",
        /// A block of digits was right.
        CallPinAccepted = "call.pin_accepted",
        /// The dialled party is being alerted.
        CallRinging = "call.ringing",
        /// The dialled party answered.
        CallAnswered = "call.answered",
        /// The call is over. The last event of every call but for `recording.ready`.
        CallCompleted = "call.completed",
        /// A recording can be fetched.
        RecordingReady = "recording.ready",
        /// A number has few places left.
        NumberCapacityLow = "number.capacity_low",
        /// Strangers have used up a number's budget of wrong PINs.
        NumberPinAttack = "number.pin_attack",
        /// A webhook endpoint has taken nothing for days, and gets nothing until it is enabled again.
        EndpointDisabled = "endpoint.disabled",
    }
}

/// An event of the log: its id, and the JSON that endpoints receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its id.
    pub event_id: String,
    /// Its JSON.
    pub body: String,
}

/// The allocation that an event belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// None: the event is of the tenant or of a number.
    Tenant,
    /// An allocation whose row is written in this transaction, and counts this first event already.
    NewAllocation {
        /// Its id.
        greenpin_id: &'a GreenpinId,
        /// Its `custom_field`.
        custom_field: Option<&'a str>,
    },
    /// A stored allocation.
    Allocation(&'a GreenpinId),
}

impl<'a> Subject<'a> {
    /// Returns the allocation's id.
    pub(crate) fn greenpin_id(self) -> Option<&'a GreenpinId> {
        match self {
            Self::Tenant => None,
            Self::NewAllocation { greenpin_id, .. } | Self::Allocation(greenpin_id) => {
                Some(greenpin_id)
            }
        }
    }
}

impl<'a> From<Option<&'a GreenpinId>> for Subject<'a> {
    fn from(greenpin_id: Option<&'a GreenpinId>) -> Self {
        greenpin_id.map_or(Self::Tenant, Self::Allocation)
    }
}

/// An event to be written.
pub(crate) struct Draft<'a, D> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) zone: &'a TimeZone,
    pub(crate) subject: Subject<'a>,
    pub(crate) event_type: EventType,
    pub(crate) occurred_at: Timestamp,
    pub(crate) data: D,
}

#[derive(Serialize)]
struct Body<'a, D> {
    event_id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    sequence: i64,
    occurred_at: String,
    tenant_id: &'a str,
    greenpin_id: Option<&'a str>,
    custom_field: Option<String>,
    data: &'a D,
}

/// Writes an event. Events of no allocation have the sequence 0.
pub(crate) fn write<D: Serialize>(tx: &Tx<'_>, draft: &Draft<'_, D>) -> Result<(), StoreError> {
    let event_id = tx.event_id(draft.occurred_at);
    let (sequence, custom_field) = next_sequence(tx, draft)?;
    let body = Body {
        event_id: event_id.as_str(),
        event_type: draft.event_type.as_str(),
        sequence,
        occurred_at: draft.occurred_at.rfc3339(draft.zone),
        tenant_id: draft.tenant.as_str(),
        greenpin_id: draft.subject.greenpin_id().map(GreenpinId::as_str),
        custom_field,
        data: &draft.data,
    };
    let body = serde_json::to_string(&body).map_err(|_| StoreError::Unreadable("event"))?;
    let row = (
        draft.tenant.as_str(),
        event_id.as_str(),
        draft.subject.greenpin_id().map(GreenpinId::as_str),
        draft.event_type.as_str(),
        sequence,
        draft.occurred_at.micros(),
        tx.tenant_key(draft.tenant)?
            .encrypt(&context(&event_id), body)?,
    );
    tx.insert_batched(sql::EVENT_INSERT, row)?;
    deliver(tx, draft, &event_id, sequence)
}

/// What an event's body is sealed for.
pub(crate) fn context(event_id: &EventId) -> String {
    format!("event {event_id}")
}

fn next_sequence<D>(
    tx: &Tx<'_>,
    draft: &Draft<'_, D>,
) -> Result<(i64, Option<String>), StoreError> {
    let greenpin_id = match draft.subject {
        Subject::Tenant => return Ok((0, None)),
        Subject::NewAllocation { custom_field, .. } => {
            return Ok((FIRST_SEQUENCE, custom_field.map(ToOwned::to_owned)));
        }
        Subject::Allocation(greenpin_id) => greenpin_id,
    };
    let key = (draft.tenant.as_str(), greenpin_id.as_str());
    let found = tx.row(sql::ALLOCATION_NEXT_SEQUENCE, key, |row| {
        Ok((row.get("sequence")?, row.get("custom_field")?))
    })?;
    found.ok_or(StoreError::Unreadable("allocation of an event"))
}

/// Returns the queue of an event at each endpoint: events of one allocation share a queue, any other event has its own.
pub(crate) fn queue<'a>(event_id: &'a EventId, greenpin_id: Option<&'a GreenpinId>) -> &'a str {
    greenpin_id.map_or(event_id.as_str(), GreenpinId::as_str)
}

/// Events of one allocation wait for each other at an endpoint; any other event waits for none.
fn deliver<D>(
    tx: &Tx<'_>,
    draft: &Draft<'_, D>,
    event_id: &EventId,
    sequence: i64,
) -> Result<(), StoreError> {
    let queue = queue(event_id, draft.subject.greenpin_id());
    for endpoint in endpoints::cached(tx, draft.tenant)?.iter() {
        if endpoint.takes(draft.event_type.as_str()) {
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
    /// The events after one, oldest first.
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

    /// The event behind which the last few come; `None`: there are no others before them.
    pub async fn event_before_last(&self, count: u32) -> Result<Option<EventId>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = (tenant.as_str(), count.saturating_add(1));
            let ids = snapshot.rows(sql::EVENTS_LAST, key, |row| row.get("event_id"))?;
            let place = usize::try_from(count).unwrap_or(usize::MAX);
            Ok(ids.into_iter().nth(place))
        });
        read.await
    }

    /// The events after one that go, or went, to an endpoint, oldest first.
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

    /// The events after one of which a delivery was given up, oldest first; to one endpoint, if it is named.
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
