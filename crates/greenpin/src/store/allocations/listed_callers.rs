//! Lookup of the allocations that list a caller on a shared number.

use call::PhoneNumber;

use crate::store::allocations::sql;
use crate::store::allocations::sql::ListedAllocation;
use crate::store::core::reader::Snapshot;
use crate::store::numbers::NumberRow;
use crate::store::{StoreError, Timestamp};

/// Returns the active allocations of a shared number with this caller on either side.
pub(crate) fn allocations_listing(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: PhoneNumber,
    now: Timestamp,
) -> Result<Vec<ListedAllocation>, StoreError> {
    let caller = snapshot.tenant_key(&number.tenant_id)?.party_key(caller);
    snapshot.rows(
        sql::LISTED_CALLER_ALLOCATIONS,
        (&number.number_key, caller, now.micros()),
        ListedAllocation::read,
    )
}
