//! What a call would meet, without one: the same route and the same judgement, and nothing counted.

use call::{PhoneNumber, Pin};

use crate::store::allocations;
use crate::store::calls;
use crate::store::core::reader::Snapshot;
use crate::store::numbers;
use crate::store::numbers::NumberRow;
use crate::store::pins::attempt;
use crate::store::pins::attempt::{Counts, sole};
use crate::store::pins::decide;
use crate::store::pins::decide::{Charged, Scene};
use crate::store::pins::unlisted_callers;
use crate::store::tenants::settings;
use crate::store::{
    Connection, GreenpinId, Refusal, Route, StoreError, TenantId, TenantStore, Timestamp,
};

/// What a call would meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The tenant's pool does not hold the number.
    UnknownNumber,
    /// No allocation is active on the number.
    NotInUse,
    /// A PIN would be asked for.
    CollectPin {
        /// Digits of a complete block.
        pin_length: u8,
        /// The allocation that the call would belong to, where that is known without a PIN.
        greenpin_id: Option<GreenpinId>,
    },
    /// The digits would be refused.
    Refused(Refusal, Option<GreenpinId>),
    /// The caller would be connected; `dial` may be empty.
    Connected(Connection),
}

impl TenantStore {
    /// What a call to a number would meet now. `caller` is `None` where it is withheld. Digits beyond a complete block
    /// count for nothing, as in a call.
    pub async fn resolve(
        &self,
        virtual_number: PhoneNumber,
        caller: Option<PhoneNumber>,
        digits: Option<Pin>,
        now: Timestamp,
    ) -> Result<Resolution, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self.store.readers.read(move |snapshot| {
            resolve(
                snapshot,
                &tenant,
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
    tenant: &TenantId,
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
    let settings = settings::read(snapshot, tenant)?;
    match (
        calls::route(snapshot, &number, caller, &settings, now)?,
        digits,
    ) {
        ((Route::UnknownNumber, _), _) => Ok(Resolution::UnknownNumber),
        ((Route::NotInUse, _), _) => Ok(Resolution::NotInUse),
        ((Route::Collect(collect), greenpin_id), None) => Ok(Resolution::CollectPin {
            pin_length: collect.pin_length,
            greenpin_id,
        }),
        ((Route::Collect(collect), _), Some(digits)) => {
            let block = block(digits, collect.pin_length)?;
            let judged = Question {
                snapshot,
                number: &number,
                caller,
                now,
            };
            judged.judge(&settings, &block)
        }
    }
}

/// The digits up to a complete block.
fn block(digits: &Pin, length: u8) -> Result<Pin, StoreError> {
    let block: String = digits.expose().chars().take(length.into()).collect();
    Pin::parse(&block).map_err(|_| StoreError::Unreadable("PIN length"))
}

struct Question<'a> {
    snapshot: &'a Snapshot<'a>,
    number: &'a NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
}

impl Question<'_> {
    fn judge(
        &self,
        settings: &crate::store::TenantSettings,
        digits: &Pin,
    ) -> Result<Resolution, StoreError> {
        let counts = attempt::counts(self.snapshot, self.number, self.caller, self.now)?;
        let open = match &counts {
            Counts::Allocations(against) => self.not_locked(against)?,
            Counts::Nobody | Counts::Stranger => Vec::new(),
        };
        let charged = match &counts {
            Counts::Nobody => Charged::Nobody,
            Counts::Allocations(_) => Charged::Allocations(&open),
            Counts::Stranger => Charged::Stranger(unlisted_callers::would_admit(
                self.snapshot,
                self.number,
                self.caller,
                self.now,
            )?),
        };
        let owner = attempt::owner(self.snapshot, self.number, digits, self.now)?;
        let scene = Scene {
            number: self.number,
            settings,
            caller: self.caller,
            charged,
            owner: owner.as_ref(),
        };
        Ok(match decide::judge(&scene) {
            Ok(allocation) => Resolution::Connected(decide::connection(allocation, self.caller)),
            Err(refusal) => {
                // The tenant may know whose PIN it is; else which allocation the try would count against.
                let id = owner.map(|owner| owner.greenpin_id);
                Resolution::Refused(refusal, id.or_else(|| told(&counts, &open)))
            }
        })
    }

    /// Those that a try would be counted against.
    fn not_locked(&self, against: &[GreenpinId]) -> Result<Vec<GreenpinId>, StoreError> {
        let mut open = Vec::new();
        for id in against {
            let allocation = allocations::find(self.snapshot, &self.number.tenant_id, id)?;
            if allocation.is_some_and(|allocation| !allocation.is_locked()) {
                open.push(id.clone());
            }
        }
        Ok(open)
    }
}

fn told(counts: &Counts, open: &[GreenpinId]) -> Option<GreenpinId> {
    match counts {
        Counts::Allocations(against) => sole(if open.is_empty() { against } else { open }),
        Counts::Nobody | Counts::Stranger => None,
    }
}
