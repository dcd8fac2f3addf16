//! Creation of an allocation: a number, a PIN, the row, the event.

use std::sync::Arc;
use std::time::Duration;

use call::{PhoneNumber, Pin};

use crate::store::Tx;
use crate::store::allocations::number_cache;
use crate::store::allocations::number_cache::NumberAvailability;
use crate::store::allocations::pin_draw;
use crate::store::allocations::pin_draw::PinClaim;
use crate::store::allocations::sql;
use crate::store::events;
use crate::store::events::{Draft, Payload, Subject};
use crate::store::numbers::guess_odds;
use crate::store::numbers::{MAX_PIN_LENGTH, NumberMode};
use crate::store::tenants::settings;
use crate::store::{
    GreenpinId, GuessOdds, StoreError, TenantId, TenantSettings, TenantStore, Timestamp,
};

use super::allocation::*;

/// Allocation to create. Its numbers are valid: no repeats, none on both sides.
#[derive(Debug, Clone)]
pub struct NewAllocation {
    /// Virtual number of the allocation.
    pub virtual_number: PhoneNumber,
    /// Numbers of the A-party, 1 to 10.
    pub from: Vec<PhoneNumber>,
    /// Numbers of the B-party, 0 to 10.
    pub to: Vec<PhoneNumber>,
    /// Duration in whole seconds.
    pub duration: Duration,
    /// Number of wrong PINs that locks the allocation: 1 to 10.
    pub max_pin_attempts: u8,
    /// Record every call.
    pub record: bool,
    /// Free text of the tenant, included in every event.
    pub custom_field: Option<String>,
}

impl NewAllocation {
    /// Default duration, in seconds: one day.
    pub const DEFAULT_DURATION: u32 = 86_400;
    /// Default number of wrong PINs that locks the allocation.
    pub const DEFAULT_PIN_ATTEMPTS: u8 = 3;

    /// Returns an allocation with every optional field at its default. It lists no callers and does not record.
    pub fn new(virtual_number: PhoneNumber, from: Vec<PhoneNumber>) -> Self {
        Self {
            virtual_number,
            from,
            to: Vec::new(),
            duration: Duration::from_secs(Self::DEFAULT_DURATION.into()),
            max_pin_attempts: Self::DEFAULT_PIN_ATTEMPTS,
            record: false,
            custom_field: None,
        }
    }
}

/// Failure to create an allocation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The number is not in the tenant's pool.
    #[error("the number is not in the tenant's pool")]
    NumberNotInPool,
    /// The operator has quarantined the number.
    #[error("the number is quarantined")]
    NumberQuarantined,
    /// The exclusive number has an active allocation.
    #[error("the number has an active allocation")]
    VirtualNumberBusy,
    /// The number has no free PIN or slot.
    #[error("the number has no capacity for a further allocation")]
    PinSpaceExhausted,
    /// The number has short shared PINs and serves listed callers only, and none is listed.
    #[error("the number serves listed callers only: `to` must not be empty")]
    ToRequired,
    /// A further PIN would make a guess more likely than the tenant allows.
    #[error("a guessed PIN would be more likely than the tenant allows")]
    GuessOddsTooHigh(GuessOddsError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Odds of a guessed PIN that exceed the limit of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuessOddsError {
    /// Odds in a year with the new allocation.
    pub odds: GuessOdds,
    /// Limit of the tenant.
    pub limit: GuessOdds,
    /// Shortest length of PINs with which the odds would be within the limit.
    pub pin_length: Option<u8>,
}

impl TenantStore {
    /// Creates an allocation. Of concurrent requests that exclude each other, one succeeds.
    pub async fn create_allocation(
        &self,
        new: NewAllocation,
        now: Timestamp,
    ) -> Result<Allocation, CreateError> {
        let (tenant, claimed) = (self.tenant_id.clone(), self.claimed.clone());
        let write = self.writer().write_speculatively(move |tx| {
            let created = create(tx, &tenant, new.clone(), now)?;
            if let Some(claimed) = &claimed {
                claimed.set_allocation(tx, &tenant, &created.greenpin_id)?;
            }
            Ok(created)
        });
        write.await
    }
}

/// Creation inside a transaction.
struct Creation<'a> {
    tx: &'a Tx<'a>,
    tenant: &'a TenantId,
    settings: Arc<TenantSettings>,
    now: Timestamp,
}

impl<'a> Creation<'a> {
    fn begin(tx: &'a Tx<'a>, tenant: &'a TenantId, now: Timestamp) -> Result<Self, StoreError> {
        Ok(Self {
            tx,
            tenant,
            settings: settings::cached(tx, tenant)?,
            now,
        })
    }

