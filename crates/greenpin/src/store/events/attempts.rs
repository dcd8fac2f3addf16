//! Delivery attempts of an event: their results, and the state of each delivery.

use call::words;
use std::time::Duration;

use crate::store::Tx;
use crate::store::core::crypto::TenantKey;
use crate::store::events::endpoint_health;
use crate::store::events::outbox;
use crate::store::events::outbox::Delivery;
use crate::store::events::sql;
use crate::store::events::sql::{AttemptRow, DeliveryRow, QueueState};
use crate::store::{EndpointId, EventId, Store, StoreError, TenantStore, Timestamp};

/// Retention of attempts, and maximum wait of events for a paused or disabled endpoint.
pub const ATTEMPT_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Maximum number of rows in one transaction.
const MAX_BATCH_ROWS: u32 = 500;
/// Maximum number of shown attempts of an event, newest first.
pub const MAX_SHOWN_ATTEMPTS: u32 = 500;

/// POST request with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Start of the request.
    pub begun_at: Timestamp,
    /// Time from the start to the head of the answer, or to the failure.
    pub latency: Duration,
    /// HTTP status; `None` without an answer.
    pub status: Option<u16>,
    /// Reason for the missing answer; `None` with an answer.
    pub error: Option<AttemptError>,
    /// Start of the body of the answer, as text.
    pub answer: String,
}

words! {
    /// Reason for a missing answer.
    pub enum AttemptError {
        /// The answer did not arrive in time.
        Timeout = "timeout",
        /// The host name does not resolve.
        NameNotResolved = "name_not_resolved",
        /// The connection failed.
        NoConnection = "no_connection",
        /// The TLS handshake failed, or the certificate of the receiver is not valid.
        TlsFailed = "tls_failed",
        /// This system has no CA certificates to verify an `https` receiver.
        NoCaCertificates = "no_ca_certificates",
        /// The address is loopback, private, link-local or otherwise not public.
        AddressRefused = "address_refused",
        /// The connection ended early, or the answer is not HTTP.
        BrokenAnswer = "broken_answer",
        /// The server failed to send the request.
        NotSent = "not_sent",
    }
}

/// Consequence of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The endpoint has accepted the event.
    Delivered,
    /// The next attempt is at this time.
    RetryAt(Timestamp),
    /// No further attempt follows.
    Failed,
    /// The endpoint wants no more events. It is disabled, and the event waits until it is enabled again.
    EndpointGone,
}

words! {
    /// State of a delivery.
    pub enum DeliveryState {
        /// It waits for its time, for an earlier event of its allocation, or for its endpoint.
        Pending = "pending",
        /// The endpoint has accepted the event.
        Delivered = "delivered",
        /// It was given up, or its endpoint was removed.
        Failed = "dead",
    }
}

/// Delivery of an event to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Id of the endpoint.
    pub endpoint_id: EndpointId,
    /// URL of the endpoint; `None` if it is no longer known.
    pub url: Option<String>,
    /// State of the delivery.
    pub state: DeliveryState,
    /// Number of attempts since the event was written or last queued again.
    pub attempt_count: u32,
    /// Latest time of the next attempt; `None` if there is none, or an earlier event comes first.
    pub next_attempt_at: Option<Timestamp>,
    /// Time of the write, or of the last redelivery.
    pub created_at: Timestamp,
    /// Time of the end.
    pub finished_at: Option<Timestamp>,
    /// Stored attempts, newest first, including those before the last redelivery.
    pub attempts: Vec<Attempt>,
}

impl Store {
    /// Records the result of an attempt and its consequence. An endpoint without a success for `disable_after` is
    /// disabled.
    pub async fn end_attempt(
        &self,
        delivery: &Delivery,
        attempt: Attempt,
        outcome: AttemptOutcome,
        disable_after: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = delivery.key();
        self.writers
            .tenant(&delivery.tenant_id)
            .write(move |tx| {
                insert(tx, &key, &attempt)?;
                match outcome {
                    AttemptOutcome::Delivered => endpoint_health::on_success(tx, &key)?,
                    AttemptOutcome::EndpointGone => endpoint_health::on_gone(tx, &key, now)?,
                    _ => endpoint_health::on_failure(tx, &key, disable_after, now)?,
                }
                match outcome {
                    AttemptOutcome::Delivered => {
                        outbox::finish(tx, &key, QueueState::Delivered, now)
                    }
                    AttemptOutcome::Failed => outbox::finish(tx, &key, QueueState::Failed, now),
                    AttemptOutcome::RetryAt(due_at) => outbox::retry(tx, &key, due_at),
                    AttemptOutcome::EndpointGone => outbox::retry(tx, &key, now),
                }
            })
            .await
    }

