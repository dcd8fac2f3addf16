//! Nodes that share a database. Each node writes heartbeats; another node evicts a failed one and closes its calls.
//!
//! A node has failed if its heartbeat counter does not change for a lease. The observer measures the lease on its own
//! clock, so clocks of two machines are never compared. The row of a failed node is deleted with its last open call. A
//! node that was only delayed detects the eviction at its next heartbeat.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::crypto::random;
use crate::store::Tx;
use crate::store::calls;
use crate::store::cluster::sql;
use crate::store::cluster::sql::{NodeRow, OpenCallRow};
use crate::store::events::outbox;
use crate::store::{CallSid, Store, StoreError, TenantId, Timestamp};

/// Maximum number of calls closed in one transaction.
const MAX_BATCH_CALLS: u32 = 100;

/// Membership of this node in the cluster.
#[derive(Debug, Clone)]
pub struct Membership {
    store: Store,
    node: String,
    process: String,
}

/// Result of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The heartbeat was recorded.
    Recorded,
    /// Another node has evicted this node and closed its calls.
    Evicted,
    /// Another process has joined with the same node name.
    Replaced,
}

impl Store {
    /// Registers a node and closes the calls that its previous process left open, each with record and terminal event.
    /// Called before the first call of the node. Also returns the number of closed calls.
    pub async fn join(
        &self,
        node: &str,
        now: Timestamp,
    ) -> Result<(Membership, usize), StoreError> {
        let last = self.node(node).await?;
        let last_seen = last.map_or(now, |last| last.seen_at.min(now));
        let member = self.enter(node, now).await?;
        let mut closed = 0;
        loop {
            let batch = self.close_calls(node.to_owned(), None, last_seen).await?;
            closed += batch;
            if batch == 0 {
                return Ok((member, closed));
            }
        }
    }

    async fn enter(&self, node: &str, now: Timestamp) -> Result<Membership, StoreError> {
        let process = format!("{:016x}", random::u64());
        let member = Membership {
            store: self.clone(),
            node: node.to_owned(),
            process,
        };
        let row = member.clone();
        let write = self.writer.write::<_, StoreError, _>(move |tx| {
            tx.execute(sql::NODE_JOIN, (&row.node, &row.process, now.micros()))
                .map(|_| ())
        });
        write.await?;
        Ok(member)
    }

    /// Returns the open calls of a node, each with its tenant.
    pub(crate) async fn open_calls(
        &self,
        node: &str,
    ) -> Result<Vec<(CallSid, TenantId)>, StoreError> {
        let node = node.to_owned();
        let read = self.readers.read(move |snapshot| {
            snapshot.rows(sql::CALLS_OPEN_OF_NODE, [&node], OpenCallRow::read)
        });
        let open: Result<Vec<OpenCallRow>, StoreError> = read.await;
        let calls = open?
            .into_iter()
            .map(|call| (call.call_sid, call.tenant_id));
        Ok(calls.collect())
    }

    /// Returns every registered node.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.readers
            .read(|snapshot| snapshot.rows(sql::NODES_SELECT, (), NodeRow::read))
            .await
    }

    /// Closes the calls of a failed node and deletes it, unless it has sent a heartbeat since. Returns the number of
    /// closed calls.
    pub async fn evict(&self, dead: &NodeRow) -> Result<usize, StoreError> {
        let mut closed = 0;
        loop {
            let batch = self
                .close_calls(dead.node.clone(), Some(dead.clone()), dead.seen_at)
                .await?;
            closed += batch;
            if batch == 0 {
                return Ok(closed);
            }
        }
    }

    async fn node(&self, node: &str) -> Result<Option<NodeRow>, StoreError> {
        Ok(self.nodes().await?.into_iter().find(|row| row.node == node))
    }

    /// Closes a batch of calls of a node. For a failed node, only while its heartbeat does not change; its row is
    /// deleted with the last call.
    async fn close_calls(
        &self,
        node: String,
        dead: Option<NodeRow>,
        last_seen: Timestamp,
    ) -> Result<usize, StoreError> {
        let rules = self.recording_rules.clone();
        let write = self.writer.write(move |tx| {
            if let Some(dead) = &dead
                && process_state(tx, &dead.node)? != Some((dead.process.clone(), dead.heartbeats))
            {
                return Ok(0);
            }
            let closed = calls::close_interrupted(tx, (&node, MAX_BATCH_CALLS), last_seen, &rules)?;
            if let Some(dead) = dead.as_ref().filter(|_| closed == 0) {
                outbox::release_node(tx, &dead.node, last_seen)?;
                tx.execute(sql::NODE_LEAVE, (&dead.node, &dead.process))?;
            }
            Ok(closed)
        });
        write.await
    }
}

