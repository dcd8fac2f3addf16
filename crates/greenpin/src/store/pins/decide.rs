//! What a block of digits is worth, judged from what is known: no database, no clock.

use call::words;
use call::{Connection, PhoneNumber};

use crate::store::allocations::{Allocation, OPEN_PIN_LENGTH};
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::{CallerPolicy, GreenpinId, TenantSettings};

words! {
    /// Why digits open nothing. For the tenant alone: a caller must not learn which.
    pub enum Refusal {
        /// The digits are the PIN of no active allocation of the number.
        WrongPin = "wrong_pin",
        /// The allocation has met its limit of wrong PINs.
        Locked = "locked",
        /// No allocation is active on the number.
        NotActive = "allocation_not_active",
        /// The PIN is right, and its allocation is not for this caller.
        CallerNotListed = "caller_not_listed",
        /// The caller, or all callers that no allocation lists, must wait.
        Throttled = "throttled",
    }
}

/// Whom a try counts against, and whether it could be counted.
pub(crate) enum ChargedTarget<'a> {
    /// No allocation is active.
    Nobody,
    /// Allocations that list the caller, or the one of an exclusive number: those that took the try, being not locked.
    Allocations(&'a [GreenpinId]),
    /// A caller that no allocation lists; whether the throttles let it try.
    UnlistedCaller(bool),
}

/// All that a judgement needs.
pub(crate) struct PinCheck<'s, 'a> {
    pub(crate) number: &'s NumberRow,
    pub(crate) settings: &'s TenantSettings,
    pub(crate) caller: Option<PhoneNumber>,
    pub(crate) charged: ChargedTarget<'s>,
    /// The active allocation whose PIN the digits are.
    pub(crate) owner: Option<&'a Allocation>,
}

/// The allocation that the digits open.
pub(crate) fn decide<'a>(check: &PinCheck<'_, 'a>) -> Result<&'a Allocation, Refusal> {
    let charged: &[GreenpinId] = match check.charged {
        ChargedTarget::Nobody => return Err(Refusal::NotActive),
        ChargedTarget::Allocations([]) => return Err(Refusal::Locked),
        ChargedTarget::UnlistedCaller(false) => return Err(Refusal::Throttled),
        ChargedTarget::Allocations(charged) => charged,
        ChargedTarget::UnlistedCaller(true) => &[],
    };
    let owner = check.owner.ok_or(Refusal::WrongPin)?;
    if !admits(check, owner) {
        return Err(Refusal::CallerNotListed);
    }
    // What took this try was not locked before it.
    if owner.is_locked() && !charged.contains(&owner.greenpin_id) {
        return Err(Refusal::Locked);
    }
    Ok(owner)
}

/// Whether the caller may open an allocation with its PIN.
fn admits(check: &PinCheck<'_, '_>, allocation: &Allocation) -> bool {
    let number = check.number;
    let anyone = check.settings.caller_policy == CallerPolicy::Any
        && (number.mode == NumberMode::Exclusive || number.pin_length >= OPEN_PIN_LENGTH);
    anyone || check.caller.is_some_and(|caller| allocation.lists(caller))
}

/// Whom a right PIN connects the caller to: the A-party to the B-party, everybody else to the A-party.
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
