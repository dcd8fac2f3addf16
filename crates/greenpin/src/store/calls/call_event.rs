//! Events of a call.

use crate::store::Tx;
use crate::store::calls::record;
use crate::store::calls::record::CallRecord;
use crate::store::events;
use crate::store::events::payload::CallData;
use crate::store::events::{Draft, Payload};
use crate::store::tenants::settings;
use crate::store::{CallSid, StoreError, TenantSettings, Timestamp};

/// Writes an event with the current state of a call. `payload` is the variant for its type.
pub(crate) fn write_progress(
    tx: &Tx<'_>,
    sid: &CallSid,
    payload: fn(CallData) -> Payload<'static>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(call) = record::find(tx, sid)? else {
        return Ok(());
    };
    let settings = settings::cached(tx, &call.tenant_id)?;
    let data = record::event_data(&call, &settings.zone(), now, None);
    write(tx, &call, &settings, now, payload(data))
}

/// Writes an event of a call.
pub(crate) fn write(
    tx: &Tx<'_>,
    call: &CallRecord,
    settings: &TenantSettings,
    occurred_at: Timestamp,
    payload: Payload<'_>,
) -> Result<(), StoreError> {
    let zone = settings.zone();
    let greenpin_id = call.greenpin_id.as_ref();
    events::write(
        tx,
        &Draft {
            tenant: &call.tenant_id,
            zone: &zone,
            subject: greenpin_id.into(),
            occurred_at,
            payload,
        },
    )
}
