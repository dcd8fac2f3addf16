//! Progress of a call between its route and its end.

use call::PhoneNumber;

use crate::store::calls::call_event;
use crate::store::calls::record;
use crate::store::calls::record::CallRecord;
use crate::store::calls::sql;
use crate::store::events::Payload;
use crate::store::{CallSid, Store, StoreError, Timestamp};

impl Store {
    /// Records that the dialled party is being alerted: `call.ringing`.
    pub async fn call_ringing(
        &self,
        sid: &CallSid,
        dialled: PhoneNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sid = sid.clone();
        let write = self.writer.write(move |tx| {
            let Some(key) = record::tenant_key(tx, &sid)? else {
                return Ok(());
            };
            let (key, encrypted) = record::encrypt_dialled(&key, &sid, dialled)?;
            let row = (key, encrypted, now.micros(), sid.as_str());
            if tx.execute(sql::CALL_RING, row)? == 0 {
                return Ok(());
            }
            call_event::write_progress(tx, &sid, Payload::CallRinging, now)
        });
        write.await
    }

    /// Records the answer of the dialled party: `call.answered`. Counts a connected call for the allocation.
    pub async fn call_answered(
        &self,
        sid: &CallSid,
        dialled: PhoneNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sid = sid.clone();
        let write = self.writer.write(move |tx| {
            let Some(key) = record::tenant_key(tx, &sid)? else {
                return Ok(());
            };
            let (key, encrypted) = record::encrypt_dialled(&key, &sid, dialled)?;
            let row = (key, encrypted, now.micros(), sid.as_str());
            if tx.execute(sql::CALL_ANSWER, row)? == 0 {
                return Ok(());
            }
            if let Some(CallRecord {
                tenant_id,
                greenpin_id: Some(id),
                ..
            }) = record::find(tx, &sid)?
            {
                tx.execute(
                    sql::ALLOCATION_COUNT_CALL,
                    (tenant_id.as_str(), id.as_str()),
                )?;
            }
            call_event::write_progress(tx, &sid, Payload::CallAnswered, now)
        });
        write.await
    }
}
