//! Lists of allocations.

use std::time::Duration;

use call::PhoneNumber;

use crate::store::allocations::sql;
use crate::store::allocations::sql::AllocationRow;
use crate::store::core::crypto::TenantKey;
use crate::store::core::database::Value;
use crate::store::core::reader::Snapshot;
use crate::store::{
    Allocation, GreenpinId, LastDigits, Status, StoreError, TenantId, TenantStore, Timestamp,
};

/// Filter of a list; `None` does not restrict it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllocationFilter {
    /// Status of the allocation.
    pub status: Option<Status>,
    /// Virtual number of the allocation.
    pub virtual_number: Option<PhoneNumber>,
    /// Number on either side.
    pub party: Option<PhoneNumber>,
    /// Free text of the tenant.
    pub custom_field: Option<String>,
    /// Earliest time of the creation, inclusive.
    pub created_after: Option<Timestamp>,
    /// Latest time of the creation, exclusive.
    pub created_before: Option<Timestamp>,
}

/// Limit in the text of [`sql::ALLOCATION_PAGE`]. With a literal limit PostgreSQL reuses a generic plan. Without it,
/// the server plans each list again, which takes longer than the list itself.
const MAX_PAGE: u32 = 201;
/// Text that sorts after every id.
const AFTER_ALL: &str = "~";

impl TenantStore {
    /// Returns the allocations before one, newest first.
    pub async fn allocations(
        &self,
        filter: AllocationFilter,
        before: Option<GreenpinId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Allocation>, StoreError> {
        // No stored text has this character, and PostgreSQL takes none with it.
        if filter
            .custom_field
            .as_ref()
            .is_some_and(|text| text.contains('\0'))
        {
            return Ok(Vec::new());
        }
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = snapshot.tenant_key(&tenant)?;
            let page = AllocationPage {
                tenant: &tenant,
                before: before.as_ref(),
                limit,
            };
            let rows = if filter == AllocationFilter::default() && limit <= MAX_PAGE {
                page.rows(snapshot)?
            } else {
                page.filtered_rows(snapshot, &key, &filter, now)?
            };
            rows.into_iter().map(|row| row.allocation(&key)).collect()
        });
        read.await
    }

    /// Returns those of the newest `max` allocations with a number that ends with the digits, newest first, and whether
    /// there are older allocations.
    pub async fn allocations_with_digits(
        &self,
        digits: LastDigits,
        max: u32,
    ) -> Result<(Vec<Allocation>, bool), StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = snapshot.tenant_key(&tenant)?;
            let page = (tenant.as_str(), max.saturating_add(1));
            let rows = snapshot.rows(sql::ALLOCATIONS_NEWEST, page, AllocationRow::read)?;
            let has_older = rows.len() > usize::try_from(max).unwrap_or(usize::MAX);
            let mut found = Vec::new();
            for row in rows {
                let allocation = row.allocation(&key)?;
                let is_found = allocation
                    .parties()
                    .chain([allocation.virtual_number])
                    .any(|number| digits.match_number(number));
                if is_found {
                    found.push(allocation);
                }
            }
            Ok((found, has_older))
        });
        read.await
    }
}

/// Page of a tenant's list.
struct AllocationPage<'a> {
    tenant: &'a TenantId,
    /// Start of the page; `None` for the newest allocation.
    before: Option<&'a GreenpinId>,
    limit: u32,
}

impl AllocationPage<'_> {
    /// Reads the page without a filter.
    fn rows(&self, snapshot: &Snapshot<'_>) -> Result<Vec<AllocationRow>, StoreError> {
        let before = self.before.map_or(AFTER_ALL, GreenpinId::as_str);
        let params = (self.tenant.as_str(), before, self.limit);
        snapshot.rows(sql::ALLOCATION_PAGE, params, AllocationRow::read)
    }

    /// Reads the page of matching rows. Ids start with the time, so a range of times is a range of ids.
    fn filtered_rows(
        &self,
        snapshot: &Snapshot<'_>,
        key: &TenantKey,
        filter: &AllocationFilter,
        now: Timestamp,
    ) -> Result<Vec<AllocationRow>, StoreError> {
        let first = filter.created_after.map(GreenpinId::first);
        // The creation time is cut to the second, the id is not.
        let last = filter
            .created_before
            .map(|end| GreenpinId::first(end + Duration::from_secs(1)));
        let before = self.before.into_iter().chain(&last).min();
        let after = filter.created_after.map_or(i64::MIN, Timestamp::micros);
        let until = filter.created_before.map_or(i64::MAX, Timestamp::micros);
        let number = filter
            .virtual_number
            .map(|number| snapshot.keys().number_key(number));
        let party = filter.party.map(|party| key.party_key(party));
        let mut params = vec![
            Value::Text(self.tenant.as_str()),
            Value::Text(before.map_or(AFTER_ALL, GreenpinId::as_str)),
            Value::Text(first.as_ref().map_or("", GreenpinId::as_str)),
            Value::Text(filter.status.map_or("", Status::as_str)),
            Value::Integer(now.micros()),
            Value::Integer(filter.custom_field.is_some().into()),
            Value::Text(filter.custom_field.as_deref().unwrap_or_default()),
            Value::Integer(after),
            Value::Integer(until),
        ];
        let statement = match (&party, &number) {
            (Some(party), number) => {
                params.push(Value::Text(number.as_deref().unwrap_or_default()));
                params.push(Value::Text(party));
                sql::ALLOCATION_LIST_OF_PARTY
            }
            (None, Some(number)) => {
                params.push(Value::Text(number));
                sql::ALLOCATION_LIST_OF_NUMBER
            }
            (None, None) => sql::ALLOCATION_LIST,
        };
        params.push(Value::Integer(self.limit.into()));
        snapshot.rows(statement, params, AllocationRow::read)
    }
}
