//! Numbers of a tenant's pool.

use call::words;
use std::fmt;
use std::time::Duration;

use call::PhoneNumber;

use crate::store::Tx;
use crate::store::core::crypto::TenantKey;
use crate::store::core::database::word_columns;
use crate::store::core::reader::Snapshot;
use crate::store::core::stored::phone_number;
use crate::store::numbers::sql;
use crate::store::numbers::sql::{PoolRow, RoutingRow};
use crate::store::tenants::status;
use crate::store::{GreenpinId, Store, StoreError, TenantId, TenantStore, Timestamp};

/// Size of the budget of wrong PINs of unlisted callers on a shared number.
pub const UNLISTED_BURST: i64 = 20;
/// Interval after which that budget grows by one attempt.
pub const REFILL_INTERVAL: Duration = Duration::from_secs(1800);
/// Minimum length of a PIN that unlisted callers may use. An unlisted caller could guess one of many shorter PINs.
pub const OPEN_PIN_LENGTH: u8 = 6;

words! {
    /// Number of allocations that a virtual number supports.
    pub enum NumberMode {
        /// One active allocation at a time.
        Exclusive = "exclusive",
        /// Many allocations, distinguished by their PINs.
        Shared = "shared",
    }
}

/// Number to add to a pool.
#[derive(Debug, Clone)]
pub struct NewNumber {
    /// The number.
    pub virtual_number: PhoneNumber,
    /// Mode of the number.
    pub mode: NumberMode,
    /// Length of its PINs: 4 digits on an exclusive number, 4 to 8 on a shared one.
    pub pin_length: u8,
    /// Maximum number of active allocations on a shared number: 1 to half of the PIN space.
    pub max_active: u32,
}

/// Number of a pool.
#[derive(Debug, Clone)]
pub struct PoolNumber {
    /// The number.
    pub virtual_number: PhoneNumber,
    /// Tenant of the pool.
    pub tenant_id: TenantId,
    /// Mode of the number.
    pub mode: NumberMode,
    /// Length of its PINs.
    pub pin_length: u8,
    /// Maximum number of active allocations.
    pub max_active: u32,
    /// Current number of active allocations.
    pub active: u32,
}

/// Failure to add a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The tenant does not exist.
    #[error("there is no such tenant")]
    NoSuchTenant,
    /// The number is already in a pool.
    #[error("the number is already in a pool")]
    Exists,
    /// The PIN length is not 4 on an exclusive number, or not 4 to 8 on a shared one.
    #[error("the PIN length must be 4 on an exclusive number, and 4 to 8 on a shared one")]
    PinLength,
    /// The limit is 0 or exceeds half of the PIN space.
    #[error("the limit of active allocations must be 1 to {0}, half of the PIN space")]
    MaxActive(u32),
    /// The limit of an exclusive number is not 1.
    #[error("an exclusive number takes one active allocation")]
    ExclusiveTakesOne,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Default limit of a shared number.
const DEFAULT_MAX_ACTIVE: u32 = 200;
const DEFAULT_PIN_LENGTH: u8 = 4;
/// Maximum length of the PINs of a shared number.
pub(crate) const MAX_PIN_LENGTH: u8 = 8;

impl NewNumber {
    /// Creates a number with defaults: PINs of 4 digits, and a limit of 1 on an exclusive number and 200 on a shared
    /// one.
    pub fn with_defaults(
        virtual_number: PhoneNumber,
        mode: NumberMode,
        pin_length: Option<u8>,
        max_active: Option<u32>,
    ) -> Result<Self, NumberError> {
        let default = match mode {
            NumberMode::Exclusive if max_active.is_some_and(|limit| limit != 1) => {
                return Err(NumberError::ExclusiveTakesOne);
            }
            NumberMode::Exclusive => 1,
            NumberMode::Shared => DEFAULT_MAX_ACTIVE,
        };
        let pin_length = pin_length.unwrap_or(DEFAULT_PIN_LENGTH);
        let new = Self {
            virtual_number,
            mode,
            pin_length,
            max_active: max_active.unwrap_or(default),
        };
        new.check().map(|()| new)
    }

    pub(crate) fn check(&self) -> Result<(), NumberError> {
        let lengths = match self.mode {
            NumberMode::Exclusive => 4..=4,
            NumberMode::Shared => 4..=MAX_PIN_LENGTH,
        };
        if !lengths.contains(&self.pin_length) {
            return Err(NumberError::PinLength);
        }
        let max = 10_u32.saturating_pow(self.pin_length.into()) / 2;
        if !(1..=max).contains(&self.max_active) {
            return Err(NumberError::MaxActive(max));
        }
        Ok(())
    }
}

impl Store {
    /// Adds a number to a tenant's pool without an audit entry, for embedded use.
    pub async fn add_number(
        &self,
        tenant: TenantId,
        new: NewNumber,
        now: Timestamp,
    ) -> Result<(), NumberError> {
        new.check()?;
        self.writers
            .whole()
            .write(move |tx| insert(tx, &tenant, &new, now))
            .await
    }

    /// Returns the numbers of one tenant, or of all.
    pub async fn numbers(
        &self,
        tenant: Option<TenantId>,
        now: Timestamp,
    ) -> Result<Vec<PoolNumber>, StoreError> {
        let read = self.readers.read(move |snapshot| {
            let tenant = tenant.as_ref().map_or("", TenantId::as_str);
            let rows = snapshot.rows(sql::NUMBER_LIST, (now.micros(), tenant), PoolRow::read)?;
            rows.into_iter()
                .map(|row| row.number(snapshot))
                .collect::<Result<Vec<_>, StoreError>>()
        });
        let mut numbers = read.await?;
        numbers.sort_unstable_by_key(|number| number.virtual_number.expose());
        Ok(numbers)
    }
}

