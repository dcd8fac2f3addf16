//! PIN attempt: counted, then compared, in one transaction. The result is available after its commit.

use std::sync::Arc;

use aws_lc_rs::constant_time;
use call::{PhoneNumber, Pin, Verdict};

use crate::store::Tx;
use crate::store::allocations;
use crate::store::allocations::Allocation;
use crate::store::allocations::change;
use crate::store::allocations::listed_callers::allocations_listing;
use crate::store::calls;
use crate::store::calls::record;
use crate::store::calls::record::CallRecord;
use crate::store::core::reader::Snapshot;
use crate::store::events;
use crate::store::events::Payload;
use crate::store::events::payload::{CallData, RefusedCallData, VirtualNumberData};
use crate::store::numbers;
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::pins::decide;
use crate::store::pins::decide::{ChargedTarget, PinCheck, PinRefusal};
use crate::store::pins::sql;
use crate::store::pins::unlisted_callers;
use crate::store::pins::unlisted_callers::{ChargedCaller, Origin};
use crate::store::tenants::settings;
use crate::store::{CallSid, GreenpinId, Store, StoreError, TenantSettings, Timestamp};

impl Store {
    /// Makes a PIN attempt in a call. It is counted before the comparison; a correct PIN refunds it.
    pub async fn attempt_pin(
        &self,
        call_sid: &CallSid,
        digits: &Pin,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let (call_sid, digits) = (call_sid.clone(), digits.clone());
        self.writer
            .write(move |tx| attempt_pin(tx, &call_sid, &digits, now))
            .await
    }
}

fn attempt_pin(
    tx: &Tx<'_>,
    call_sid: &CallSid,
    digits: &Pin,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    if tx.execute(sql::CALL_COUNT_ATTEMPT, [call_sid.as_str()])? == 0 {
        return Ok(Verdict::Refused);
    }
    let Some(call) = record::find(tx, call_sid)? else {
        return Ok(Verdict::Refused);
    };
    let Some(number) = numbers::find(tx, call.virtual_number)? else {
        return Ok(Verdict::Refused);
    };
    let settings = settings::cached(tx, &call.tenant_id)?;
    PinAttempt {
        tx,
        call,
        number,
        settings,
        now,
    }
    .run(digits)
}

struct PinAttempt<'a> {
    tx: &'a Tx<'a>,
    call: CallRecord,
    number: NumberRow,
    settings: Arc<TenantSettings>,
    now: Timestamp,
}

/// Charge for an attempt.
enum AttemptCharge {
    NoAllocation,
    /// Allocations that are targets, and those of them that were charged.
    Allocations {
        against: Vec<GreenpinId>,
        charged: Vec<GreenpinId>,
    },
    UnlistedCaller(Option<ChargedCaller>),
}

impl AttemptCharge {
    fn target(&self) -> ChargedTarget<'_> {
        match self {
            Self::NoAllocation => ChargedTarget::NoAllocation,
            Self::Allocations { charged, .. } => ChargedTarget::Allocations(charged),
            Self::UnlistedCaller(charged) => ChargedTarget::UnlistedCaller(charged.is_some()),
        }
    }
}

