//! Timer table of an endpoint, in virtual time.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Instant;

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

    pub(crate) fn set(&mut self, key: K, at: Instant) {
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
        table.set("late", at(5));
        table.set("early", at(1));
        table.set("moved", at(2));
        table.set("moved", at(7));
        table.set("gone", at(1));
        table.clear(&"gone");
        assert_eq!(table.next(), Some(at(1)));
        assert_eq!(table.expired(at(0)), None);
        assert_eq!(table.expired(at(6)), Some("early"));
        assert_eq!(table.expired(at(6)), Some("late"));
        assert_eq!(table.expired(at(6)), None);
        assert_eq!((table.len(), table.expired(at(7))), (1, Some("moved")));
        assert_eq!(table.next(), None);
    }
}
