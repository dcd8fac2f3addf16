//! PIN attempt: counted, then compared, in one transaction. The result is available after its commit.

use std::sync::Arc;

use aws_lc_rs::constant_time;
use call::{PhoneNumber, Pin, Verdict};

use crate::store::Tx;
use crate::store::allocations;
use crate::store::allocations::CallAllocation;
use crate::store::allocations::listed_callers::allocations_listing;
use crate::store::allocations::sql::{ALLOCATION_OF_PIN, ListedAllocation};
use crate::store::calls;
use crate::store::calls::record;
use crate::store::calls::record::CallRecord;
use crate::store::core::database::ReadAhead;
use crate::store::core::reader::Snapshot;
use crate::store::events;
use crate::store::events::payload::{
    CallData, PinAttemptsData, RefusedCallData, VirtualNumberData,
};
use crate::store::events::{EventAllocation, Payload};
use crate::store::numbers;
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::pins::decide;
use crate::store::pins::decide::{ChargedTarget, PinCheck, PinRefusal};
use crate::store::pins::sql;
use crate::store::pins::unlisted_callers;
use crate::store::pins::unlisted_callers::{ChargedCaller, Origin};
use crate::store::tenants::settings;
use crate::store::{CallKeys, CallSid, GreenpinId, Store, StoreError, TenantSettings, Timestamp};

impl Store {
    /// Makes a PIN attempt in a call. It is counted before the comparison; a correct PIN refunds it.
    pub async fn attempt_pin(
        &self,
        call_sid: &CallSid,
        keys: Option<&CallKeys>,
        digits: &Pin,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let reads = self.read_ahead(|| self.reads_of_attempt(call_sid, keys, digits, now));
        let writer = self.writer_of_call(call_sid).await?;
        let (call_sid, digits) = (call_sid.clone(), digits.clone());
        let attempt = move |tx: &Tx<'_>| attempt_pin(tx, &call_sid, &digits, now);
        writer.write_with(reads, attempt).await
    }

    /// Returns the reads for an attempt. `keys` are those of its call.
    fn reads_of_attempt(
        &self,
        call_sid: &CallSid,
        keys: Option<&CallKeys>,
        digits: &Pin,
        now: Timestamp,
    ) -> Vec<ReadAhead> {
        let mut reads = vec![calls::read_of_call(call_sid)];
        let Some(keys) = keys else { return reads };
        reads.extend(keys.reads(now));
        if keys.mode == NumberMode::Shared {
            let pin = self.keys.pin_key(&keys.number_key, digits);
            let key = (&keys.number_key, pin, now.micros());
            reads.push(ReadAhead::new(ALLOCATION_OF_PIN, key));
            let caller = keys.caller_key.as_deref().unwrap_or_default();
            let key = (&keys.number_key, caller);
            reads.push(ReadAhead::new(sql::UNLISTED_CALLER_SELECT, key));
        }
        reads
    }
}

