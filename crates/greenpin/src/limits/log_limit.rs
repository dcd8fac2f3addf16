//! Limit on log lines that strangers can cause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one line of a kind pass each second, and counts the others.
#[derive(Debug)]
pub(crate) struct LogLimit(Mutex<LogState>);

#[derive(Debug)]
struct LogState {
    logged_at: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// Creates a limit that lets the first line pass.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(LogState {
            logged_at: None,
            suppressed: 0,
        }))
    }

    /// Returns the number of lines suppressed since the last one if a line may be logged now, else `None`.
    pub(crate) fn allow(&self) -> Option<u64> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = state.logged_at.map(|at| now.saturating_duration_since(at));
        if elapsed.is_some_and(|elapsed| elapsed < INTERVAL) {
            state.suppressed = state.suppressed.saturating_add(1);
            return None;
        }
        state.logged_at = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_passes_and_the_others_are_counted() {
        let limit = LogLimit::new();
        let start = Instant::now();
        let allow = |millis| limit.allow_at(start + Duration::from_millis(millis));
        assert_eq!(allow(0), Some(0));
        assert_eq!((allow(1), allow(999)), (None, None));
        assert_eq!((allow(1000), allow(1001)), (Some(2), None));
        assert_eq!(allow(9000), Some(1));
    }
}
