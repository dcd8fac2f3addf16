//! A try at a PIN: counted, then compared, in one transaction whose result nobody sees before it is durable.

use std::sync::Arc;

use aws_lc_rs::constant_time;
use call::{PhoneNumber, Pin};
use serde_json::json;

use crate::store::Tx;
use crate::store::allocations;
use crate::store::allocations::Allocation;
use crate::store::allocations::change;
use crate::store::allocations::listed_callers::listing;
use crate::store::calls;
use crate::store::calls::record;
use crate::store::calls::record::CallRecord;
use crate::store::core::reader::Snapshot;
use crate::store::events;
use crate::store::numbers;
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::pins::decide;
use crate::store::pins::decide::{Charged, Refusal, Scene};
use crate::store::pins::sql;
use crate::store::pins::unlisted_callers;
use crate::store::pins::unlisted_callers::Admitted;
use crate::store::tenants::settings;
use crate::store::{
    CallSid, Connection, EventType, GreenpinId, Store, StoreError, TenantSettings, Timestamp,
};

/// What a block of digits is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinVerdict {
    /// Wrong, locked, expired, deleted or foreign: the caller must not learn which.
    Refused,
    /// Right.
    Accepted(Connection),
}

impl Store {
    /// One try of a call. It counts durably before it is compared; a right PIN gives it back.
    pub async fn try_pin(
        &self,
        call_sid: &CallSid,
        digits: &Pin,
        now: Timestamp,
    ) -> Result<PinVerdict, StoreError> {
        let (call_sid, digits) = (call_sid.clone(), digits.clone());
        self.writer
            .write(move |tx| try_pin(tx, &call_sid, &digits, now))
            .await
    }
}

fn try_pin(
    tx: &Tx<'_>,
    call_sid: &CallSid,
    digits: &Pin,
    now: Timestamp,
) -> Result<PinVerdict, StoreError> {
    if tx.execute(sql::CALL_COUNT_ATTEMPT, [call_sid.as_str()])? == 0 {
        return Ok(PinVerdict::Refused);
    }
    let Some(call) = record::find(tx, call_sid)? else {
        return Ok(PinVerdict::Refused);
    };
    let Some(number) = numbers::find(tx, call.virtual_number)? else {
        return Ok(PinVerdict::Refused);
    };
    let settings = settings::of(tx, &call.tenant_id)?;
    Try {
        tx,
        call,
        number,
        settings,
        now,
    }
    .run(digits)
}

struct Try<'a> {
    tx: &'a Tx<'a>,
    call: CallRecord,
    number: NumberRow,
    settings: Arc<TenantSettings>,
    now: Timestamp,
}

/// What a try was counted against.
enum Charge {
    Nobody,
    /// Whom it counts against, and those of them that took it.
    Allocations {
        against: Vec<GreenpinId>,
        charged: Vec<GreenpinId>,
    },
    Stranger(Option<Admitted>),
}

impl Charge {
    fn scene(&self) -> Charged<'_> {
        match self {
            Self::Nobody => Charged::Nobody,
            Self::Allocations { charged, .. } => Charged::Allocations(charged),
            Self::Stranger(admitted) => Charged::Stranger(admitted.is_some()),
        }
    }
}

