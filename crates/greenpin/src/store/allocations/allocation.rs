//! Allocations: one PIN on one virtual number, tying two sides together for a while.

use std::sync::Arc;
use std::time::Duration;

use call::{PhoneNumber, Pin};
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;

use crate::store::allocations::number_cache;
use crate::store::allocations::number_cache::Offer;
use crate::store::allocations::pin_draw;
use crate::store::allocations::pin_draw::Claim;
use crate::store::core::crypto::TenantKey;
use crate::store::core::database::Row;
use crate::store::core::reader::Snapshot;
use crate::store::core::writer::Tx;
use crate::store::events;
use crate::store::events::Draft;
use crate::store::numbers::{NumberMode, phone_number, small};
use crate::store::tenants::settings;
use crate::store::{
    EventType, GreenpinId, StoreError, TenantId, TenantSettings, TenantStore, Timestamp, sql,
};

/// PINs of fewer digits open for listed callers only: strangers would hit one of many by chance.
pub(crate) const OPEN_PIN_LENGTH: u8 = 6;

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
    /// The operator lets the number take no new allocations.
    #[error("the number is quarantined")]
    NumberQuarantined,
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

    /// Everybody on either side.
    pub(crate) fn parties(&self) -> impl Iterator<Item = PhoneNumber> {
        self.from.iter().chain(&self.to).copied()
    }

    /// Whether a caller is on either side.
    pub(crate) fn lists(&self, caller: PhoneNumber) -> bool {
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
        let (tenant, claimed) = (self.tenant_id.clone(), self.claimed.clone());
        let write = self.store.writer.create(move |tx| {
            let made = create(tx, &tenant, new.clone(), now)?;
            if let Some(claimed) = &claimed {
                claimed.made(tx, &tenant, &made.greenpin_id)?;
            }
            Ok(made)
        });
        write.await
    }

    /// Reads an allocation; `None` if the tenant has no such one.
    pub async fn allocation(&self, id: &GreenpinId) -> Result<Option<Allocation>, StoreError> {
        let (tenant, id) = (self.tenant_id.clone(), id.clone());
        self.store
            .readers
            .look_up(move |snapshot| find(snapshot, &tenant, &id))
            .await
    }

    /// Deletes an allocation: frees an exclusive number at once and the PIN after its cool-off. Calls that are
    /// connected go on. Returns the moment of it.
    pub async fn delete_allocation(
        &self,
        id: &GreenpinId,
        now: Timestamp,
    ) -> Result<Timestamp, DeleteError> {
        let (tenant, id) = (self.tenant_id.clone(), id.clone());
        self.store
            .writer
            .write(move |tx| delete(tx, &tenant, &id, now))
            .await
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
        Ok(Self {
            tx,
            tenant,
            settings: settings::of(tx, tenant)?,
            now,
        })
    }

    fn create(&self, new: NewAllocation) -> Result<Allocation, CreateError> {
        let mut number = number_cache::find(self.tx, self.tenant, &new)?;
        let created_at = self.now.whole_seconds();
        let expires_at = created_at + new.duration;
        let greenpin_id = GreenpinId::new(self.now);
        let places = match number.mode {
            NumberMode::Exclusive => {
                number.hold(self.tx, &greenpin_id, expires_at, self.now)?;
                None
            }
            NumberMode::Shared => Some(number.find_place(self.tx, &new, self.now)?),
        };
        let claim = Claim {
            number_key: &number.number_key,
            greenpin_id: &greenpin_id,
            pin_length: number.pin_length,
            active_until: expires_at,
            free_at: expires_at + self.settings.cooloff(),
            counted: number.mode == NumberMode::Shared,
        };
        let pin = self
            .take_pin(&claim)?
            .ok_or(CreateError::PinSpaceExhausted)?;
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
        self.insert(&allocation, &number)?;
        if let Some(places) = places {
            places.tell_if_low(
                self.tx,
                self.tenant,
                &allocation.virtual_number.expose(),
                self.now,
            )?;
            self.tx.offers().took_place(number, &places, expires_at);
        }
        Ok(allocation)
    }

    /// Takes a PIN; where each question costs a round trip, one that was found free together with others.
    fn take_pin(&self, claim: &Claim<'_>) -> Result<Option<Pin>, StoreError> {
        if self.tx.is_far() {
            let ahead = self.tx.offers().with_ahead(claim.number_key, |ahead| {
                ahead.take(self.tx, claim, self.now)
            });
            if let Some(pin) = ahead.transpose()?.flatten() {
                return Ok(Some(pin));
            }
        }
        pin_draw::take(self.tx, claim, self.now)
    }

    fn insert(&self, allocation: &Allocation, number: &Offer) -> Result<(), StoreError> {
        let key = self.tx.tenant_key(self.tenant)?;
        let row = (
            self.tenant.as_str(),
            allocation.greenpin_id.as_str(),
            &number.number_key,
            seal(&key, allocation)?,
            i64::from(allocation.record),
            &allocation.custom_field,
            i64::from(allocation.max_pin_attempts),
            allocation.created_at.micros(),
            allocation.updated_at.micros(),
            allocation.expires_at.micros(),
            events::FIRST_SEQUENCE,
        );
        self.tx.append(sql::ALLOCATION_INSERT, row)?;
        list(
            self.tx,
            self.tenant,
            (&number.number_key, number.mode),
            allocation,
        )?;
        let zone = self.settings.zone();
        let event = Draft {
            tenant: self.tenant,
            zone: &zone,
            greenpin_id: Some(&allocation.greenpin_id),
            made: Some(allocation),
            event_type: EventType::AllocationCreated,
            occurred_at: self.now,
            data: EventData::of(allocation, &zone),
        };
        events::write(self.tx, &event)
    }
}

