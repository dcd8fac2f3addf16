//! Detection of the quiet time after a burst of writes.

use std::time::{Duration, Instant};

/// Interval between two checks of the load.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of changed rows in an idle interval. Heartbeats change a few rows every few seconds.
const MAX_IDLE_CHANGES: u64 = 64;

/// Detector of the end of a burst, by the number of changed rows. It reports each burst once.
pub(crate) struct IdleDetector {
    last_check: Instant,
    /// Number of changes at the last check.
    changes_at_check: u64,
    /// Number of changes at the end of the last burst.
    changes_at_idle: u64,
}

impl IdleDetector {
    /// Creates a detector with the current number of changes.
    pub(crate) fn new(changes: u64, now: Instant) -> Self {
        Self {
            last_check: now,
            changes_at_check: changes,
            changes_at_idle: changes,
        }
    }

    /// Returns `true` at the first check after a burst.
    pub(crate) fn became_idle(&mut self, changes: u64, now: Instant) -> bool {
        if now.saturating_duration_since(self.last_check) < CHECK_INTERVAL {
            return false;
        }
        let is_quiet = changes.saturating_sub(self.changes_at_check) <= MAX_IDLE_CHANGES;
        (self.last_check, self.changes_at_check) = (now, changes);
        let begins = is_quiet && changes.saturating_sub(self.changes_at_idle) > MAX_IDLE_CHANGES;
        if begins {
            self.changes_at_idle = changes;
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_burst_is_detected_once_despite_regular_small_changes() {
        let start = Instant::now();
        let mut detector = IdleDetector::new(0, start);
        let mut checks = (1..).map(|check| start + CHECK_INTERVAL * check);
        let mut check = |changes| detector.became_idle(changes, checks.next().unwrap());
        assert!(!check(2));
        assert!(!check(90_000));
        assert!(!check(180_000));
        assert!(check(180_002));
        assert!(!check(180_004));
        assert!(!check(180_006));
        assert!(!check(200_000));
        assert!(check(200_001));
    }

    #[test]
    fn a_burst_does_not_end_between_two_of_its_changes() {
        let start = Instant::now();
        let mut detector = IdleDetector::new(0, start);
        assert!(!detector.became_idle(90_000, start + CHECK_INTERVAL / 2));
        assert!(!detector.became_idle(90_000, start + CHECK_INTERVAL));
        assert!(!detector.became_idle(90_000, start + CHECK_INTERVAL + CHECK_INTERVAL / 2));
        assert!(detector.became_idle(90_000, start + CHECK_INTERVAL * 2));
    }
}
