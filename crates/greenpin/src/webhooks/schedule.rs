//! When a webhook that was not taken is sent again.

use std::time::Duration;

use crate::limits::backoff;
use crate::store::Timestamp;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// After this an event is not sent any more: three days, over a weekend.
const LIFETIME: Duration = Duration::from_secs(3 * 24 * 3600);

/// The pause after a number of attempts, 1 or more.
pub(super) fn pause(attempts: u32, random: u64) -> Duration {
    backoff::delay(FIRST_PAUSE, LONGEST_PAUSE, attempts, random)
}

/// Whether an event has been tried for long enough.
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
