//! Callers that no allocation of a shared number lists: how often they may try.
//!
//! Two limits hold. Each caller has five wrong tries, then is refused for a while that doubles each time. And all of
//! them together share the number's budget, so that changing the caller number wins nothing.

use std::time::Duration;

use call::PhoneNumber;

use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::numbers::{NumberRow, UNLISTED_BURST};
use crate::store::pins::sql;
use crate::store::pins::sql::HistoryRow;
use crate::store::{Store, StoreError, Timestamp};

/// One more is granted each half hour.
const REFILL: Duration = Duration::from_secs(1800);
const WRONG_TRIES: i64 = 5;
const FIRST_REFUSAL: Duration = Duration::from_secs(15 * 60);
const LONGEST_REFUSAL: Duration = Duration::from_secs(24 * 3600);
/// A stranger's history counts for no longer than this after the last try.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// A stranger's history is of no use after this.
const STRANGERS_MEMORY: Duration = Duration::from_secs(48 * 3600);

impl Store {
    /// Forgets strangers who have not called for two days.
    pub async fn forget_strangers(&self, now: Timestamp) -> Result<usize, StoreError> {
        let memory = i64::try_from(STRANGERS_MEMORY.as_micros()).unwrap_or(i64::MAX);
        let before = now.micros().saturating_sub(memory);
        self.writer
            .write(move |tx| tx.execute(sql::UNLISTED_CALLERS_DELETE_OLD, [before]))
            .await
    }
}

/// A stranger's try that was admitted, and charged.
pub(crate) struct Admitted {
    caller: String,
    wrong_tries: i64,
    refusals: i64,
    budget_left: i64,
    budget_at: Timestamp,
}

/// Charges a try, unless the caller or all strangers are refused now. A caller without a number is one caller.
pub(crate) fn admit(
    tx: &Tx<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<Option<Admitted>, StoreError> {
    let Some((admitted, refused_until)) = look(tx, number, caller, now)? else {
        return Ok(None);
    };
    admitted.store(tx, number, refused_until, now)?;
    Ok(Some(admitted))
}

/// Whether a try would be admitted now. Charges nothing.
pub(crate) fn would_admit(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(look(snapshot, number, caller, now)?.is_some())
}

/// What a charge would leave behind, and until when the caller was refused before; `None`: there is none now.
fn look(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<Option<(Admitted, Timestamp)>, StoreError> {
    let caller = match caller {
        Some(caller) => snapshot.tenant_key(&number.tenant_id)?.party(caller),
        None => String::new(),
    };
    let (wrong_tries, refusals, refused_until) = history(snapshot, number, &caller, now)?;
    let (left, budget_at) = refilled(number, now);
    if refused_until > now || left <= 0 {
        return Ok(None);
    }
    let admitted = Admitted {
        caller,
        wrong_tries: wrong_tries + 1,
        refusals,
        budget_left: left - 1,
        budget_at,
    };
    Ok(Some((admitted, refused_until)))
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
    let is_recent = history.updated_at.max(until) + MEMORY > now;
    Ok(if is_recent {
        (history.wrong_tries, history.refusals, until)
    } else {
        (0, 0, until)
    })
}

/// The budget with what time has granted since it was last looked at.
fn refilled(number: &NumberRow, now: Timestamp) -> (i64, Timestamp) {
    let granted = now.since(number.strangers_at).as_secs() / REFILL.as_secs();
    let left = number
        .strangers_left
        .saturating_add(i64::try_from(granted).unwrap_or(UNLISTED_BURST));
    if left >= UNLISTED_BURST {
        return (UNLISTED_BURST, now);
    }
    (
        left,
        number.strangers_at + REFILL * u32::try_from(granted).unwrap_or(0),
    )
}

impl Admitted {
    /// The try was right: it is given back, and the caller starts anew.
    pub(crate) fn refund(self, tx: &Tx<'_>, number: &NumberRow) -> Result<(), StoreError> {
        let vn = &number.number_key;
        tx.execute(sql::UNLISTED_CALLER_DELETE, (vn, &self.caller))?;
        tx.execute(
            sql::NUMBER_SET_UNLISTED_BUDGET,
            (self.budget_left + 1, self.budget_at.micros(), vn),
        )?;
        Ok(())
    }

    /// The try was wrong. Returns whether it emptied the budget.
    pub(crate) fn keep(
        mut self,
        tx: &Tx<'_>,
        number: &NumberRow,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.wrong_tries >= WRONG_TRIES {
            let doublings = u32::try_from(self.refusals).unwrap_or(0).min(16);
            let pause = FIRST_REFUSAL
                .saturating_mul(1 << doublings)
                .min(LONGEST_REFUSAL);
            self.wrong_tries = 0;
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
            self.wrong_tries,
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
