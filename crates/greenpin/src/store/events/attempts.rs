//! Attempts to deliver: what each came to, and what of an event is still owed to whom.

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

/// For so long attempts are kept, and events wait for an endpoint that is paused or disabled.
const ATTEMPT_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Rows in one transaction.
const MAX_BATCH_ROWS: u32 = 500;
/// Attempts of one event that are shown, the newest.
const MAX_SHOWN_ATTEMPTS: u32 = 500;

/// One POST and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub begun_at: Timestamp,
    /// From its beginning to the head of the answer, or to its failure.
    pub latency: Duration,
    /// The status of the answer; `None`: none came.
    pub status: Option<u16>,
    /// Why there is no answer; `None`: there is one.
    pub error: Option<AttemptError>,
    /// The first bytes of the answer's body, as text.
    pub answer: String,
}

words! {
    /// Why an attempt had no answer.
    pub enum AttemptError {
        /// The answer did not come in time.
        Timeout = "timeout",
        /// No connection, or no TLS on it.
        NoConnection = "no_connection",
        /// The address is loopback, private, link-local or otherwise not public.
        AddressRefused = "address_refused",
        /// The connection ended, or what came is no HTTP.
        BrokenAnswer = "broken_answer",
        /// It could not be sent: a fault on our side.
        NotSent = "not_sent",
    }
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It was taken: nothing more is owed.
    Delivered,
    /// It is tried again at this moment.
    RetryAt(Timestamp),
    /// It is not tried any more.
    Failed,
}

words! {
    /// How a delivery stands.
    pub enum DeliveryState {
        /// It waits for its time, for an earlier event of its allocation, or for its endpoint to go on.
        Pending = "pending",
        /// It was taken.
        Delivered = "delivered",
        /// It was given up, or its endpoint was taken away.
        Failed = "dead",
    }
}

/// What one endpoint is owed of an event, and how that went so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// To which endpoint.
    pub endpoint_id: EndpointId,
    /// Where that is; `None`: it is not known any more.
    pub url: Option<String>,
    /// How it stands.
    pub state: DeliveryState,
    /// Tries since the event was written, or was last to be sent again.
    pub attempt_count: u32,
    /// When it is tried next at the latest; `None`: it is over, or waits for an earlier event.
    pub next_attempt_at: Option<Timestamp>,
    /// When the event was written, or was last to be sent again.
    pub created_at: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// The attempts that are kept, newest first, also those from before it was sent again.
    pub attempts: Vec<Attempt>,
}

impl Store {
    /// Notes what came of an attempt, and what follows from it. An endpoint that has taken nothing for `disable_after`
    /// is disabled.
    pub async fn end_attempt(
        &self,
        delivery: &Delivery,
        attempt: Attempt,
        outcome: AttemptOutcome,
        disable_after: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = delivery.key();
        self.writer
            .write(move |tx| {
                insert(tx, &key, &attempt)?;
                match outcome {
                    AttemptOutcome::Delivered => endpoint_health::on_success(tx, &key)?,
                    _ => endpoint_health::on_failure(tx, &key, disable_after, now)?,
                }
                match outcome {
                    AttemptOutcome::Delivered => {
                        outbox::finish(tx, &key, QueueState::Delivered, now)
                    }
                    AttemptOutcome::Failed => outbox::finish(tx, &key, QueueState::Failed, now),
                    AttemptOutcome::RetryAt(due_at) => outbox::retry(tx, &key, due_at),
                }
            })
            .await
    }

    /// Gives up some of what has waited for 30 days for an endpoint that is paused or disabled: it can be sent again by
    /// a request. Returns how many; 0: none is left.
    pub async fn abandon_deliveries(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = cutoff(now);
        self.writer
            .write(move |tx| {
                tx.execute(
                    sql::DELIVERIES_ABANDON,
                    (now.micros(), before, MAX_BATCH_ROWS),
                )
            })
            .await
    }

    /// Forgets some of the attempts that are too old. Returns how many; 0: none is left.
    pub async fn delete_old_attempts(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = cutoff(now);
        self.writer
            .write(move |tx| tx.execute(sql::ATTEMPTS_DELETE_OLD, (before, MAX_BATCH_ROWS)))
            .await
    }
}

impl TenantStore {
    /// What is, and was, owed of an event; `None`: the tenant has no such event.
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

/// What an answer is sealed for.
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
