//! Change of an active allocation.

use std::time::Duration;

use call::PhoneNumber;

use crate::store::Tx;
use crate::store::allocations;
use crate::store::allocations::Allocation;
use crate::store::allocations::sql;
use crate::store::events;
use crate::store::events::payload::{ChangedAllocationData, PinAttemptsData};
use crate::store::events::{Draft, Payload, Subject};
use crate::store::numbers;
use crate::store::numbers::OPEN_PIN_LENGTH;
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::tenants::settings;
use crate::store::{GreenpinId, StoreError, TenantId, TenantStore, Timestamp};

/// Requested change; `None` leaves a field as it is. Each list is already valid by itself: 1 to 10 or 0 to 10 numbers
/// without repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllocationChange {
    /// Numbers of the A-party, 1 to 10.
    pub from: Option<Vec<PhoneNumber>>,
    /// Numbers of the B-party, 0 to 10.
    pub to: Option<Vec<PhoneNumber>>,
    /// Duration from now on, in whole seconds.
    pub duration: Option<Duration>,
    /// Number of wrong PINs that locks the allocation: 1 to 10.
    pub max_pin_attempts: Option<u8>,
    /// Record every call.
    pub record: Option<bool>,
    /// Free text of the tenant; `Some(None)` removes it.
    pub custom_field: Option<Option<String>>,
}

/// Side of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartyList {
    /// The A-party.
    From,
    /// The B-party.
    To,
}

/// Failure to change an allocation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The tenant does not have this allocation.
    #[error("there is no such allocation")]
    NotFound,
    /// The allocation has expired or was deleted.
    #[error("the allocation is not active")]
    NotActive,
    /// Numbers on both sides: the given list that holds them, and their positions in it.
    #[error("a number must not be on both sides")]
    OnBothSides(PartyList, Vec<usize>),
    /// The number has short shared PINs and serves listed callers only, and the change lists none.
    #[error("the number serves listed callers only: `to` must not be empty")]
    ToRequired,
    /// The number has no free PIN.
    #[error("the number has no free PIN")]
    PinSpaceExhausted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TenantStore {
    /// Changes an active allocation. A limit above the number of wrong PINs unlocks it.
    pub async fn change_allocation(
        &self,
        id: &GreenpinId,
        change: AllocationChange,
        now: Timestamp,
    ) -> Result<Allocation, ChangeError> {
        self.write_allocation(id, move |tx, tenant, id| {
            self::change(tx, tenant, id, &change, now)
        })
        .await
    }

    /// Changes several allocations in one transaction, in their order. If one change fails, the others still apply.
    pub async fn change_allocations(
        &self,
        changes: Vec<(GreenpinId, AllocationChange)>,
        now: Timestamp,
    ) -> Result<Vec<Result<Allocation, ChangeError>>, StoreError> {
        let tenant = self.tenant_id.clone();
        let write = self.writer().write(move |tx| {
            let alone = |(id, change): &(GreenpinId, AllocationChange)| {
                match self::change(tx, &tenant, id, change, now) {
                    // An error of the database undoes all changes.
                    Err(ChangeError::Store(error)) => Err(error),
                    result => Ok(result),
                }
            };
            changes.iter().map(alone).collect()
        });
        write.await
    }
}

/// Applies a change. All checks come before the first write, so an error leaves no change behind.
fn change(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
    change: &AllocationChange,
    now: Timestamp,
) -> Result<Allocation, ChangeError> {
    let before = lock_active(tx, tenant, id, now)?;
    let number = number_of(tx, &before)?;
    let after = changed(&before, change, now);
    check_both_sides(&after, change)?;
    if number.mode == NumberMode::Shared
        && number.pin_length < OPEN_PIN_LENGTH
        && after.to.is_empty()
    {
        return Err(ChangeError::ToRequired);
    }
    let changed_fields = changed_fields(&before, &after, change);
    if changed_fields.is_empty() {
        return Ok(before);
    }
    write(tx, tenant, &number, &before, &after)?;
    write_events(tx, tenant, &before, &after, &changed_fields, now)?;
    Ok(after)
}

/// Reads an active allocation and locks its row until the end of the transaction.
pub(crate) fn lock_active(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
    now: Timestamp,
) -> Result<Allocation, ChangeError> {
    let key = (tenant.as_str(), id.as_str(), now.micros());
    let active = tx.execute(sql::ALLOCATION_BEGIN_CHANGE, key)? > 0;
    let allocation = allocations::find(tx, tenant, id)?.ok_or(ChangeError::NotFound)?;
    if active {
        Ok(allocation)
    } else {
        Err(ChangeError::NotActive)
    }
}

/// Reads the number of an allocation.
pub(crate) fn number_of(tx: &Tx<'_>, allocation: &Allocation) -> Result<NumberRow, StoreError> {
    numbers::find(tx, allocation.virtual_number)?
        .ok_or(StoreError::Unreadable("number of an allocation"))
}

