//! How often something may begin: a token bucket, on a clock of the caller's.

use std::time::Instant;

/// What is left of a second's fill of tokens.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A bucket that is full: with so many tokens as it gets in a second.
    pub(super) fn new(a_second: u32, now: Instant) -> Self {
        Self { tokens: a_second.into(), filled_at: now }
    }

    /// Whether one more may begin now.
    pub(super) fn has(&mut self, a_second: u32, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(a_second)).min(a_second.into());
        self.filled_at = now.max(self.filled_at);
        self.tokens >= 1.0
    }

    /// One more begins.
    pub(super) fn take(&mut self) {
        self.tokens -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_seconds_worth_passes_at_once_and_then_what_time_brings() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2, start);
        let mut ask = |millis| {
            let has = bucket.has(2, start + Duration::from_millis(millis));
            if has {
                bucket.take();
            }
            has
        };
        let passed = [0, 0, 0, 499, 500, 500, 1000, 60_000, 60_000, 60_000].map(&mut ask);
        assert_eq!(passed, [true, true, false, false, true, false, true, true, true, false]);
    }
}
