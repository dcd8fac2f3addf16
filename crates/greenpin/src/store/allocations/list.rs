//! Lists of allocations.

use std::time::Duration;

use call::PhoneNumber;

use crate::store::allocations::sql;
use crate::store::allocations::sql::AllocationRow;
use crate::store::core::crypto::TenantKey;
use crate::store::core::reader::Snapshot;
use crate::store::{Allocation, GreenpinId, Status, StoreError, TenantId, TenantStore, Timestamp};

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
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = snapshot.tenant_key(&tenant)?;
            let rows = page(
                snapshot,
                &key,
                &tenant,
                &filter,
                before.as_ref(),
                limit,
                now,
            )?;
            rows.into_iter().map(|row| row.allocation(&key)).collect()
        });
        read.await
    }
}

/// Reads a page of rows. Ids start with the time, so a range of times is a range of ids.
fn page(
    snapshot: &Snapshot<'_>,
    key: &TenantKey,
    tenant: &TenantId,
    filter: &AllocationFilter,
    before: Option<&GreenpinId>,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<AllocationRow>, StoreError> {
    if *filter == AllocationFilter::default() && limit <= MAX_PAGE {
        let before = before.map_or(AFTER_ALL, GreenpinId::as_str);
        return snapshot.rows(
            sql::ALLOCATION_PAGE,
            (tenant.as_str(), before, limit),
            AllocationRow::read,
        );
    }
    let first = filter.created_after.map(GreenpinId::first);
    // The creation time is cut to the second, the id is not.
    let last = filter
        .created_before
        .map(|end| GreenpinId::first(end + Duration::from_secs(1)));
    let before = before.into_iter().chain(&last).min();
    let status = filter.status.map_or("", Status::as_str);
    let has_custom_field = i64::from(filter.custom_field.is_some());
    let custom_field = filter.custom_field.as_deref().unwrap_or_default();
    let after = filter.created_after.map_or(i64::MIN, Timestamp::micros);
    let until = filter.created_before.map_or(i64::MAX, Timestamp::micros);
    let before = before.map_or(AFTER_ALL, GreenpinId::as_str);
    let first = first.as_ref().map_or("", GreenpinId::as_str);
    let (tenant, now) = (tenant.as_str(), now.micros());
    let number = filter
        .virtual_number
        .map(|number| snapshot.keys().number_key(number));
    let read = AllocationRow::read;
    match (filter.party, number) {
        (Some(party), number) => {
            let (number, party) = (number.unwrap_or_default(), key.party_key(party));
            let row = (
                tenant,
                before,
                first,
                status,
                now,
                has_custom_field,
                custom_field,
                after,
                until,
                number,
                party,
                limit,
            );
            snapshot.rows(sql::ALLOCATION_LIST_OF_PARTY, row, read)
        }
        (None, Some(number)) => {
            let row = (
                tenant,
                before,
                first,
                status,
                now,
                has_custom_field,
                custom_field,
                after,
                until,
                number,
                limit,
            );
            snapshot.rows(sql::ALLOCATION_LIST_OF_NUMBER, row, read)
        }
        (None, None) => {
            let row = (
                tenant,
                before,
                first,
                status,
                now,
                has_custom_field,
                custom_field,
                after,
                until,
                limit,
            );
            snapshot.rows(sql::ALLOCATION_LIST, row, read)
        }
    }
}
