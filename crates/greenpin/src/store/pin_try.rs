//! A try at a PIN: counted, then compared, in one transaction whose result nobody sees before it is durable.

use std::sync::Arc;

use aws_lc_rs::constant_time;
use call::{PhoneNumber, Pin};
use serde_json::json;

use super::allocations::{self, Allocation, OPEN_PIN_LENGTH};
use super::changes;
use super::events;
use super::numbers::{self, NumberMode, NumberRow};
use super::records::{self, CallRecord};
use super::strangers;
use super::writer::Tx;
use super::{
    CallSid, CallerPolicy, EventType, GreenpinId, Store, StoreError, TenantSettings, Timestamp, settings, sql,
};

/// What a block of digits is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinVerdict {
    /// Wrong, locked, expired, deleted or foreign: the caller must not learn which.
    Refused,
    /// Right.
    Accepted(Connection),
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

/// Why digits were refused. For the tenant's events alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    WrongPin,
    Locked,
    NotActive,
    CallerNotListed,
    Throttled,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::WrongPin => "wrong_pin",
            Self::Locked => "locked",
            Self::NotActive => "allocation_not_active",
            Self::CallerNotListed => "caller_not_listed",
            Self::Throttled => "throttled",
        }
    }
}

/// What came of a try: the allocation that it opened, or why it opened none and whom that is told of.
enum Judgement {
    Opened(Box<Allocation>),
    Refused(Refusal, Option<GreenpinId>),
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
        self.writer.write(move |tx| try_pin(tx, &call_sid, digits.clone(), now)).await
    }
}

fn try_pin(tx: &Tx<'_>, call_sid: &CallSid, digits: Pin, now: Timestamp) -> Result<PinVerdict, StoreError> {
    if tx.execute(sql::CALL_COUNT_TRY, [call_sid.as_str()])? == 0 {
        return Ok(PinVerdict::Refused);
    }
    let Some(call) = records::find(tx, call_sid)? else { return Ok(PinVerdict::Refused) };
    let Some(number) = numbers::find(tx, call.virtual_number)? else { return Ok(PinVerdict::Refused) };
    let settings = settings::of(tx, &call.tenant_id)?;
    let attempt = Try { tx, call, number, settings, digits, now };
    let judgement = match attempt.number.mode {
        NumberMode::Exclusive => attempt.exclusive()?,
        NumberMode::Shared => attempt.shared()?,
    };
    attempt.conclude(judgement)
}

struct Try<'a> {
    tx: &'a Tx<'a>,
    call: CallRecord,
    number: NumberRow,
    settings: Arc<TenantSettings>,
    digits: Pin,
    now: Timestamp,
}

