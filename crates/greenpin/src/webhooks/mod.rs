//! Delivers events from the outbox to the tenants' endpoints: signed, in order per allocation, until they are taken.

mod flat;
mod places;
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
use places::Places;
use post::Poster;
pub use target::Resolver;

/// How long a receiver has to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// A delivery of which nothing was heard for so long is taken up again: longer than one can last.
const LEASE: Duration = Duration::from_secs(60);
/// The longest wait between two looks at the outbox, whatever it says.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The shortest wait after a look that found nothing.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// How events are delivered.
#[derive(Clone)]
pub struct WebhookSettings {
    /// Deliveries may go to loopback, private and link-local addresses.
    pub allow_private: bool,
    /// What looks host names up; `None`: the system.
    pub resolver: Option<Resolver>,
    /// An endpoint that has taken nothing for so long is disabled.
    pub disable_after: Duration,
    /// The name of this node: what it has under way goes again once it is known to be dead.
    pub node: String,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            allow_private: false,
            resolver: None,
            disable_after: Duration::from_secs(5 * 24 * 3600),
            node: "local".into(),
        }
    }
}

/// The running deliverer.
pub struct Dispatcher {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Dispatcher {
    /// Starts delivering.
    pub fn start(store: Store, settings: WebhookSettings) -> Self {
        let (stop, stopping) = watch::channel(false);
        let poster = Poster::new(settings.allow_private, settings.resolver);
        let courier = Courier {
            store,
            poster,
            places: Mutex::default(),
            place_free: Notify::new(),
            disable_after: settings.disable_after,
            node: settings.node,
        };
        let task = tokio::spawn(Arc::new(courier).work(stopping));
        Self { stop, task }
    }

    /// Lets what is under way finish, for as long as a receiver has to answer; the rest stays in the outbox.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(PATIENCE, self.task).await;
    }
}

struct Courier {
    store: Store,
    poster: Poster,
    places: Mutex<Places>,
    place_free: Notify,
    disable_after: Duration,
    node: String,
}

/// What a look at the outbox has found.
enum Look {
    /// Something was sent: there may be more.
    Sent,
    /// Nothing can go now. Something may after this time, or when a place is free.
    Nothing(Duration),
}

impl Courier {
    async fn work(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut under_way = JoinSet::new();
        while !*stopping.borrow() {
            while under_way.try_join_next().is_some() {}
            let wait = match self.send_due(&mut under_way).await {
                Ok(Look::Sent) => continue,
                Ok(Look::Nothing(wait)) => wait,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read");
                    SHORTEST_WAIT
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.store.delivery_written() => {}
                () = self.place_free.notified() => {}
                _ = stopping.changed() => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Sends what is due, as far as there are places.
    async fn send_due(self: &Arc<Self>, under_way: &mut JoinSet<()>) -> Result<Look, StoreError> {
        let due = self.store.due_endpoints().await?;
        let now = Timestamp::now();
        let next = due
            .iter()
            .map(|one| one.due_at)
            .filter(|due_at| *due_at > now)
            .min();
        let wanted = {
            let mut places = self.places();
            places.keep(&due);
            places.share(due, now)
        };
        let claimed = match wanted.is_empty() {
            true => Vec::new(),
            false => {
                self.store
                    .claim_deliveries(&self.node, wanted, LEASE, now)
                    .await?
            }
        };
        if claimed.is_empty() {
            let wait = next.map_or(LONGEST_WAIT, |next| next.since(now));
            return Ok(Look::Nothing(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)));
        }
        for delivery in claimed {
            self.places().take(&delivery.endpoint_id);
            let courier = self.clone();
            under_way.spawn(async move { courier.deliver(&delivery).await });
        }
        Ok(Look::Sent)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, delivery: &Delivery) {
        let attempt = self.poster.post(delivery).await;
        let now = Timestamp::now();
        let outcome = outcome(delivery, &attempt, now);
        tell(delivery, &attempt, outcome);
        let ended = self
            .store
            .end_attempt(delivery, attempt, outcome, self.disable_after, now)
            .await;
        if let Err(error) = ended {
            // The lease runs out, and the event goes again: at least once, with the same id.
            tracing::error!(%error, "what became of a webhook was not written");
        }
        self.places()
            .give_back(&delivery.endpoint_id, outcome == AttemptOutcome::Delivered);
        self.place_free.notify_one();
    }
}

fn outcome(delivery: &Delivery, attempt: &Attempt, now: Timestamp) -> AttemptOutcome {
    match attempt.status {
        Some(200..=299) => AttemptOutcome::Delivered,
        _ if schedule::is_over(delivery.tried_at, now) => AttemptOutcome::Failed,
        _ => AttemptOutcome::RetryAt(now + schedule::pause(delivery.attempts, random::u64())),
    }
}

/// Counts and logs what came of an attempt, in words that name no address.
fn tell(delivery: &Delivery, attempt: &Attempt, outcome: AttemptOutcome) {
    let (event_id, endpoint_id) = (&delivery.event_id, &delivery.endpoint_id);
    let (status, reason) = (
        attempt.status,
        attempt.error.map_or("", |error| error.as_str()),
    );
    match outcome {
        AttemptOutcome::Delivered => METRICS.webhook("delivered"),
        AttemptOutcome::RetryAt(_) => {
            METRICS.webhook("retried");
            let attempts = delivery.attempts;
            tracing::warn!(%event_id, %endpoint_id, attempts, status, reason, "a webhook was not taken");
        }
        AttemptOutcome::Failed => {
            METRICS.webhook("given_up");
            tracing::error!(%event_id, %endpoint_id, status, reason, "gave a webhook up");
        }
    }
}

#[cfg(test)]
mod tests;