    /// Gives up a batch of deliveries that have waited 30 days for a paused or disabled endpoint. A request can queue
    /// them again. Returns the size of the batch; 0 if none is left.
    pub async fn abandon_deliveries(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = cutoff(now);
        self.writers
            .whole()
            .write(move |tx| {
                tx.execute(
                    sql::DELIVERIES_ABANDON,
                    (now.micros(), before, MAX_BATCH_ROWS),
                )
            })
            .await
    }

    /// Deletes a batch of old attempts. Returns its size; 0 if none is left.
    pub async fn delete_old_attempts(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = cutoff(now);
        self.writers
            .common()
            .write(move |tx| tx.execute(sql::ATTEMPTS_DELETE_OLD, (before, MAX_BATCH_ROWS)))
            .await
    }
}

impl TenantStore {
    /// Returns the deliveries of an event; `None` if the tenant does not have the event.
    pub async fn deliveries(
        &self,
        event_id: &EventId,
    ) -> Result<Option<Vec<DeliveryRecord>>, StoreError> {
        let (tenant, event) = (self.tenant_id.clone(), event_id.clone());
        let read = self.store.readers.read(move |snapshot| {
            let key = (tenant.as_str(), event.as_str());
            if snapshot.row(sql::EVENT_SELECT, key, |_| Ok(()))?.is_none() {
                return Ok(None);
            }
            let rows = snapshot.rows(sql::DELIVERIES_OF_EVENT, key, DeliveryRow::read)?;
            let mut deliveries: Vec<_> = rows.into_iter().map(delivery_record).collect();
            let tenant_key = snapshot.tenant_key(&tenant)?;
            let limited = (key.0, key.1, MAX_SHOWN_ATTEMPTS);
            for row in snapshot.rows(sql::ATTEMPTS_OF_EVENT, limited, AttemptRow::read)? {
                let endpoint = row.endpoint_id.clone();
                let attempt = attempt(row, &event, &tenant_key)?;
                let delivery = deliveries
                    .iter_mut()
                    .find(|delivery| delivery.endpoint_id.as_str() == endpoint);
                if let Some(delivery) = delivery {
                    delivery.attempts.push(attempt);
                }
            }
            Ok(Some(deliveries))
        });
        read.await
    }
}

fn cutoff(now: Timestamp) -> i64 {
    now.micros()
        .saturating_sub(i64::try_from(ATTEMPT_RETENTION.as_micros()).unwrap_or(i64::MAX))
}

fn insert(tx: &Tx<'_>, key: &outbox::DeliveryKey, attempt: &Attempt) -> Result<(), StoreError> {
    let encrypted = tx.tenant_key(&key.tenant)?;
    let encrypted = encrypted.encrypt(
        &context(&key.event, key.endpoint.as_str()),
        attempt.answer.as_str(),
    )?;
    let row = (
        key.tenant.as_str(),
        key.event.as_str(),
        key.endpoint.as_str(),
        attempt.begun_at.micros(),
        i64::try_from(attempt.latency.as_micros()).unwrap_or(i64::MAX),
        attempt.status,
        attempt.error.map(AttemptError::as_str),
        encrypted,
    );
    tx.execute_deferred(sql::ATTEMPT_INSERT, row)
}

/// Returns the encryption context of an answer.
fn context(event: &EventId, endpoint: &str) -> String {
    format!("answer {event} {endpoint}")
}

/// Decrypts the answer to an attempt.
fn attempt(row: AttemptRow, event: &EventId, key: &TenantKey) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        begun_at: row.begun_at,
        latency: Duration::from_micros(u64::try_from(row.latency).unwrap_or(0)),
        status: row.status,
        error: row.error.and_then(|word| word.parse().ok()),
        answer: key.decrypt(&context(event, &row.endpoint_id), &row.sealed_answer)?,
    })
}

fn delivery_record(row: DeliveryRow) -> DeliveryRecord {
    DeliveryRecord {
        endpoint_id: row.endpoint_id,
        url: row.url,
        state: match row.state {
            QueueState::Waiting | QueueState::Due => DeliveryState::Pending,
            QueueState::Delivered => DeliveryState::Delivered,
            QueueState::Failed => DeliveryState::Failed,
        },
        attempt_count: row.attempts,
        next_attempt_at: (row.state == QueueState::Due).then_some(row.due_at),
        created_at: row.created_at,
        finished_at: row.finished_at,
        attempts: Vec::new(),
    }
}
