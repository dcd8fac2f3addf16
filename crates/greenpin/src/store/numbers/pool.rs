//! The pool in the operator's hands: numbers added, changed, moved, quarantined, removed.

use call::PhoneNumber;

use crate::store::Tx;
use crate::store::core::database::Row;
use crate::store::core::reader::Snapshot;
use crate::store::numbers;
use crate::store::numbers::sql;
use crate::store::numbers::sql::{PoolDates, PoolRow};
use crate::store::tenants::audit;
use crate::store::tenants::audit::AuditAction;
use crate::store::tenants::operator::OperatorStore;
use crate::store::{
    NewNumber, NumberError, NumberMode, PoolNumber, StoreError, TenantId, Timestamp,
};

/// A number as the operator sees it.
#[derive(Debug, Clone)]
pub struct NumberRecord {
    /// What its tenant sees.
    pub number: PoolNumber,
    /// Since when it takes no new allocations.
    pub quarantined_at: Option<Timestamp>,
    /// Since when it is in a pool.
    pub created_at: Timestamp,
    /// Its place in the list of numbers.
    pub cursor: String,
}

/// What the list of numbers is narrowed by; `None` narrows nothing.
#[derive(Debug, Clone, Default)]
pub struct NumberFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Used like this.
    pub mode: Option<NumberMode>,
    /// In quarantine, or not.
    pub quarantined: Option<bool>,
}

/// What is to change of a number; `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct NumberChange {
    /// How it is used.
    pub mode: Option<NumberMode>,
    /// Digits of its PINs.
    pub pin_length: Option<u8>,
    /// Active allocations at once.
    pub max_active: Option<u32>,
}