/// Returns the process id and the heartbeat counter of a node.
fn process_state(tx: &Tx<'_>, node: &str) -> Result<Option<(String, i64)>, StoreError> {
    let row = tx.row(sql::NODE_SELECT, [node], NodeRow::read)?;
    Ok(row.map(|row| (row.process, row.heartbeats)))
}

impl Membership {
    /// Writes a heartbeat.
    pub async fn heartbeat(&self, now: Timestamp) -> Result<Heartbeat, StoreError> {
        let member = self.clone();
        let write = self.store.writer.write(move |tx| {
            let row = (now.micros(), &member.node, &member.process);
            if tx.execute(sql::NODE_HEARTBEAT, row)? > 0 {
                return Ok(Heartbeat::Recorded);
            }
            Ok(if process_state(tx, &member.node)?.is_some() {
                Heartbeat::Replaced
            } else {
                Heartbeat::Evicted
            })
        });
        write.await
    }

    /// Registers the node again after its eviction.
    pub async fn rejoin(&self, now: Timestamp) -> Result<Self, StoreError> {
        self.store.enter(&self.node, now).await
    }

    /// Deregisters the node after its calls have ended.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let member = self.clone();
        let write = self.store.writer.write(move |tx| {
            tx.execute(sql::NODE_LEAVE, (&member.node, &member.process))
                .map(|_| ())
        });
        write.await
    }
}

/// Failure detector: the last change of each node's heartbeat, on the clock of this process.
#[derive(Debug, Default)]
pub struct FailureDetector(HashMap<String, (NodeRow, Instant)>);

impl FailureDetector {
    /// Updates the detector with the current rows. Returns the nodes without a heartbeat for `lease`.
    pub fn observe(&mut self, nodes: Vec<NodeRow>, lease: Duration, now: Instant) -> Vec<NodeRow> {
        self.0
            .retain(|name, _| nodes.iter().any(|node| node.node == *name));
        for node in nodes {
            let since = match self.0.get(&node.node) {
                Some((seen, since)) if *seen == node => *since,
                _ => now,
            };
            self.0.insert(node.node.clone(), (node, since));
        }
        let dead = self
            .0
            .values()
            .filter(|(_, since)| now.saturating_duration_since(*since) >= lease);
        dead.map(|(node, _)| node.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, heartbeats: i64) -> NodeRow {
        NodeRow {
            node: name.into(),
            process: "1".into(),
            heartbeats,
            seen_at: Timestamp::from_micros(heartbeats),
        }
    }

    #[test]
    fn a_node_has_failed_after_a_lease_without_a_heartbeat() {
        let (mut detector, begin, lease) = (
            FailureDetector::default(),
            Instant::now(),
            Duration::from_secs(15),
        );
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(
            detector.observe(vec![node("a", 7), node("b", 1)], lease, at(0)),
            []
        );
        assert_eq!(
            detector.observe(vec![node("a", 7), node("b", 2)], lease, at(14)),
            []
        );
        assert_eq!(
            detector.observe(vec![node("a", 7), node("b", 3)], lease, at(15)),
            [node("a", 7)]
        );
        assert_eq!(
            detector.observe(vec![node("a", 8), node("b", 3)], lease, at(16)),
            [],
            "its heartbeat continues"
        );
        assert_eq!(
            detector.observe(vec![node("b", 3)], lease, at(30)),
            [node("b", 3)]
        );
        assert_eq!(
            detector.observe(vec![node("a", 8)], lease, at(31)),
            [],
            "a node that joins again is alive"
        );
    }
}