impl Try<'_> {
    fn run(&self, digits: &Pin) -> Result<PinVerdict, StoreError> {
        let charge = self.charge()?;
        let owner = owner(self.tx, &self.number, digits, self.now)?;
        let scene = Scene {
            number: &self.number,
            settings: &self.settings,
            caller: self.call.caller,
            charged: charge.scene(),
            owner: owner.as_ref(),
        };
        match decide::judge(&scene) {
            Ok(allocation) => {
                self.give_back(charge)?;
                self.accept(allocation)
            }
            Err(refusal) => {
                let told = self.keep(charge)?;
                self.refuse(refusal, told.as_ref())
            }
        }
    }

    /// Counts the try before anything is compared.
    fn charge(&self) -> Result<Charge, StoreError> {
        Ok(
            match counts(self.tx, &self.number, self.call.caller, self.now)? {
                Counts::Nobody => Charge::Nobody,
                Counts::Stranger => Charge::Stranger(unlisted_callers::admit(
                    self.tx,
                    &self.number,
                    self.call.caller,
                    self.now,
                )?),
                Counts::Allocations(against) => {
                    let mut charged = Vec::new();
                    for id in &against {
                        let key = (self.call.tenant_id.as_str(), id.as_str(), self.now.micros());
                        if self
                            .tx
                            .row(sql::ALLOCATION_CHARGE, key, |_| Ok(()))?
                            .is_some()
                        {
                            charged.push(id.clone());
                        }
                    }
                    Charge::Allocations { against, charged }
                }
            },
        )
    }

    /// The PIN was right: the try is given back.
    fn give_back(&self, charge: Charge) -> Result<(), StoreError> {
        match charge {
            Charge::Nobody | Charge::Stranger(None) => Ok(()),
            Charge::Stranger(Some(admitted)) => admitted.refund(self.tx, &self.number),
            Charge::Allocations { charged, .. } => charged.iter().try_for_each(|id| {
                let key = (self.call.tenant_id.as_str(), id.as_str());
                self.tx.execute(sql::ALLOCATION_REFUND, key).map(|_| ())
            }),
        }
    }

    /// The try stays counted. The tenant hears of each allocation that it locked, and of strangers who have used up
    /// the number's budget. Returns the allocation that the refusal is told of, where it is a single one.
    fn keep(&self, charge: Charge) -> Result<Option<GreenpinId>, StoreError> {
        match charge {
            Charge::Nobody | Charge::Stranger(None) => Ok(None),
            Charge::Stranger(Some(admitted)) => {
                if admitted.keep(self.tx, &self.number, self.now)? {
                    let data = json!({ "virtual_number": self.number.virtual_number.expose() });
                    self.write_event(EventType::NumberPinAttack, None, data)?;
                }
                Ok(None)
            }
            Charge::Allocations { against, charged } => {
                charged.iter().try_for_each(|id| self.tell_if_locked(id))?;
                Ok(sole(if charged.is_empty() {
                    &against
                } else {
                    &charged
                }))
            }
        }
    }

    fn tell_if_locked(&self, id: &GreenpinId) -> Result<(), StoreError> {
        let allocation = allocations::find(self.tx, &self.call.tenant_id, id)?;
        match allocation.filter(Allocation::is_locked) {
            Some(locked) => self.write_event(
                EventType::AllocationLocked,
                Some(id),
                change::attempts_data(&locked),
            ),
            None => Ok(()),
        }
    }

    fn refuse(
        &self,
        refusal: Refusal,
        told: Option<&GreenpinId>,
    ) -> Result<PinVerdict, StoreError> {
        let mut data = record::event_data(&self.call, &self.settings.zone(), self.now, None);
        data.insert("reason".into(), refusal.as_str().into());
        self.write_event(EventType::CallPinFailed, told, data.into())?;
        Ok(PinVerdict::Refused)
    }

    fn accept(&self, allocation: &Allocation) -> Result<PinVerdict, StoreError> {
        let (tenant, id) = (&self.call.tenant_id, &allocation.greenpin_id);
        if self.call.greenpin_id.as_ref() != Some(id) {
            self.tx
                .execute(sql::CALL_ACCEPT, (id.as_str(), self.call.call_sid.as_str()))?;
            calls::count_attempt(self.tx, tenant, id)?;
        }
        let data = record::event_data(&self.call, &self.settings.zone(), self.now, None);
        self.write_event(EventType::CallPinAccepted, Some(id), data.into())?;
        Ok(PinVerdict::Accepted(decide::connection(
            allocation,
            self.call.caller,
        )))
    }

    fn write_event(
        &self,
        event_type: EventType,
        greenpin_id: Option<&GreenpinId>,
        data: serde_json::Value,
    ) -> Result<(), StoreError> {
        let zone = self.settings.zone();
        let (tenant, occurred_at) = (&self.call.tenant_id, self.now);
        let draft = events::Draft {
            tenant,
            zone: &zone,
            subject: greenpin_id.into(),
            event_type,
            occurred_at,
            data,
        };
        events::write(self.tx, &draft)
    }
}

/// Whom a try counts against.
pub(crate) enum Counts {
    /// No allocation is active on the exclusive number.
    Nobody,
    /// The allocation of an exclusive number, or those of a shared one that list the caller.
    Allocations(Vec<GreenpinId>),
    /// A caller that no allocation of the shared number lists.
    Stranger,
}

/// On an exclusive number each try counts against the allocation that holds it; on a shared one against each that
/// lists the caller, or against the caller.
pub(crate) fn counts(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<Counts, StoreError> {
    if number.mode == NumberMode::Exclusive {
        let holder = number.held_by(now).cloned();
        return Ok(holder.map_or(Counts::Nobody, |holder| Counts::Allocations(vec![holder])));
    }
    let listing = match caller {
        Some(caller) => listing(snapshot, number, caller, now)?,
        None => Vec::new(),
    };
    let ids: Vec<_> = listing
        .into_iter()
        .map(|allocation| allocation.greenpin_id)
        .collect();
    Ok(if ids.is_empty() {
        Counts::Stranger
    } else {
        Counts::Allocations(ids)
    })
}

/// The active allocation of a number whose PIN the digits are.
pub(crate) fn owner(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    digits: &Pin,
    now: Timestamp,
) -> Result<Option<Allocation>, StoreError> {
    let owner = match number.mode {
        NumberMode::Exclusive => number.held_by(now).cloned(),
        NumberMode::Shared => {
            let pin = snapshot.keys().pin(&number.number_key, digits);
            let key = (&number.number_key, pin, now.micros());
            snapshot.row(sql::PIN_OWNER, key, |row| {
                row.get::<GreenpinId>("greenpin_id")
            })?
        }
    };
    let Some(owner) = owner else { return Ok(None) };
    let allocation = allocations::find(snapshot, &number.tenant_id, &owner)?;
    let allocation = allocation.ok_or(StoreError::Unreadable("allocation of a number"))?;
    let (pin, digits) = (
        allocation.pin.expose().as_bytes(),
        digits.expose().as_bytes(),
    );
    let right = constant_time::verify_slices_are_equal(pin, digits).is_ok();
    Ok(right.then_some(allocation))
}

/// The one of a list that has no other.
pub(crate) fn sole(ids: &[GreenpinId]) -> Option<GreenpinId> {
    if let [only] = ids {
        Some(only.clone())
    } else {
        None
    }
}