/// What an event tells of an active allocation. The PIN is not in it: an event goes through more hands than the answer
/// to a create.
#[derive(Serialize)]
pub(crate) struct EventData {
    virtual_number: String,
    from: Vec<String>,
    to: Vec<String>,
    status: &'static str,
    created_at: String,
    expires_at: String,
    max_pin_attempts: u8,
    record: bool,
}

impl EventData {
    pub(crate) fn of(allocation: &Allocation, zone: &TimeZone) -> Self {
        let exposed =
            |numbers: &[PhoneNumber]| numbers.iter().map(|number| number.expose()).collect();
        Self {
            virtual_number: allocation.virtual_number.expose(),
            from: exposed(&allocation.from),
            to: exposed(&allocation.to),
            status: Status::Active.as_str(),
            created_at: allocation.created_at.rfc3339(zone),
            expires_at: allocation.expires_at.rfc3339(zone),
            max_pin_attempts: allocation.max_pin_attempts,
            record: allocation.record,
        }
    }
}

/// Makes an allocation inside a transaction.
pub(crate) fn create(
    tx: &Tx<'_>,
    tenant: &TenantId,
    new: NewAllocation,
    now: Timestamp,
) -> Result<Allocation, CreateError> {
    Creation::begin(tx, tenant, now)?.create(new)
}

/// Deletes an allocation inside a transaction.
pub(crate) fn delete(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
    now: Timestamp,
) -> Result<Timestamp, DeleteError> {
    let key = (now.micros(), tenant.as_str(), id.as_str());
    if tx.row(sql::ALLOCATION_DELETE, key, |_| Ok(()))?.is_none() {
        return Err(match find(tx, tenant, id)? {
            Some(_) => DeleteError::AlreadyDeleted,
            None => DeleteError::NotFound,
        });
    }
    let allocation = find(tx, tenant, id)?.ok_or(DeleteError::NotFound)?;
    let settings = settings::of(tx, tenant)?;
    let vn = tx.keys().number(allocation.virtual_number);
    tx.execute(sql::NUMBER_RELEASE, (&vn, id.as_str()))?;
    let free_at = (now + settings.cooloff()).micros();
    let pin = tx.keys().pin(&vn, &allocation.pin);
    tx.execute(sql::PIN_END, (now.micros(), free_at, &vn, pin, id.as_str()))?;
    forget_callers(tx, tenant, &allocation)?;
    let zone = settings.zone();
    let event = Draft {
        tenant,
        zone: &zone,
        greenpin_id: Some(id),
        made: None,
        event_type: EventType::AllocationDeleted,
        occurred_at: now,
        data: json!({ "virtual_number": allocation.virtual_number.expose(), "deleted_at": now.rfc3339(&zone) }),
    };
    events::write(tx, &event)?;
    Ok(now)
}

/// Enters the parties of an allocation where they are looked for: in lists, and on a shared number by callers.
pub(crate) fn list(
    tx: &Tx<'_>,
    tenant: &TenantId,
    (number_key, mode): (&str, NumberMode),
    allocation: &Allocation,
) -> Result<(), StoreError> {
    let (key, id) = (tx.tenant_key(tenant)?, allocation.greenpin_id.as_str());
    for party in allocation.parties() {
        let party = key.party(party);
        tx.append(sql::PARTY_INSERT, (tenant.as_str(), &party, id))?;
        if mode == NumberMode::Shared {
            tx.append(
                sql::CALLER_INSERT,
                (number_key, &party, id, tenant.as_str()),
            )?;
        }
    }
    Ok(())
}

