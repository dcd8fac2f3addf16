//! When the quiet after a burst begins.

use std::time::{Duration, Instant};

/// How long one look at the load lasts.
pub(crate) const LOOK: Duration = Duration::from_secs(5);
/// Rows changed within one look that still are quiet: a node says every few seconds that it lives.
const FEW: u64 = 64;

/// Tells from how many rows were changed that a burst is over, once a burst.
pub(crate) struct Lull {
    since: Instant,
    /// Changes when this look began.
    begun_at: u64,
    /// Changes when the last burst was over.
    told_at: u64,
}

impl Lull {
    /// Begins to look; so many rows were changed so far.
    pub(crate) fn new(changes: u64, now: Instant) -> Self {
        Self {
            since: now,
            begun_at: changes,
            told_at: changes,
        }
    }

    /// Whether now, with so many rows changed so far, is the quiet after a burst.
    pub(crate) fn has_begun(&mut self, changes: u64, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) < LOOK {
            return false;
        }
        let is_quiet = changes.saturating_sub(self.begun_at) <= FEW;
        (self.since, self.begun_at) = (now, changes);
        let begins = is_quiet && changes.saturating_sub(self.told_at) > FEW;
        if begins {
            self.told_at = changes;
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lull_begins_once_after_a_burst_however_regularly_a_few_rows_change() {
        let start = Instant::now();
        let mut lull = Lull::new(0, start);
        let mut looks = (1..).map(|look| start + LOOK * look);
        let mut look = |changes| lull.has_begun(changes, looks.next().unwrap());
        assert!(!look(2));
        assert!(!look(90_000));
        assert!(!look(180_000));
        assert!(look(180_002));
        assert!(!look(180_004));
        assert!(!look(180_006));
        assert!(!look(200_000));
        assert!(look(200_001));
    }

    #[test]
    fn a_burst_is_not_over_between_two_of_its_changes() {
        let start = Instant::now();
        let mut lull = Lull::new(0, start);
        assert!(!lull.has_begun(90_000, start + LOOK / 2));
        assert!(!lull.has_begun(90_000, start + LOOK));
        assert!(!lull.has_begun(90_000, start + LOOK + LOOK / 2));
        assert!(lull.has_begun(90_000, start + LOOK * 2));
    }
}
