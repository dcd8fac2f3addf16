//! Delivers events from the outbox to the tenants' endpoints: signed, in order per allocation, until they are taken.

mod schedule;
mod signature;
mod target;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::metrics::METRICS;
use crate::random;
use crate::store::{Delivery, Store, StoreError, Timestamp};
use target::PublicOnly;

/// How long a receiver has to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Deliveries under way at once.
const AT_ONCE: usize = 64;
/// A delivery of which nothing was heard for so long is taken up again: longer than one can last.
const LEASE: Duration = Duration::from_secs(60);
/// The longest wait between two looks at the outbox, whatever it says.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The shortest wait after a look that found nothing.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// The running deliverer.
pub struct Dispatcher {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Dispatcher {
    /// Starts delivering. `allow_private` lets deliveries go to loopback, private and link-local addresses.
    pub fn start(store: Store, allow_private: bool) -> Self {
        let (stop, stopping) = watch::channel(false);
        let courier = Arc::new(Courier { store, client: client(allow_private), allow_private });
        let task = tokio::spawn(courier.work(stopping));
        Self { stop, task }
    }

    /// Lets what is under way finish, for as long as a receiver has to answer; the rest stays in the outbox.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(PATIENCE, self.task).await;
    }
}

fn client(allow_private: bool) -> Option<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("greenpin/", env!("CARGO_PKG_VERSION")));
    let builder = if allow_private { builder } else { builder.dns_resolver(PublicOnly) };
    builder.build().inspect_err(|error| tracing::error!(%error, "webhooks cannot be sent")).ok()
}

struct Courier {
    store: Store,
    /// `None` if the system has no usable certificates: deliveries then wait.
    client: Option<reqwest::Client>,
    allow_private: bool,
}

impl Courier {
    async fn work(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while !*stopping.borrow() {
            let found = self.send_due(&places).await;
            if found {
                continue;
            }
            tokio::select! {
                () = self.until_due() => {}
                () = self.store.delivery_written() => {}
                _ = stopping.changed() => {}
            }
        }
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        let _ = places.acquire_many(all).await;
    }

    /// Sends what is due, as far as there are places; `false` if nothing was.
    async fn send_due(self: &Arc<Self>, places: &Arc<Semaphore>) -> bool {
        let Ok(first) = places.clone().acquire_owned().await else { return false };
        let limit = u32::try_from(places.available_permits() + 1).unwrap_or(1);
        drop(first);
        let due = match self.store.claim_deliveries(limit, LEASE, Timestamp::now()).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                return false;
            }
        };
        let found = !due.is_empty();
        for delivery in due {
            let Ok(place) = places.clone().acquire_owned().await else { return false };
            let courier = self.clone();
            tokio::spawn(async move {
                courier.deliver(delivery).await;
                drop(place);
            });
        }
        found
    }

    async fn until_due(&self) {
        let due = self.store.next_delivery_due().await.ok().flatten();
        let wait = due.map_or(LONGEST_WAIT, |due| due.since(Timestamp::now()));
        tokio::time::sleep(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)).await;
    }

    async fn deliver(&self, delivery: Delivery) {
        let outcome = self.post(&delivery).await;
        let now = Timestamp::now();
        let event = (&delivery.event_id, &delivery.endpoint_id);
        let written = match outcome {
            Ok(()) => {
                METRICS.webhook("delivered");
                self.store.finish_delivery(&delivery, true, now).await
            }
            Err(reason) if schedule::is_over(delivery.created_at, now) => {
                tracing::error!(event_id = %event.0, endpoint_id = %event.1, reason, "gave a webhook up");
                METRICS.webhook("given_up");
                self.store.finish_delivery(&delivery, false, now).await
            }
            Err(reason) => {
                tracing::warn!(event_id = %event.0, endpoint_id = %event.1, attempts = delivery.attempts, reason, "a webhook was not taken");
                METRICS.webhook("retried");
                let pause = schedule::pause(delivery.attempts, random::u64());
                self.store.retry_delivery(&delivery, now + pause).await
            }
        };
        self.note(written);
    }

    fn note(&self, written: Result<(), StoreError>) {
        if let Err(error) = written {
            // The lease runs out, and the event goes again: at least once, with the same id.
            tracing::error!(%error, "what became of a webhook was not written");
        }
    }

    /// Sends one event; the reason if it was not taken, in words that name no address.
    async fn post(&self, delivery: &Delivery) -> Result<(), String> {
        let client = self.client.as_ref().ok_or("no HTTP client")?;
        let url = reqwest::Url::parse(&delivery.url).map_err(|_| "the URL cannot be read")?;
        if !self.allow_private && !target::is_public(&url) {
            return Err("the address is not public".to_owned());
        }
        let id = delivery.event_id.as_str();
        let timestamp = (Timestamp::now().micros() / 1_000_000).to_string();
        let signature = signature::sign(&delivery.secret, id, &timestamp, &delivery.body)
            .ok_or("the endpoint's secret cannot be read")?;
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(delivery.body.clone());
        let response = request.send().await.map_err(|error| describe(&error))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
    }
}

fn describe(error: &reqwest::Error) -> String {
    let reason = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection",
        _ => "the request failed",
    };
    reason.to_owned()
}
