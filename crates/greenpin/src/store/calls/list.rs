//! Lists of calls.

use call::{CallType, PhoneNumber};

use crate::store::LastDigits;
use crate::store::calls::sql;
use crate::store::calls::sql::CallRow;
use crate::store::tenants::operator::OperatorStore;
use crate::store::{
    CallCause, CallRecord, CallSid, GreenpinId, StoreError, TenantId, TenantStore, Timestamp,
};

/// Filter of a list; `None` does not restrict it.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// `true` for ended calls, `false` for open ones.
    pub ended: Option<bool>,
    /// Result of the call; an open call has none.
    pub call_type: Option<CallType>,
    /// Called number.
    pub virtual_number: Option<PhoneNumber>,
    /// Allocation of the call.
    pub greenpin_id: Option<GreenpinId>,
    /// Caller or dialled number.
    pub party: Option<PhoneNumber>,
    /// Earliest start, inclusive.
    pub started_after: Option<Timestamp>,
    /// Latest start, exclusive.
    pub started_before: Option<Timestamp>,
}

/// Filter of the operator's list of ended calls; `None` does not restrict it.
#[derive(Debug, Clone, Default)]
pub struct EndedCallFilter {
    /// Tenant of the calls.
    pub tenant_id: Option<TenantId>,
    /// Reason for the result.
    pub cause: Option<CallCause>,
    /// Trunk of the incoming call.
    pub trunk: Option<String>,
}

impl OperatorStore {
    /// Returns the ended calls before one, newest first. Calls of a tenant in erasure are left out.
    pub async fn ended_calls(
        &self,
        filter: EndedCallFilter,
        before: Option<CallSid>,
        limit: u32,
    ) -> Result<Vec<CallRecord>, StoreError> {
        // No trunk has this character in its name, and PostgreSQL takes none with it.
        if filter
            .trunk
            .as_ref()
            .is_some_and(|name| name.contains('\0'))
        {
            return Ok(Vec::new());
        }
        let read = self.store.readers.read(move |snapshot| {
            let row = (
                before.as_ref().map_or("~", CallSid::as_str),
                filter.tenant_id.as_ref().map_or("", TenantId::as_str),
                filter.cause.map_or("", CallCause::as_str),
                filter.trunk.as_deref().unwrap_or_default(),
                limit,
            );
            // Each tenant's calls have an index of their own.
            let statement = match filter.tenant_id {
                Some(_) => sql::CALLS_ENDED_OF_TENANT,
                None => sql::CALLS_ENDED,
            };
            let mut calls = Vec::new();
            for row in snapshot.rows(statement, row, CallRow::read)? {
                match row.record(snapshot) {
                    Ok(call) => calls.push(call),
                    Err(StoreError::Unreadable(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(calls)
        });
        read.await
    }
}

impl TenantStore {
    /// Returns the calls before one, newest first.
    pub async fn calls(
        &self,
        filter: CallFilter,
        before: Option<CallSid>,
        limit: u32,
    ) -> Result<Vec<CallRecord>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = snapshot.tenant_key(&tenant)?;
            // An allocation has few calls, and an index of its own serves them.
            let statement = match filter.greenpin_id {
                Some(_) => sql::CALLS_LIST_OF_ALLOCATION,
                None => sql::CALLS_LIST,
            };
            let row = (
                tenant.as_str(),
                // `~` sorts after every id.
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

    /// Returns those of the newest `max` calls whose virtual number, caller or dialled number ends with the digits, newest
    /// first, and whether there are older calls.
    pub async fn calls_with_digits(
        &self,
        digits: LastDigits,
        max: u32,
    ) -> Result<(Vec<CallRecord>, bool), StoreError> {
        let matches = move |record: &CallRecord| {
            let numbers = [
                Some(record.virtual_number),
                record.shown_caller(),
                record.dialled,
            ];
            let mut numbers = numbers.into_iter().flatten();
            numbers.any(|number| digits.match_number(number))
        };
        self.newest_calls(max, matches).await
    }

    /// Returns those of the newest `max` calls that have a leg with this `Call-ID`, newest first, and whether there are older
    /// calls.
    pub async fn calls_with_call_id(
        &self,
        call_id: String,
        max: u32,
    ) -> Result<(Vec<CallRecord>, bool), StoreError> {
        let matches = move |record: &CallRecord| {
            let legs = &record.legs;
            let callees = legs.attempts.iter().map(|leg| &leg.call_id);
            let mut ids = callees.chain([&legs.caller_call_id]);
            ids.any(|id| id.as_ref() == Some(&call_id))
        };
        self.newest_calls(max, matches).await
    }

    /// Returns those of the newest `max` calls that match, newest first, and whether there are older calls.
    async fn newest_calls(
        &self,
        max: u32,
        matches: impl Fn(&CallRecord) -> bool + Send + 'static,
    ) -> Result<(Vec<CallRecord>, bool), StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = (tenant.as_str(), max.saturating_add(1));
            let rows = snapshot.rows(sql::CALLS_NEWEST, key, CallRow::read)?;
            let has_older = rows.len() > usize::try_from(max).unwrap_or(usize::MAX);
            let mut found = Vec::new();
            for row in rows {
                let record = row.record(snapshot)?;
                if matches(&record) {
                    found.push(record);
                }
            }
            Ok((found, has_older))
        });
        read.await
    }
}
