//! Lists of calls.

use call::{CallType, PhoneNumber};

use crate::store::calls::sql;
use crate::store::calls::sql::CallRow;
use crate::store::{CallRecord, CallSid, GreenpinId, StoreError, TenantStore, Timestamp};

/// What a list of calls is narrowed by; `None` narrows nothing.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Whether it is over.
    pub ended: Option<bool>,
    /// How far it came; a call that lasts has no type yet.
    pub call_type: Option<CallType>,
    /// To this number.
    pub virtual_number: Option<PhoneNumber>,
    /// Of this allocation.
    pub greenpin_id: Option<GreenpinId>,
    /// From or to this number.
    pub party: Option<PhoneNumber>,
    /// Came in at this moment or later.
    pub started_after: Option<Timestamp>,
    /// Came in before this moment.
    pub started_before: Option<Timestamp>,
}

impl TenantStore {
    /// The calls that came in before one, newest first.
    pub async fn calls(
        &self,
        filter: CallFilter,
        before: Option<CallSid>,
        limit: u32,
    ) -> Result<Vec<CallRecord>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = snapshot.tenant_key(&tenant)?;
            // The calls of one allocation are few among many, and have an index of their own.
            let statement = match filter.greenpin_id {
                Some(_) => sql::CALLS_LIST_OF_ALLOCATION,
                None => sql::CALLS_LIST,
            };
            let row = (
                tenant.as_str(),
                // After every id: `~` sorts behind each character that an id can have.
                before.as_ref().map_or("~", CallSid::as_str),
                filter.greenpin_id.as_ref().map_or("", GreenpinId::as_str),
                filter.call_type.map_or("", CallType::as_str),
                match filter.ended {
                    None => "",
                    Some(true) => "ended",
                    Some(false) => "active",
                },
                filter
                    .virtual_number
                    .map(|number| snapshot.keys().number_key(number))
                    .unwrap_or_default(),
                filter
                    .party
                    .map(|party| key.party_key(party))
                    .unwrap_or_default(),
                filter.started_after.map_or(i64::MIN, Timestamp::micros),
                filter.started_before.map_or(i64::MAX, Timestamp::micros),
                limit,
            );
            let rows = snapshot.rows(statement, row, CallRow::read)?;
            rows.into_iter().map(|row| row.record(snapshot)).collect()
        });
        read.await
    }
}
