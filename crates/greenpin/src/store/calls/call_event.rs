//! Events of a call.

use serde_json::{Map, Value};

use crate::store::Tx;
use crate::store::calls::record;
use crate::store::calls::record::CallRecord;
use crate::store::events;
use crate::store::events::Draft;
use crate::store::tenants::settings;
use crate::store::{CallSid, EventType, StoreError, TenantSettings, Timestamp};

/// Writes an event with the current state of a call.
pub(crate) fn write_progress(
    tx: &Tx<'_>,
    sid: &CallSid,
    event_type: EventType,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(call) = record::find(tx, sid)? else {
        return Ok(());
    };
    let settings = settings::cached(tx, &call.tenant_id)?;
    let data = record::event_data(&call, &settings.zone(), now, None);
    write(tx, &call, &settings, event_type, now, data)
}

/// Writes an event of a call.
pub(crate) fn write(
    tx: &Tx<'_>,
    call: &CallRecord,
    settings: &TenantSettings,
    event_type: EventType,
    occurred_at: Timestamp,
    data: Map<String, Value>,
) -> Result<(), StoreError> {
    let zone = settings.zone();
    let greenpin_id = call.greenpin_id.as_ref();
    let data = Value::Object(data);
    events::write(
        tx,
        &Draft {
            tenant: &call.tenant_id,
            zone: &zone,
            subject: greenpin_id.into(),
            event_type,
            occurred_at,
            data,
        },
    )
}
