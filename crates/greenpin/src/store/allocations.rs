//! Allocations: one PIN on one virtual number, tying two sides together for a while.

use std::sync::Arc;
use std::time::Duration;

use call::{PhoneNumber, Pin};
use jiff::tz::TimeZone;
use rusqlite::Row;
use serde_json::{Value, json};

use super::capacity::Places;
use super::events::{self, Draft};
use super::numbers::{NumberMode, NumberRow, phone_number, small};
use super::pin_draw::{self, Claim};
use super::writer::Tx;
use super::{
    EventType, GreenpinId, StoreError, TenantId, TenantSettings, TenantStore, Timestamp, numbers, settings,
    sql,
};

/// PINs of fewer digits open for listed callers only: strangers would hit one of many by chance.
pub(super) const OPEN_PIN_LENGTH: u8 = 6;

/// An allocation to be made. Its numbers were checked: no repeats, none on both sides.
#[derive(Debug, Clone)]
pub struct NewAllocation {
    /// The number that it is made on.
    pub virtual_number: PhoneNumber,
    /// The A-party, 1 to 10 numbers.
    pub from: Vec<PhoneNumber>,
    /// The B-party, 0 to 10 numbers.
    pub to: Vec<PhoneNumber>,
    /// How long it lasts, in whole seconds.
    pub duration: Duration,
    /// Wrong PINs until it is locked: 1 to 10.
    pub max_pin_attempts: u8,
    /// Record every call.
    pub record: bool,
    /// The tenant's own mark, given back in every event.
    pub custom_field: Option<String>,
}

/// An allocation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Its id.
    pub greenpin_id: GreenpinId,
    /// The number that it is on.
    pub virtual_number: PhoneNumber,
    /// What a caller keys in.
    pub pin: Pin,
    /// The A-party.
    pub from: Vec<PhoneNumber>,
    /// The B-party.
    pub to: Vec<PhoneNumber>,
    /// Record every call.
    pub record: bool,
    /// The tenant's own mark.
    pub custom_field: Option<String>,
    /// Wrong PINs until it is locked.
    pub max_pin_attempts: u8,
    /// Wrong PINs so far.
    pub failed_pin_attempts: u8,
    /// Calls that were connected.
    pub call_count: u64,
    /// Calls that came in.
    pub attempt_count: u64,
    /// When it was made, a whole second.
    pub created_at: Timestamp,
    /// When the tenant last changed it.
    pub updated_at: Timestamp,
    /// When it ends, a whole second.
    pub expires_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
}

/// Where an allocation stands at a moment. Computed, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Calls go through.
    Active,
    /// Its time is over.
    Expired,
    /// It was deleted.
    Deleted,
}

/// Why an allocation was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The number is not in the tenant's pool.
    #[error("the number is not in the tenant's pool")]
    NumberNotInPool,
    /// The exclusive number has an active allocation.
    #[error("the number has an active allocation")]
    VirtualNumberBusy,
    /// The number has no PIN, or no place, left.
    #[error("the number can take no further allocation")]
    PinSpaceExhausted,
    /// A number with short shared PINs serves listed callers only, and none is listed.
    #[error("the number needs the callers to be named")]
    ToRequired,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an allocation was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// The tenant has no such allocation.
    #[error("there is no such allocation")]
    NotFound,
    /// It was deleted before.
    #[error("the allocation was deleted before")]
    AlreadyDeleted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Status {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }
}

impl Allocation {
    /// Where it stands at a moment.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.deleted_at {
            Some(_) => Status::Deleted,
            None if self.expires_at <= now => Status::Expired,
            None => Status::Active,
        }
    }

    /// Whether no PIN opens it any more.
    pub fn is_locked(&self) -> bool {
        self.failed_pin_attempts >= self.max_pin_attempts
    }

    /// Whether a caller is on either side.
    pub(super) fn lists(&self, caller: PhoneNumber) -> bool {
        self.from.contains(&caller) || self.to.contains(&caller)
    }
}

impl TenantStore {
    /// Makes an allocation. Of concurrent ones that cannot both be, one is made.
    pub async fn create_allocation(
        &self,
        new: NewAllocation,
        now: Timestamp,
    ) -> Result<Allocation, CreateError> {
        let tenant = self.tenant_id.clone();
        self.store.writer.write(move |tx| Creation::begin(tx, &tenant, now)?.create(new.clone())).await
    }

    /// Reads an allocation; `None` if the tenant has no such one.
    pub async fn allocation(&self, id: &GreenpinId) -> Result<Option<Allocation>, StoreError> {
        let key = (self.tenant_id.as_str(), id.as_str());
        let raw = self.store.readers.look_up(sql::ALLOCATION_SELECT, key, RawAllocation::read)?;
        raw.map(RawAllocation::allocation).transpose()
    }

    /// Deletes an allocation: frees an exclusive number at once and the PIN after its cool-off. Calls that are
    /// connected go on. Returns the moment of it.
    pub async fn delete_allocation(&self, id: &GreenpinId, now: Timestamp) -> Result<Timestamp, DeleteError> {
        let (tenant, id) = (self.tenant_id.clone(), id.clone());
        self.store.writer.write(move |tx| delete(tx, &tenant, &id, now)).await
    }
}

