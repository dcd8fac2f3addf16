//! Events of a call.

use crate::store::Tx;
use crate::store::calls::record;
use crate::store::calls::record::{CallRecord, OpenCall};
use crate::store::events;
use crate::store::events::payload::CallData;
use crate::store::events::{Draft, Payload, Subject};
use crate::store::tenants::settings;
use crate::store::{StoreError, TenantSettings, Timestamp};

/// Writes an event with the current state of a call. `payload` is the variant for its type.
pub(crate) fn write_progress(
    tx: &Tx<'_>,
    call: &OpenCall,
    payload: fn(CallData) -> Payload<'static>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let record = &call.record;
    let settings = settings::cached(tx, &record.tenant_id)?;
    let data = record::event_data(record, &settings.zone(), now, None);
    let subject = call.allocation.as_ref().into();
    write(tx, (record, subject), &settings, now, payload(data))
}

/// Writes an event of a call.
pub(crate) fn write(
    tx: &Tx<'_>,
    (call, subject): (&CallRecord, Subject<'_>),
    settings: &TenantSettings,
    occurred_at: Timestamp,
    payload: Payload<'_>,
) -> Result<(), StoreError> {
    let zone = settings.zone();
    events::write(
        tx,
        &Draft {
            tenant: &call.tenant_id,
            zone: &zone,
            subject,
            occurred_at,
            payload,
        },
    )
}