/// Takes the parties of an allocation away from where they are looked for.
pub(crate) fn unlist(
    tx: &Tx<'_>,
    tenant: &TenantId,
    (number_key, mode): (&str, NumberMode),
    allocation: &Allocation,
) -> Result<(), StoreError> {
    let (key, id) = (tx.tenant_key(tenant)?, allocation.greenpin_id.as_str());
    for party in allocation.parties() {
        let party = key.party(party);
        tx.send(sql::PARTY_DELETE, (tenant.as_str(), &party, id))?;
        if mode == NumberMode::Shared {
            tx.send(sql::CALLER_DELETE, (number_key, &party, id))?;
        }
    }
    Ok(())
}

/// Takes an ended allocation's numbers out of the index of listed callers.
pub(crate) fn forget_callers(
    tx: &Tx<'_>,
    tenant: &TenantId,
    allocation: &Allocation,
) -> Result<(), StoreError> {
    let key = tx.tenant_key(tenant)?;
    let vn = tx.keys().number(allocation.virtual_number);
    for caller in allocation.parties() {
        tx.send(
            sql::CALLER_DELETE,
            (&vn, key.party(caller), allocation.greenpin_id.as_str()),
        )?;
    }
    Ok(())
}

/// Reads an allocation.
pub(crate) fn find(
    snapshot: &Snapshot<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
) -> Result<Option<Allocation>, StoreError> {
    let raw = snapshot.row(
        sql::ALLOCATION_SELECT,
        (tenant.as_str(), id.as_str()),
        RawAllocation::read,
    )?;
    let Some(raw) = raw else { return Ok(None) };
    raw.allocation(&*snapshot.tenant_key(tenant)?).map(Some)
}

/// The columns of an allocation, not yet understood.
pub(crate) struct RawAllocation {
    greenpin_id: String,
    sealed: String,
    custom_field: Option<String>,
    deleted_at: Option<i64>,
    integers: [i64; 8],
}

impl RawAllocation {
    pub(crate) fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            greenpin_id: row.get(0)?,
            sealed: row.get(1)?,
            custom_field: row.get(3)?,
            integers: [
                row.get(2)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
                row.get(7)?,
                row.get(8)?,
                row.get(9)?,
                row.get(10)?,
            ],
            deleted_at: row.get(11)?,
        })
    }

    pub(crate) fn allocation(self, key: &TenantKey) -> Result<Allocation, StoreError> {
        let [
            record,
            max,
            failed,
            calls,
            attempts,
            created_at,
            updated_at,
            expires_at,
        ] = self.integers;
        let content = key.open(&context(&self.greenpin_id), &self.sealed)?;
        let mut content = content.split(' ');
        let mut next = || content.next().ok_or(StoreError::Unreadable("allocation"));
        let virtual_number = phone_number(next()?)?;
        let pin = Pin::parse(next()?).map_err(|_| StoreError::Unreadable("PIN"))?;
        let (from, to) = (read_list(next()?)?, read_list(next()?)?);
        Ok(Allocation {
            greenpin_id: GreenpinId::stored(self.greenpin_id),
            virtual_number,
            pin,
            from,
            to,
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

/// Seals an allocation's numbers and PIN: the virtual number, the PIN, both sides, separated by blanks.
pub(crate) fn seal(key: &TenantKey, allocation: &Allocation) -> Result<String, StoreError> {
    let content = format!(
        "{} {} {} {}",
        allocation.virtual_number.expose(),
        allocation.pin.expose(),
        number_list(&allocation.from),
        number_list(&allocation.to)
    );
    key.seal(&context(allocation.greenpin_id.as_str()), content)
}

fn context(greenpin_id: &str) -> String {
    format!("allocation {greenpin_id}")
}

/// Numbers as they are kept: separated by commas, in their order.
fn number_list(numbers: &[PhoneNumber]) -> String {
    numbers
        .iter()
        .map(|number| number.expose())
        .collect::<Vec<_>>()
        .join(",")
}

fn read_list(text: &str) -> Result<Vec<PhoneNumber>, StoreError> {
    text.split_terminator(',').map(phone_number).collect()
}
