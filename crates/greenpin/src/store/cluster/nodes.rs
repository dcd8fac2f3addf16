//! Nodes that share a database: each shows that it lives, and another one closes the calls of one that does not.
//!
//! A node is dead when its count of beats has not moved for a while on the watch of the one that looks: clocks of two
//! machines are never compared. Its row goes in the transaction that closes its last call, so that a node that was only
//! held up finds out by its next beat.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::crypto::random;
use crate::store::Tx;
use crate::store::calls;
use crate::store::cluster::sql;
use crate::store::cluster::sql::{NodeRow, OpenCallRow};
use crate::store::events::outbox;
use crate::store::{CallSid, Store, StoreError, TenantId, Timestamp};

/// Calls that are closed in one transaction.
const MAX_BATCH_CALLS: u32 = 100;

/// A node's place among those that share the database.
#[derive(Debug, Clone)]
pub struct Membership {
    store: Store,
    node: String,
    life: String,
}

/// What a node's beat has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The node is known to live.
    Recorded,
    /// It was taken for dead, and its calls were closed.
    Evicted,
    /// Another process has joined under its name.
    Replaced,
}

impl Store {
    /// Enters a node, and closes the calls that its last life left open, with record and terminal event each. To be
    /// called before the node's first call. Also returns how many calls there were.
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
        let life = format!("{:016x}", random::u64());
        let member = Membership {
            store: self.clone(),
            node: node.to_owned(),
            life,
        };
        let row = member.clone();
        let write = self.writer.write::<_, StoreError, _>(move |tx| {
            tx.execute(sql::NODE_JOIN, (&row.node, &row.life, now.micros()))
                .map(|_| ())
        });
        write.await?;
        Ok(member)
    }

    /// The calls of a node that have no end yet, each with its tenant.
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

    /// Every node that has joined and not left.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.readers
            .read(|snapshot| snapshot.rows(sql::NODES_SELECT, (), NodeRow::read))
            .await
    }

    /// Closes the calls of a node that is dead, as long as it has not beaten again. Returns how many there were.
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

    /// Closes some calls of a node, of a dead one only while it stays dead; its row goes once none is left.
    async fn close_calls(
        &self,
        node: String,
        dead: Option<NodeRow>,
        last_seen: Timestamp,
    ) -> Result<usize, StoreError> {
        let rules = self.recording_rules.clone();
        let write = self.writer.write(move |tx| {
            if let Some(dead) = &dead
                && process_state(tx, &dead.node)? != Some((dead.life.clone(), dead.beat))
            {
                return Ok(0);
            }
            let closed = calls::close_interrupted(tx, (&node, MAX_BATCH_CALLS), last_seen, &rules)?;
            if let Some(dead) = dead.as_ref().filter(|_| closed == 0) {
                outbox::release_node(tx, &dead.node, last_seen)?;
                tx.execute(sql::NODE_LEAVE, (&dead.node, &dead.life))?;
            }
            Ok(closed)
        });
        write.await
    }
}

/// The life and the count of beats of a node.
fn process_state(tx: &Tx<'_>, node: &str) -> Result<Option<(String, i64)>, StoreError> {
    let row = tx.row(sql::NODE_SELECT, [node], NodeRow::read)?;
    Ok(row.map(|row| (row.life, row.beat)))
}

impl Membership {
    /// Shows that the node lives.
    pub async fn heartbeat(&self, now: Timestamp) -> Result<Heartbeat, StoreError> {
        let member = self.clone();
        let write = self.store.writer.write(move |tx| {
            let row = (now.micros(), &member.node, &member.life);
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

    /// Enters the node again after it was buried.
    pub async fn rejoin(&self, now: Timestamp) -> Result<Self, StoreError> {
        self.store.enter(&self.node, now).await
    }

    /// The node has ended its calls and goes.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let member = self.clone();
        let write = self.store.writer.write(move |tx| {
            tx.execute(sql::NODE_LEAVE, (&member.node, &member.life))
                .map(|_| ())
        });
        write.await
    }
}

/// Which nodes have not beaten for how long, on the watch of the one that looks.
#[derive(Debug, Default)]
pub struct FailureDetector(HashMap<String, (NodeRow, Instant)>);

impl FailureDetector {
    /// Looks at the nodes as they stand now; those that have not beaten for `lease` are dead.
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

    fn node(name: &str, beat: i64) -> NodeRow {
        NodeRow {
            node: name.into(),
            life: "1".into(),
            beat,
            seen_at: Timestamp::from_micros(beat),
        }
    }

    #[test]
    fn a_node_is_dead_once_its_beat_has_stood_still_for_a_lease_of_ours() {
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
            "it beats again"
        );
        assert_eq!(
            detector.observe(vec![node("b", 3)], lease, at(30)),
            [node("b", 3)]
        );
        assert_eq!(
            detector.observe(vec![node("a", 8)], lease, at(31)),
            [],
            "a node that comes anew lives"
        );
    }
}