/// One create, inside its transaction.
struct Creation<'a> {
    tx: &'a Tx<'a>,
    tenant: &'a TenantId,
    settings: Arc<TenantSettings>,
    now: Timestamp,
}

impl<'a> Creation<'a> {
    fn begin(tx: &'a Tx<'a>, tenant: &'a TenantId, now: Timestamp) -> Result<Self, StoreError> {
        Ok(Self { tx, tenant, settings: settings::of(tx, tenant)?, now })
    }

    fn create(&self, new: NewAllocation) -> Result<Allocation, CreateError> {
        let number = numbers::find(self.tx, new.virtual_number)?
            .filter(|number| number.tenant_id == *self.tenant)
            .ok_or(CreateError::NumberNotInPool)?;
        let created_at = self.now.whole_seconds();
        let expires_at = created_at + new.duration;
        let greenpin_id = GreenpinId::new(self.now);
        let places = match number.mode {
            NumberMode::Exclusive => {
                self.hold(&greenpin_id, &number, expires_at)?;
                None
            }
            NumberMode::Shared => Some(self.take_place(&new, &number)?),
        };
        let claim = Claim {
            virtual_number: new.virtual_number,
            greenpin_id: &greenpin_id,
            pin_length: number.pin_length,
            active_until: expires_at,
            free_at: expires_at + self.settings.cooloff(),
            counted: number.mode == NumberMode::Shared,
        };
        let pin = pin_draw::take(self.tx, &claim, self.now)?.ok_or(CreateError::PinSpaceExhausted)?;
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
        self.insert(&allocation, number.mode)?;
        if let Some(places) = places {
            places.tell_if_low(self.tx, self.tenant, &allocation.virtual_number.expose(), self.now)?;
        }
        Ok(allocation)
    }

    /// The exclusive number's own row decides: whoever changes it has won.
    fn hold(&self, id: &GreenpinId, number: &NumberRow, until: Timestamp) -> Result<(), CreateError> {
        let vn = number.virtual_number.expose();
        let hold = (id.as_str(), until.micros(), vn, self.tenant.as_str(), self.now.micros());
        match self.tx.execute(sql::NUMBER_HOLD, hold)? {
            0 => Err(CreateError::VirtualNumberBusy),
            _ => Ok(()),
        }
    }

    /// Gives back the places of those that have ended, and takes one: the number's own row decides.
    fn take_place(&self, new: &NewAllocation, number: &NumberRow) -> Result<Places, CreateError> {
        if number.pin_length < OPEN_PIN_LENGTH && new.to.is_empty() {
            return Err(CreateError::ToRequired);
        }
        let vn = number.virtual_number.expose();
        let ended = self.tx.execute(sql::PINS_RELEASE_DUE, (&vn, self.now.micros()))?;
        let ended = i64::try_from(ended).unwrap_or(0);
        let row = (ended, &vn, self.tenant.as_str());
        let taken = self
            .tx
            .row(sql::NUMBER_TAKE_PLACE, row, |row| Ok(Places { active: row.get(0)?, most: row.get(1)? }))?;
        taken.ok_or(CreateError::PinSpaceExhausted)
    }

    fn insert(&self, allocation: &Allocation, mode: NumberMode) -> Result<(), StoreError> {
        let vn = allocation.virtual_number.expose();
        let row = (
            self.tenant.as_str(),
            allocation.greenpin_id.as_str(),
            &vn,
            allocation.pin.expose(),
            number_list(&allocation.from),
            number_list(&allocation.to),
            i64::from(allocation.record),
            &allocation.custom_field,
            i64::from(allocation.max_pin_attempts),
            allocation.created_at.micros(),
            allocation.updated_at.micros(),
            allocation.expires_at.micros(),
            events::FIRST_SEQUENCE,
        );
        self.tx.execute(sql::ALLOCATION_INSERT, row)?;
        if mode == NumberMode::Shared {
            list_callers(self.tx, self.tenant, allocation)?;
        }
        let zone = self.settings.zone();
        let event = Draft {
            tenant: self.tenant,
            zone: &zone,
            greenpin_id: Some(&allocation.greenpin_id),
            made: Some(allocation),
            event_type: EventType::AllocationCreated,
            occurred_at: self.now,
            data: event_data(allocation, &zone),
        };
        events::write(self.tx, &event)
    }
}

/// What an event tells of an active allocation. The PIN is not in it: an event goes through more hands than the answer
/// to a create.
pub(super) fn event_data(allocation: &Allocation, zone: &TimeZone) -> Value {
    let exposed = |numbers: &[PhoneNumber]| -> Vec<String> { numbers.iter().map(|n| n.expose()).collect() };
    json!({
        "virtual_number": allocation.virtual_number.expose(),
        "from": exposed(&allocation.from),
        "to": exposed(&allocation.to),
        "status": Status::Active.as_str(),
        "created_at": allocation.created_at.rfc3339(zone),
        "expires_at": allocation.expires_at.rfc3339(zone),
        "max_pin_attempts": allocation.max_pin_attempts,
        "record": allocation.record,
    })
}

