//! Limits on open connections: in all, and for each source. If a limit is reached, a connection without a request in
//! progress makes room for the new one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::activity::{Activity, EvictionRank};
use crate::http::middleware::client_address::source_network;
use crate::metrics::METRICS;

/// Maximum numbers of open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of all sources together.
    pub total: usize,
    /// Of one source: an IPv4 address, or a /64 network of IPv6.
    pub per_address: usize,
}

/// Limit that refuses a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The source has its share of connections, all with a request in progress.
    Address,
    /// All connections are taken, and no source has more of them than the new one.
    Total,
}

impl Refusal {
    /// Returns the label of the metric.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address_limit",
            Self::Total => "node_limit",
        }
    }
}

/// Open connections by source.
pub(super) struct ConnectionTable {
    limits: ConnectionLimits,
    open: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    next_id: u64,
    count: usize,
    sources: HashMap<IpAddr, BTreeMap<u64, Arc<Activity>>>,
}

/// Place of an open connection. Dropping it frees the place.
pub(super) struct Slot {
    table: Arc<ConnectionTable>,
    source: IpAddr,
    id: u64,
    has_evicted: bool,
}

impl Slot {
    /// Returns `true` if another connection made room, and has to end first.
    pub(super) fn has_evicted(&self) -> bool {
        self.has_evicted
    }
}

impl ConnectionTable {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: Mutex::default(),
        })
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a new connection a place, if need be that of another connection.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        activity: Arc<Activity>,
    ) -> Result<Slot, Refusal> {
        let source = source_network(peer);
        let mut open = self.open();
        let is_at_share = open.count_of(source) >= self.limits.per_address;
        let is_full = open.count >= self.limits.total;
        if is_at_share && !open.evict_from(source) {
            return Err(Refusal::Address);
        }
        if !is_at_share && is_full && !open.evict_for(source) {
            return Err(Refusal::Total);
        }
        let id = open.next_id;
        open.next_id = open.next_id.wrapping_add(1);
        open.sources.entry(source).or_default().insert(id, activity);
        let count = open.count.saturating_add(1);
        open.set_count(count);
        Ok(Slot {
            table: self.clone(),
            source,
            id,
            has_evicted: is_at_share || is_full,
        })
    }
}

impl OpenConnections {
    fn count_of(&self, source: IpAddr) -> usize {
        self.sources.get(&source).map_or(0, BTreeMap::len)
    }

    fn set_count(&mut self, count: usize) {
        self.count = count;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        METRICS.http_connections.set(count);
    }

    fn remove(&mut self, source: IpAddr, id: u64) -> Option<Arc<Activity>> {
        let connections = self.sources.get_mut(&source)?;
        let removed = connections.remove(&id)?;
        if connections.is_empty() {
            self.sources.remove(&source);
        }
        self.set_count(self.count.saturating_sub(1));
        Some(removed)
    }

    /// Returns the connection of a source that makes room first.
    fn candidate(&self, source: IpAddr) -> Option<(EvictionRank, u64)> {
        let connections = self.sources.get(&source)?.iter();
        connections
            .filter_map(|(id, activity)| Some((activity.eviction_rank()?, *id)))
            .min_by_key(|(rank, _)| *rank)
    }

    fn evict_from(&mut self, source: IpAddr) -> bool {
        let removed = self
            .candidate(source)
            .and_then(|(_, id)| self.remove(source, id));
        if let Some(activity) = &removed {
            activity.evict();
            METRICS.count_http_connection_ended("evicted");
        }
        removed.is_some()
    }

