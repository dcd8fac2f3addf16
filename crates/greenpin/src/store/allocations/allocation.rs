//! Allocations: one PIN on one virtual number, tying two sides together for a while.

use call::words;
use call::{PhoneNumber, Pin};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::store::Tx;
use crate::store::allocations::sql;
use crate::store::allocations::sql::AllocationRow;
use crate::store::core::crypto::TenantKey;
use crate::store::core::reader::Snapshot;
use crate::store::core::stored::phone_number;
use crate::store::numbers::NumberMode;
use crate::store::{GreenpinId, StoreError, TenantId, TenantStore, Timestamp};

/// PINs of fewer digits open for listed callers only: strangers would hit one of many by chance.
pub(crate) const OPEN_PIN_LENGTH: u8 = 6;

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

words! {
    /// Where an allocation stands at a moment. Computed, never stored.
    pub enum Status {
        /// Calls go through.
        Active = "active",
        /// Its time is over.
        Expired = "expired",
        /// It was deleted.
        Deleted = "deleted",
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
    pub(crate) fn new(allocation: &Allocation, zone: &TimeZone) -> Self {
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

/// Enters the parties of an allocation where they are looked for: in lists, and on a shared number by callers.
pub(crate) fn insert_parties(
    tx: &Tx<'_>,
    tenant: &TenantId,
    (number_key, mode): (&str, NumberMode),
    allocation: &Allocation,
) -> Result<(), StoreError> {
    let (key, id) = (tx.tenant_key(tenant)?, allocation.greenpin_id.as_str());
    for party in allocation.parties() {
        let party = key.party_key(party);
        tx.insert_batched(sql::PARTY_INSERT, (tenant.as_str(), &party, id))?;
        if mode == NumberMode::Shared {
            tx.insert_batched(
                sql::LISTED_CALLER_INSERT,
                (number_key, &party, id, tenant.as_str()),
            )?;
        }
    }
    Ok(())
}

/// Takes the parties of an allocation away from where they are looked for.
pub(crate) fn delete_parties(
    tx: &Tx<'_>,
    tenant: &TenantId,
    (number_key, mode): (&str, NumberMode),
    allocation: &Allocation,
) -> Result<(), StoreError> {
    let (key, id) = (tx.tenant_key(tenant)?, allocation.greenpin_id.as_str());
    for party in allocation.parties() {
        let party = key.party_key(party);
        tx.execute_deferred(sql::PARTY_DELETE, (tenant.as_str(), &party, id))?;
        if mode == NumberMode::Shared {
            tx.execute_deferred(sql::LISTED_CALLER_DELETE, (number_key, &party, id))?;
        }
    }
    Ok(())
}

/// Takes an ended allocation's numbers out of the index of listed callers.
pub(crate) fn delete_listed_callers(
    tx: &Tx<'_>,
    tenant: &TenantId,
    allocation: &Allocation,
) -> Result<(), StoreError> {
    let key = tx.tenant_key(tenant)?;
    let vn = tx.keys().number_key(allocation.virtual_number);
    for caller in allocation.parties() {
        tx.execute_deferred(
            sql::LISTED_CALLER_DELETE,
            (&vn, key.party_key(caller), allocation.greenpin_id.as_str()),
        )?;
    }
    Ok(())
}

/// Takes an allocation's parties out of the lists of its tenant.
pub(crate) fn delete_party_rows(
    tx: &Tx<'_>,
    tenant: &TenantId,
    allocation: &Allocation,
) -> Result<(), StoreError> {
    let key = tx.tenant_key(tenant)?;
    for party in allocation.parties() {
        tx.execute_deferred(
            sql::PARTY_DELETE,
            (
                tenant.as_str(),
                key.party_key(party),
                allocation.greenpin_id.as_str(),
            ),
        )?;
    }
    Ok(())
}

impl TenantStore {
    /// Reads an allocation; `None` if the tenant has no such one.
    pub async fn allocation(&self, id: &GreenpinId) -> Result<Option<Allocation>, StoreError> {
        let (tenant, id) = (self.tenant_id.clone(), id.clone());
        self.store
            .readers
            .look_up(move |snapshot| find(snapshot, &tenant, &id))
            .await
    }
}

/// Reads an allocation.
pub(crate) fn find(
    snapshot: &Snapshot<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
) -> Result<Option<Allocation>, StoreError> {
    let row = snapshot.row(
        sql::ALLOCATION_SELECT,
        (tenant.as_str(), id.as_str()),
        AllocationRow::read,
    )?;
    let Some(row) = row else { return Ok(None) };
    row.allocation(&*snapshot.tenant_key(tenant)?).map(Some)
}

impl AllocationRow {
    /// Decrypts the numbers and the PIN.
    pub(crate) fn allocation(self, key: &TenantKey) -> Result<Allocation, StoreError> {
        let content = key.decrypt(&context(self.greenpin_id.as_str()), &self.sealed)?;
        let mut content = content.split(' ');
        let mut next = || content.next().ok_or(StoreError::Unreadable("allocation"));
        let virtual_number = phone_number(next()?)?;
        let pin = Pin::parse(next()?).map_err(|_| StoreError::Unreadable("PIN"))?;
        let (from, to) = (read_list(next()?)?, read_list(next()?)?);
        Ok(Allocation {
            greenpin_id: self.greenpin_id,
            virtual_number,
            pin,
            from,
            to,
            record: self.record,
            custom_field: self.custom_field,
            max_pin_attempts: self.max_pin_attempts,
            failed_pin_attempts: self.failed_pin_attempts,
            call_count: self.call_count,
            attempt_count: self.attempt_count,
            created_at: self.created_at,
            updated_at: self.updated_at,
            expires_at: self.expires_at,
            deleted_at: self.deleted_at,
        })
    }
}

/// Seals an allocation's numbers and PIN: the virtual number, the PIN, both sides, separated by blanks.
pub(crate) fn encrypt(key: &TenantKey, allocation: &Allocation) -> Result<String, StoreError> {
    let content = format!(
        "{} {} {} {}",
        allocation.virtual_number.expose(),
        allocation.pin.expose(),
        number_list(&allocation.from),
        number_list(&allocation.to)
    );
    key.encrypt(&context(allocation.greenpin_id.as_str()), content)
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