/// Why a number was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// No pool holds the number.
    #[error("the number is in no pool")]
    NotFound,
    /// Active allocations forbid it; how many there are.
    #[error("the number has {0} active allocations")]
    InUse(u32),
    /// There is no tenant to move it to.
    #[error("there is no such tenant")]
    NoSuchTenant,
    /// The change is against a rule.
    #[error(transparent)]
    Rule(NumberError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why numbers were not imported. None of them was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// There is no such tenant.
    #[error("there is no such tenant")]
    NoSuchTenant,
    /// Some are in a pool already.
    #[error("some of the numbers are in a pool already")]
    Taken,
    /// A number that is against a rule.
    #[error(transparent)]
    Rule(NumberError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OperatorStore {
    /// Adds a number to a tenant's pool.
    pub async fn add_number(
        &self,
        tenant: TenantId,
        new: NewNumber,
        now: Timestamp,
    ) -> Result<(), NumberError> {
        new.check()?;
        let actor = self.actor.clone();
        let write = self.store.writer.write(move |tx| {
            numbers::insert(tx, &tenant, &new, now)?;
            let masked = new.virtual_number.to_string();
            let action = AuditAction {
                name: "number.add",
                tenant: Some(&tenant),
                object: Some(&masked),
            };
            Ok(audit::write(tx, &actor, action, now)?)
        });
        write.await
    }

    /// Adds numbers to a tenant's pool: all of them, or none.
    pub async fn import_numbers(
        &self,
        tenant: TenantId,
        new: Vec<NewNumber>,
        now: Timestamp,
    ) -> Result<(), ImportError> {
        new.iter()
            .try_for_each(NewNumber::check)
            .map_err(ImportError::Rule)?;
        let actor = self.actor.clone();
        let write = self.store.writer.write(move |tx| {
            if !numbers::takes_numbers(tx, &tenant)? {
                return Err(ImportError::NoSuchTenant);
            }
            if !numbers::insert_all(tx, &tenant, &new, now)? {
                return Err(ImportError::Taken);
            }
            let count = format!("{} numbers", new.len());
            let action = AuditAction {
                name: "number.import",
                tenant: Some(&tenant),
                object: Some(&count),
            };
            Ok(audit::write(tx, &actor, action, now)?)
        });
        write.await
    }

    /// Whether there is a tenant that numbers can be added to.
    pub async fn tenant_takes_numbers(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.store
            .readers
            .read(move |snapshot| numbers::takes_numbers(snapshot, &tenant))
            .await
    }

    /// Which of some numbers are in a pool, by their place in the list.
    pub async fn taken(&self, wanted: Vec<PhoneNumber>) -> Result<Vec<usize>, StoreError> {
        let read = self.store.readers.read(move |snapshot| {
            let mut taken = Vec::new();
            for (position, number) in wanted.iter().enumerate() {
                if snapshot
                    .row(
                        sql::NUMBER_EXISTS,
                        [snapshot.keys().number_key(*number)],
                        |_| Ok(()),
                    )?
                    .is_some()
                {
                    taken.push(position);
                }
            }
            Ok(taken)
        });
        read.await
    }

    /// Reads a number; `None`: no pool holds it.
    pub async fn number(
        &self,
        number: PhoneNumber,
        now: Timestamp,
    ) -> Result<Option<NumberRecord>, StoreError> {
        let read = self.store.readers.read(move |snapshot| {
            let key = (now.micros(), snapshot.keys().number_key(number));
            let row = snapshot.row(sql::NUMBER_DETAIL, key, RecordRow::read)?;
            row.map(|row| row.record(snapshot)).transpose()
        });
        read.await
    }

    /// The numbers behind a cursor.
    pub async fn numbers_after(
        &self,
        filter: NumberFilter,
        cursor: Option<String>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<NumberRecord>, StoreError> {
        let read = self.store.readers.read(move |snapshot| {
            let row = (
                now.micros(),
                filter.tenant.as_ref().map_or("", TenantId::as_str),
                filter.mode.map_or("", NumberMode::as_str),
                filter
                    .quarantined
                    .map_or("", |quarantined| if quarantined { "true" } else { "false" }),
                cursor.as_deref().unwrap_or_default(),
                i64::from(limit),
            );
            let rows = snapshot.rows(sql::NUMBER_PAGE, row, RecordRow::read)?;
            rows.into_iter().map(|row| row.record(snapshot)).collect()
        });
        read.await
    }

    /// Changes how a number is used. Its mode and the length of its PINs can change while no allocation is active,
    /// its limit down to the number of active ones.
    pub async fn change_number(
        &self,
        number: PhoneNumber,
        change: NumberChange,
        now: Timestamp,
    ) -> Result<(), PoolError> {
        self.change_audited(number, "number.change", now, move |tx, found| {
            let old = &found.number;
            let new = changed(old, change).map_err(PoolError::Rule)?;
            let vn = tx.keys().number_key(number);
            if new.mode == old.mode && new.pin_length == old.pin_length {
                if new.max_active < old.active {
                    return Err(PoolError::InUse(old.active));
                }
                tx.execute(sql::NUMBER_LIMIT, (i64::from(new.max_active), &vn))?;
                return Ok(());
            }
            require_unused(found)?;
            numbers::release_ended(tx, &vn, now)?;
            let row = (
                new.mode.as_str(),
                i64::from(new.pin_length),
                i64::from(new.max_active),
                &vn,
            );
            tx.execute(sql::NUMBER_RESET, row)?;
            Ok(())
        })
        .await
    }

    /// Gives a number without active allocations to another tenant. Its PINs go on to cool off, nobody's.
    pub async fn move_number(
        &self,
        number: PhoneNumber,
        to: TenantId,
        now: Timestamp,
    ) -> Result<(), PoolError> {
        self.change_audited(number, "number.move", now, move |tx, found| {
            if !numbers::takes_numbers(tx, &to)? {
                return Err(PoolError::NoSuchTenant);
            }
            require_unused(found)?;
            let vn = tx.keys().number_key(number);
            let encrypted = numbers::encrypt(&*tx.tenant_key(&to)?, &vn, number)?;
            tx.execute(sql::NUMBER_MOVE, (to.as_str(), encrypted, &vn))?;
            tx.execute(sql::PINS_DETACH, [&vn])?;
            tx.execute(sql::NUMBER_DELETE_UNLISTED_CALLERS, [&vn])?;
            tx.execute(sql::NUMBER_DELETE_LISTED_CALLERS, [&vn])?;
            Ok(())
        })
        .await
    }

    /// Lets a number take no new allocations; those that are active go on. Once more changes nothing.
    pub async fn quarantine_number(
        &self,
        number: PhoneNumber,
        now: Timestamp,
    ) -> Result<(), PoolError> {
        self.change_audited(number, "number.quarantine", now, move |tx, _| {
            Ok(tx
                .execute(
                    sql::NUMBER_QUARANTINE,
                    (now.micros(), tx.keys().number_key(number)),
                )
                .map(|_| ())?)
        })
        .await
    }

    /// Lets a number take allocations again. Once more changes nothing.
    pub async fn release_number(
        &self,
        number: PhoneNumber,
        now: Timestamp,
    ) -> Result<(), PoolError> {
        self.change_audited(number, "number.release", now, move |tx, _| {
            Ok(tx
                .execute(sql::NUMBER_UNQUARANTINE, [tx.keys().number_key(number)])
                .map(|_| ())?)
        })
        .await
    }

    /// Takes a number without active allocations out of its pool.
    pub async fn remove_number(
        &self,
        number: PhoneNumber,
        now: Timestamp,
    ) -> Result<(), PoolError> {
        self.change_audited(number, "number.remove", now, move |tx, found| {
            require_unused(found)?;
            let vn = tx.keys().number_key(number);
            while tx.execute(sql::PINS_DELETE, (&vn, MAX_BATCH_PINS))? > 0 {}
            tx.execute(sql::NUMBER_DELETE_UNLISTED_CALLERS, [&vn])?;
            tx.execute(sql::NUMBER_DELETE_LISTED_CALLERS, [&vn])?;
            tx.execute(sql::NUMBER_DELETE, [&vn])?;
            Ok(())
        })
        .await
    }

    /// Does something to a number, and notes it. The number's row is locked first, so that no allocation is made on it
    /// meanwhile.
    async fn change_audited(
        &self,
        number: PhoneNumber,
        name: &'static str,
        now: Timestamp,
        work: impl Fn(&Tx<'_>, &NumberRecord) -> Result<(), PoolError> + Send + 'static,
    ) -> Result<(), PoolError> {
        let actor = self.actor.clone();
        let write = self.store.writer.write(move |tx| {
            let vn = tx.keys().number_key(number);
            tx.execute(sql::NUMBER_LOCK, [&vn])?;
            let found = tx.row(sql::NUMBER_DETAIL, (now.micros(), &vn), RecordRow::read)?;
            let found = found.ok_or(PoolError::NotFound)?.record(tx)?;
            work(tx, &found)?;
            let masked = number.to_string();
            let action = AuditAction {
                name,
                tenant: Some(&found.number.tenant_id),
                object: Some(&masked),
            };
            Ok(audit::write(tx, &actor, action, now)?)
        });
        write.await
    }
}

/// Rows that one statement deletes.
const MAX_BATCH_PINS: i64 = 1000;

fn require_unused(found: &NumberRecord) -> Result<(), PoolError> {
    match found.number.active {
        0 => Ok(()),
        active => Err(PoolError::InUse(active)),
    }
}

/// The number as it is to be: what was not given stays as long as it fits the mode.
fn changed(old: &PoolNumber, change: NumberChange) -> Result<NewNumber, NumberError> {
    let mode = change.mode.unwrap_or(old.mode);
    let kept = (mode == old.mode).then_some(());
    let pin_length = change.pin_length.or(kept.map(|()| old.pin_length));
    let fits = |limit: &u32| {
        pin_length.is_none_or(|length| *limit <= 10_u32.saturating_pow(length.into()) / 2)
    };
    let max_active = change
        .max_active
        .or(kept.map(|()| old.max_active).filter(fits));
    NewNumber::with_defaults(old.virtual_number, mode, pin_length, max_active)
}

/// Row of a number in the lists of the operator.
struct RecordRow {
    number: PoolRow,
    dates: PoolDates,
}

impl RecordRow {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            number: PoolRow::read(row)?,
            dates: PoolDates::read(row)?,
        })
    }

    /// Decrypts the number.
    fn record(self, snapshot: &Snapshot<'_>) -> Result<NumberRecord, StoreError> {
        let cursor = self.number.number_key.clone();
        Ok(NumberRecord {
            number: self.number.number(snapshot)?,
            quarantined_at: self.dates.quarantined_at,
            created_at: self.dates.created_at,
            cursor,
        })
    }
}