impl PinAttempt<'_> {
    fn run(&self, digits: &Pin) -> Result<Verdict, StoreError> {
        let charge = self.charge()?;
        let owner = owner(self.tx, &self.number, digits, self.now)?;
        let check = PinCheck {
            number: &self.number,
            settings: &self.settings,
            caller: self.call.caller,
            charged: charge.target(),
            owner: owner.as_ref(),
        };
        match decide::decide(&check) {
            Ok(allocation) => {
                self.refund(charge)?;
                self.accept(allocation)
            }
            Err(refusal) => {
                let allocation = self.confirm(charge)?;
                self.refuse(refusal, allocation.as_ref())
            }
        }
    }

    /// Charges the attempt before any comparison.
    fn charge(&self) -> Result<AttemptCharge, StoreError> {
        Ok(
            match target(self.tx, &self.number, self.call.caller, self.now)? {
                AttemptTarget::NoAllocation => AttemptCharge::NoAllocation,
                AttemptTarget::UnlistedCaller => {
                    let origin = Origin {
                        caller: self.call.caller,
                        trunk: Some(&self.call.trunk),
                    };
                    AttemptCharge::UnlistedCaller(unlisted_callers::admit(
                        self.tx,
                        &self.number,
                        &self.settings,
                        origin,
                        self.now,
                    )?)
                }
                AttemptTarget::Allocations(against) => {
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
                    AttemptCharge::Allocations { against, charged }
                }
            },
        )
    }

    /// Refunds the attempt after a correct PIN.
    fn refund(&self, charge: AttemptCharge) -> Result<(), StoreError> {
        match charge {
            AttemptCharge::NoAllocation | AttemptCharge::UnlistedCaller(None) => Ok(()),
            AttemptCharge::UnlistedCaller(Some(charged)) => {
                charged.refund(self.tx, &self.number, self.now)
            }
            AttemptCharge::Allocations { charged, .. } => charged.iter().try_for_each(|id| {
                let key = (self.call.tenant_id.as_str(), id.as_str());
                self.tx.execute(sql::ALLOCATION_REFUND, key).map(|_| ())
            }),
        }
    }

    /// Confirms the charge after a wrong PIN. Writes an event for each allocation that is now locked, and for an
    /// exhausted budget of the number or of the trunk. Returns the allocation for the refusal event, if it is unambiguous.
    fn confirm(&self, charge: AttemptCharge) -> Result<Option<GreenpinId>, StoreError> {
        match charge {
            AttemptCharge::NoAllocation | AttemptCharge::UnlistedCaller(None) => Ok(None),
            AttemptCharge::UnlistedCaller(Some(charged)) => {
                if charged.confirm(self.tx, &self.number, self.now)? {
                    let virtual_number = self.number.virtual_number.expose();
                    let attack = Payload::NumberPinAttack(VirtualNumberData { virtual_number });
                    self.write_event(None, attack)?;
                }
                Ok(None)
            }
            AttemptCharge::Allocations { against, charged } => {
                charged
                    .iter()
                    .try_for_each(|id| self.write_event_if_locked(id))?;
                Ok(sole(if charged.is_empty() {
                    &against
                } else {
                    &charged
                }))
            }
        }
    }

    fn write_event_if_locked(&self, id: &GreenpinId) -> Result<(), StoreError> {
        let allocation = allocations::find(self.tx, &self.call.tenant_id, id)?;
        match allocation.filter(Allocation::is_locked) {
            Some(locked) => self.write_event(
                Some(id),
                Payload::AllocationLocked(change::attempts_data(&locked)),
            ),
            None => Ok(()),
        }
    }

    fn refuse(
        &self,
        refusal: PinRefusal,
        allocation: Option<&GreenpinId>,
    ) -> Result<Verdict, StoreError> {
        let refused = RefusedCallData {
            call: self.call_data(),
            reason: refusal.as_str(),
        };
        self.write_event(allocation, Payload::CallPinFailed(refused))?;
        Ok(Verdict::Refused)
    }

    fn accept(&self, allocation: &Allocation) -> Result<Verdict, StoreError> {
        let (tenant, id) = (&self.call.tenant_id, &allocation.greenpin_id);
        if self.call.greenpin_id.as_ref() != Some(id) {
            self.tx
                .execute(sql::CALL_ACCEPT, (id.as_str(), self.call.call_sid.as_str()))?;
            calls::count_attempt(self.tx, tenant, id)?;
        }
        self.write_event(Some(id), Payload::CallPinAccepted(self.call_data()))?;
        Ok(Verdict::Accepted(decide::connection(
            allocation,
            self.call.caller,
        )))
    }

    fn call_data(&self) -> CallData {
        record::event_data(&self.call, &self.settings.zone(), self.now, None)
    }

    fn write_event(
        &self,
        greenpin_id: Option<&GreenpinId>,
        payload: Payload<'_>,
    ) -> Result<(), StoreError> {
        let zone = self.settings.zone();
        let (tenant, occurred_at) = (&self.call.tenant_id, self.now);
        let draft = events::Draft {
            tenant,
            zone: &zone,
            subject: greenpin_id.into(),
            occurred_at,
            payload,
        };
        events::write(self.tx, &draft)
    }
}

/// Target of the charge for an attempt.
pub(crate) enum AttemptTarget {
    /// No allocation is active on the exclusive number.
    NoAllocation,
    /// The allocation of an exclusive number, or all allocations of a shared one that list the caller.
    Allocations(Vec<GreenpinId>),
    /// The caller, listed by no allocation of the shared number.
    UnlistedCaller,
}

/// Returns the target of an attempt: on an exclusive number the allocation that holds it, on a shared one each
/// allocation that lists the caller, or else the caller.
pub(crate) fn target(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<AttemptTarget, StoreError> {
    if number.mode == NumberMode::Exclusive {
        let holder = number.held_by(now).cloned();
        return Ok(holder.map_or(AttemptTarget::NoAllocation, |holder| {
            AttemptTarget::Allocations(vec![holder])
        }));
    }
    let listing = match caller {
        Some(caller) => allocations_listing(snapshot, number, caller, now)?,
        None => Vec::new(),
    };
    let ids: Vec<_> = listing
        .into_iter()
        .map(|allocation| allocation.greenpin_id)
        .collect();
    Ok(if ids.is_empty() {
        AttemptTarget::UnlistedCaller
    } else {
        AttemptTarget::Allocations(ids)
    })
}

/// Returns the active allocation of a number with this PIN.
pub(crate) fn owner(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    digits: &Pin,
    now: Timestamp,
) -> Result<Option<Allocation>, StoreError> {
    let owner = match number.mode {
        NumberMode::Exclusive => number.held_by(now).cloned(),
        NumberMode::Shared => {
            let pin = snapshot.keys().pin_key(&number.number_key, digits);
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

/// Returns the only element of a list.
pub(crate) fn sole(ids: &[GreenpinId]) -> Option<GreenpinId> {
    if let [only] = ids {
        Some(only.clone())
    } else {
        None
    }
}