fn attempt_pin(
    tx: &Tx<'_>,
    call_sid: &CallSid,
    digits: &Pin,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    let Some(mut call) = record::find_open(tx, call_sid)? else {
        return Ok(Verdict::Refused);
    };
    tx.execute_deferred(sql::CALL_COUNT_ATTEMPT, [call_sid.as_str()])?;
    call.record.pin_attempts = call.record.pin_attempts.saturating_add(1);
    let Some(number) = numbers::find(tx, call.record.virtual_number)? else {
        return Ok(Verdict::Refused);
    };
    let settings = settings::cached(tx, &call.record.tenant_id)?;
    PinAttempt {
        tx,
        call: call.record,
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
    /// Allocations that are targets, with those that were charged.
    Allocations(Vec<TargetAllocation>),
    UnlistedCaller(Option<ChargedCaller>),
}

impl AttemptCharge {
    /// Returns the ids of the charged allocations.
    fn charged(&self) -> Vec<GreenpinId> {
        match self {
            Self::Allocations(targets) => charged(targets),
            Self::NoAllocation | Self::UnlistedCaller(_) => Vec::new(),
        }
    }
}

impl PinAttempt<'_> {
    fn run(&self, digits: &Pin) -> Result<Verdict, StoreError> {
        let facts = facts(self.tx, &self.number, self.call.caller, self.now)?;
        let charge = self.charge(facts.target)?;
        let owner = facts.owner.find(self.tx, &self.number, digits, self.now)?;
        let charged = charge.charged();
        let check = PinCheck {
            number: &self.number,
            settings: &self.settings,
            caller: self.call.caller,
            charged: match &charge {
                AttemptCharge::NoAllocation => ChargedTarget::NoAllocation,
                AttemptCharge::Allocations(_) => ChargedTarget::Allocations(&charged),
                AttemptCharge::UnlistedCaller(caller) => {
                    ChargedTarget::UnlistedCaller(caller.is_some())
                }
            },
            owner: owner.as_ref().map(|owner| &owner.allocation),
        };
        let decision = decide::decide(&check).map(|_| ());
        match (decision, &owner) {
            (Ok(()), Some(owner)) => {
                self.refund(charge)?;
                self.accept(owner)
            }
            (decision, _) => {
                let refusal = decision.err().unwrap_or(PinRefusal::WrongPin);
                let allocation = self.confirm(charge)?;
                self.refuse(refusal, allocation.as_ref())
            }
        }
    }

    /// Charges the attempt before any comparison.
    fn charge(&self, target: AttemptTarget) -> Result<AttemptCharge, StoreError> {
        Ok(match target {
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
            AttemptTarget::Allocations(targets) => {
                for target in targets.iter().filter(|target| !target.is_locked) {
                    let key = self.key(target);
                    self.tx.execute_deferred(sql::ALLOCATION_CHARGE, key)?;
                }
                AttemptCharge::Allocations(targets)
            }
        })
    }

    /// Refunds the attempt after a correct PIN.
    fn refund(&self, charge: AttemptCharge) -> Result<(), StoreError> {
        match charge {
            AttemptCharge::NoAllocation | AttemptCharge::UnlistedCaller(None) => Ok(()),
            AttemptCharge::UnlistedCaller(Some(charged)) => {
                charged.refund(self.tx, &self.number, self.now)
            }
            AttemptCharge::Allocations(targets) => targets
                .iter()
                .filter(|target| !target.is_locked)
                .try_for_each(|target| {
                    let key = self.key(target);
                    self.tx.execute_deferred(sql::ALLOCATION_REFUND, key)
                }),
        }
    }

    fn key<'k>(&'k self, target: &'k TargetAllocation) -> (&'k str, &'k str) {
        let id = target.allocation.greenpin_id.as_str();
        (self.call.tenant_id.as_str(), id)
    }

    /// Confirms the charge after a wrong PIN. Writes an event for each allocation that is now locked, and for an
    /// exhausted budget of the number or of the trunk. Returns the allocation for the refusal event, if it is unambiguous.
    fn confirm(&self, charge: AttemptCharge) -> Result<Option<EventAllocation>, StoreError> {
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
            AttemptCharge::Allocations(targets) => {
                let locked = targets.iter().filter(|target| target.is_locked_now());
                locked
                    .into_iter()
                    .try_for_each(|target| self.write_locked(target))?;
                let subject = sole_target(&targets).cloned();
                Ok(subject)
            }
        }
    }

    /// Writes the event of an allocation that this attempt has locked.
    fn write_locked(&self, target: &TargetAllocation) -> Result<(), StoreError> {
        let data = PinAttemptsData {
            virtual_number: self.number.virtual_number.expose(),
            failed_pin_attempts: target.failed_pin_attempts.saturating_add(1),
            max_pin_attempts: target.max_pin_attempts,
        };
        self.write_event(Some(&target.allocation), Payload::AllocationLocked(data))
    }

    fn refuse(
        &self,
        refusal: PinRefusal,
        allocation: Option<&EventAllocation>,
    ) -> Result<Verdict, StoreError> {
        let refused = RefusedCallData {
            call: self.call_data(),
            reason: refusal.as_str(),
        };
        self.write_event(allocation, Payload::CallPinFailed(refused))?;
        Ok(Verdict::Refused)
    }

    fn accept(&self, owner: &CallAllocation) -> Result<Verdict, StoreError> {
        let allocation = &owner.allocation;
        let (tenant, id) = (&self.call.tenant_id, &allocation.greenpin_id);
        if self.call.greenpin_id.as_ref() != Some(id) {
            let row = (id.as_str(), self.call.call_sid.as_str());
            self.tx.execute_deferred(sql::CALL_ACCEPT, row)?;
            calls::count_attempt(self.tx, tenant, id)?;
        }
        let accepted = Payload::CallPinAccepted(self.call_data());
        self.write_event(Some(&owner.for_events), accepted)?;
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
        allocation: Option<&EventAllocation>,
        payload: Payload<'_>,
    ) -> Result<(), StoreError> {
        let zone = self.settings.zone();
        let (tenant, occurred_at) = (&self.call.tenant_id, self.now);
        let draft = events::Draft {
            tenant,
            zone: &zone,
            subject: allocation.into(),
            occurred_at,
            payload,
        };
        events::write(self.tx, &draft)
    }
}

/// Facts of an attempt before its charge.
pub(crate) struct AttemptFacts {
    pub(crate) target: AttemptTarget,
    pub(crate) owner: PinOwner,
}

