//! Membership of this node in a cluster: its heartbeats, and the eviction of nodes without them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calls;
use crate::http::Readiness;
use crate::store::{
    FailureDetector, Heartbeat, Membership, NodeState, Store, StoreError, Timestamp,
};
use crate::supervision::{Part, Supervisor};

/// Heartbeats per lease. Some may be lost or late.
pub const HEARTBEATS_PER_LEASE: u32 = 5;
/// Interval between two looks at the other nodes. Their leases may be shorter than that of this node.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Member of a cluster that shares one database.
pub(super) struct Node {
    pub(super) membership: Membership,
    pub(super) store: Store,
    pub(super) engine: calls::Handle,
    pub(super) readiness: Arc<Readiness>,
    pub(super) name: String,
    pub(super) lease: Duration,
}

impl Node {
    /// Writes heartbeats until the task is aborted, and evicts nodes without one.
    pub(super) async fn keep_alive(self, supervisor: Supervisor) {
        let heartbeat_interval = self.lease / HEARTBEATS_PER_LEASE;
        let interval = match self.store.is_shared() {
            true => heartbeat_interval.min(LOOK_INTERVAL),
            false => heartbeat_interval,
        };
        let mut task = MembershipTask {
            node: self,
            detector: FailureDetector::default(),
            drain_wanted: false,
            is_replaced: false,
        };
        let mut rounds = tokio::time::interval(interval);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next_heartbeat = Instant::now();
        loop {
            rounds.tick().await;
            supervisor.fail_point(Part::Membership.as_str());
            let is_due = Instant::now() >= next_heartbeat;
            if is_due {
                // The next one is due after an interval, also if this one takes long.
                next_heartbeat = Instant::now() + heartbeat_interval;
            }
            if let Err(error) = task.round(is_due).await {
                tracing::error!(%error, "writing the heartbeat failed");
                task.detector.pause();
                next_heartbeat = Instant::now();
            }
        }
    }

    async fn heartbeat(&self) -> Result<Heartbeat, StoreError> {
        let state = self.state().await;
        let beat = self.membership.heartbeat(state, Timestamp::now());
        beat.await
    }

    async fn state(&self) -> NodeState {
        let calls = self.engine.load().await.map_or(0, |load| load.calls);
        NodeState {
            calls: u64::try_from(calls).unwrap_or(u64::MAX),
            is_draining: self.readiness.is_draining(),
        }
    }

    /// Follows a request of the operator.
    fn set_drained(&self, is_drained: bool) {
        tracing::info!(draining = is_drained, "drain requested by the operator");
        self.readiness.set_drained(is_drained);
        self.engine.admit(!is_drained);
    }
}

struct MembershipTask {
    node: Node,
    detector: FailureDetector,
    /// The last request of the operator.
    drain_wanted: bool,
    /// Set once the log has an error about another process under this node's name.
    is_replaced: bool,
}

impl MembershipTask {
    async fn round(&mut self, heartbeat_is_due: bool) -> Result<(), StoreError> {
        if heartbeat_is_due {
            self.heartbeat().await?;
        }
        if self.node.store.is_shared() {
            self.evict_failed_nodes().await?;
        }
        Ok(())
    }

    async fn heartbeat(&mut self) -> Result<(), StoreError> {
        match self.node.heartbeat().await? {
            // Only a change is followed: a request at this node takes effect before its heartbeat.
            Heartbeat::Recorded { drain_wanted } if drain_wanted != self.drain_wanted => {
                self.drain_wanted = drain_wanted;
                self.node.set_drained(drain_wanted);
                // The others see at once that the node has followed.
                self.node.heartbeat().await?;
            }
            Heartbeat::Recorded { .. } => {}
            Heartbeat::Evicted => self.rejoin().await?,
            Heartbeat::Replaced if self.is_replaced => {}
            Heartbeat::Replaced => {
                self.is_replaced = true;
                tracing::error!(
                    node = self.node.name,
                    "another process has joined with the same node.name; set a different node.name for each"
                );
            }
        }
        Ok(())
    }

    /// Hangs up the calls that other nodes have closed, and joins again. Those nodes had marked
    /// this one as dead; the terminal events of its calls are written already.
    async fn rejoin(&mut self) -> Result<(), StoreError> {
        let node = &mut self.node;
        tracing::error!("other nodes have evicted this node; ending its calls");
        let open = node.store.open_calls(&node.name).await?;
        for call in node.engine.calls().await {
            if !open.iter().any(|(sid, _)| *sid == call.call_sid) {
                node.engine.end_call(call.call_sid).await;
            }
        }
        let state = node.state().await;
        let rejoined = node
            .membership
            .rejoin(state, node.readiness.is_drained(), Timestamp::now());
        node.membership = rejoined.await?;
        Ok(())
    }

    async fn evict_failed_nodes(&mut self) -> Result<(), StoreError> {
        let nodes = self.node.store.nodes().await?;
        let others = nodes
            .into_iter()
            .filter(|node| node.node != self.node.name)
            .collect();
        for dead in self
            .detector
            .observe(others, self.node.lease, Instant::now())
        {
            let calls = self.node.store.evict(&dead).await?;
            tracing::warn!(
                node = dead.node,
                calls,
                "node missed its lease; closed its calls"
            );
        }
        Ok(())
    }
}
