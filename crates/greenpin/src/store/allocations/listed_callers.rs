//! Lookup of the allocations that list a caller on a shared number.

use std::cell::Cell;

use call::PhoneNumber;

use crate::store::allocations::is_limit_reached;
use crate::store::allocations::sql;
use crate::store::allocations::sql::ListedAllocation;
use crate::store::core::reader::Snapshot;
use crate::store::events::EventAllocation;
use crate::store::numbers::NumberRow;
use crate::store::{StoreError, Timestamp};

impl ListedAllocation {
    /// Returns whether the limit of wrong PINs is reached.
    pub(crate) fn is_locked(&self) -> bool {
        is_limit_reached(self.failed_pin_attempts, self.max_pin_attempts)
    }

    /// Returns the allocation for events of this transaction.
    pub(crate) fn for_events(&self) -> EventAllocation {
        EventAllocation {
            greenpin_id: self.greenpin_id.clone(),
            sequence: Cell::new(self.sequence),
            custom_field: self.custom_field.clone(),
        }
    }
}

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
