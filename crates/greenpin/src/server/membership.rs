//! This node among those that share its database: it shows that it lives, and looks after those that do not.

use std::time::{Duration, Instant};

use crate::calls;
use crate::store::{FailureDetector, Heartbeat, Membership, Store, StoreError, Timestamp};

/// Beats in a lease: some may be lost or late.
const BEATS: u32 = 5;

/// Beats for as long as the node runs. `lease` is after how long without a beat a node is dead.
pub(crate) async fn keep(
    membership: Membership,
    store: Store,
    engine: calls::Handle,
    name: String,
    lease: Duration,
) {
    let mut node = Node {
        membership,
        store,
        engine,
        name,
        watch: FailureDetector::default(),
        replaced: false,
    };
    let mut rounds = tokio::time::interval(lease / BEATS);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if let Err(error) = node.round(lease).await {
            tracing::error!(%error, "this node could not show that it lives");
        }
    }
}

struct Node {
    membership: Membership,
    store: Store,
    engine: calls::Handle,
    name: String,
    watch: FailureDetector,
    /// Whether it was told that another process has this node's name.
    replaced: bool,
}

impl Node {
    async fn round(&mut self, lease: Duration) -> Result<(), StoreError> {
        match self.membership.heartbeat(Timestamp::now()).await? {
            Heartbeat::Recorded => {}
            Heartbeat::Evicted => self.come_back().await?,
            Heartbeat::Replaced if self.replaced => {}
            Heartbeat::Replaced => {
                self.replaced = true;
                tracing::error!(
                    node = self.name,
                    "another process has joined under this node's name: give each a node.name of its own"
                );
            }
        }
        if self.store.is_shared() {
            self.look_after_others(lease).await?;
        }
        Ok(())
    }

    /// Another node took this one for dead, and closed its calls: they have had their terminal events.
    async fn come_back(&mut self) -> Result<(), StoreError> {
        tracing::error!(
            "this node was held up so long that others took it for dead: its calls are ended"
        );
        let open = self.store.open_calls(&self.name).await?;
        for call in self.engine.calls().await {
            if !open.iter().any(|(sid, _)| *sid == call.call_sid) {
                self.engine.end_call(call.call_sid).await;
            }
        }
        self.membership = self.membership.rejoin(Timestamp::now()).await?;
        Ok(())
    }

    async fn look_after_others(&mut self, lease: Duration) -> Result<(), StoreError> {
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
                "a node is dead: its calls were closed"
            );
        }
        Ok(())
    }
}
