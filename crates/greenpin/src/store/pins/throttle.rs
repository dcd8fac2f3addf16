//! Limits of the wrong PINs of callers that no allocation of a shared number lists, without database and clock.
//!
//! - Each caller: after five wrong PINs it is locked out, for a time that doubles.
//! - All unlisted callers of a number: one budget.
//! - With a limit of the guess odds, also each trunk and each block of caller numbers: a smaller budget, so that one
//!   source cannot take all of the number's. A caller whose PIN was right then has a budget of its own, which no one
//!   else can take.

use std::time::Duration;

use crate::store::Timestamp;
use crate::store::numbers::{REFILL_INTERVAL, UNLISTED_BURST};

/// Number of wrong attempts after which a caller is locked out.
pub const MAX_WRONG_ATTEMPTS: i64 = 5;
/// First lockout of a caller. It doubles with each further one.
pub const MIN_LOCKOUT: Duration = Duration::from_secs(15 * 60);
/// Maximum lockout of a caller.
pub const MAX_LOCKOUT: Duration = Duration::from_secs(24 * 3600);
/// Time after the last right PIN of a caller during which it has a budget of its own.
pub const OWN_BUDGET_TTL: Duration = Duration::from_secs(90 * 86_400);
/// Time after the last attempt during which the history of a caller counts.
const HISTORY_TTL: Duration = Duration::from_secs(24 * 3600);

/// Size of a budget and the interval after which it grows by one attempt.
#[derive(Debug, Clone, Copy)]
pub struct BudgetLimit {
    /// Maximum number of attempts.
    pub burst: i64,
    /// Interval of growth.
    pub refill: Duration,
}

/// Budget of all unlisted callers of a number.
const NUMBER: BudgetLimit = BudgetLimit {
    burst: UNLISTED_BURST,
    refill: REFILL_INTERVAL,
};
/// Budget of the callers of one trunk: three quarters of the number's.
pub const TRUNK_BUDGET: BudgetLimit = BudgetLimit {
    burst: 15,
    refill: Duration::from_secs(2400),
};
/// Budget of a block of 10,000 caller numbers: an eighth of the growth of the number's.
pub const BLOCK_BUDGET: BudgetLimit = BudgetLimit {
    burst: 5,
    refill: Duration::from_secs(4 * 3600),
};
/// Budget of a caller whose PIN was right.
pub const OWN_BUDGET: BudgetLimit = BudgetLimit {
    burst: 3,
    refill: Duration::from_secs(7 * 86_400),
};

/// Attempts left at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) left: i64,
    pub(crate) at: Timestamp,
}

impl BudgetLimit {
    /// Returns a full budget.
    pub(crate) fn full(self, at: Timestamp) -> Budget {
        Budget {
            left: self.burst,
            at,
        }
    }

    /// Returns a budget with the attempts granted since its time.
    fn refilled(self, budget: Budget, now: Timestamp) -> Budget {
        let granted = now.since(budget.at).as_secs() / self.refill.as_secs().max(1);
        let left = budget
            .left
            .saturating_add(i64::try_from(granted).unwrap_or(self.burst));
        if left >= self.burst {
            return self.full(now);
        }
        let granted = u32::try_from(granted).unwrap_or(0);
        Budget {
            left,
            at: budget.at + self.refill * granted,
        }
    }
}

/// Wrong PINs and lockouts of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallerHistory {
    pub(crate) wrong_attempts: i64,
    pub(crate) refusals: i64,
    pub(crate) refused_until: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) own: Budget,
    /// End of the time in which `own` counts.
    pub(crate) own_until: Timestamp,
}

impl CallerHistory {
    /// Returns the history of a caller without attempts.
    pub(crate) fn empty() -> Self {
        let start = Timestamp::from_micros(0);
        Self {
            wrong_attempts: 0,
            refusals: 0,
            refused_until: start,
            updated_at: start,
            own: Budget { left: 0, at: start },
            own_until: start,
        }
    }

    /// Returns the history without attempts that no longer count.
    fn recent(self, now: Timestamp) -> Self {
        if self.updated_at.max(self.refused_until) + HISTORY_TTL > now {
            return self;
        }
        Self {
            wrong_attempts: 0,
            refusals: 0,
            ..self
        }
    }
}

/// Budgets of the trunk and of the block of numbers that a caller comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceBudgets {
    pub(crate) trunk: Budget,
    pub(crate) block: Budget,
}

