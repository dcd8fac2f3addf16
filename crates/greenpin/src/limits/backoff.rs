//! Delay before a retry.

use std::time::Duration;

/// Returns the delay after a number of failures, starting at 1. The delay doubles from `first` up to `longest`, with a
/// random factor from one half to one. The factor spreads the retries of many clients after a common failure. `random`
/// is any random number.
pub(crate) fn delay(first: Duration, longest: Duration, failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = first.saturating_mul(1 << doublings).min(longest);
    let half = whole / 2;
    let share = u32::try_from(random % 1000).unwrap_or(0);
    half + half * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_are_jittered() {
        let (first, longest) = (Duration::from_secs(5), Duration::from_secs(3600));
        let delay = |failures, random| delay(first, longest, failures, random);
        assert_eq!(delay(1, 0), first / 2);
        assert!(delay(1, 999) < first && delay(1, 999) > delay(1, 0));
        assert!(delay(4, 500) > delay(1, 500));
        assert_eq!(delay(u32::MAX, 0), longest / 2);
    }
}