    /// Makes room for a connection of a source at the cost of the source with the most connections, if it has more than
    /// this one. Among sources with equally many, the connection decides that would make room first in one source.
    fn evict_for(&mut self, source: IpAddr) -> bool {
        let own = self.count_of(source);
        let counts = self.sources.iter();
        let greedier = counts
            .map(|(address, connections)| (connections.len(), *address))
            .filter(|(count, address)| *count > own || *address == source);
        let ranked = greedier.filter_map(|(count, address)| {
            let (rank, _) = self.candidate(address)?;
            Some((Reverse(count), rank, address))
        });
        let greediest = ranked.min_by_key(|(count, rank, _)| (*count, *rank));
        greediest.is_some_and(|(_, _, address)| self.evict_from(address))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.table.open().remove(self.source, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::OpenRequest;
    use super::*;

    struct Opened {
        activity: Arc<Activity>,
        slot: Slot,
    }

    impl Opened {
        fn is_evicted(&self) -> bool {
            let open = self.slot.table.open();
            let of_source = open.sources.get(&self.slot.source);
            !of_source.is_some_and(|connections| connections.contains_key(&self.slot.id))
        }
    }

    fn table(total: usize, per_address: usize) -> Arc<ConnectionTable> {
        ConnectionTable::new(ConnectionLimits { total, per_address })
    }

    fn open(table: &Arc<ConnectionTable>, address: &str) -> Result<Opened, Refusal> {
        let activity = Activity::new();
        let slot = table.admit(address.parse().unwrap(), activity.clone())?;
        Ok(Opened { activity, slot })
    }

    #[test]
    fn a_source_beyond_its_share_loses_its_own_connection_that_waits_longest() {
        let table = table(100, 3);
        let other = open(&table, "192.0.2.9").unwrap();
        let held: Vec<_> = (0..5).map(|_| open(&table, "192.0.2.1").unwrap()).collect();
        let evicted: Vec<_> = held.iter().map(Opened::is_evicted).collect();
        assert_eq!(evicted, [true, true, false, false, false]);
        assert!(!other.is_evicted());
        drop(held);
        assert_eq!(
            table.open().count,
            1,
            "an evicted one frees no second place"
        );
    }

    #[test]
    fn a_source_whose_requests_are_all_in_progress_is_refused() {
        let table = table(100, 2);
        let held = [(); 2].map(|()| open(&table, "192.0.2.1").unwrap());
        let requests = held
            .each_ref()
            .map(|c| OpenRequest::begin(c.activity.clone()));
        assert_eq!(open(&table, "192.0.2.1").err(), Some(Refusal::Address));
        assert!(open(&table, "192.0.2.2").is_ok());
        drop(requests);
        assert!(open(&table, "192.0.2.1").is_ok());
    }

    #[test]
    fn the_greediest_source_makes_room_for_others() {
        let table = table(5, 4);
        let greedy = [(); 3].map(|()| open(&table, "192.0.2.1").unwrap());
        let modest = [(); 2].map(|()| open(&table, "192.0.2.2").unwrap());
        let new = open(&table, "192.0.2.3").unwrap();
        assert!(greedy[0].is_evicted() && !greedy[1].is_evicted());
        assert!(modest.iter().all(|connection| !connection.is_evicted()));
        let _requests = [&greedy[1], &greedy[2], &modest[0], &modest[1]]
            .map(|connection| OpenRequest::begin(connection.activity.clone()));
        let own = open(&table, "192.0.2.3").unwrap();
        assert!(new.is_evicted(), "only its own waits");
        let _request = OpenRequest::begin(own.activity.clone());
        assert_eq!(open(&table, "192.0.2.4").err(), Some(Refusal::Total));
    }

    #[test]
    fn among_sources_with_equally_many_the_longest_wait_makes_room() {
        for addresses in [["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.1"]] {
            let table = table(2, 2);
            let [first, second] = addresses.map(|address| open(&table, address).unwrap());
            drop(OpenRequest::begin(second.activity.clone()));
            second.activity.on_flushed();
            // The new source has as few as each of the others, so it competes with its own first connection only.
            assert_eq!(open(&table, "192.0.2.3").err(), None);
            assert!(first.is_evicted() && !second.is_evicted());
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let table = table(100, 1);
        let first = open(&table, "2001:db8::1").unwrap();
        let _second = open(&table, "2001:db8::2").unwrap();
        assert!(first.is_evicted());
        let first = open(&table, "::ffff:192.0.2.1").unwrap();
        let _second = open(&table, "192.0.2.1").unwrap();
        assert!(first.is_evicted(), "it is the same address");
    }
}