    fn create(&self, new: NewAllocation) -> Result<Allocation, CreateError> {
        let mut number = number_cache::find(self.tx, self.tenant, &new)?;
        let created_at = self.now.whole_seconds();
        let expires_at = created_at + new.duration;
        let greenpin_id = GreenpinId::new(self.now);
        let slots = match number.mode {
            NumberMode::Exclusive => {
                number.hold(self.tx, &greenpin_id, expires_at, self.now)?;
                None
            }
            NumberMode::Shared => {
                let slots = number.find_slot(self.tx, &new, self.now)?;
                self.check_guess_odds(&number, slots.active)?;
                Some(slots)
            }
        };
        let claim = PinClaim {
            number_key: &number.number_key,
            greenpin_id: &greenpin_id,
            pin_length: number.pin_length,
            active_until: expires_at,
            free_at: expires_at + self.settings.cooloff(),
            counted: number.mode == NumberMode::Shared,
        };
        let pin = self
            .claim_pin(&claim)?
            .ok_or(CreateError::PinSpaceExhausted)?;
        let allocation = Allocation {
            greenpin_id,
            virtual_number: new.virtual_number,
            pin,
            from: new.from,
            to: new.to,
            record: new.record,
            custom_field: new.custom_field,
            max_pin_attempts: new.max_pin_attempts,
            failed_pin_attempts: 0,
            call_count: 0,
            attempt_count: 0,
            created_at,
            updated_at: created_at,
            expires_at,
            deleted_at: None,
        };
        self.insert(&allocation, &number)?;
        if let Some(slots) = slots {
            slots.write_event_if_low(
                self.tx,
                self.tenant,
                &allocation.virtual_number.expose(),
                self.now,
            )?;
            self.tx
                .cache()
                .numbers
                .record_slot(number, &slots, expires_at);
        }
        Ok(allocation)
    }

    /// Refuses an allocation with which strangers guess a PIN of the number too easily. They can open any PIN of a
    /// number with long PINs, unless the tenant admits listed callers only.
    fn check_guess_odds(
        &self,
        number: &NumberAvailability,
        active: i64,
    ) -> Result<(), CreateError> {
        let policy = self.settings.caller_policy;
        let is_open = guess_odds::opens_for_strangers(number.mode, number.pin_length, policy);
        let Some(limit) = self.settings.max_guess_odds.filter(|_| is_open) else {
            return Ok(());
        };
        let active = u32::try_from(active).unwrap_or(u32::MAX);
        let odds = |length| guess_odds::yearly_odds(active, length);
        if odds(number.pin_length) <= limit.value() {
            return Ok(());
        }
        Err(CreateError::GuessOddsTooHigh(GuessOddsError {
            odds: GuessOdds::new(odds(number.pin_length)).unwrap_or(limit),
            limit,
            pin_length: (number.pin_length..=MAX_PIN_LENGTH)
                .find(|length| odds(*length) <= limit.value()),
        }))
    }

    /// Claims a PIN: from the reserve on a remote database, where each lookup costs a round trip.
    fn claim_pin(&self, claim: &PinClaim<'_>) -> Result<Option<Pin>, StoreError> {
        if self.tx.is_remote() {
            let reserve = self
                .tx
                .cache()
                .numbers
                .with_reserve(claim.number_key, |reserve| {
                    reserve.claim(self.tx, claim, self.now)
                });
            if let Some(pin) = reserve.transpose()?.flatten() {
                return Ok(Some(pin));
            }
        }
        pin_draw::claim(self.tx, claim, self.now)
    }

    fn insert(
        &self,
        allocation: &Allocation,
        number: &NumberAvailability,
    ) -> Result<(), StoreError> {
        let key = self.tx.tenant_key(self.tenant)?;
        let row = (
            self.tenant.as_str(),
            allocation.greenpin_id.as_str(),
            &number.number_key,
            encrypt(&key, allocation)?,
            i64::from(allocation.record),
            &allocation.custom_field,
            i64::from(allocation.max_pin_attempts),
            allocation.created_at.micros(),
            allocation.updated_at.micros(),
            allocation.expires_at.micros(),
            events::FIRST_SEQUENCE,
        );
        self.tx.insert_batched(sql::ALLOCATION_INSERT, row)?;
        insert_parties(
            self.tx,
            self.tenant,
            (&number.number_key, number.mode),
            allocation,
        )?;
        let zone = self.settings.zone();
        let event = Draft {
            tenant: self.tenant,
            zone: &zone,
            subject: Subject::NewAllocation {
                greenpin_id: &allocation.greenpin_id,
                custom_field: allocation.custom_field.as_deref(),
            },
            occurred_at: self.now,
            payload: Payload::AllocationCreated(event_data(allocation, &zone)),
        };
        events::write(self.tx, &event)
    }
}

/// Creates an allocation inside a transaction.
pub(crate) fn create(
    tx: &Tx<'_>,
    tenant: &TenantId,
    new: NewAllocation,
    now: Timestamp,
) -> Result<Allocation, CreateError> {
    Creation::begin(tx, tenant, now)?.create(new)
}
