//! Cache of numbers for the creation of allocations.
//!
//! Consecutive creates on a shared number share its row. The first create reads it. The count of active allocations is
//! written at the end of each transaction, or before a job that bypasses the cache.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::store::Tx;
use crate::store::allocations::pin_draw::PinReserve;
use crate::store::allocations::sql;
use crate::store::allocations::sql::AvailabilityRow;
use crate::store::numbers;
use crate::store::numbers::OPEN_PIN_LENGTH;
use crate::store::numbers::capacity::Slots;
use crate::store::{
    CreateError, GreenpinId, NewAllocation, NumberMode, StoreError, TenantId, Timestamp,
};

/// Number with its remaining capacity.
#[derive(Clone)]
pub(crate) struct NumberAvailability {
    pub(crate) number_key: String,
    pub(crate) mode: NumberMode,
    pub(crate) pin_length: u8,
    tenant: TenantId,
    quarantined: bool,
    /// Number of counted allocations on a shared number, including recently ended ones.
    active: i64,
    /// Maximum number of active allocations.
    max_active: i64,
    /// End of the counted allocation that ends first, in microseconds; `i64::MAX` if none is counted.
    first_end: i64,
    /// End of the hold on an exclusive number, in microseconds.
    held_until: i64,
}

/// Maximum number of cached numbers. Beyond it the cache is cleared.
const MAX_NUMBERS: usize = 1000;

/// Cached rows of shared numbers, valid while no other job writes them.
#[derive(Default)]
pub(crate) struct NumberCache(RefCell<HashMap<String, CachedNumber>>);

struct CachedNumber {
    availability: NumberAvailability,
    /// The count was not written yet.
    is_changed: bool,
    /// Free PINs on this number.
    reserve: PinReserve,
}

impl NumberCache {
    fn get(&self, number_key: &str) -> Option<NumberAvailability> {
        self.0
            .borrow()
            .get(number_key)
            .map(|cached| cached.availability.clone())
    }

    /// Records the slot of a new allocation until `expires_at`.
    pub(crate) fn record_slot(
        &self,
        mut availability: NumberAvailability,
        slots: &Slots,
        expires_at: Timestamp,
    ) {
        availability.active = slots.active;
        availability.first_end = availability.first_end.min(expires_at.micros());
        let mut cached = self.0.borrow_mut();
        let reserve = cached
            .remove(&availability.number_key)
            .map(|cached| cached.reserve)
            .unwrap_or_default();
        cached.insert(
            availability.number_key.clone(),
            CachedNumber {
                availability,
                is_changed: true,
                reserve,
            },
        );
    }

    /// Runs `work` on the reserved PINs of a cached number.
    pub(crate) fn with_reserve<T>(
        &self,
        number_key: &str,
        work: impl FnOnce(&mut PinReserve) -> T,
    ) -> Option<T> {
        self.0
            .borrow_mut()
            .get_mut(number_key)
            .map(|cached| work(&mut cached.reserve))
    }

    /// Writes the changed counts.
    pub(crate) fn flush(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let mut cached = self.0.borrow_mut();
        for (number_key, cached) in cached.iter_mut().filter(|(_, cached)| cached.is_changed) {
            tx.execute_deferred(
                sql::NUMBER_SET_ACTIVE,
                (cached.availability.active, number_key),
            )?;
            cached.is_changed = false;
        }
        if cached.len() > MAX_NUMBERS {
            cached.clear();
        }
        Ok(())
    }

    /// Writes the changed counts and evicts all numbers, before a job that bypasses the cache.
    pub(crate) fn flush_and_evict(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.flush(tx)?;
        self.clear();
        Ok(())
    }

    /// Evicts all numbers, after another node has written or a transaction was rolled back.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Reads a number of the tenant's pool, from the cache if possible.
pub(crate) fn find(
    tx: &Tx<'_>,
    tenant: &TenantId,
    new: &NewAllocation,
) -> Result<NumberAvailability, CreateError> {
    let number_key = tx.keys().number_key(new.virtual_number);
    let availability = match tx.cache().numbers.get(&number_key) {
        Some(cached) => cached,
        None => read(tx, number_key)?.ok_or(CreateError::NumberNotInPool)?,
    };
    if availability.tenant != *tenant {
        return Err(CreateError::NumberNotInPool);
    }
    if availability.quarantined {
        return Err(CreateError::NumberQuarantined);
    }
    Ok(availability)
}

fn read(tx: &Tx<'_>, number_key: String) -> Result<Option<NumberAvailability>, StoreError> {
    let row = tx.row(
        sql::NUMBER_AVAILABILITY,
        [&number_key],
        AvailabilityRow::read,
    )?;
    Ok(row.map(|row| NumberAvailability {
        number_key,
        mode: row.mode,
        pin_length: row.pin_length,
        tenant: row.tenant_id,
        quarantined: row.quarantined_at.is_some(),
        active: row.active,
        max_active: row.max_active,
        first_end: row.first_end.unwrap_or(i64::MAX),
        held_until: row.held_until,
    }))
}

impl NumberAvailability {
    /// Holds an exclusive number. The row was read under the writers' lease, so it is still current.
    pub(crate) fn hold(
        &self,
        tx: &Tx<'_>,
        id: &GreenpinId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), CreateError> {
        if self.held_until > now.micros() {
            return Err(CreateError::VirtualNumberBusy);
        }
        tx.execute_deferred(
            sql::NUMBER_HOLD,
            (id.as_str(), until.micros(), &self.number_key),
        )?;
        Ok(())
    }

    /// Releases the slots of ended allocations and returns a free one. [`NumberCache::record_slot`] takes it.
    pub(crate) fn find_slot(
        &mut self,
        tx: &Tx<'_>,
        new: &NewAllocation,
        now: Timestamp,
    ) -> Result<Slots, CreateError> {
        if self.pin_length < OPEN_PIN_LENGTH && new.to.is_empty() {
            return Err(CreateError::ToRequired);
        }
        if self.first_end <= now.micros() {
            let ended = numbers::release_ended(tx, &self.number_key, now)?;
            self.active -= i64::try_from(ended).unwrap_or(0);
            let first_end =
                read(tx, self.number_key.clone())?.map(|availability| availability.first_end);
            self.first_end = first_end.unwrap_or(i64::MAX);
        }
        if self.active >= self.max_active {
            return Err(CreateError::PinSpaceExhausted);
        }
        Ok(Slots {
            active: self.active + 1,
            max_active: self.max_active,
        })
    }
}
