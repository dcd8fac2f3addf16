//! Membership of this node in a cluster: its heartbeats, and the eviction of nodes without them.

use std::time::{Duration, Instant};

use crate::calls;
use crate::store::{FailureDetector, Heartbeat, Membership, Store, StoreError, Timestamp};
use crate::supervision::{Part, Supervisor};

/// Heartbeats per lease. Some may be lost or late.
pub const HEARTBEATS_PER_LEASE: u32 = 5;

/// Writes heartbeats until the task is aborted, and evicts nodes that have written none for a
/// `lease`.
pub(crate) async fn keep_alive(
    membership: Membership,
    store: Store,
    engine: calls::Handle,
    name: String,
    lease: Duration,
    supervisor: Supervisor,
) {
    let mut node = Node {
        membership,
        store,
        engine,
        name,
        watch: FailureDetector::default(),
        replaced: false,
    };
    let mut rounds = tokio::time::interval(lease / HEARTBEATS_PER_LEASE);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        supervisor.fail_point(Part::Membership.as_str());
        if let Err(error) = node.round(lease).await {
            tracing::error!(%error, "writing the heartbeat failed");
        }
    }
}

struct Node {
    membership: Membership,
    store: Store,
    engine: calls::Handle,
    name: String,
    watch: FailureDetector,
    /// Set once the log has an error about another process under this node's name.
    replaced: bool,
}

impl Node {
    async fn round(&mut self, lease: Duration) -> Result<(), StoreError> {
        match self.membership.heartbeat(Timestamp::now()).await? {
            Heartbeat::Recorded => {}
            Heartbeat::Evicted => self.rejoin().await?,
            Heartbeat::Replaced if self.replaced => {}
            Heartbeat::Replaced => {
                self.replaced = true;
                tracing::error!(
                    node = self.name,
                    "another process has joined with the same node.name; set a different node.name for each"
                );
            }
        }
        if self.store.is_shared() {
            self.evict_failed_nodes(lease).await?;
        }
        Ok(())
    }

    /// Hangs up the calls that other nodes have closed, and joins again. Those nodes had marked
    /// this one as dead; the terminal events of its calls are written already.
    async fn rejoin(&mut self) -> Result<(), StoreError> {
        tracing::error!("other nodes have evicted this node; ending its calls");
        let open = self.store.open_calls(&self.name).await?;
        for call in self.engine.calls().await {
            if !open.iter().any(|(sid, _)| *sid == call.call_sid) {
                self.engine.end_call(call.call_sid).await;
            }
        }
        self.membership = self.membership.rejoin(Timestamp::now()).await?;
        Ok(())
    }

    async fn evict_failed_nodes(&mut self, lease: Duration) -> Result<(), StoreError> {
        let nodes = self.store.nodes().await?;
        let others = nodes
            .into_iter()
            .filter(|node| node.node != self.name)
            .collect();
        for dead in self.watch.observe(others, lease, Instant::now()) {
            let calls = self.store.evict(&dead).await?;
            tracing::warn!(
                node = dead.node,
                calls,
                "node missed its lease; closed its calls"
            );
        }
        Ok(())
    }
}
