//! Administration of the number pool by operators.

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

/// Number, as the operator sees it.
#[derive(Debug, Clone)]
pub struct NumberRecord {
    /// The number, as its tenant sees it.
    pub number: PoolNumber,
    /// Start of the quarantine.
    pub quarantined_at: Option<Timestamp>,
    /// Time of the addition to a pool.
    pub created_at: Timestamp,
    /// Position in the list of numbers.
    pub cursor: String,
}

/// Filter of a list; `None` does not restrict it.
#[derive(Debug, Clone, Default)]
pub struct NumberFilter {
    /// Tenant of the number.
    pub tenant: Option<TenantId>,
    /// Mode of the number.
    pub mode: Option<NumberMode>,
    /// `true` for quarantined numbers, `false` for the others.
    pub quarantined: Option<bool>,
}

/// Requested change; `None` leaves a field as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct NumberChange {
    /// Mode of the number.
    pub mode: Option<NumberMode>,
    /// Length of its PINs.
    pub pin_length: Option<u8>,
    /// Maximum number of active allocations.
    pub max_active: Option<u32>,
}

/// Failure to change a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The number is in no pool.
    #[error("the number is in no pool")]
    NotFound,
    /// The number has this many active allocations.
    #[error("the number has {0} active allocations")]
    InUse(u32),
    /// The target tenant does not exist.
    #[error("there is no such tenant")]
    NoSuchTenant,
    /// The change violates a rule.
    #[error(transparent)]
    Rule(NumberError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Failure to import numbers. No number was imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The tenant does not exist.
    #[error("there is no such tenant")]
    NoSuchTenant,
    /// Some numbers are already in a pool.
    #[error("some of the numbers are already in a pool")]
    Taken,
    /// A number violates a rule.
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
        let write = self.store.writers.whole().write(move |tx| {
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

    /// Adds numbers to a tenant's pool: all or none.
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
        let write = self.store.writers.whole().write_long(move |tx| {
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

    /// Returns whether numbers can be added to the tenant.
    pub async fn tenant_takes_numbers(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.store
            .readers
            .read(move |snapshot| numbers::takes_numbers(snapshot, &tenant))
            .await
    }

    /// Returns the positions of the numbers that are already in a pool.
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

    /// Returns a number; `None` if it is in no pool.
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

    /// Returns the numbers after a cursor.
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

    /// Changes the use of a number. Mode and PIN length can change without active allocations only. The limit can fall
    /// to the number of active allocations.
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

    /// Moves a number without active allocations to another tenant. Its PINs continue to cool off without an
    /// allocation.
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
            tx.execute(sql::NUMBER_DELETE_CALLER_SOURCES, [&vn])?;
            tx.execute(sql::NUMBER_DELETE_LISTED_CALLERS, [&vn])?;
            Ok(())
        })
        .await
    }

    /// Quarantines a number: it accepts no new allocations, and active ones continue. Repeating it has no effect.
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

    /// Ends the quarantine of a number. Repeating it has no effect.
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

    /// Removes a number without active allocations from its pool.
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
            tx.execute(sql::NUMBER_DELETE_CALLER_SOURCES, [&vn])?;
            tx.execute(sql::NUMBER_DELETE_LISTED_CALLERS, [&vn])?;
            tx.execute(sql::NUMBER_DELETE, [&vn])?;
            Ok(())
        })
        .await
    }

    /// Changes a number with an entry in the audit log. The row is locked first, so that no allocation is created
    /// meanwhile.
    async fn change_audited(
        &self,
        number: PhoneNumber,
        name: &'static str,
        now: Timestamp,
        work: impl Fn(&Tx<'_>, &NumberRecord) -> Result<(), PoolError> + Send + 'static,
    ) -> Result<(), PoolError> {
        let actor = self.actor.clone();
        let write = self.store.writers.whole().write_long(move |tx| {
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

/// Maximum number of rows that one statement deletes.
const MAX_BATCH_PINS: i64 = 1000;

fn require_unused(found: &NumberRecord) -> Result<(), PoolError> {
    match found.number.active {
        0 => Ok(()),
        active => Err(PoolError::InUse(active)),
    }
}

/// Returns the changed number. A field without a new value keeps its value if the mode allows it.
fn changed(old: &PoolNumber, change: NumberChange) -> Result<NewNumber, NumberError> {
    let mode = change.mode.unwrap_or(old.mode);
    let same_mode = (mode == old.mode).then_some(());
    let pin_length = change.pin_length.or(same_mode.map(|()| old.pin_length));
    let fits = |limit: &u32| {
        pin_length.is_none_or(|length| *limit <= 10_u32.saturating_pow(length.into()) / 2)
    };
    let max_active = change
        .max_active
        .or(same_mode.map(|()| old.max_active).filter(fits));
    NewNumber::with_defaults(old.virtual_number, mode, pin_length, max_active)
}

/// Row of a number in the operator's lists.
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
