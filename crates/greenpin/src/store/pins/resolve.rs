//! Dry run of a call: the same route and the same decision, without any count.

use call::{Connection, PhoneNumber, Pin};

use crate::store::calls;
use crate::store::core::reader::Snapshot;
use crate::store::numbers;
use crate::store::numbers::NumberRow;
use crate::store::pins::attempt;
use crate::store::pins::attempt::AttemptTarget;
use crate::store::pins::decide;
use crate::store::pins::decide::{ChargedTarget, PinCheck};
use crate::store::pins::unlisted_callers;
use crate::store::pins::unlisted_callers::Origin;
use crate::store::{
    GreenpinId, PinRefusal, StoreError, TenantId, TenantSettings, TenantStore, Timestamp,
};

/// Result of a dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The tenant's pool does not hold the number.
    UnknownNumber,
    /// No allocation is active on the number.
    NotInUse,
    /// The caller would be asked for a PIN.
    CollectPin {
        /// Number of digits of a complete block.
        pin_length: u8,
        /// Allocation of the call, if it is known without a PIN.
        greenpin_id: Option<GreenpinId>,
    },
    /// The PIN would be refused; with the allocation, if it is unambiguous.
    Refused(PinRefusal, Option<GreenpinId>),
    /// The caller would be connected; `dial` may be empty.
    Connected {
        /// Allocation of the PIN.
        greenpin_id: GreenpinId,
        /// Numbers behind the PIN.
        connection: Connection,
    },
}

impl TenantStore {
    /// Resolves a call to a number at this time. `caller` is `None` for a withheld number. Digits after a complete
    /// block are ignored, as in a call. A change of the settings by another node may count a second later.
    pub async fn resolve(
        &self,
        virtual_number: PhoneNumber,
        caller: Option<PhoneNumber>,
        digits: Option<Pin>,
        now: Timestamp,
    ) -> Result<Resolution, StoreError> {
        let tenant = self.tenant_id.clone();
        let settings = self.settings().await?;
        let read = self.store.readers.read(move |snapshot| {
            resolve(
                snapshot,
                (&tenant, &settings),
                virtual_number,
                caller,
                digits.as_ref(),
                now,
            )
        });
        read.await
    }
}

fn resolve(
    snapshot: &Snapshot<'_>,
    (tenant, settings): (&TenantId, &TenantSettings),
    virtual_number: PhoneNumber,
    caller: Option<PhoneNumber>,
    digits: Option<&Pin>,
    now: Timestamp,
) -> Result<Resolution, StoreError> {
    let number =
        numbers::find(snapshot, virtual_number)?.filter(|number| number.tenant_id == *tenant);
    let Some(number) = number else {
        return Ok(Resolution::UnknownNumber);
    };
    let found = calls::collection(snapshot, &number, caller, settings, now)?;
    let Some((collect, allocation)) = found else {
        return Ok(Resolution::NotInUse);
    };
    let Some(digits) = digits else {
        return Ok(Resolution::CollectPin {
            pin_length: collect.pin_length,
            greenpin_id: allocation.map(|allocation| allocation.greenpin_id),
        });
    };
    let block = first_block(digits, collect.pin_length)?;
    let dry_run = DryRun {
        snapshot,
        number: &number,
        caller,
        now,
    };
    dry_run.decide(settings, &block)
}

/// Returns the digits of the first complete block.
fn first_block(digits: &Pin, length: u8) -> Result<Pin, StoreError> {
    let digits = digits.expose();
    let block = digits.get(..usize::from(length)).unwrap_or(digits);
    Pin::parse(block).map_err(|_| StoreError::Unreadable("PIN length"))
}

struct DryRun<'a> {
    snapshot: &'a Snapshot<'a>,
    number: &'a NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
}

impl DryRun<'_> {
    fn decide(&self, settings: &TenantSettings, digits: &Pin) -> Result<Resolution, StoreError> {
        let facts = attempt::facts(self.snapshot, self.number, self.caller, self.now)?;
        let charged = match &facts.target {
            AttemptTarget::Allocations(targets) => attempt::charged(targets),
            AttemptTarget::NoAllocation | AttemptTarget::UnlistedCaller => Vec::new(),
        };
        let charged_target = match &facts.target {
            AttemptTarget::NoAllocation => ChargedTarget::NoAllocation,
            AttemptTarget::Allocations(_) => ChargedTarget::Allocations(&charged),
            AttemptTarget::UnlistedCaller => {
                ChargedTarget::UnlistedCaller(self.would_admit(settings)?)
            }
        };
        let owner = facts.owner;
        let owner = owner.find(self.snapshot, self.number, digits, self.now)?;
        let owner = owner.map(|owner| owner.allocation);
        let check = PinCheck {
            number: self.number,
            settings,
            caller: self.caller,
            charged: charged_target,
            owner: owner.as_ref(),
        };
        Ok(match decide::decide(&check) {
            Ok(allocation) => {
                let mut connection = decide::connection(allocation, self.caller);
                connection
                    .dial
                    .retain(|number| settings.destinations.permit(*number));
                Resolution::Connected {
                    greenpin_id: allocation.greenpin_id.clone(),
                    connection,
                }
            }
            Err(refusal) => {
                // The tenant may learn the owner of the PIN, or else the allocation that would be charged.
                let id = owner.map(|owner| owner.greenpin_id);
                Resolution::Refused(refusal, id.or_else(|| sole_id(&facts.target)))
            }
        })
    }

    /// Returns whether the attempt of a caller that no allocation lists would be admitted.
    fn would_admit(&self, settings: &TenantSettings) -> Result<bool, StoreError> {
        let origin = Origin {
            caller: self.caller,
            trunk: None,
        };
        unlisted_callers::would_admit(self.snapshot, self.number, settings, origin, self.now)
    }
}

fn sole_id(target: &AttemptTarget) -> Option<GreenpinId> {
    match target {
        AttemptTarget::Allocations(targets) => {
            attempt::sole_target(targets).map(|allocation| allocation.greenpin_id.clone())
        }
        AttemptTarget::NoAllocation | AttemptTarget::UnlistedCaller => None,
    }
}