fn changed(before: &Allocation, change: &AllocationChange, now: Timestamp) -> Allocation {
    Allocation {
        from: change.from.clone().unwrap_or_else(|| before.from.clone()),
        to: change.to.clone().unwrap_or_else(|| before.to.clone()),
        expires_at: change
            .duration
            .map_or(before.expires_at, |duration| now.whole_seconds() + duration),
        max_pin_attempts: change.max_pin_attempts.unwrap_or(before.max_pin_attempts),
        record: change.record.unwrap_or(before.record),
        custom_field: change
            .custom_field
            .clone()
            .unwrap_or_else(|| before.custom_field.clone()),
        updated_at: now,
        ..before.clone()
    }
}

/// Rejects numbers on both sides. The error names the given list, and `to` if both were given, as in a create.
fn check_both_sides(after: &Allocation, change: &AllocationChange) -> Result<(), ChangeError> {
    let (party, given, other) = match (&change.from, &change.to) {
        (_, Some(to)) => (PartyList::To, to, &after.from),
        (Some(from), None) => (PartyList::From, from, &after.to),
        (None, None) => return Ok(()),
    };
    let positions: Vec<usize> = given
        .iter()
        .enumerate()
        .filter(|(_, number)| other.contains(number))
        .map(|(position, _)| position)
        .collect();
    if positions.is_empty() {
        Ok(())
    } else {
        Err(ChangeError::OnBothSides(party, positions))
    }
}

/// Returns the names of the changed fields.
fn changed_fields(
    before: &Allocation,
    after: &Allocation,
    change: &AllocationChange,
) -> Vec<&'static str> {
    let fields = [
        ("from", before.from != after.from),
        ("to", before.to != after.to),
        (
            "duration",
            change.duration.is_some() && before.expires_at != after.expires_at,
        ),
        (
            "max_pin_attempts",
            before.max_pin_attempts != after.max_pin_attempts,
        ),
        ("record", before.record != after.record),
        ("custom_field", before.custom_field != after.custom_field),
    ];
    fields
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(name, _)| name)
        .collect()
}

fn write(
    tx: &Tx<'_>,
    tenant: &TenantId,
    number: &NumberRow,
    before: &Allocation,
    after: &Allocation,
) -> Result<(), StoreError> {
    let row = (
        allocations::encrypt(&*tx.tenant_key(tenant)?, after)?,
        i64::from(after.record),
        &after.custom_field,
        i64::from(after.max_pin_attempts),
        after.expires_at.micros(),
        after.updated_at.micros(),
        tenant.as_str(),
        after.greenpin_id.as_str(),
    );
    tx.execute(sql::ALLOCATION_UPDATE, row)?;
    if before.expires_at != after.expires_at {
        extend(tx, tenant, number, after)?;
    }
    if (&before.from, &before.to) != (&after.from, &after.to) {
        let on = (number.number_key.as_str(), number.mode);
        allocations::delete_parties(tx, tenant, on, before)?;
        allocations::insert_parties(tx, tenant, on, after)?;
    }
    Ok(())
}

/// Extends the hold on the number and the PIN to the new expiry.
fn extend(
    tx: &Tx<'_>,
    tenant: &TenantId,
    number: &NumberRow,
    after: &Allocation,
) -> Result<(), StoreError> {
    let (vn, id) = (&number.number_key, after.greenpin_id.as_str());
    let free_at = after.expires_at + settings::cached(tx, tenant)?.cooloff();
    tx.execute(sql::NUMBER_EXTEND_HOLD, (after.expires_at.micros(), vn, id))?;
    let pin = tx.keys().pin_key(vn, &after.pin);
    let row = (after.expires_at.micros(), free_at.micros(), vn, pin, id);
    tx.execute(sql::PIN_EXTEND, row).map(|_| ())
}

fn write_events(
    tx: &Tx<'_>,
    tenant: &TenantId,
    before: &Allocation,
    after: &Allocation,
    changed_fields: &[&str],
    now: Timestamp,
) -> Result<(), StoreError> {
    let allocation = allocations::event_data(after, &settings::cached(tx, tenant)?.zone());
    let updated = Payload::AllocationUpdated(ChangedAllocationData {
        allocation,
        changed: changed_fields,
    });
    write_event(tx, tenant, after, updated, now)?;
    let attempts = attempts_data(after);
    match (before.is_locked(), after.is_locked()) {
        (true, false) => write_event(
            tx,
            tenant,
            after,
            Payload::AllocationUnlocked(attempts),
            now,
        ),
        (false, true) => write_event(tx, tenant, after, Payload::AllocationLocked(attempts), now),
        _ => Ok(()),
    }
}

/// Returns the data of the events for locking and unlocking.
pub(crate) fn attempts_data(allocation: &Allocation) -> PinAttemptsData {
    PinAttemptsData {
        virtual_number: allocation.virtual_number.expose(),
        failed_pin_attempts: allocation.failed_pin_attempts,
        max_pin_attempts: allocation.max_pin_attempts,
    }
}

/// Writes an event of an allocation.
pub(crate) fn write_event(
    tx: &Tx<'_>,
    tenant: &TenantId,
    allocation: &Allocation,
    payload: Payload<'_>,
    occurred_at: Timestamp,
) -> Result<(), StoreError> {
    let zone = settings::cached(tx, tenant)?.zone();
    let subject = Subject::Allocation(&allocation.greenpin_id);
    events::write(
        tx,
        &Draft {
            tenant,
            zone: &zone,
            subject,
            occurred_at,
            payload,
        },
    )
}
