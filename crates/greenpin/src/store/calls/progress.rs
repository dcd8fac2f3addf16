//! Progress of a call between its route and its end.

use call::PhoneNumber;

use crate::store::calls::call_event;
use crate::store::calls::read_of_call;
use crate::store::calls::record;
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
        let writer = self.writer_of_call(sid).await?;
        let (sid, reads) = (sid.clone(), self.read_ahead(|| vec![read_of_call(sid)]));
        let write = writer.write_with(reads, move |tx| {
            let Some(mut call) = record::find_open(tx, &sid)? else {
                return Ok(());
            };
            let key = tx.tenant_key(&call.record.tenant_id)?;
            let (key, encrypted) = record::encrypt_dialled(&key, &sid, dialled)?;
            let row = (key, encrypted, now.micros(), sid.as_str());
            tx.execute_deferred(sql::CALL_RING, row)?;
            call.record.dialled = Some(dialled);
            call.record.dialled_at.get_or_insert(now);
            call_event::write_progress(tx, &call, Payload::CallRinging, now)
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
        let writer = self.writer_of_call(sid).await?;
        let (sid, reads) = (sid.clone(), self.read_ahead(|| vec![read_of_call(sid)]));
        let write = writer.write_with(reads, move |tx| {
            let open = record::find_open(tx, &sid)?;
            let Some(mut call) = open.filter(|call| call.record.bridged_at.is_none()) else {
                return Ok(());
            };
            let tenant = call.record.tenant_id.clone();
            let key = tx.tenant_key(&tenant)?;
            let (key, encrypted) = record::encrypt_dialled(&key, &sid, dialled)?;
            let row = (key, encrypted, now.micros(), sid.as_str());
            tx.execute_deferred(sql::CALL_ANSWER, row)?;
            call.record.dialled = Some(dialled);
            call.record.bridged_at = Some(now);
            if let Some(id) = &call.record.greenpin_id {
                let key = (tenant.as_str(), id.as_str());
                tx.execute_deferred(sql::ALLOCATION_COUNT_CALL, key)?;
            }
            call_event::write_progress(tx, &call, Payload::CallAnswered, now)
        });
        write.await
    }
}