fn delete(tx: &Tx<'_>, tenant: &TenantId, id: &GreenpinId, now: Timestamp) -> Result<Timestamp, DeleteError> {
    let key = (now.micros(), tenant.as_str(), id.as_str());
    if tx.row(sql::ALLOCATION_DELETE, key, |_| Ok(()))?.is_none() {
        return Err(match find(tx, tenant, id)? {
            Some(_) => DeleteError::AlreadyDeleted,
            None => DeleteError::NotFound,
        });
    }
    let allocation = find(tx, tenant, id)?.ok_or(DeleteError::NotFound)?;
    let settings = settings::of(tx, tenant)?;
    let vn = allocation.virtual_number.expose();
    tx.execute(sql::NUMBER_RELEASE, (&vn, id.as_str()))?;
    let free_at = (now + settings.cooloff()).micros();
    tx.execute(sql::PIN_END, (now.micros(), free_at, &vn, allocation.pin.expose(), id.as_str()))?;
    forget_callers(tx, &allocation)?;
    let zone = settings.zone();
    let event = Draft {
        tenant,
        zone: &zone,
        greenpin_id: Some(id),
        made: None,
        event_type: EventType::AllocationDeleted,
        occurred_at: now,
        data: json!({ "virtual_number": vn, "deleted_at": now.rfc3339(&zone) }),
    };
    events::write(tx, &event)?;
    Ok(now)
}

/// Puts the numbers of a shared number's allocation into the index of listed callers.
pub(super) fn list_callers(
    tx: &Tx<'_>,
    tenant: &TenantId,
    allocation: &Allocation,
) -> Result<(), StoreError> {
    let vn = allocation.virtual_number.expose();
    for caller in allocation.from.iter().chain(&allocation.to) {
        let row = (&vn, caller.expose(), allocation.greenpin_id.as_str(), tenant.as_str());
        tx.execute(sql::CALLER_INSERT, row)?;
    }
    Ok(())
}

/// Takes an ended allocation's numbers out of the index of listed callers.
pub(super) fn forget_callers(tx: &Tx<'_>, allocation: &Allocation) -> Result<(), StoreError> {
    let vn = allocation.virtual_number.expose();
    for caller in allocation.from.iter().chain(&allocation.to) {
        tx.execute(sql::CALLER_DELETE, (&vn, caller.expose(), allocation.greenpin_id.as_str()))?;
    }
    Ok(())
}

/// Reads an allocation inside a transaction.
pub(super) fn find(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
) -> Result<Option<Allocation>, StoreError> {
    let raw = tx.row(sql::ALLOCATION_SELECT, (tenant.as_str(), id.as_str()), RawAllocation::read)?;
    raw.map(RawAllocation::allocation).transpose()
}

/// The columns of an allocation, not yet understood.
pub(super) struct RawAllocation {
    texts: [String; 5],
    custom_field: Option<String>,
    deleted_at: Option<i64>,
    integers: [i64; 8],
}

impl RawAllocation {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            texts: [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?],
            custom_field: row.get(6)?,
            integers: [
                row.get(5)?,
                row.get(7)?,
                row.get(8)?,
                row.get(9)?,
                row.get(10)?,
                row.get(11)?,
                row.get(12)?,
                row.get(13)?,
            ],
            deleted_at: row.get(14)?,
        })
    }

    pub(super) fn allocation(self) -> Result<Allocation, StoreError> {
        let [id, virtual_number, pin, from, to] = self.texts;
        let [record, max, failed, calls, attempts, created_at, updated_at, expires_at] = self.integers;
        Ok(Allocation {
            greenpin_id: GreenpinId::stored(id),
            virtual_number: phone_number(&virtual_number)?,
            pin: Pin::parse(&pin).map_err(|_| StoreError::Unreadable("PIN"))?,
            from: read_list(&from)?,
            to: read_list(&to)?,
            record: record != 0,
            custom_field: self.custom_field,
            max_pin_attempts: small(max, "limit")?,
            failed_pin_attempts: small(failed, "count")?,
            call_count: small(calls, "count")?,
            attempt_count: small(attempts, "count")?,
            created_at: Timestamp::from_micros(created_at),
            updated_at: Timestamp::from_micros(updated_at),
            expires_at: Timestamp::from_micros(expires_at),
            deleted_at: self.deleted_at.map(Timestamp::from_micros),
        })
    }
}

/// Numbers as they are kept: separated by blanks, in their order.
pub(super) fn number_list(numbers: &[PhoneNumber]) -> String {
    numbers.iter().map(|number| number.expose()).collect::<Vec<_>>().join(" ")
}

fn read_list(text: &str) -> Result<Vec<PhoneNumber>, StoreError> {
    text.split_whitespace().map(phone_number).collect()
}
