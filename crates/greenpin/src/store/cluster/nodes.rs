//! Nodes that share a database. Each node writes heartbeats; another node evicts a failed one and closes its calls.
//!
//! A node has failed if its heartbeat counter does not change for its lease (see [`FailureDetector`]). The row of a
//! failed node is deleted with its last open call. A node that was only delayed detects the eviction at its next
//! heartbeat.
//!
//! [`FailureDetector`]: super::FailureDetector

use std::time::Duration;

use crate::crypto::random;
use crate::store::Tx;
use crate::store::calls;
use crate::store::cluster::sql;
use crate::store::cluster::sql::{NodeRow, OpenCallRow};
use crate::store::events::outbox;
use crate::store::tenants::audit;
use crate::store::tenants::audit::AuditAction;
use crate::store::{CallSid, OperatorStore, Store, StoreError, TenantId, Timestamp};

/// Maximum number of calls closed in one transaction.
const MAX_BATCH_CALLS: u32 = 100;

/// A process that joins the cluster.
#[derive(Debug, Clone)]
pub struct NodeIdentity {
    /// Name of the node, the same after a restart.
    pub name: String,
    /// Time without a heartbeat after which other nodes close the calls of this one.
    pub lease: Duration,
    /// Version of greenpin.
    pub version: &'static str,
    /// Start of the process.
    pub started_at: Timestamp,
}

/// State of a node, as its heartbeats carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeState {
    /// Number of active calls.
    pub calls: u64,
    /// The node rejects new calls.
    pub is_draining: bool,
}

/// Membership of this node in the cluster.
#[derive(Debug, Clone)]
pub struct Membership {
    store: Store,
    node: NodeIdentity,
    process: String,
}

/// Result of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The heartbeat was recorded.
    Recorded {
        /// The operator wants the node to reject new calls.
        drain_wanted: bool,
    },
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
        node: NodeIdentity,
        now: Timestamp,
    ) -> Result<(Membership, usize), StoreError> {
        let name = node.name.clone();
        let last = self.node(&name).await?;
        let last_seen = last.map_or(now, |last| last.seen_at.min(now));
        let member = self.enter(node, NodeState::default(), false, now).await?;
        let mut closed = 0;
        loop {
            let batch = self.close_calls(name.clone(), None, last_seen).await?;
            closed += batch;
            if batch == 0 {
                return Ok((member, closed));
            }
        }
    }

    async fn enter(
        &self,
        node: NodeIdentity,
        state: NodeState,
        drain_wanted: bool,
        now: Timestamp,
    ) -> Result<Membership, StoreError> {
        let process = format!("{:016x}", random::u64());
        let member = Membership {
            store: self.clone(),
            node,
            process,
        };
        let row = member.clone();
        let write = self.writers.common().write::<_, StoreError, _>(move |tx| {
            let Membership { node, process, .. } = &row;
            let lease = i64::try_from(node.lease.as_secs()).unwrap_or(i64::MAX);
            let row = (
                &node.name,
                process,
                now.micros(),
                lease,
                node.version,
                node.started_at.micros(),
                stored(state.calls),
                i64::from(state.is_draining),
                i64::from(drain_wanted),
            );
            tx.execute(sql::NODE_JOIN, row).map(|_| ())
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
        let write = self.writers.whole().write(move |tx| {
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
    /// Writes a heartbeat with the state of the node.
    pub async fn heartbeat(
        &self,
        state: NodeState,
        now: Timestamp,
    ) -> Result<Heartbeat, StoreError> {
        let member = self.clone();
        let write = self.store.writers.common().write(move |tx| {
            let name = &member.node.name;
            let row = (
                now.micros(),
                stored(state.calls),
                i64::from(state.is_draining),
                name,
                &member.process,
            );
            let recorded = tx.row(sql::NODE_HEARTBEAT, row, |row| row.get("drain_wanted"))?;
            Ok(match recorded {
                Some(drain_wanted) => Heartbeat::Recorded { drain_wanted },
                None if process_state(tx, name)?.is_some() => Heartbeat::Replaced,
                None => Heartbeat::Evicted,
            })
        });
        write.await
    }

    /// Registers the node again after its eviction, with its state.
    pub async fn rejoin(
        &self,
        state: NodeState,
        drain_wanted: bool,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let node = self.node.clone();
        self.store.enter(node, state, drain_wanted, now).await
    }

    /// Deregisters the node after its calls have ended.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let member = self.clone();
        let write = self.store.writers.common().write(move |tx| {
            tx.execute(sql::NODE_LEAVE, (&member.node.name, &member.process))
                .map(|_| ())
        });
        write.await
    }
}

impl OperatorStore {
    /// Returns every registered node.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.store.nodes().await
    }

    /// Requests or ends the draining of a node, which follows with its next heartbeat. Returns `false` if no node has
    /// this name.
    pub async fn want_drain(
        &self,
        node: &str,
        wanted: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (node, actor) = (node.to_owned(), self.actor.clone());
        let write = self.store.writers.common().write(move |tx| {
            if tx.execute(sql::NODE_WANT_DRAIN, (i64::from(wanted), &node))? == 0 {
                return Ok(false);
            }
            let action = AuditAction {
                name: if wanted { "node.drain" } else { "node.undrain" },
                tenant: None,
                object: Some(&node),
            };
            audit::write(tx, &actor, action, now)?;
            Ok(true)
        });
        write.await
    }
}

/// Returns a number of calls as it is stored.
fn stored(calls: u64) -> i64 {
    i64::try_from(calls).unwrap_or(i64::MAX)
}
