//! Timer table of an endpoint, in virtual time.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Maximum delay of a timer. A delay that a peer names is cut to it, so that no time overflows.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// Returns the `divisor`-th part of a duration.
pub(crate) fn fraction(duration: Duration, divisor: u32) -> Duration {
    duration.checked_div(divisor).unwrap_or_default()
}

/// Timers by key. Setting a timer again replaces it.
#[derive(Debug)]
pub(crate) struct TimerTable<K> {
    queue: BTreeMap<(Instant, u64), K>,
    deadlines: HashMap<K, (Instant, u64)>,
    count: u64,
}

impl<K: Clone + Eq + Hash> TimerTable<K> {
    pub(crate) fn new() -> Self {
        Self {
            queue: BTreeMap::new(),
            deadlines: HashMap::new(),
            count: 0,
        }
    }

    /// Sets a timer to `delay` from now, at most [`MAX_DELAY`].
    pub(crate) fn set(&mut self, key: K, now: Instant, delay: Duration) {
        // A clock that cannot count one more day fires the timer at once.
        let at = now.checked_add(delay.min(MAX_DELAY)).unwrap_or(now);
        self.clear(&key);
        self.count = self.count.wrapping_add(1);
        self.deadlines.insert(key.clone(), (at, self.count));
        self.queue.insert((at, self.count), key);
    }

    pub(crate) fn clear(&mut self, key: &K) {
        if let Some(deadline) = self.deadlines.remove(key) {
            self.queue.remove(&deadline);
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// Removes and returns the earliest timer due at `now`.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<K> {
        let entry = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= now)?;
        let key = entry.remove();
        self.deadlines.remove(&key);
        Some(key)
    }

    /// Shrinks the table to a capacity.
    pub(crate) fn shrink_to(&mut self, capacity: usize) {
        self.deadlines.shrink_to(capacity);
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.deadlines.capacity()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_fire_once_in_order_at_the_time_last_set() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = TimerTable::new();
        let mut set = |key, seconds| table.set(key, start, Duration::from_secs(seconds));
        set("late", 5);
        set("early", 1);
        set("moved", 2);
        set("moved", 7);
        set("gone", 1);
        table.clear(&"gone");
        assert_eq!(table.next(), Some(at(1)));
        assert_eq!(table.expired(at(0)), None);
        assert_eq!(table.expired(at(6)), Some("early"));
        assert_eq!(table.expired(at(6)), Some("late"));
        assert_eq!(table.expired(at(6)), None);
        assert_eq!((table.len(), table.expired(at(7))), (1, Some("moved")));
        assert_eq!(table.next(), None);
    }

    #[test]
    fn a_delay_is_cut_to_a_day() {
        let start = Instant::now();
        let mut table = TimerTable::new();
        for delay in [Duration::MAX, Duration::from_secs(u64::MAX), MAX_DELAY] {
            table.set("timer", start, delay);
            assert_eq!(table.next(), start.checked_add(MAX_DELAY));
        }
    }
}
