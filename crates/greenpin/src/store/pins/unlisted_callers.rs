//! Throttle for callers that no allocation of a shared number lists.
//!
//! Two limits apply. After five wrong attempts a caller is locked out for a period that doubles each time. All
//! unlisted callers share a budget of the number, so changing the caller number gains nothing.

use std::time::Duration;

use call::PhoneNumber;

use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::numbers::{NumberRow, UNLISTED_BURST};
use crate::store::pins::sql;
use crate::store::pins::sql::HistoryRow;
use crate::store::{Store, StoreError, Timestamp};

/// Interval after which the budget grows by one attempt.
pub const REFILL_INTERVAL: Duration = Duration::from_secs(1800);
/// Number of wrong attempts after which a caller is locked out.
pub const MAX_WRONG_ATTEMPTS: i64 = 5;
/// First lockout of a caller. It doubles with each further one.
pub const MIN_LOCKOUT: Duration = Duration::from_secs(15 * 60);
/// Maximum lockout of a caller.
pub const MAX_LOCKOUT: Duration = Duration::from_secs(24 * 3600);
/// Time after the last attempt during which the history of a caller counts.
const HISTORY_TTL: Duration = Duration::from_secs(24 * 3600);

/// Age from which the history of a caller is deleted.
const HISTORY_RETENTION: Duration = Duration::from_secs(48 * 3600);

impl Store {
    /// Deletes the history of unlisted callers older than two days.
    pub async fn delete_old_unlisted_callers(&self, now: Timestamp) -> Result<usize, StoreError> {
        let retention = i64::try_from(HISTORY_RETENTION.as_micros()).unwrap_or(i64::MAX);
        let before = now.micros().saturating_sub(retention);
        self.writer
            .write(move |tx| tx.execute(sql::UNLISTED_CALLERS_DELETE_OLD, [before]))
            .await
    }
}

/// Admitted and charged attempt of an unlisted caller.
pub(crate) struct CallerThrottle {
    caller: String,
    wrong_attempts: i64,
    refusals: i64,
    budget_left: i64,
    budget_at: Timestamp,
}

/// Charges an attempt; `None` if the caller or all unlisted callers must wait. All callers without a number count as
/// one.
pub(crate) fn admit(
    tx: &Tx<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<Option<CallerThrottle>, StoreError> {
    let Some((throttle, refused_until)) = check(tx, number, caller, now)? else {
        return Ok(None);
    };
    throttle.store(tx, number, refused_until, now)?;
    Ok(Some(throttle))
}

/// Returns whether an attempt would be admitted now. Charges nothing.
pub(crate) fn would_admit(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(check(snapshot, number, caller, now)?.is_some())
}

/// Returns the state after a charge and the end of the caller's last lockout; `None` if the caller must wait.
fn check(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<Option<(CallerThrottle, Timestamp)>, StoreError> {
    let caller = match caller {
        Some(caller) => snapshot.tenant_key(&number.tenant_id)?.party_key(caller),
        None => String::new(),
    };
    let (wrong_attempts, refusals, refused_until) = history(snapshot, number, &caller, now)?;
    let (left, budget_at) = refilled(number, now);
    if refused_until > now || left <= 0 {
        return Ok(None);
    }
    let throttle = CallerThrottle {
        caller,
        wrong_attempts: wrong_attempts + 1,
        refusals,
        budget_left: left - 1,
        budget_at,
    };
    Ok(Some((throttle, refused_until)))
}

fn history(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: &str,
    now: Timestamp,
) -> Result<(i64, i64, Timestamp), StoreError> {
    let key = (&number.number_key, caller);
    let found = snapshot.row(sql::UNLISTED_CALLER_SELECT, key, HistoryRow::read)?;
    let Some(history) = found else {
        return Ok((0, 0, Timestamp::from_micros(0)));
    };
    let until = history.refused_until;
    let is_recent = history.updated_at.max(until) + HISTORY_TTL > now;
    Ok(if is_recent {
        (history.wrong_attempts, history.refusals, until)
    } else {
        (0, 0, until)
    })
}

/// Returns the budget including the attempts granted since its last update.
fn refilled(number: &NumberRow, now: Timestamp) -> (i64, Timestamp) {
    let granted = now.since(number.unlisted_budget_at).as_secs() / REFILL_INTERVAL.as_secs();
    let left = number
        .unlisted_budget
        .saturating_add(i64::try_from(granted).unwrap_or(UNLISTED_BURST));
    if left >= UNLISTED_BURST {
        return (UNLISTED_BURST, now);
    }
    (
        left,
        number.unlisted_budget_at + REFILL_INTERVAL * u32::try_from(granted).unwrap_or(0),
    )
}

impl CallerThrottle {
    /// Refunds the attempt after a correct PIN and deletes the caller's history.
    pub(crate) fn refund(self, tx: &Tx<'_>, number: &NumberRow) -> Result<(), StoreError> {
        let vn = &number.number_key;
        tx.execute(sql::UNLISTED_CALLER_DELETE, (vn, &self.caller))?;
        tx.execute(
            sql::NUMBER_SET_UNLISTED_BUDGET,
            (self.budget_left + 1, self.budget_at.micros(), vn),
        )?;
        Ok(())
    }

    /// Confirms the charge after a wrong PIN. Returns whether the budget is exhausted now.
    pub(crate) fn confirm(
        mut self,
        tx: &Tx<'_>,
        number: &NumberRow,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.wrong_attempts >= MAX_WRONG_ATTEMPTS {
            let doublings = u32::try_from(self.refusals).unwrap_or(0).min(16);
            let pause = MIN_LOCKOUT.saturating_mul(1 << doublings).min(MAX_LOCKOUT);
            self.wrong_attempts = 0;
            self.refusals = self.refusals.saturating_add(1);
            self.store(tx, number, now + pause, now)?;
        }
        Ok(self.budget_left == 0)
    }

    fn store(
        &self,
        tx: &Tx<'_>,
        number: &NumberRow,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let vn = &number.number_key;
        let row = (
            vn,
            &self.caller,
            self.wrong_attempts,
            self.refusals,
            until.micros(),
            now.micros(),
        );
        tx.execute(sql::UNLISTED_CALLER_UPSERT, row)?;
        tx.execute(
            sql::NUMBER_SET_UNLISTED_BUDGET,
            (self.budget_left, self.budget_at.micros(), vn),
        )?;
        Ok(())
    }
}
