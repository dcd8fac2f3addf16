//! Remaining capacity of numbers, and the probability of a guessed PIN.

use crate::store::Tx;
use crate::store::events;
use crate::store::events::payload::CapacityData;
use crate::store::events::{Draft, Payload, Subject};
use crate::store::numbers::guess_odds;
use crate::store::numbers::sql;
use crate::store::numbers::sql::PoolRow;
use crate::store::numbers::{NumberMode, PoolNumber};
use crate::store::tenants::settings;
use crate::store::{CallerPolicy, StoreError, TenantId, TenantStore, Timestamp};

/// Share of the limit in use from which the capacity is low: four fifths.
const LOW_CAPACITY: (i64, i64) = (4, 5);

/// Capacity of a number.
#[derive(Debug, Clone)]
pub struct NumberCapacity {
    /// The number.
    pub number: PoolNumber,
    /// Maximum limit of wrong PINs among its active allocations; 0 if none is active.
    pub attempts: u8,
}

impl NumberCapacity {
    /// Returns the maximum number of active allocations.
    pub fn max_allocations(&self) -> u32 {
        match self.number.mode {
            NumberMode::Exclusive => 1,
            NumberMode::Shared => self.number.max_active,
        }
    }

    /// Returns the probability, 0 to 1, of a correct guess before the lockout, for an attacker allowed to open every
    /// active allocation.
    pub fn guess_probability(&self) -> f64 {
        let space = 10_f64.powi(self.number.pin_length.into());
        (f64::from(self.number.active) * f64::from(self.attempts) / space).min(1.0)
    }

    /// Returns the probability, 0 to 1, that unlisted callers guess a PIN within a year of constant attack.
    pub fn guess_odds_per_year(&self, policy: CallerPolicy) -> f64 {
        match guess_odds::opens_for_strangers(self.number.mode, self.number.pin_length, policy) {
            true => guess_odds::yearly_odds(self.number.active, self.number.pin_length),
            false => 0.0,
        }
    }
}

impl TenantStore {
    /// Returns the numbers of the tenant's pool with their capacity.
    pub async fn capacities(&self, now: Timestamp) -> Result<Vec<NumberCapacity>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            let key = (now.micros(), tenant.as_str());
            let rows = snapshot.rows(sql::NUMBER_CAPACITIES, key, |row| {
                Ok((PoolRow::read(row)?, row.get::<u8>("max_pin_attempts")?))
            })?;
            let capacity = |(row, attempts): (PoolRow, u8)| {
                Ok(NumberCapacity {
                    number: row.number(snapshot)?,
                    attempts,
                })
            };
            rows.into_iter()
                .map(capacity)
                .collect::<Result<Vec<_>, StoreError>>()
        });
        let mut capacities = read.await?;
        capacities.sort_unstable_by_key(|capacity| capacity.number.virtual_number.expose());
        Ok(capacities)
    }
}

/// Slots of a shared number after the last one was taken.
pub(crate) struct Slots {
    pub(crate) active: i64,
    pub(crate) max_active: i64,
}

impl Slots {
    /// Returns whether the last slot crossed the threshold.
    fn became_low(&self) -> bool {
        let low = |active: i64| {
            active.saturating_mul(LOW_CAPACITY.1) >= self.max_active.saturating_mul(LOW_CAPACITY.0)
        };
        low(self.active) && !low(self.active - 1)
    }

    /// Writes `number.capacity_low` if the last slot crossed the threshold.
    pub(crate) fn write_event_if_low(
        &self,
        tx: &Tx<'_>,
        tenant: &TenantId,
        virtual_number: &str,
        occurred_at: Timestamp,
    ) -> Result<(), StoreError> {
        if !self.became_low() {
            return Ok(());
        }
        let zone = settings::cached(tx, tenant)?.zone();
        let payload = Payload::NumberCapacityLow(CapacityData {
            virtual_number,
            active_allocations: self.active,
            max_active: self.max_active,
        });
        events::write(
            tx,
            &Draft {
                tenant,
                zone: &zone,
                subject: Subject::Tenant,
                occurred_at,
                payload,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_capacity_is_reached_once_while_slots_fill() {
        let low = |max_active: i64| {
            (1..=max_active)
                .filter(|active| {
                    Slots {
                        active: *active,
                        max_active,
                    }
                    .became_low()
                })
                .collect()
        };
        let expected: [(i64, Vec<i64>); 5] = [
            (1, vec![1]),
            (2, vec![2]),
            (5, vec![4]),
            (10, vec![8]),
            (200, vec![160]),
        ];
        for (max_active, at) in expected {
            let found: Vec<i64> = low(max_active);
            assert_eq!(found, at);
        }
    }
}