/// Limits that an attempt of an unlisted caller meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Throttle {
    pub(crate) history: CallerHistory,
    /// The caller has a number. All callers without one share a history, so they have no budget of their own.
    pub(crate) is_known: bool,
    pub(crate) number: Budget,
    /// `None` without a limit of the guess odds.
    pub(crate) sources: Option<SourceBudgets>,
}

/// Budget that was charged for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChargedBudget {
    /// The caller's own.
    Own,
    /// Those of its sources and the number's.
    Shared,
}

impl Throttle {
    /// Charges an attempt; `None` if the caller must wait.
    pub(crate) fn charge(&mut self, now: Timestamp) -> Option<ChargedBudget> {
        self.refill(now);
        if self.history.refused_until > now {
            return None;
        }
        let charged = if self.has_own_budget(now) {
            self.history.own.left -= 1;
            ChargedBudget::Own
        } else {
            let mut shared = self.shared();
            if shared.iter().flatten().any(|budget| budget.left <= 0) {
                return None;
            }
            for budget in shared.iter_mut().flatten() {
                budget.left -= 1;
            }
            ChargedBudget::Shared
        };
        self.history.wrong_attempts += 1;
        self.history.updated_at = now;
        Some(charged)
    }

    /// Refunds an attempt whose PIN was right, and forgets the caller's wrong ones.
    pub(crate) fn refund(&mut self, charged: ChargedBudget, now: Timestamp) {
        match charged {
            ChargedBudget::Own => self.history.own.left += 1,
            ChargedBudget::Shared => {
                for budget in self.shared().into_iter().flatten() {
                    budget.left += 1;
                }
            }
        }
        let own = if self.history.own_until > now {
            self.history.own
        } else {
            OWN_BUDGET.full(now)
        };
        self.history = CallerHistory {
            updated_at: now,
            ..CallerHistory::empty()
        };
        if self.keeps_own_budget() {
            self.history.own = own;
            self.history.own_until = now + OWN_BUDGET_TTL;
        }
    }

    /// Confirms an attempt whose PIN was wrong: the fifth one locks the caller out. Returns `true` if the attempt has
    /// exhausted the budget of the number or of the trunk.
    pub(crate) fn confirm(&mut self, charged: ChargedBudget, now: Timestamp) -> bool {
        let history = &mut self.history;
        if history.wrong_attempts >= MAX_WRONG_ATTEMPTS {
            let doublings = u32::try_from(history.refusals).unwrap_or(0).min(16);
            let pause = MIN_LOCKOUT.saturating_mul(1 << doublings).min(MAX_LOCKOUT);
            history.wrong_attempts = 0;
            history.refusals = history.refusals.saturating_add(1);
            history.refused_until = now + pause;
        }
        let trunk = self.sources.map(|sources| sources.trunk);
        let mut budgets = trunk.into_iter().chain([self.number]);
        charged == ChargedBudget::Shared && budgets.any(|budget| budget.left == 0)
    }

    fn refill(&mut self, now: Timestamp) {
        self.history = self.history.recent(now);
        self.history.own = OWN_BUDGET.refilled(self.history.own, now);
        self.number = NUMBER.refilled(self.number, now);
        if let Some(sources) = &mut self.sources {
            sources.trunk = TRUNK_BUDGET.refilled(sources.trunk, now);
            sources.block = BLOCK_BUDGET.refilled(sources.block, now);
        }
    }

    fn keeps_own_budget(&self) -> bool {
        self.sources.is_some() && self.is_known
    }

    fn has_own_budget(&self, now: Timestamp) -> bool {
        self.keeps_own_budget() && self.history.own_until > now && self.history.own.left > 0
    }

    /// Returns the budgets that callers share.
    fn shared(&mut self) -> [Option<&mut Budget>; 3] {
        let (trunk, block) = match &mut self.sources {
            Some(sources) => (Some(&mut sources.trunk), Some(&mut sources.block)),
            None => (None, None),
        };
        [trunk, block, Some(&mut self.number)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_781_499_600_000_000) + Duration::from_secs(seconds)
    }

    fn throttle(with_sources: bool) -> Throttle {
        Throttle {
            history: CallerHistory::empty(),
            is_known: true,
            number: NUMBER.full(at(0)),
            sources: with_sources.then(|| SourceBudgets {
                trunk: TRUNK_BUDGET.full(at(0)),
                block: BLOCK_BUDGET.full(at(0)),
            }),
        }
    }

