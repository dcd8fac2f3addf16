//! Lookup of the allocations that list a caller on a shared number.

use call::PhoneNumber;

use crate::store::allocations::sql;
use crate::store::core::reader::Snapshot;
use crate::store::numbers::NumberRow;
use crate::store::{GreenpinId, StoreError, Timestamp};

/// An active allocation that lists a caller.
pub(crate) struct Listing {
    pub(crate) greenpin_id: GreenpinId,
    pub(crate) max_pin_attempts: u8,
}

/// The active allocations of a shared number that list a caller.
pub(crate) fn listing(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: PhoneNumber,
    now: Timestamp,
) -> Result<Vec<Listing>, StoreError> {
    let caller = snapshot.tenant_key(&number.tenant_id)?.party(caller);
    snapshot.rows(
        sql::LISTED_CALLER_ALLOCATIONS,
        (&number.number_key, caller, now.micros()),
        |row| {
            Ok(Listing {
                greenpin_id: GreenpinId::stored(row.get(0)?),
                max_pin_attempts: row.get(1)?,
            })
        },
    )
}