/// Target of the charge for an attempt.
pub(crate) enum AttemptTarget {
    /// No allocation is active on the exclusive number.
    NoAllocation,
    /// The allocation of an exclusive number, or all allocations of a shared one that list the caller.
    Allocations(Vec<TargetAllocation>),
    /// The caller, listed by no allocation of the shared number.
    UnlistedCaller,
}

/// Active allocation against which an attempt counts, as it was before the attempt.
pub(crate) struct TargetAllocation {
    pub(crate) allocation: EventAllocation,
    /// The limit of wrong PINs is reached: the attempt does not count.
    pub(crate) is_locked: bool,
    failed_pin_attempts: u8,
    max_pin_attempts: u8,
}

impl TargetAllocation {
    /// Returns whether the charge of this attempt locks the allocation.
    fn is_locked_now(&self) -> bool {
        let failed = self.failed_pin_attempts.saturating_add(1);
        !self.is_locked && failed >= self.max_pin_attempts
    }
}

/// Source of the allocation whose PIN was entered.
pub(crate) enum PinOwner {
    /// The holder of an exclusive number.
    Holder(Option<Box<CallAllocation>>),
    /// The active PINs of a shared number.
    Pins,
}

/// Returns the ids of the allocations that an attempt charges.
pub(crate) fn charged(targets: &[TargetAllocation]) -> Vec<GreenpinId> {
    let charged = targets.iter().filter(|target| !target.is_locked);
    charged
        .map(|target| target.allocation.greenpin_id.clone())
        .collect()
}

/// Returns the only charged allocation, or the only one if none was charged.
pub(crate) fn sole_target(targets: &[TargetAllocation]) -> Option<&EventAllocation> {
    let mut charged = targets.iter().filter(|target| !target.is_locked);
    let sole = match (charged.next(), charged.next(), targets) {
        (Some(only), None, _) | (None, None, [only]) => Some(only),
        _ => None,
    };
    sole.map(|target| &target.allocation)
}

/// Reads the facts of an attempt: on an exclusive number the allocation that holds it, on a shared one each allocation
/// that lists the caller, or else the caller.
pub(crate) fn facts(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<AttemptFacts, StoreError> {
    if number.mode == NumberMode::Exclusive {
        return exclusive_facts(snapshot, number, now);
    }
    let listing = match caller {
        Some(caller) => allocations_listing(snapshot, number, caller, now)?,
        None => Vec::new(),
    };
    let target = match listing.is_empty() {
        true => AttemptTarget::UnlistedCaller,
        false => AttemptTarget::Allocations(listing.iter().map(listed_target).collect()),
    };
    Ok(AttemptFacts {
        target,
        owner: PinOwner::Pins,
    })
}

fn exclusive_facts(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    now: Timestamp,
) -> Result<AttemptFacts, StoreError> {
    if number.held_by(now).is_none() {
        return Ok(AttemptFacts {
            target: AttemptTarget::NoAllocation,
            owner: PinOwner::Holder(None),
        });
    }
    let holder = allocations::find_holder(snapshot, number)?;
    let holder = holder.ok_or(StoreError::Unreadable("allocation of a number"))?;
    let allocation = &holder.allocation;
    let target = TargetAllocation {
        allocation: holder.for_events.clone(),
        is_locked: allocation.is_locked(),
        failed_pin_attempts: allocation.failed_pin_attempts,
        max_pin_attempts: allocation.max_pin_attempts,
    };
    Ok(AttemptFacts {
        target: AttemptTarget::Allocations(vec![target]),
        owner: PinOwner::Holder(Some(Box::new(holder))),
    })
}

fn listed_target(listed: &ListedAllocation) -> TargetAllocation {
    TargetAllocation {
        allocation: listed.for_events(),
        is_locked: listed.is_locked(),
        failed_pin_attempts: listed.failed_pin_attempts,
        max_pin_attempts: listed.max_pin_attempts,
    }
}

impl PinOwner {
    /// Returns the active allocation of the number with this PIN.
    pub(crate) fn find(
        self,
        snapshot: &Snapshot<'_>,
        number: &NumberRow,
        digits: &Pin,
        now: Timestamp,
    ) -> Result<Option<CallAllocation>, StoreError> {
        let found = match self {
            Self::Holder(holder) => holder.map(|holder| *holder),
            Self::Pins => {
                let pin = snapshot.keys().pin_key(&number.number_key, digits);
                allocations::find_by_pin(snapshot, number, &pin, now)?
            }
        };
        let is_right = |found: &CallAllocation| {
            let (pin, digits) = (found.allocation.pin.expose(), digits.expose());
            constant_time::verify_slices_are_equal(pin.as_bytes(), digits.as_bytes()).is_ok()
        };
        Ok(found.filter(is_right))
    }
}
