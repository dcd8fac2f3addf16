//! What a block of digits is worth, judged from what is known: no database, no clock.

use call::PhoneNumber;

use crate::store::allocations::{Allocation, OPEN_PIN_LENGTH};
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::{CallerPolicy, GreenpinId, TenantSettings};

/// Why digits open nothing. For the tenant alone: a caller must not learn which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The digits are the PIN of no active allocation of the number.
    WrongPin,
    /// The allocation has met its limit of wrong PINs.
    Locked,
    /// No allocation is active on the number.
    NotActive,
    /// The PIN is right, and its allocation is not for this caller.
    CallerNotListed,
    /// The caller, or all callers that no allocation lists, must wait.
    Throttled,
}

/// What a right PIN opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The allocation.
    pub greenpin_id: GreenpinId,
    /// The other side's numbers in the order given; may be empty.
    pub dial: Vec<PhoneNumber>,
    /// Record the call.
    pub record: bool,
}

/// Whom a try counts against, and whether it could be counted.
pub(crate) enum Charged<'a> {
    /// No allocation is active.
    Nobody,
    /// Allocations that list the caller, or the one of an exclusive number: those that took the try, being not locked.
    Allocations(&'a [GreenpinId]),
    /// A caller that no allocation lists; whether the throttles let it try.
    Stranger(bool),
}

/// All that a judgement needs.
pub(crate) struct Scene<'s, 'a> {
    pub(crate) number: &'s NumberRow,
    pub(crate) settings: &'s TenantSettings,
    pub(crate) caller: Option<PhoneNumber>,
    pub(crate) charged: Charged<'s>,
    /// The active allocation whose PIN the digits are.
    pub(crate) owner: Option<&'a Allocation>,
}

/// The allocation that the digits open.
pub(crate) fn judge<'a>(scene: &Scene<'_, 'a>) -> Result<&'a Allocation, Refusal> {
    let charged: &[GreenpinId] = match scene.charged {
        Charged::Nobody => return Err(Refusal::NotActive),
        Charged::Allocations([]) => return Err(Refusal::Locked),
        Charged::Stranger(false) => return Err(Refusal::Throttled),
        Charged::Allocations(charged) => charged,
        Charged::Stranger(true) => &[],
    };
    let owner = scene.owner.ok_or(Refusal::WrongPin)?;
    if !admits(scene, owner) {
        return Err(Refusal::CallerNotListed);
    }
    // What took this try was not locked before it.
    if owner.is_locked() && !charged.contains(&owner.greenpin_id) {
        return Err(Refusal::Locked);
    }
    Ok(owner)
}

/// Whether the caller may open an allocation with its PIN.
fn admits(scene: &Scene<'_, '_>, allocation: &Allocation) -> bool {
    let number = scene.number;
    let anyone = scene.settings.caller_policy == CallerPolicy::Any
        && (number.mode == NumberMode::Exclusive || number.pin_length >= OPEN_PIN_LENGTH);
    anyone || scene.caller.is_some_and(|caller| allocation.lists(caller))
}

/// Whom a right PIN connects the caller to: the A-party to the B-party, everybody else to the A-party.
pub(crate) fn connection(allocation: &Allocation, caller: Option<PhoneNumber>) -> Connection {
    let from_a_party = caller.is_some_and(|caller| allocation.from.contains(&caller));
    Connection {
        greenpin_id: allocation.greenpin_id.clone(),
        dial: if from_a_party {
            allocation.to.clone()
        } else {
            allocation.from.clone()
        },
        record: allocation.record,
    }
}

impl Refusal {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPin => "wrong_pin",
            Self::Locked => "locked",
            Self::NotActive => "allocation_not_active",
            Self::CallerNotListed => "caller_not_listed",
            Self::Throttled => "throttled",
        }
    }
}
