//! Failure detector: finds nodes without heartbeats, on the clock of this process.
//!
//! Clocks of two machines are never compared. Only time between two successful looks at the nodes counts: a node that
//! could not read the database, or was stopped itself, knows nothing about the others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::sql::NodeRow;

/// Maximum time between two looks that counts as observed.
pub(super) const MAX_LOOK_GAP: Duration = Duration::from_secs(3);

/// The last heartbeat of each node, and the observed time since.
#[derive(Debug, Default)]
pub struct FailureDetector {
    nodes: HashMap<String, Observation>,
    last_look: Option<Instant>,
}

#[derive(Debug)]
struct Observation {
    row: NodeRow,
    /// Observed time without a heartbeat.
    silence: Duration,
}

impl FailureDetector {
    /// Updates the detector with the current rows. Returns the nodes whose observed silence has reached their lease;
    /// `lease` applies to nodes that do not say theirs.
    pub fn observe(&mut self, nodes: Vec<NodeRow>, lease: Duration, now: Instant) -> Vec<NodeRow> {
        let observed = self.last_look.replace(now).map_or(Duration::ZERO, |last| {
            match now.saturating_duration_since(last) {
                gap if gap <= MAX_LOOK_GAP => gap,
                _ => Duration::ZERO,
            }
        });
        self.nodes
            .retain(|name, _| nodes.iter().any(|node| node.node == *name));
        for node in nodes {
            let silence = match self.nodes.get(&node.node) {
                Some(last) if last.row.is_same_heartbeat(&node) => {
                    last.silence.saturating_add(observed)
                }
                _ => Duration::ZERO,
            };
            let observation = Observation { row: node, silence };
            self.nodes.insert(observation.row.node.clone(), observation);
        }
        let failed = self
            .nodes
            .values()
            .filter(|node| node.silence >= node.row.lease().unwrap_or(lease));
        failed.map(|node| node.row.clone()).collect()
    }

    /// Records that this node could not look, or could not write its own heartbeat: the time until the next look does
    /// not count.
    pub fn pause(&mut self) {
        self.last_look = None;
    }
}

impl NodeRow {
    /// Returns the lease of the node, if it says one.
    pub fn lease(&self) -> Option<Duration> {
        let seconds = self.lease_seconds?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }

    fn is_same_heartbeat(&self, other: &Self) -> bool {
        (&self.process, self.heartbeats) == (&other.process, other.heartbeats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Timestamp;

    const LEASE: Duration = Duration::from_secs(15);

    fn node(name: &str, heartbeats: i64) -> NodeRow {
        NodeRow {
            node: name.into(),
            process: "1".into(),
            heartbeats,
            seen_at: Timestamp::from_micros(heartbeats),
            lease_seconds: Some(15),
            version: "0.1.0".into(),
            started_at: Timestamp::from_micros(0),
            calls: 0,
            draining: false,
            drain_wanted: false,
        }
    }

    /// Detector in virtual time.
    struct Watch {
        detector: FailureDetector,
        now: Instant,
    }

    impl Watch {
        fn new() -> Self {
            Self {
                detector: FailureDetector::default(),
                now: Instant::now(),
            }
        }

        fn look(&mut self, nodes: &[NodeRow]) -> Vec<String> {
            let failed = self.detector.observe(nodes.to_vec(), LEASE, self.now);
            failed.into_iter().map(|node| node.node).collect()
        }

        /// Looks once a second for `seconds` at nodes that do not change. Returns the second of the first failure.
        fn failure_within(&mut self, seconds: u64, nodes: &[NodeRow]) -> Option<u64> {
            (1..=seconds).find(|_| {
                self.now += Duration::from_secs(1);
                !self.look(nodes).is_empty()
            })
        }
    }

    #[test]
    fn a_node_has_failed_after_a_lease_without_a_heartbeat() {
        let mut watch = Watch::new();
        watch.look(&[node("a", 7), node("b", 1)]);
        assert_eq!(
            watch.failure_within(14, &[node("a", 7), node("b", 1)]),
            None
        );
        watch.now += Duration::from_secs(1);
        assert_eq!(watch.look(&[node("a", 7), node("b", 2)]), ["a"]);
        assert!(watch.look(&[node("a", 8), node("b", 2)]).is_empty());
        watch.look(&[node("b", 2)]);
        assert_eq!(
            watch.failure_within(14, &[node("a", 8), node("b", 3)]),
            None
        );
    }

    #[test]
    fn a_change_that_is_no_heartbeat_does_not_count_as_one() {
        let mut watch = Watch::new();
        watch.look(&[node("a", 7)]);
        watch.failure_within(14, &[node("a", 7)]);
        let wanted = NodeRow {
            drain_wanted: true,
            ..node("a", 7)
        };
        assert_eq!(watch.failure_within(1, &[wanted]), Some(1));
    }

    #[test]
    fn each_node_has_its_own_lease() {
        let mut watch = Watch::new();
        let with_lease = |name, lease_seconds| NodeRow {
            lease_seconds,
            ..node(name, 1)
        };
        let nodes = [
            with_lease("short", Some(3)),
            with_lease("long", Some(60)),
            with_lease("earlier version", None),
        ];
        watch.look(&nodes);
        assert_eq!(watch.failure_within(10, &nodes), Some(3));
        assert_eq!(watch.look(&nodes), ["short"]);
        // The lease of the observer applies to it: 15 s.
        assert_eq!(watch.failure_within(20, &nodes[1..]), Some(12));
        assert_eq!(watch.look(&nodes[1..]), ["earlier version"]);
    }

    #[test]
    fn time_without_a_successful_look_does_not_count() {
        let mut watch = Watch::new();
        let nodes = [node("a", 7)];
        watch.look(&nodes);
        watch.failure_within(5, &nodes);
        // The database is away, or this process is stopped.
        watch.now += Duration::from_secs(600);
        assert!(watch.look(&nodes).is_empty());
        assert_eq!(watch.failure_within(9, &nodes), None);
        assert_eq!(watch.failure_within(1, &nodes), Some(1));
    }

    #[test]
    fn time_in_which_this_node_cannot_write_does_not_count() {
        let mut watch = Watch::new();
        let nodes = [node("a", 7)];
        watch.look(&nodes);
        for _ in 0..60 {
            watch.detector.pause();
            assert_eq!(watch.failure_within(1, &nodes), None);
        }
        assert_eq!(watch.failure_within(14, &nodes), None);
        assert_eq!(watch.failure_within(1, &nodes), Some(1));
    }
}
