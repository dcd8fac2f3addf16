//! Decision on a PIN attempt from facts alone, without database and clock.

use call::words;
use call::{Connection, PhoneNumber};

use crate::store::allocations::Allocation;
use crate::store::numbers::{NumberMode, NumberRow, OPEN_PIN_LENGTH};
use crate::store::{CallerPolicy, GreenpinId, TenantSettings};

words! {
    /// Reason for a refusal, for the tenant only. The caller must not learn it.
    pub enum PinRefusal {
        /// No active allocation of the number has this PIN.
        WrongPin = "wrong_pin",
        /// The allocation has reached its limit of wrong PINs.
        Locked = "locked",
        /// No allocation is active on the number.
        NotActive = "allocation_not_active",
        /// The PIN is correct, but its allocation does not admit this caller.
        CallerNotListed = "caller_not_listed",
        /// The caller, or all unlisted callers together, must wait.
        Throttled = "throttled",
    }
}

/// Target of an attempt after the charge.
pub(crate) enum ChargedTarget<'a> {
    /// No allocation is active.
    NoAllocation,
    /// Allocations that were charged and were not locked before.
    Allocations(&'a [GreenpinId]),
    /// Caller that no allocation lists; `true` if the throttle admitted the attempt.
    UnlistedCaller(bool),
}

/// Facts for the decision.
pub(crate) struct PinCheck<'s, 'a> {
    pub(crate) number: &'s NumberRow,
    pub(crate) settings: &'s TenantSettings,
    pub(crate) caller: Option<PhoneNumber>,
    pub(crate) charged: ChargedTarget<'s>,
    /// Active allocation with this PIN.
    pub(crate) owner: Option<&'a Allocation>,
}

/// Returns the allocation that the PIN opens.
pub(crate) fn decide<'a>(check: &PinCheck<'_, 'a>) -> Result<&'a Allocation, PinRefusal> {
    let charged: &[GreenpinId] = match check.charged {
        ChargedTarget::NoAllocation => return Err(PinRefusal::NotActive),
        ChargedTarget::Allocations([]) => return Err(PinRefusal::Locked),
        ChargedTarget::UnlistedCaller(false) => return Err(PinRefusal::Throttled),
        ChargedTarget::Allocations(charged) => charged,
        ChargedTarget::UnlistedCaller(true) => &[],
    };
    let owner = check.owner.ok_or(PinRefusal::WrongPin)?;
    if !admits(check, owner) {
        return Err(PinRefusal::CallerNotListed);
    }
    // A charged allocation was not locked before this attempt.
    if owner.is_locked() && !charged.contains(&owner.greenpin_id) {
        return Err(PinRefusal::Locked);
    }
    Ok(owner)
}

/// Returns whether the caller may open an allocation with its PIN.
fn admits(check: &PinCheck<'_, '_>, allocation: &Allocation) -> bool {
    let number = check.number;
    let anyone = check.settings.caller_policy == CallerPolicy::Any
        && (number.mode == NumberMode::Exclusive || number.pin_length >= OPEN_PIN_LENGTH);
    anyone || check.caller.is_some_and(|caller| allocation.lists(caller))
}

/// Returns the connection for a correct PIN: the A-party reaches the B-party, every other caller the A-party.
pub(crate) fn connection(allocation: &Allocation, caller: Option<PhoneNumber>) -> Connection {
    let from_a_party = caller.is_some_and(|caller| allocation.from.contains(&caller));
    Connection {
        dial: if from_a_party {
            allocation.to.clone()
        } else {
            allocation.from.clone()
        },
        record: allocation.record,
    }
}