    /// Makes wrong attempts, each of a caller without a history, until one is refused. Returns their number.
    fn wrong_attempts(throttle: &mut Throttle, now: Timestamp) -> u32 {
        attack(throttle, now).0
    }

    /// The same; returns also whether the last attempt is reported as an attack.
    fn attack(throttle: &mut Throttle, now: Timestamp) -> (u32, bool) {
        let (mut count, mut is_attack) = (0, false);
        loop {
            throttle.history = CallerHistory::empty();
            let Some(charged) = throttle.charge(now) else {
                return (count, is_attack);
            };
            is_attack = throttle.confirm(charged, now);
            count += 1;
        }
    }

    #[test]
    fn without_a_limit_of_the_odds_only_the_number_has_a_budget() {
        let mut throttle = throttle(false);
        assert_eq!(attack(&mut throttle, at(0)), (20, true));
        assert_eq!(wrong_attempts(&mut throttle, at(24 * HOUR)), 20);
        assert_eq!(wrong_attempts(&mut throttle, at(25 * HOUR)), 2);
    }

    #[test]
    fn a_block_and_a_trunk_cannot_take_the_budget_of_the_number() {
        let mut throttle = throttle(true);
        assert_eq!(attack(&mut throttle, at(0)), (5, false));
        for expected in [(5, false), (5, true), (0, false)] {
            throttle.sources = throttle.sources.map(|sources| SourceBudgets {
                block: BLOCK_BUDGET.full(at(0)),
                ..sources
            });
            assert_eq!(attack(&mut throttle, at(0)), expected);
        }
        throttle.sources = Some(SourceBudgets {
            trunk: TRUNK_BUDGET.full(at(0)),
            block: BLOCK_BUDGET.full(at(0)),
        });
        assert_eq!(wrong_attempts(&mut throttle, at(0)), 5);
        assert_eq!(throttle.number.left, 0);
    }

    #[test]
    fn a_right_pin_gives_a_caller_three_attempts_that_no_one_else_can_take() {
        let mut throttle = throttle(true);
        let charged = throttle.charge(at(0)).unwrap();
        assert_eq!(charged, ChargedBudget::Shared);
        throttle.refund(charged, at(0));
        assert_eq!(
            (throttle.number.left, throttle.history.wrong_attempts),
            (20, 0)
        );
        let customer = throttle.history;
        assert_eq!(wrong_attempts(&mut throttle, at(1)), 5);
        throttle.history = customer;
        for _ in 0..3 {
            let charged = throttle.charge(at(2)).unwrap();
            assert_eq!(charged, ChargedBudget::Own);
            throttle.confirm(charged, at(2));
        }
        assert_eq!(throttle.charge(at(3)), None);
        // A right PIN gives back its own attempt only, so right and wrong PINs in turn gain nothing.
        let week = OWN_BUDGET.refill.as_secs();
        let charged = throttle.charge(at(week + 2)).unwrap();
        assert_eq!(charged, ChargedBudget::Own);
        throttle.refund(charged, at(week + 2));
        let charged = throttle.charge(at(week + 3)).unwrap();
        assert_eq!(charged, ChargedBudget::Own);
        throttle.confirm(charged, at(week + 3));
        assert_eq!(throttle.charge(at(week + 4)), Some(ChargedBudget::Shared));
    }

    #[test]
    fn a_budget_of_its_own_ends_ninety_days_after_the_last_right_pin_and_needs_a_number() {
        for (is_known, later, expected) in [
            (true, OWN_BUDGET_TTL.as_secs() - 1, ChargedBudget::Own),
            (true, OWN_BUDGET_TTL.as_secs(), ChargedBudget::Shared),
            (false, 1, ChargedBudget::Shared),
        ] {
            let mut throttle = Throttle {
                is_known,
                ..throttle(true)
            };
            let charged = throttle.charge(at(0)).unwrap();
            throttle.refund(charged, at(0));
            assert_eq!(throttle.charge(at(later)), Some(expected));
        }
    }

    #[test]
    fn a_clock_that_goes_back_grants_nothing() {
        let mut throttle = throttle(true);
        assert_eq!(wrong_attempts(&mut throttle, at(24 * HOUR)), 5);
        assert_eq!(wrong_attempts(&mut throttle, at(0)), 0);
    }
}
