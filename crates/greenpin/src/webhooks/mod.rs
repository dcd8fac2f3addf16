//! Delivery of events from the outbox to the tenants' endpoints: signed, in order per allocation,
//! with retries.

mod client;
mod concurrency;
mod connector;
mod flat;
pub mod limits;
mod post;
pub(crate) mod probe;
mod schedule;
mod signature;
mod target;
mod test_sender;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::crypto::random;
use crate::metrics::METRICS;
use crate::store::{Attempt, AttemptOutcome, Delivery, Store, StoreError, Timestamp};
use crate::supervision::{Part, PartGuard, Supervisor};
use concurrency::ConcurrencyWindows;
use post::{Posted, Poster};
pub use target::Resolver;
pub(crate) use target::is_public_address;
pub use test_sender::TestSender;

/// Time limit for the response of a receiver.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Status of an endpoint that wants no more events (Standard Webhooks, "Operational considerations").
const GONE: u16 = 410;
/// Lease of a claimed delivery. It outlasts the longest attempt; after it, another worker claims
/// the delivery.
const CLAIM_LEASE: Duration = Duration::from_secs(60);
/// Longest interval between two polls of the outbox.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Threads of the delivery, apart from those of calls and of the API: a receiver can only delay other deliveries.
const THREADS: usize = 1;
/// Maximum number of threads that resolve names with the resolver of the system.
const MAX_RESOLVER_THREADS: usize = 16;
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
    test_sender: TestSender,
    /// Always present until the drop.
    runtime: Option<Runtime>,
}

impl Dispatcher {
    /// Starts the delivery on threads of its own. Fails if the system grants no thread.
    pub fn start(store: Store, settings: WebhookSettings) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(MAX_RESOLVER_THREADS)
            .thread_name("webhooks")
            .enable_all()
            .build()?;
        let (stop, stopping) = watch::channel(false);
        let poster = Arc::new(Poster::new(settings.allow_private, settings.resolver));
        let test_sender = TestSender::new(poster.clone(), runtime.handle().clone());
        let worker = Worker {
            store,
            poster,
            windows: Mutex::default(),
            slot_free: Notify::new(),
            disable_after: settings.disable_after,
            node: settings.node,
            stopping: stopping.clone(),
        };
        let guard = settings.supervisor.watch_task(Part::Webhooks);
        let task = runtime.spawn(Arc::new(worker).run(stopping, guard));
        Ok(Self {
            stop,
            task,
            test_sender,
            runtime: Some(runtime),
        })
    }

    /// Returns the sender of test events.
    pub fn test_sender(&self) -> TestSender {
        self.test_sender.clone()
    }

    /// Waits for deliveries under way, at most as long as a receiver may take. The rest stays in
    /// the outbox.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(RESPONSE_TIMEOUT, &mut self.task).await;
    }
}

impl Drop for Dispatcher {
    /// Ends the threads without waiting for them, which a task must not do.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Worker {
    store: Store,
    poster: Arc<Poster>,
    windows: Mutex<ConcurrencyWindows>,
    slot_free: Notify,
    disable_after: Duration,
    node: String,
    stopping: watch::Receiver<bool>,
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
            self.windows()
                .occupy(&delivery.tenant_id, &delivery.endpoint_id);
            let worker = self.clone();
            under_way.spawn(async move { worker.deliver(&delivery).await });
        }
        Ok(Poll::Sent)
    }

    fn windows(&self) -> MutexGuard<'_, ConcurrencyWindows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, delivery: &Delivery) {
        let Posted {
            attempt,
            retry_after,
        } = self.poster.post(delivery).await;
        let now = Timestamp::now();
        let outcome = outcome(delivery, &attempt, retry_after, now);
        log_outcome(delivery, &attempt, outcome);
        self.record(delivery, &attempt, outcome, now).await;
        self.windows().free_slot(
            &delivery.tenant_id,
            &delivery.endpoint_id,
            outcome == AttemptOutcome::Delivered,
        );
        self.slot_free.notify_one();
    }
}

impl Worker {
    /// Records the result of an attempt. While the database is away it tries again, because the later events of the
    /// allocation wait for it. After the lease of the claim the event is sent again with the same id: delivery is at least
    /// once.
    async fn record(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        outcome: AttemptOutcome,
        now: Timestamp,
    ) {
        let mut stopping = self.stopping.clone();
        let begun = Instant::now();
        loop {
            let recording =
                self.store
                    .end_attempt(delivery, attempt.clone(), outcome, self.disable_after, now);
            let Err(error) = recording.await else { return };
            let is_over = begun.elapsed() >= CLAIM_LEASE || *stopping.borrow();
            if is_over || !error.is_outage() {
                tracing::error!(%error, "recording the outcome of a delivery failed; it will be repeated");
                return;
            }
            tracing::warn!(%error, "recording the outcome of a delivery failed; trying again");
            tokio::select! {
                () = tokio::time::sleep(MIN_POLL_INTERVAL) => {}
                _ = stopping.changed() => {}
            }
        }
    }
}

/// Returns the consequence of an attempt. `retry_after`: pause that the receiver asks for.
fn outcome(
    delivery: &Delivery,
    attempt: &Attempt,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> AttemptOutcome {
    let pause = || {
        let pause = schedule::pause(delivery.attempts, random::u64());
        pause.max(retry_after.unwrap_or_default())
    };
    match attempt.status {
        Some(200..=299) => AttemptOutcome::Delivered,
        Some(GONE) => AttemptOutcome::EndpointGone,
        _ if schedule::is_over(delivery.tried_at, now) => AttemptOutcome::Failed,
        _ => AttemptOutcome::RetryAt(now + pause()),
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
        AttemptOutcome::EndpointGone => {
            METRICS.count_delivery("retried");
            tracing::warn!(%event_id, %endpoint_id, "webhook endpoint answered 410 Gone; disabling it");
        }
        AttemptOutcome::Failed => {
            METRICS.count_delivery("given_up");
            tracing::error!(%event_id, %endpoint_id, status, reason, "webhook delivery failed; giving up");
        }
    }
}

#[cfg(test)]
mod tests;
