//! Events of one call, for its trace.

use std::time::Duration;

use serde::Deserialize;

use crate::store::calls::record::CallRecord;
use crate::store::calls::sql;
use crate::store::calls::sql::CallEventRow;
use crate::store::events::context;
use crate::store::{EventId, GreenpinId, StoreError, TenantStore, Timestamp};

/// Time after the end of a call in which its last event, `recording.ready`, is looked for.
const LAST_EVENT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Maximum number of events that are read to find those of a call.
const MAX_READ_EVENTS: u32 = 500;

/// Event of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEvent {
    /// Id of the event.
    pub event_id: String,
    /// Type of the event.
    pub event_type: String,
    /// Time of the event.
    pub occurred_at: Timestamp,
}

/// Part of an event that names its call.
#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    call_sid: Option<String>,
}

impl TenantStore {
    /// Returns the events of a call, oldest first. Of a busy number without allocation, some may be missing.
    pub async fn events_of_call(&self, call: &CallRecord) -> Result<Vec<CallEvent>, StoreError> {
        let tenant = self.tenant_id.clone();
        let call_sid = call.call_sid.to_string();
        let greenpin_id = call.greenpin_id.clone();
        let first = EventId::first(call.started_at);
        let last = call.ended_at.unwrap_or_else(Timestamp::now) + LAST_EVENT_TIMEOUT;
        let last = EventId::first(last);
        let read = self.store.readers.read(move |snapshot| {
            let key = snapshot.tenant_key(&tenant)?;
            let row = (
                tenant.as_str(),
                first.as_str(),
                last.as_str(),
                greenpin_id.as_ref().map_or("", GreenpinId::as_str),
                MAX_READ_EVENTS,
            );
            let rows = snapshot.rows(sql::EVENTS_OF_CALL, row, CallEventRow::read)?;
            let mut events = Vec::new();
            for row in rows {
                let body = key.decrypt(&context(&row.event_id), &row.sealed)?;
                let body: Option<Body> = serde_json::from_str(&body).ok();
                if body.and_then(|body| body.data.call_sid).as_deref() == Some(&call_sid) {
                    events.push(CallEvent {
                        event_id: row.event_id.to_string(),
                        event_type: row.event_type,
                        occurred_at: row.occurred_at,
                    });
                }
            }
            Ok(events)
        });
        read.await
    }
}
