//! Start of a call.

use std::time::Instant;

use crate::store::Timestamp;

/// Start of the call on the wall clock and on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallStart {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
}

impl CallStart {
    pub(super) fn timestamp(&self, instant: Instant) -> Timestamp {
        // The sum of a timestamp and a duration saturates.
        std::ops::Add::add(self.at, instant.saturating_duration_since(self.instant))
    }
}
