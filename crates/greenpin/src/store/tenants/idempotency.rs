//! Idempotency keys: claimed before the request runs, with the first answer stored for a day.
//!
//! Only keyed digests of key and request are stored, so their content is not readable. The answer may hold a PIN and
//! numbers, so it is encrypted.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::store::Tx;
use crate::store::core::statement::Statement;
use crate::store::tenants::sql;
use crate::store::tenants::sql::IdempotencyRow;
use crate::store::{GreenpinId, Store, StoreError, TenantId, TenantStore, Timestamp};

/// Lifetime of a stored answer.
pub const ANSWER_TTL: Duration = Duration::from_secs(24 * 3600);
/// Age of a claim without an answer from which another request may take it over. Its process has probably crashed.
pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of keys deleted in one transaction.
const MAX_BATCH_KEYS: u32 = 500;

/// Request that must run once only.
#[derive(Clone)]
pub struct IdempotentRequest {
    key: String,
    request: String,
}

/// Answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// Body.
    pub body: String,
}

/// Result of the claim of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    /// The request may run. Its answer must be stored, or the key released.
    Claimed(Claim),
    /// The request has run before, with this answer.
    Answered(StoredAnswer),
    /// The request has written this allocation, but its answer was not stored: the process ended, or the database did not
    /// confirm the commit.
    Written(GreenpinId),
    /// Another request with this key is running.
    InUse,
    /// The key was used for a different request.
    Reused,
}

/// Claim of a key, valid until another request takes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim(Timestamp);

/// Claimed key of a write.
#[derive(Clone)]
pub(crate) struct ClaimedKey {
    key: String,
    claim: Claim,
}

impl ClaimedKey {
    /// Records the written allocation, in the transaction of the write. Fails if another request has taken over the key,
    /// so that the write has no effect.
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
        tx.execute(sql::IDEMPOTENCY_SET_ALLOCATION, row).map(|_| ())
    }
}

impl TenantStore {
    /// Runs a write to one allocation. For a request with a claimed key, the allocation is recorded with the key in the
    /// same transaction: a retry after a lost answer does not write again.
    pub(crate) async fn write_allocation<T, E>(
        &self,
        id: &GreenpinId,
        write: impl Fn(&Tx<'_>, &TenantId, &GreenpinId) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (tenant, id, claimed) = (self.tenant_id.clone(), id.clone(), self.claimed.clone());
        let write = self.writer().write(move |tx| {
            let written = write(tx, &tenant, &id)?;
            if let Some(claimed) = &claimed {
                claimed.set_allocation(tx, &tenant, &id)?;
            }
            Ok(written)
        });
        write.await
    }

    /// Runs a write that cannot be repeated without a second effect, such as a new secret. For a request with a claimed
    /// key, the answer is stored in the same transaction: a retry after a lost answer gets it. `None` from the write
    /// stores none.
    pub(crate) async fn write_answered<T: Send + 'static>(
        &self,
        write: impl Fn(&Tx<'_>, &TenantId) -> Result<Option<T>, StoreError> + Send + 'static,
        answer: impl Fn(&T) -> StoredAnswer + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let (tenant, claimed) = (self.tenant_id.clone(), self.claimed.clone());
        let write = self.writer().write(move |tx| {
            let written = write(tx, &tenant)?;
            if let (Some(claimed), Some(written)) = (&claimed, &written) {
                let statement = sql::IDEMPOTENCY_SET_ANSWER_OF_WRITE;
                set_answer(tx, &tenant, statement, claimed, &answer(written))?;
            }
            Ok(written)
        });
        write.await
    }

    /// Returns a handle for a request with a claimed key: the written allocation is recorded with the key.
    pub fn claimed(&self, request: &IdempotentRequest, claim: Claim) -> Self {
        Self {
            claimed: Some(Arc::new(ClaimedKey {
                key: request.key.clone(),
                claim,
            })),
            ..self.clone()
        }
    }

    /// Returns the digests of a request, by its key and its content.
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

    /// Claims a key durably. Of concurrent requests, one succeeds.
    pub async fn claim_key(
        &self,
        request: &IdempotentRequest,
        now: Timestamp,
    ) -> Result<KeyClaim, StoreError> {
        let (tenant, request) = (self.tenant_id.clone(), request.clone());
        self.writer()
            .write(move |tx| claim(tx, &tenant, &request, now))
            .await
    }

    /// Stores the answer. Has no effect after another request has taken over the key.
    pub async fn store_answer(
        &self,
        request: &IdempotentRequest,
        claim: Claim,
        answer: StoredAnswer,
    ) -> Result<(), StoreError> {
        let tenant = self.tenant_id.clone();
        let claimed = ClaimedKey {
            key: request.key.clone(),
            claim,
        };
        let write = self.writer().write(move |tx| {
            let statement = sql::IDEMPOTENCY_SET_ANSWER;
            set_answer(tx, &tenant, statement, &claimed, &answer)
        });
        write.await
    }

    /// Releases the key: the request may run again, unless it has written an allocation.
    pub async fn release_key(
        &self,
        request: &IdempotentRequest,
        claim: Claim,
    ) -> Result<(), StoreError> {
        let (tenant, key) = (self.tenant_id.clone(), request.key.clone());
        let write = self.writer().write(move |tx| {
            let row = (tenant.as_str(), &key, claim.0.micros());
            tx.execute(sql::IDEMPOTENCY_RELEASE, row).map(|_| ())
        });
        write.await
    }
}

impl Store {
    /// Deletes a batch of expired keys. Returns its size; 0 if none is left.
    pub async fn delete_old_idempotency_keys(&self, now: Timestamp) -> Result<usize, StoreError> {
        let before = cutoff(now, ANSWER_TTL);
        self.writers
            .common()
            .write(move |tx| tx.execute(sql::IDEMPOTENCY_DELETE_OLD, (before, MAX_BATCH_KEYS)))
            .await
    }
}

fn set_answer(
    tx: &Tx<'_>,
    tenant: &TenantId,
    statement: &'static Statement,
    claimed: &ClaimedKey,
    answer: &StoredAnswer,
) -> Result<(), StoreError> {
    let key = tx.tenant_key(tenant)?;
    let encrypted = key.encrypt(&context(&claimed.key), answer.body.as_str())?;
    let row = (
        i64::from(answer.status),
        &answer.content_type,
        encrypted,
        tenant.as_str(),
        &claimed.key,
        claimed.claim.0.micros(),
    );
    tx.execute(statement, row).map(|_| ())
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
        }) => KeyClaim::Written(allocation),
        _ => KeyClaim::InUse,
    })
}

/// Returns the encryption context of an answer.
fn context(key_digest: &str) -> String {
    ["answer ", key_digest].concat()
}

fn cutoff(now: Timestamp, age: Duration) -> i64 {
    now.micros()
        .saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}
