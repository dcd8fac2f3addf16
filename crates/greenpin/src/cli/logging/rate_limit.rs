//! Limit on how often one line of the log is repeated. Peers and clients cause lines: they must not fill the disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use crate::limits::token_bucket::TokenBucket;
use crate::metrics::METRICS;

/// Limit of one place in the code.
#[derive(Clone, Copy)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// Warnings and errors of one kind: more of them tell nothing new.
const FAULTS: Rate = Rate {
    per_second: 20,
    burst: 200,
};
/// Lines at level `info`: two for each call.
const INFORMATION: Rate = Rate {
    per_second: 1000,
    burst: 2000,
};

/// Filter that counts the lines of each place in the code. Lines at `debug` and `trace` are not limited.
#[derive(Default)]
pub(super) struct LineLimiter(Mutex<HashMap<Identifier, TokenBucket>>);

impl LineLimiter {
    /// Returns `true` if another line of this place may be written now.
    fn permits(&self, metadata: &Metadata<'_>, now: Instant) -> bool {
        let rate = match *metadata.level() {
            Level::ERROR | Level::WARN => FAULTS,
            Level::INFO => INFORMATION,
            _ => return true,
        };
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets
            .entry(metadata.callsite())
            .or_insert_with(|| TokenBucket::full(rate.burst, now));
        let is_permitted = bucket.refill(rate.per_second, rate.burst, now) >= 1.0;
        if is_permitted {
            bucket.consume();
        }
        is_permitted
    }
}

impl<S> Filter<S> for LineLimiter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let is_permitted = !metadata.is_event() || self.permits(metadata, Instant::now());
        if !is_permitted {
            METRICS.log_lines_suppressed.inc();
        }
        is_permitted
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Layer that counts events.
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_kind_of_line_is_limited_and_leaves_room_for_the_others() {
        let count = Count::default();
        let layer = count.clone().with_filter(LineLimiter::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            (0..10_000).for_each(|_| tracing::warn!("a stranger causes this line"));
            let written = count.0.load(Ordering::Relaxed);
            assert!((200..2000).contains(&written), "{written}");
            tracing::warn!("another line");
            assert!(count.0.load(Ordering::Relaxed) > written);
            let before = count.0.load(Ordering::Relaxed);
            (0..5000).for_each(|_| tracing::debug!("a detail"));
            assert_eq!(count.0.load(Ordering::Relaxed), before + 5000);
        });
    }
}