impl Try<'_> {
    /// On an exclusive number each try counts against the allocation that holds it.
    fn exclusive(&self) -> Result<Judgement, StoreError> {
        let Some(holder) = self.number.held_by(self.now).cloned() else {
            return Ok(Judgement::Refused(Refusal::NotActive, None));
        };
        if !self.charge(&holder)? {
            return Ok(Judgement::Refused(Refusal::Locked, Some(holder)));
        }
        let allocation = allocations::find(self.tx, &self.call.tenant_id, &holder)?;
        let allocation = allocation.ok_or(StoreError::Unreadable("allocation of a number"))?;
        let right = constant_time::verify_slices_are_equal(
            allocation.pin.expose().as_bytes(),
            self.digits.expose().as_bytes(),
        )
        .is_ok();
        match right {
            true if self.admits(&allocation) => {
                self.refund(&holder)?;
                Ok(Judgement::Opened(Box::new(allocation)))
            }
            true => self.refuse(Refusal::CallerNotListed, &[holder]),
            false => self.refuse(Refusal::WrongPin, &[holder]),
        }
    }

    /// On a shared number tries count against each allocation that lists the caller, or against the caller.
    fn shared(&self) -> Result<Judgement, StoreError> {
        let listing = match self.call.caller {
            Some(caller) => listing(self.tx, &self.number, caller, self.now)?,
            None => Vec::new(),
        };
        if listing.is_empty() { self.stranger() } else { self.listed(listing) }
    }

    fn listed(&self, listing: Vec<Listing>) -> Result<Judgement, StoreError> {
        let sole = match listing.as_slice() {
            [only] => Some(only.greenpin_id.clone()),
            _ => None,
        };
        let mut charged = Vec::new();
        for Listing { greenpin_id, .. } in listing {
            if self.charge(&greenpin_id)? {
                charged.push(greenpin_id);
            }
        }
        if charged.is_empty() {
            return Ok(Judgement::Refused(Refusal::Locked, sole));
        }
        match self.opened(|owner| charged.contains(owner))? {
            Ok(allocation) => {
                charged.iter().try_for_each(|id| self.refund(id))?;
                Ok(Judgement::Opened(Box::new(allocation)))
            }
            Err(refusal) => self.refuse(refusal, &charged),
        }
    }

    fn stranger(&self) -> Result<Judgement, StoreError> {
        let Some(admitted) = strangers::admit(self.tx, &self.number, self.call.caller, self.now)? else {
            return Ok(Judgement::Refused(Refusal::Throttled, None));
        };
        match self.opened(|_| false)? {
            Ok(allocation) => {
                admitted.refund(self.tx, &self.number)?;
                Ok(Judgement::Opened(Box::new(allocation)))
            }
            Err(refusal) => {
                if admitted.keep(self.tx, &self.number, self.now)? {
                    let data = json!({ "virtual_number": self.number.virtual_number.expose() });
                    self.write_event(EventType::NumberPinAttack, None, data)?;
                }
                Ok(Judgement::Refused(refusal, None))
            }
        }
    }

    /// The active allocation that the digits belong to, if the caller may open it. `charged` tells which ones took
    /// this try: those were not locked before it.
    fn opened(
        &self,
        charged: impl Fn(&GreenpinId) -> bool,
    ) -> Result<Result<Allocation, Refusal>, StoreError> {
        let key = (self.number.virtual_number.expose(), self.digits.expose(), self.now.micros());
        let owner = self.tx.row(sql::PIN_OWNER, key, |row| row.get::<_, String>(0))?.map(GreenpinId::stored);
        let Some(owner) = owner else { return Ok(Err(Refusal::WrongPin)) };
        let allocation = allocations::find(self.tx, &self.call.tenant_id, &owner)?;
        let allocation = allocation.ok_or(StoreError::Unreadable("allocation of a PIN"))?;
        Ok(if !self.admits(&allocation) {
            Err(Refusal::CallerNotListed)
        } else if allocation.is_locked() && !charged(&owner) {
            Err(Refusal::Locked)
        } else {
            Ok(allocation)
        })
    }

    /// Whether the caller may open an allocation with its PIN.
    fn admits(&self, allocation: &Allocation) -> bool {
        let anyone = self.settings.caller_policy == CallerPolicy::Any
            && (self.number.mode == NumberMode::Exclusive || self.number.pin_length >= OPEN_PIN_LENGTH);
        anyone || self.call.caller.is_some_and(|caller| allocation.lists(caller))
    }

    /// Counts a try; `false` if the allocation takes none any more.
    fn charge(&self, id: &GreenpinId) -> Result<bool, StoreError> {
        let key = (self.call.tenant_id.as_str(), id.as_str(), self.now.micros());
        Ok(self.tx.row(sql::ALLOCATION_CHARGE, key, |_| Ok(()))?.is_some())
    }

    fn refund(&self, id: &GreenpinId) -> Result<(), StoreError> {
        self.tx.execute(sql::ALLOCATION_REFUND, (self.call.tenant_id.as_str(), id.as_str())).map(|_| ())
    }

    /// A wrong try stays counted; the tenant hears of each allocation that it locked.
    fn refuse(&self, refusal: Refusal, charged: &[GreenpinId]) -> Result<Judgement, StoreError> {
        for id in charged {
            let allocation = allocations::find(self.tx, &self.call.tenant_id, id)?;
            if let Some(locked) = allocation.filter(Allocation::is_locked) {
                self.write_event(EventType::AllocationLocked, Some(id), changes::attempts_data(&locked))?;
            }
        }
        let told = if let [only] = charged { Some(only.clone()) } else { None };
        Ok(Judgement::Refused(refusal, told))
    }

    fn conclude(self, judgement: Judgement) -> Result<PinVerdict, StoreError> {
        match judgement {
            Judgement::Refused(refusal, told) => {
                let mut data = records::event_data(&self.call, &self.settings.zone(), self.now, None);
                data.insert("reason".into(), refusal.as_str().into());
                self.write_event(EventType::CallPinFailed, told.as_ref(), data.into())?;
                Ok(PinVerdict::Refused)
            }
            Judgement::Opened(allocation) => self.accept(*allocation),
        }
    }

    fn accept(&self, allocation: Allocation) -> Result<PinVerdict, StoreError> {
        let (tenant, id) = (self.call.tenant_id.as_str(), &allocation.greenpin_id);
        if self.call.greenpin_id.as_ref() != Some(id) {
            self.tx.execute(sql::CALL_ACCEPT, (id.as_str(), self.call.call_sid.as_str()))?;
            self.tx.execute(sql::ALLOCATION_COUNT_ATTEMPT, (tenant, id.as_str()))?;
        }
        let data = records::event_data(&self.call, &self.settings.zone(), self.now, None);
        self.write_event(EventType::CallPinAccepted, Some(id), data.into())?;
        let from_a_party = self.call.caller.is_some_and(|caller| allocation.from.contains(&caller));
        let dial = if from_a_party { allocation.to } else { allocation.from };
        Ok(PinVerdict::Accepted(Connection {
            greenpin_id: allocation.greenpin_id,
            dial,
            record: allocation.record,
        }))
    }

    fn write_event(
        &self,
        event_type: EventType,
        greenpin_id: Option<&GreenpinId>,
        data: serde_json::Value,
    ) -> Result<(), StoreError> {
        let zone = self.settings.zone();
        let (tenant, occurred_at) = (&self.call.tenant_id, self.now);
        let draft =
            events::Draft { tenant, zone: &zone, greenpin_id, made: None, event_type, occurred_at, data };
        events::write(self.tx, &draft)
    }
}

/// An active allocation that lists a caller.
pub(super) struct Listing {
    pub(super) greenpin_id: GreenpinId,
    pub(super) max_pin_attempts: u8,
}

/// The active allocations of a shared number that list a caller.
pub(super) fn listing(
    tx: &Tx<'_>,
    number: &NumberRow,
    caller: PhoneNumber,
    now: Timestamp,
) -> Result<Vec<Listing>, StoreError> {
    let key = (number.virtual_number.expose(), caller.expose(), now.micros());
    tx.rows(sql::CALLERS_SELECT, key, |row| {
        Ok(Listing { greenpin_id: GreenpinId::stored(row.get(0)?), max_pin_attempts: row.get(1)? })
    })
}
