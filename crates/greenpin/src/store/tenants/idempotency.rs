//! Idempotency keys: taken before the work, with the first answer kept for a day.
//!
//! A key and its request are kept as keyed digests only, so that what a tenant writes into them is not readable. The
//! answer can hold a PIN and numbers: it is sealed.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::store::Tx;
use crate::store::tenants::sql;
use crate::store::tenants::sql::IdempotencyRow;
use crate::store::{GreenpinId, Store, StoreError, TenantId, TenantStore, Timestamp};

/// How long an answer is given again.
const ANSWER_TTL: Duration = Duration::from_secs(24 * 3600);
/// A key that has had no answer for so long was left behind by a crash.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(60);
/// Keys that are forgotten in one transaction.
const MAX_BATCH_KEYS: u32 = 500;

/// A request that must not be done twice.
#[derive(Clone)]
pub struct IdempotentRequest {
    key: String,
    request: String,
}

/// An answer that was given to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    /// It is ours to do; the answer is to be kept, or the key released.
    Claimed(Claim),
    /// It was done: this is its answer.
    Answered(StoredAnswer),
    /// It has made this allocation, and its answer was not kept: the process ended in between.
    Created(GreenpinId),
    /// Another one with the same key is being done.
    InUse,
    /// The key was used for another request.
    Reused,
}

/// The right to answer for a key, until somebody takes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim(Timestamp);

/// The key that a write is done for.
#[derive(Clone)]
pub(crate) struct ClaimedKey {
    key: String,
    claim: Claim,
}

impl ClaimedKey {
    /// Notes what the request has made, in the transaction that makes it.
    pub(crate) fn set_allocation(
        &self,
        tx: &Tx<'_>,
        tenant: &TenantId,
        allocation: &GreenpinId,
    ) -> Result<(), StoreError> {
        let row = (
            allocation.as_str(),
            tenant.as_str(),
            &self.key,
            self.claim.0.micros(),
        );
        tx.execute_deferred(sql::IDEMPOTENCY_SET_ALLOCATION, row)
    }
}

impl TenantStore {
    /// The same tables in the hands of a request that has taken a key: what it makes is noted with the key.
    pub fn claimed(&self, request: &IdempotentRequest, claim: Claim) -> Self {
        Self {
            claimed: Some(Arc::new(ClaimedKey {
                key: request.key.clone(),
                claim,
            })),
            ..self.clone()
        }
    }

    /// Names a request by its key and by everything that makes it what it is.
    pub fn idempotent_request(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> IdempotentRequest {
        let body = digest::digest(&digest::SHA256, body);
        let body: String = body
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let keyed = |text: String| self.store.keys.digest(&text).to_hex();
        IdempotentRequest {
            key: keyed(format!("idempotency key\n{}\n{key}", self.tenant_id)),
            request: keyed(format!("idempotent request\n{method}\n{path}\n{body}")),
        }
    }

    /// Takes a key, durably. Of several that ask at once, one gets it.
    pub async fn claim_key(
        &self,
        request: &IdempotentRequest,
        now: Timestamp,
    ) -> Result<KeyClaim, StoreError> {
        let (tenant, request) = (self.tenant_id.clone(), request.clone());
        self.store
            .writer
            .write(move |tx| claim(tx, &tenant, &request, now))
            .await
    }

    /// Keeps the answer. Nothing happens where somebody else has taken the key over.
    pub async fn store_answer(
        &self,
        request: &IdempotentRequest,
        claim: Claim,
        answer: StoredAnswer,
    ) -> Result<(), StoreError> {
        let (tenant, key) = (self.tenant_id.clone(), request.key.clone());
        let write = self.store.writer.write(move |tx| {
            let encrypted = tx
                .tenant_key(&tenant)?
                .encrypt(&context(&key), answer.body.as_str())?;
            let row = (
                i64::from(answer.status),
                &answer.content_type,
                encrypted,
                tenant.as_str(),
                &key,
                claim.0.micros(),
            );
            tx.execute(sql::IDEMPOTENCY_SET_ANSWER, row).map(|_| ())
        });
        write.await
    }

    /// Gives the key back: the request may be tried again.
    pub async fn release_key(
        &self,
        request: &IdempotentRequest,
        claim: Claim,
    ) -> Result<(), StoreError> {
        let (tenant, key) = (self.tenant_id.clone(), request.key.clone());
        let write = self.store.writer.write(move |tx| {
            let row = (tenant.as_str(), &key, claim.0.micros());
            tx.execute(sql::IDEMPOTENCY_RELEASE, row).map(|_| ())
        });
        write.await
    }
}

impl Store {
    /// Forgets some of the keys whose day is over. Returns how many; 0: none is left.
    pub async fn delete_old_idempotency_keys(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = cutoff(now, ANSWER_TTL);
        self.writer
            .write(move |tx| tx.execute(sql::IDEMPOTENCY_DELETE_OLD, (before, MAX_BATCH_KEYS)))
            .await
    }
}

fn claim(
    tx: &Tx<'_>,
    tenant: &TenantId,
    request: &IdempotentRequest,
    now: Timestamp,
) -> Result<KeyClaim, StoreError> {
    let (key, digest) = (&request.key, &request.request);
    let row = (
        tenant.as_str(),
        key,
        digest,
        now.micros(),
        cutoff(now, ANSWER_TTL),
        cutoff(now, CLAIM_TIMEOUT),
    );
    if tx.execute(sql::IDEMPOTENCY_CLAIM, row)? > 0 {
        return Ok(KeyClaim::Claimed(Claim(now)));
    }
    let found = tx.row(
        sql::IDEMPOTENCY_SELECT,
        (tenant.as_str(), key),
        IdempotencyRow::read,
    )?;
    Ok(match found {
        Some(row) if row.request_digest != *digest => KeyClaim::Reused,
        Some(IdempotencyRow {
            status: Some(status),
            content_type: Some(content_type),
            answer: Some(encrypted),
            ..
        }) => {
            let body = tx.tenant_key(tenant)?.decrypt(&context(key), &encrypted)?;
            KeyClaim::Answered(StoredAnswer {
                status,
                content_type,
                body,
            })
        }
        Some(IdempotencyRow {
            greenpin_id: Some(allocation),
            ..
        }) => KeyClaim::Created(allocation),
        _ => KeyClaim::InUse,
    })
}

/// What an answer is sealed for.
fn context(key_digest: &str) -> String {
    format!("answer {key_digest}")
}

fn cutoff(now: Timestamp, age: Duration) -> i64 {
    now.micros()
        .saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}
