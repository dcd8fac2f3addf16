//! Stored state of the limits of callers that no allocation of a shared number lists.

use std::time::Duration;

use call::PhoneNumber;

use crate::store::Tx;
use crate::store::core::crypto::TenantKey;
use crate::store::core::reader::Snapshot;
use crate::store::numbers::NumberRow;
use crate::store::pins::sql;
use crate::store::pins::sql::{HistoryRow, SourceRow};
use crate::store::pins::throttle::{
    BLOCK_BUDGET, Budget, CallerHistory, ChargedBudget, SourceBudgets, TRUNK_BUDGET, Throttle,
};
use crate::store::{Store, StoreError, TenantSettings, Timestamp};

/// Age from which the history of a caller is deleted.
const HISTORY_RETENTION: Duration = Duration::from_secs(48 * 3600);

impl Store {
    /// Deletes the history of unlisted callers older than two days, and budgets of their sources that are full again.
    pub async fn delete_old_unlisted_callers(&self, now: Timestamp) -> Result<usize, StoreError> {
        let retention = i64::try_from(HISTORY_RETENTION.as_micros()).unwrap_or(i64::MAX);
        let before = now.micros().saturating_sub(retention);
        self.writers
            .common()
            .write(move |tx| {
                let callers = tx.execute(sql::UNLISTED_CALLERS_DELETE_OLD, [before])?;
                Ok(callers + tx.execute(sql::SOURCES_DELETE_OLD, [before])?)
            })
            .await
    }
}

/// Origin of a call of an unlisted caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The caller; `None` if it has no number. All callers without a number count as one.
    pub(crate) caller: Option<PhoneNumber>,
    /// Name of the incoming trunk; `None` in a dry run.
    pub(crate) trunk: Option<&'a str>,
}

/// Admitted and charged attempt of an unlisted caller.
pub(crate) struct ChargedCaller {
    /// Index key of the caller.
    caller: String,
    /// Index keys of its sources; `None` without a limit of the guess odds.
    sources: Option<SourceKeys>,
    throttle: Throttle,
    charged: ChargedBudget,
}

/// Index keys of the sources of a caller.
struct SourceKeys {
    trunk: String,
    block: String,
}

impl SourceKeys {
    fn new(key: &TenantKey, origin: Origin<'_>) -> Self {
        let block = origin.caller.map(|caller| key.block_key(caller));
        Self {
            trunk: ["trunk ", origin.trunk.unwrap_or_default()].concat(),
            block: block.unwrap_or_default(),
        }
    }
}

/// Charges an attempt; `None` if the caller must wait.
pub(crate) fn admit(
    tx: &Tx<'_>,
    number: &NumberRow,
    settings: &TenantSettings,
    origin: Origin<'_>,
    now: Timestamp,
) -> Result<Option<ChargedCaller>, StoreError> {
    let Some(charged) = check(tx, number, settings, origin, now)? else {
        return Ok(None);
    };
    charged.store(tx, number)?;
    Ok(Some(charged))
}

/// Returns whether an attempt would be admitted now. Charges nothing.
pub(crate) fn would_admit(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    settings: &TenantSettings,
    origin: Origin<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(check(snapshot, number, settings, origin, now)?.is_some())
}

/// Returns the state after a charge; `None` if the caller must wait.
fn check(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    settings: &TenantSettings,
    origin: Origin<'_>,
    now: Timestamp,
) -> Result<Option<ChargedCaller>, StoreError> {
    let key = snapshot.tenant_key(&number.tenant_id)?;
    let caller = origin.caller.map(|caller| key.party_key(caller));
    let caller = caller.unwrap_or_default();
    let limit = settings.max_guess_odds;
    let sources = limit.map(|_| SourceKeys::new(&key, origin));
    let read = |keys| source_budgets(snapshot, number, keys, now);
    let budgets = sources.as_ref().map(read).transpose()?;
    let mut throttle = Throttle {
        history: history(snapshot, number, &caller)?,
        is_known: origin.caller.is_some(),
        number: Budget {
            left: number.unlisted_budget,
            at: number.unlisted_budget_at,
        },
        sources: budgets,
    };
    let charged = throttle.charge(now);
    Ok(charged.map(|charged| ChargedCaller {
        caller,
        sources,
        throttle,
        charged,
    }))
}

fn history(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: &str,
) -> Result<CallerHistory, StoreError> {
    let key = (&number.number_key, caller);
    let found = snapshot.row(sql::UNLISTED_CALLER_SELECT, key, HistoryRow::read)?;
    Ok(
        found.map_or_else(CallerHistory::empty, |row| CallerHistory {
            wrong_attempts: row.wrong_attempts,
            refusals: row.refusals,
            refused_until: row.refused_until,
            updated_at: row.updated_at,
            own: Budget {
                left: row.own_left,
                at: row.own_at,
            },
            own_until: row.own_until,
        }),
    )
}

fn source_budgets(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    keys: &SourceKeys,
    now: Timestamp,
) -> Result<SourceBudgets, StoreError> {
    let key = (&number.number_key, &keys.trunk, &keys.block);
    let mut found = SourceBudgets {
        trunk: TRUNK_BUDGET.full(now),
        block: BLOCK_BUDGET.full(now),
    };
    for row in snapshot.rows(sql::SOURCES_SELECT, key, SourceRow::read)? {
        let budget = if row.source_key == keys.trunk {
            &mut found.trunk
        } else {
            &mut found.block
        };
        *budget = Budget {
            left: row.budget_left,
            at: row.budget_at,
        };
    }
    Ok(found)
}

impl ChargedCaller {
    /// Refunds the attempt after a correct PIN.
    pub(crate) fn refund(
        mut self,
        tx: &Tx<'_>,
        number: &NumberRow,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.throttle.refund(self.charged, now);
        self.store(tx, number)
    }

    /// Confirms the charge after a wrong PIN. Returns whether the budget of the number or of the trunk is exhausted now.
    pub(crate) fn confirm(
        mut self,
        tx: &Tx<'_>,
        number: &NumberRow,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let before = self.throttle.history;
        let is_exhausted = self.throttle.confirm(self.charged, now);
        if self.throttle.history != before {
            self.store(tx, number)?;
        }
        Ok(is_exhausted)
    }

    fn store(&self, tx: &Tx<'_>, number: &NumberRow) -> Result<(), StoreError> {
        let vn = &number.number_key;
        let history = &self.throttle.history;
        let is_empty = history.wrong_attempts == 0 && history.refusals == 0;
        if is_empty && history.own_until.micros() == 0 {
            tx.execute_deferred(sql::UNLISTED_CALLER_DELETE, (vn, &self.caller))?;
        } else {
            let row = (
                vn,
                &self.caller,
                history.wrong_attempts,
                history.refusals,
                history.refused_until.micros(),
                history.updated_at.micros(),
                history.own.left,
                history.own.at.micros(),
                history.own_until.micros(),
            );
            tx.execute_deferred(sql::UNLISTED_CALLER_UPSERT, row)?;
        }
        let budget = self.throttle.number;
        let row = (budget.left, budget.at.micros(), vn);
        tx.execute_deferred(sql::NUMBER_SET_UNLISTED_BUDGET, row)?;
        let Some((keys, budgets)) = self.sources.as_ref().zip(self.throttle.sources) else {
            return Ok(());
        };
        for (key, budget) in [(&keys.trunk, budgets.trunk), (&keys.block, budgets.block)] {
            let row = (vn, key, budget.left, budget.at.micros());
            tx.execute_deferred(sql::SOURCE_UPSERT, row)?;
        }
        Ok(())
    }
}
