//! Probability that strangers guess a PIN of a shared number within a year.
//!
//! Unlisted callers of a number share one budget of wrong PINs, however many they are. Under constant attack they
//! spend all of it, so the expected number of right guesses follows from the budget, the number of PINs that open
//! something for them, and the length of a PIN.

use std::time::Duration;

use crate::store::CallerPolicy;
use crate::store::numbers::{NumberMode, OPEN_PIN_LENGTH, REFILL_INTERVAL, UNLISTED_BURST};

/// A year, for the odds: 365 days.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Returns whether unlisted callers can open allocations of a number. On an exclusive number each wrong PIN counts
/// against its allocation, so its PINs have no yearly odds.
pub(crate) fn opens_for_strangers(mode: NumberMode, pin_length: u8, policy: CallerPolicy) -> bool {
    mode == NumberMode::Shared && pin_length >= OPEN_PIN_LENGTH && policy == CallerPolicy::Any
}

/// Returns the expected number of PINs that strangers guess in a year of constant attack, if `active` PINs of
/// `pin_length` digits open something for them.
pub(crate) fn expected_guesses(active: u32, pin_length: u8) -> f64 {
    let granted = YEAR.as_secs_f64() / REFILL_INTERVAL.as_secs_f64();
    // The burst is a small constant.
    #[allow(clippy::cast_precision_loss)]
    let attempts = UNLISTED_BURST as f64 + granted;
    attempts * f64::from(active) / 10_f64.powi(pin_length.into())
}

/// Returns the probability of at least one right guess in a year of constant attack.
pub(crate) fn yearly_odds(active: u32, pin_length: u8) -> f64 {
    -(-expected_guesses(active, pin_length)).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_follow_from_the_budget_the_active_pins_and_their_length() {
        assert!((expected_guesses(200, 6) - 3.508).abs() < 1e-9);
        assert!((yearly_odds(200, 6) - 0.970_043).abs() < 1e-6);
        assert!((yearly_odds(200, 8) - 0.034_472).abs() < 1e-6);
        assert!(yearly_odds(57, 8) < 0.01 && yearly_odds(58, 8) > 0.01);
        assert!(yearly_odds(0, 6).abs() < f64::EPSILON);
    }
}
