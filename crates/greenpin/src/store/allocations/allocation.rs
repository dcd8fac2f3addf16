//! Allocation: one PIN on one virtual number that connects two sides for a limited time.

use std::cell::Cell;
use std::fmt::Write;

use call::words;
use call::{PhoneNumber, Pin};
use jiff::tz::TimeZone;

use crate::store::Tx;
use crate::store::allocations::sql;
use crate::store::allocations::sql::AllocationRow;
use crate::store::core::crypto::TenantKey;
use crate::store::core::reader::Snapshot;
use crate::store::core::stored::phone_number;
use crate::store::events::EventAllocation;
use crate::store::events::payload::AllocationData;
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::{GreenpinId, StoreError, TenantId, TenantStore, Timestamp};

/// Stored allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Id of the allocation.
    pub greenpin_id: GreenpinId,
    /// Virtual number of the allocation.
    pub virtual_number: PhoneNumber,
    /// PIN of the allocation.
    pub pin: Pin,
    /// Numbers of the A-party.
    pub from: Vec<PhoneNumber>,
    /// Numbers of the B-party.
    pub to: Vec<PhoneNumber>,
    /// Record every call.
    pub record: bool,
    /// Free text of the tenant.
    pub custom_field: Option<String>,
    /// Number of wrong PINs that locks the allocation.
    pub max_pin_attempts: u8,
    /// Number of wrong PINs so far.
    pub failed_pin_attempts: u8,
    /// Number of connected calls.
    pub call_count: u64,
    /// Number of incoming calls.
    pub attempt_count: u64,
    /// Time of the creation, a whole second.
    pub created_at: Timestamp,
    /// Time of the last change by the tenant.
    pub updated_at: Timestamp,
    /// Time of the expiry, a whole second.
    pub expires_at: Timestamp,
    /// Time of the deletion.
    pub deleted_at: Option<Timestamp>,
}

/// Allocation of a call, as it was read in this transaction.
pub(crate) struct CallAllocation {
    pub(crate) allocation: Allocation,
    pub(crate) for_events: EventAllocation,
}

words! {
    /// Status of an allocation at a time. It is computed and not stored.
    pub enum Status {
        /// The allocation connects calls.
        Active = "active",
        /// Its duration is over.
        Expired = "expired",
        /// It was deleted.
        Deleted = "deleted",
    }
}

impl Allocation {
    /// Returns the status at a time.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.deleted_at {
            Some(_) => Status::Deleted,
            None if self.expires_at <= now => Status::Expired,
            None => Status::Active,
        }
    }

    /// Returns whether the limit of wrong PINs is reached.
    pub fn is_locked(&self) -> bool {
        is_limit_reached(self.failed_pin_attempts, self.max_pin_attempts)
    }

    /// Returns the numbers of both sides.
    pub(crate) fn parties(&self) -> impl Iterator<Item = PhoneNumber> {
        self.from.iter().chain(&self.to).copied()
    }

    /// Returns whether a caller is on either side.
    pub(crate) fn lists(&self, caller: PhoneNumber) -> bool {
        self.from.contains(&caller) || self.to.contains(&caller)
    }
}

/// Returns the event data of an active allocation.
pub(crate) fn event_data<'a>(allocation: &'a Allocation, zone: &TimeZone) -> AllocationData<'a> {
    AllocationData {
        virtual_number: allocation.virtual_number,
        from: &allocation.from,
        to: &allocation.to,
        status: Status::Active.as_str(),
        created_at: allocation.created_at.in_zone(zone),
        expires_at: allocation.expires_at.in_zone(zone),
        max_pin_attempts: allocation.max_pin_attempts,
        record: allocation.record,
    }
}

/// Inserts the parties of an allocation into the index of its tenant and, on a shared number, into the index of listed
/// callers.
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

/// Deletes the parties of an allocation from both indexes.
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

/// Deletes the numbers of an ended allocation from the index of listed callers.
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

/// Deletes the parties of an allocation from the index of its tenant.
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
    /// Returns an allocation; `None` if the tenant does not have it.
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
    let Some(row) = find_row(snapshot, tenant, id)? else {
        return Ok(None);
    };
    row.allocation(&*snapshot.tenant_key(tenant)?).map(Some)
}

/// Reads the allocation that holds an exclusive number, also after its expiry.
pub(crate) fn find_holder(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
) -> Result<Option<CallAllocation>, StoreError> {
    let key = [&number.number_key];
    let row = snapshot.row(sql::ALLOCATION_OF_NUMBER, key, AllocationRow::read)?;
    row.map(|row| row.of_call(&*snapshot.tenant_key(&number.tenant_id)?))
        .transpose()
}

/// Reads the active allocation of a shared number with the PIN of this index key.
pub(crate) fn find_by_pin(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    pin_key: &str,
    now: Timestamp,
) -> Result<Option<CallAllocation>, StoreError> {
    let key = (&number.number_key, pin_key, now.micros());
    let row = snapshot.row(sql::ALLOCATION_OF_PIN, key, AllocationRow::read)?;
    row.map(|row| row.of_call(&*snapshot.tenant_key(&number.tenant_id)?))
        .transpose()
}

/// Returns whether this number of wrong PINs locks an allocation.
pub(crate) fn is_limit_reached(failed_pin_attempts: u8, max_pin_attempts: u8) -> bool {
    failed_pin_attempts >= max_pin_attempts
}

fn find_row(
    snapshot: &Snapshot<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
) -> Result<Option<AllocationRow>, StoreError> {
    let key = (tenant.as_str(), id.as_str());
    snapshot.row(sql::ALLOCATION_SELECT, key, AllocationRow::read)
}

impl AllocationRow {
    fn of_call(self, key: &TenantKey) -> Result<CallAllocation, StoreError> {
        let for_events = EventAllocation {
            greenpin_id: self.greenpin_id.clone(),
            sequence: Cell::new(self.sequence),
            custom_field: self.custom_field.clone(),
        };
        let allocation = self.allocation(key)?;
        Ok(CallAllocation {
            allocation,
            for_events,
        })
    }

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

/// Encrypts the virtual number, the PIN and both sides of an allocation, separated by spaces.
pub(crate) fn encrypt(key: &TenantKey, allocation: &Allocation) -> Result<String, StoreError> {
    let mut content = allocation.virtual_number.expose();
    content.push(' ');
    content.push_str(allocation.pin.expose());
    for side in [&allocation.from, &allocation.to] {
        content.push(' ');
        push_list(&mut content, side);
    }
    key.encrypt(&context(allocation.greenpin_id.as_str()), content)
}

fn context(greenpin_id: &str) -> String {
    ["allocation ", greenpin_id].concat()
}

/// Appends numbers in the stored form to a text.
fn push_list(text: &mut String, numbers: &[PhoneNumber]) {
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Writing to a `String` does not fail.
        let _ = write!(text, "{}", number.exposed());
    }
}

fn read_list(text: &str) -> Result<Vec<PhoneNumber>, StoreError> {
    text.split_terminator(',').map(phone_number).collect()
}
