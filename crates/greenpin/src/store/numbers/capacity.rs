//! How full a tenant's numbers are, and how easily a PIN on them is guessed.

use serde_json::json;

use crate::store::Tx;
use crate::store::events;
use crate::store::events::{Draft, Subject};
use crate::store::numbers::sql;
use crate::store::numbers::sql::PoolRow;
use crate::store::numbers::{NumberMode, PoolNumber};
use crate::store::tenants::settings;
use crate::store::{EventType, StoreError, TenantId, TenantStore, Timestamp};

/// A number that has as much of its limit in use has little capacity left: four fifths.
const LOW_CAPACITY: (i64, i64) = (4, 5);

/// How full a number is.
#[derive(Debug, Clone)]
pub struct NumberCapacity {
    /// The number.
    pub number: PoolNumber,
    /// The highest limit of wrong PINs among its active allocations; 0: none is active.
    pub attempts: u8,
}

impl NumberCapacity {
    /// Active allocations that the number takes at once.
    pub fn max_allocations(&self) -> u32 {
        match self.number.mode {
            NumberMode::Exclusive => 1,
            NumberMode::Shared => self.number.max_active,
        }
    }

    /// How likely it is that somebody who may open each of the active allocations guesses one of their PINs before he
    /// is locked out: 0 to 1.
    pub fn guess_probability(&self) -> f64 {
        let space = 10_f64.powi(self.number.pin_length.into());
        (f64::from(self.number.active) * f64::from(self.attempts) / space).min(1.0)
    }
}

impl TenantStore {
    /// The numbers of the tenant's pool with their capacity.
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

/// The places of a shared number after one more was taken.
pub(crate) struct Slots {
    pub(crate) active: i64,
    pub(crate) max_active: i64,
}

impl Slots {
    /// Whether the last place taken was the first over the mark.
    fn became_low(&self) -> bool {
        let low = |active: i64| {
            active.saturating_mul(LOW_CAPACITY.1) >= self.max_active.saturating_mul(LOW_CAPACITY.0)
        };
        low(self.active) && !low(self.active - 1)
    }

    /// Tells the tenant if little capacity is left since this place was taken.
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
        let data = json!({
            "virtual_number": virtual_number, "active_allocations": self.active, "max_active": self.max_active,
        });
        let event_type = EventType::NumberCapacityLow;
        events::write(
            tx,
            &Draft {
                tenant,
                zone: &zone,
                subject: Subject::Tenant,
                event_type,
                occurred_at,
                data,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_low_once_on_its_way_up() {
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
