//! Deadlines that cannot overflow.

use std::time::{Duration, Instant};

/// Maximum delay of a deadline. No call lasts longer.
const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// Returns the time after a delay, which is cut to a day.
pub fn deadline(now: Instant, delay: Duration) -> Instant {
    // A clock that cannot count one more day makes the deadline due at once.
    now.checked_add(delay.min(MAX_DELAY)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_cut_to_a_day() {
        let now = Instant::now();
        assert_eq!(deadline(now, MAX_DELAY), now + MAX_DELAY);
        assert_eq!(deadline(now, Duration::MAX), now + MAX_DELAY);
    }
}
