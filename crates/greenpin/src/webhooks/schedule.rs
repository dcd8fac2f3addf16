//! When a webhook that was not taken is sent again.

use std::time::Duration;

use crate::store::Timestamp;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// After this an event is not sent any more: three days, over a weekend.
const LIFETIME: Duration = Duration::from_secs(3 * 24 * 3600);

/// The pause after a number of attempts, 1 or more: doubling from 5 s to an hour, and of each a random half to whole,
/// so that receivers that come back are not met by all at once.
pub(super) fn pause(attempts: u32, random: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let whole = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    let half = whole / 2;
    let share = u32::try_from(random % 1000).unwrap_or(0);
    half + half * share / 1000
}

/// Whether an event has been tried for long enough.
pub(super) fn is_over(created_at: Timestamp, now: Timestamp) -> bool {
    now.since(created_at) >= LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_jittered_and_last_a_day_at_the_least() {
        assert_eq!(pause(1, 0), Duration::from_millis(2500));
        assert!(pause(1, 999) < FIRST_PAUSE);
        assert!(pause(4, 500) > pause(1, 500));
        assert_eq!(pause(u32::MAX, 0), LONGEST_PAUSE / 2);
        let begun = Timestamp::from_micros(0);
        assert!(!is_over(begun, begun + Duration::from_secs(24 * 3600)));
        assert!(is_over(begun, begun + LIFETIME));
    }
}
