//! Delivery of events from the outbox to the tenants' endpoints: signed, in order per allocation,
//! with retries.

mod concurrency;
mod flat;
pub mod limits;
mod post;
mod schedule;
mod signature;
mod target;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::crypto::random;
use crate::metrics::METRICS;
use crate::store::{Attempt, AttemptOutcome, Delivery, Store, StoreError, Timestamp};
use crate::supervision::{Part, PartGuard, Supervisor};
use concurrency::ConcurrencyWindows;
use post::Poster;
pub use target::Resolver;

/// Time limit for the response of a receiver.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Lease of a claimed delivery. It outlasts the longest attempt; after it, another worker claims
/// the delivery.
const CLAIM_LEASE: Duration = Duration::from_secs(60);
/// Longest interval between two polls of the outbox.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Shortest interval after a poll without a due delivery.
const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Settings of the delivery.
#[derive(Clone)]
pub struct WebhookSettings {
    /// Allow loopback, private and link-local addresses.
    pub allow_private: bool,
    /// Resolver of host names; `None`: the system's.
    pub resolver: Option<Resolver>,
    /// Time without a successful delivery after which an endpoint is disabled.
    pub disable_after: Duration,
    /// Name of this node. If it dies, another node claims its deliveries again.
    pub node: String,
    /// Supervisor of the delivery task.
    pub supervisor: Supervisor,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            allow_private: false,
            resolver: None,
            disable_after: Duration::from_secs(5 * 24 * 3600),
            node: "local".into(),
            supervisor: Supervisor::default(),
        }
    }
}

/// The running delivery task.
pub struct Dispatcher {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Dispatcher {
    /// Starts the delivery.
    pub fn start(store: Store, settings: WebhookSettings) -> Self {
        let (stop, stopping) = watch::channel(false);
        let poster = Poster::new(settings.allow_private, settings.resolver);
        let worker = Worker {
            store,
            poster,
            windows: Mutex::default(),
            slot_free: Notify::new(),
            disable_after: settings.disable_after,
            node: settings.node,
        };
        let guard = settings.supervisor.watch_task(Part::Webhooks);
        let task = tokio::spawn(Arc::new(worker).run(stopping, guard));
        Self { stop, task }
    }

    /// Waits for deliveries under way, at most as long as a receiver may take. The rest stays in
    /// the outbox.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(RESPONSE_TIMEOUT, self.task).await;
    }
}

struct Worker {
    store: Store,
    poster: Poster,
    windows: Mutex<ConcurrencyWindows>,
    slot_free: Notify,
    disable_after: Duration,
    node: String,
}

/// AttemptOutcome of a poll of the outbox.
enum Poll {
    /// Deliveries were started; more may be due.
    Sent,
    /// No delivery can start now. Poll again after this time, or when a slot becomes free.
    Idle(Duration),
}

impl Worker {
    async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>, guard: PartGuard) {
        let mut under_way = JoinSet::new();
        while !*stopping.borrow() {
            guard.fail_point();
            while under_way.try_join_next().is_some() {}
            let wait = match self.send_due(&mut under_way).await {
                Ok(Poll::Sent) => continue,
                Ok(Poll::Idle(wait)) => wait,
                Err(error) => {
                    tracing::error!(%error, "polling the outbox failed");
                    MIN_POLL_INTERVAL
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.store.delivery_written() => {}
                () = self.slot_free.notified() => {}
                _ = stopping.changed() => {}
            }
        }
        guard.end();
        while under_way.join_next().await.is_some() {}
    }

    /// Starts due deliveries, as far as slots are free.
    async fn send_due(self: &Arc<Self>, under_way: &mut JoinSet<()>) -> Result<Poll, StoreError> {
        let due = self.store.due_endpoints().await?;
        let now = Timestamp::now();
        let next = due
            .iter()
            .map(|endpoint| endpoint.due_at)
            .filter(|due_at| *due_at > now)
            .min();
        let wanted = {
            let mut windows = self.windows();
            windows.retain_due(&due);
            windows.share(due, now)
        };
        let claimed = match wanted.is_empty() {
            true => Vec::new(),
            false => {
                self.store
                    .claim_deliveries(&self.node, wanted, CLAIM_LEASE, now)
                    .await?
            }
        };
        if claimed.is_empty() {
            let wait = next.map_or(MAX_POLL_INTERVAL, |next| next.since(now));
            return Ok(Poll::Idle(wait.clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL)));
        }
        for delivery in claimed {
            self.windows().occupy(&delivery.endpoint_id);
            let worker = self.clone();
            under_way.spawn(async move { worker.deliver(&delivery).await });
        }
        Ok(Poll::Sent)
    }

    fn windows(&self) -> MutexGuard<'_, ConcurrencyWindows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, delivery: &Delivery) {
        let attempt = self.poster.post(delivery).await;
        let now = Timestamp::now();
        let outcome = outcome(delivery, &attempt, now);
        log_outcome(delivery, &attempt, outcome);
        let ended = self
            .store
            .end_attempt(delivery, attempt, outcome, self.disable_after, now)
            .await;
        if let Err(error) = ended {
            // The lease expires and the event is sent again with the same id: delivery is at least
            // once.
            tracing::error!(%error, "recording the outcome of a delivery failed; it will be repeated");
        }
        self.windows()
            .free_slot(&delivery.endpoint_id, outcome == AttemptOutcome::Delivered);
        self.slot_free.notify_one();
    }
}

fn outcome(delivery: &Delivery, attempt: &Attempt, now: Timestamp) -> AttemptOutcome {
    match attempt.status {
        Some(200..=299) => AttemptOutcome::Delivered,
        _ if schedule::is_over(delivery.tried_at, now) => AttemptOutcome::Failed,
        _ => AttemptOutcome::RetryAt(now + schedule::pause(delivery.attempts, random::u64())),
    }
}

/// Counts and logs the outcome of an attempt, without the address.
fn log_outcome(delivery: &Delivery, attempt: &Attempt, outcome: AttemptOutcome) {
    let (event_id, endpoint_id) = (&delivery.event_id, &delivery.endpoint_id);
    let (status, reason) = (
        attempt.status,
        attempt.error.map_or("", |error| error.as_str()),
    );
    match outcome {
        AttemptOutcome::Delivered => METRICS.count_delivery("delivered"),
        AttemptOutcome::RetryAt(_) => {
            METRICS.count_delivery("retried");
            let attempts = delivery.attempts;
            tracing::warn!(%event_id, %endpoint_id, attempts, status, reason, "webhook delivery failed; retrying");
        }
        AttemptOutcome::Failed => {
            METRICS.count_delivery("given_up");
            tracing::error!(%event_id, %endpoint_id, status, reason, "webhook delivery failed; giving up");
        }
    }
}

#[cfg(test)]
mod tests;
