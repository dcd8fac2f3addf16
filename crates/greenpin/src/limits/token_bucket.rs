//! Token bucket on the caller's clock.

use std::time::Instant;

/// Token bucket.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// Creates a full bucket.
    pub(crate) fn full(burst: u32, now: Instant) -> Self {
        Self {
            tokens: burst.into(),
            filled_at: now,
        }
    }

    /// Adds the tokens for the elapsed time, up to `burst`. Returns the number of tokens.
    pub(crate) fn refill(&mut self, per_second: impl Into<f64>, burst: u32, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * per_second.into()).min(burst.into());
        self.filled_at = now.max(self.filled_at);
        self.tokens
    }

    /// Consumes a token. Returns the number of remaining tokens.
    pub(crate) fn consume(&mut self) -> f64 {
        self.tokens -= 1.0;
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_burst_passes_at_once_and_later_tokens_pass_as_they_accrue() {
        let start = Instant::now();
        let mut bucket = TokenBucket::full(2, start);
        let mut ask = |millis| {
            let has = bucket.refill(2, 2, start + Duration::from_millis(millis)) >= 1.0;
            if has {
                bucket.consume();
            }
            has
        };
        let passed = [0, 0, 0, 499, 500, 500, 1000, 60_000, 60_000, 60_000].map(&mut ask);
        assert_eq!(
            passed,
            [
                true, true, false, false, true, false, true, true, true, false
            ]
        );
    }
}