impl TenantStore {
    /// Returns the numbers of the tenant's pool.
    pub async fn numbers(&self, now: Timestamp) -> Result<Vec<PoolNumber>, StoreError> {
        self.store.numbers(Some(self.tenant_id.clone()), now).await
    }
}

impl PoolRow {
    /// Decrypts the number.
    pub(crate) fn number(self, snapshot: &Snapshot<'_>) -> Result<PoolNumber, StoreError> {
        let virtual_number = snapshot
            .tenant_key(&self.tenant_id)?
            .decrypt(&context(&self.number_key), &self.sealed)?;
        Ok(PoolNumber {
            virtual_number: phone_number(&virtual_number)?,
            tenant_id: self.tenant_id,
            mode: self.mode,
            pin_length: self.pin_length,
            max_active: self.max_active,
            active: self.active,
        })
    }
}

/// Encrypts a number of a tenant's pool.
pub(crate) fn encrypt(
    key: &TenantKey,
    number_key: &str,
    number: PhoneNumber,
) -> Result<String, StoreError> {
    key.encrypt(&context(number_key), number.expose())
}

fn context(number_key: &str) -> String {
    ["number ", number_key].concat()
}

/// Number, as routing uses it.
pub(crate) struct NumberRow {
    pub(crate) number_key: String,
    pub(crate) virtual_number: PhoneNumber,
    pub(crate) tenant_id: TenantId,
    pub(crate) mode: NumberMode,
    pub(crate) pin_length: u8,
    pub(crate) unlisted_budget: i64,
    pub(crate) unlisted_budget_at: Timestamp,
    /// The tenant accepts no new calls.
    pub(crate) suspended: bool,
    held: Option<(GreenpinId, Timestamp)>,
}

impl NumberRow {
    /// Returns the allocation that holds an exclusive number at this time.
    pub(crate) fn held_by(&self, now: Timestamp) -> Option<&GreenpinId> {
        self.held
            .as_ref()
            .filter(|(_, until)| *until > now)
            .map(|(holder, _)| holder)
    }
}

/// Inserts a valid number.
pub(crate) fn insert(
    tx: &Tx<'_>,
    tenant: &TenantId,
    new: &NewNumber,
    now: Timestamp,
) -> Result<(), NumberError> {
    if !takes_numbers(tx, tenant)? {
        return Err(NumberError::NoSuchTenant);
    }
    let added = with_row(tx, tenant, new, now, |row| {
        tx.execute(sql::NUMBER_INSERT, row)
    })?;
    if added == 0 {
        Err(NumberError::Exists)
    } else {
        Ok(())
    }
}

/// Inserts valid numbers without waiting for each. Returns `false` if one of them was already in a pool; the
/// transaction must then be rolled back.
pub(crate) fn insert_all(
    tx: &Tx<'_>,
    tenant: &TenantId,
    new: &[NewNumber],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let count = || tx.count(sql::NUMBERS_COUNT, [tenant.as_str()]);
    let before = count()?;
    for number in new {
        with_row(tx, tenant, number, now, |row| {
            tx.execute_deferred(sql::NUMBER_INSERT, row)
        })?;
    }
    let added = count()?.saturating_sub(before);
    Ok(usize::try_from(added) == Ok(new.len()))
}

fn with_row<T>(
    tx: &Tx<'_>,
    tenant: &TenantId,
    new: &NewNumber,
    now: Timestamp,
    write: impl FnOnce((&str, &str, &str, &str, i64, i64, i64, i64, i64)) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let key = tx.keys().number_key(new.virtual_number);
    let encrypted = encrypt(&*tx.tenant_key(tenant)?, &key, new.virtual_number)?;
    write((
        &key,
        tenant.as_str(),
        &encrypted,
        new.mode.as_str(),
        i64::from(new.pin_length),
        i64::from(new.max_active),
        UNLISTED_BURST,
        now.micros(),
        now.micros(),
    ))
}

/// Returns whether the tenant exists and is not erased.
pub(crate) fn takes_numbers(
    snapshot: &Snapshot<'_>,
    tenant: &TenantId,
) -> Result<bool, StoreError> {
    let row = status::find(snapshot, tenant)?;
    Ok(row.is_some_and(|row| row.erased_at.is_none()))
}

/// Removes ended allocations from the count of a shared number. Returns their number.
pub(crate) fn release_ended(
    tx: &Tx<'_>,
    number_key: &str,
    now: Timestamp,
) -> Result<usize, StoreError> {
    tx.execute(sql::PINS_RELEASE_DUE, (number_key, now.micros()))
}

/// Reads a number of any pool; `None` also for a number of an erased tenant.
pub(crate) fn find(
    snapshot: &Snapshot<'_>,
    number: PhoneNumber,
) -> Result<Option<NumberRow>, StoreError> {
    let number_key = snapshot.keys().number_key(number);
    let row = snapshot.row(sql::NUMBER_SELECT, [&number_key], RoutingRow::read)?;
    Ok(row.map(|row| NumberRow {
        number_key,
        virtual_number: number,
        tenant_id: row.tenant_id,
        mode: row.mode,
        pin_length: row.pin_length,
        unlisted_budget: row.unlisted_budget,
        unlisted_budget_at: row.unlisted_budget_at,
        suspended: row.suspended_at.is_some(),
        held: row.held_by.map(|holder| (holder, row.held_until)),
    }))
}

word_columns!(NumberMode);

impl fmt::Display for NumberMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
