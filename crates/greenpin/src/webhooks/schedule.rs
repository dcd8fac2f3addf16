//! Schedule of the retries of a delivery.

use std::time::Duration;

use crate::limits::backoff;
use crate::store::Timestamp;

/// Pause after the first failed attempt. It doubles with each further one.
pub const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Maximum pause between two attempts.
pub const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Time after which a delivery is given up: three days, longer than a weekend.
pub const LIFETIME: Duration = Duration::from_secs(3 * 24 * 3600);

/// Returns the pause after `attempts` failed attempts, 1 or more.
pub(super) fn pause(attempts: u32, random: u64) -> Duration {
    backoff::delay(FIRST_PAUSE, MAX_PAUSE, attempts, random)
}

/// Returns whether the time for retries is over.
pub(super) fn is_over(created_at: Timestamp, now: Timestamp) -> bool {
    now.since(created_at) >= LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_go_on_for_a_day_at_the_least() {
        let begun = Timestamp::from_micros(0);
        assert!(!is_over(begun, begun + Duration::from_secs(24 * 3600)));
        assert!(is_over(begun, begun + LIFETIME));
    }
}
