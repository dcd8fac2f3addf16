//! Lists of allocations.

use call::PhoneNumber;

use super::allocations::RawAllocation;
use super::{Allocation, GreenpinId, Status, StoreError, TenantStore, Timestamp, sql};

/// What a list is narrowed by; `None` narrows nothing.
#[derive(Debug, Clone, Default)]
pub struct AllocationFilter {
    /// Where it stands.
    pub status: Option<Status>,
    /// On this number.
    pub virtual_number: Option<PhoneNumber>,
    /// With this number on either side.
    pub party: Option<PhoneNumber>,
    /// With this mark.
    pub custom_field: Option<String>,
    /// Made at this moment or later.
    pub created_after: Option<Timestamp>,
    /// Made before this moment.
    pub created_before: Option<Timestamp>,
}

impl TenantStore {
    /// The allocations that were made before one, newest first.
    pub async fn allocations(
        &self,
        filter: AllocationFilter,
        before: Option<GreenpinId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Allocation>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let row = (
                tenant.as_str(),
                // After every id: `~` sorts behind each character that an id can have.
                before.as_ref().map_or("~", GreenpinId::as_str),
                filter.status.map_or("", Status::as_str),
                now.micros(),
                filter.virtual_number.map(PhoneNumber::expose).unwrap_or_default(),
                filter.party.map(PhoneNumber::expose).unwrap_or_default(),
                i64::from(filter.custom_field.is_some()),
                filter.custom_field.unwrap_or_default(),
                filter.created_after.map_or(i64::MIN, Timestamp::micros),
                filter.created_before.map_or(i64::MAX, Timestamp::micros),
                limit,
            );
            snapshot.rows(sql::ALLOCATION_LIST, row, RawAllocation::read)
        });
        read.await?.into_iter().map(RawAllocation::allocation).collect()
    }
}
