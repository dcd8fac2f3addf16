//! Sessions of the web console. Every node accepts the sessions in the database.
//!
//! A session belongs to a credential, or to the operator token. It ends with it: each look-up reads the credential and
//! the tenant. The database holds only a keyed digest of the session's token.

use std::time::Duration;

use crate::store::tenants::NewToken;
use crate::store::tenants::sql;
use crate::store::tenants::sql::SessionRow;
use crate::store::{Store, StoreError, TenantId, Timestamp};

/// Maximum age of a session.
pub const MAX_SESSION_AGE: Duration = Duration::from_secs(12 * 60 * 60);
/// Time without a request after which a session ends.
pub const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Maximum number of sessions of a credential. A new one ends the oldest.
pub const MAX_SESSIONS: u32 = 20;
/// Shortest interval between two writes of the last use of a session.
const USE_INTERVAL: Duration = Duration::from_secs(60);

/// Owner of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOwner {
    /// Credential of a tenant.
    Tenant {
        /// Tenant of the credential.
        tenant_id: TenantId,
        /// User name of the credential.
        account_sid: String,
    },
    /// The operator token.
    Operator,
}

impl SessionOwner {
    fn tenant_id(&self) -> &str {
        match self {
            Self::Tenant { tenant_id, .. } => tenant_id.as_str(),
            Self::Operator => "",
        }
    }

    fn account_sid(&self) -> &str {
        match self {
            Self::Tenant { account_sid, .. } => account_sid,
            Self::Operator => "",
        }
    }
}

/// Valid session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Owner of the session.
    pub owner: SessionOwner,
    /// The tenant is suspended.
    pub suspended: bool,
    /// End of the session, unless it is idle before.
    pub expires_at: Timestamp,
    /// The last use is old enough to be written again.
    pub is_use_due: bool,
}

impl Store {
    /// Creates a session and returns its token. `operator_token` is the configured token of the operator.
    pub async fn create_session(
        &self,
        owner: SessionOwner,
        operator_token: &str,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let NewToken { token, digest } = NewToken::draw(None, self);
        let proof = self.proof(&owner, operator_token);
        let write = self.writers.common().write(move |tx| {
            let idle = micros_before(now, SESSION_IDLE_TIMEOUT);
            tx.execute(sql::SESSIONS_DELETE_IDLE, [idle])?;
            tx.execute(
                sql::SESSIONS_DELETE_OLDEST,
                (owner.account_sid(), i64::from(MAX_SESSIONS - 1)),
            )?;
            let row = (
                &digest,
                owner.tenant_id(),
                owner.account_sid(),
                &proof,
                now.micros(),
            );
            tx.execute(sql::SESSION_INSERT, row).map(|_| ())
        });
        let written: Result<(), StoreError> = write.await;
        written.map(|()| token)
    }

    /// Returns the session of a token; `None` if it does not exist or has ended.
    pub async fn session(
        &self,
        token: &str,
        operator_token: &str,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let digest = self.keys.digest(token).to_hex();
        let found: Option<SessionRow> = self
            .readers
            .look_up(move |snapshot| {
                let key = (
                    now.micros(),
                    &digest,
                    micros_before(now, MAX_SESSION_AGE),
                    micros_before(now, SESSION_IDLE_TIMEOUT),
                );
                snapshot.row(sql::SESSION_SELECT, key, SessionRow::read)
            })
            .await
            .map_err(|error: StoreError| error)?;
        let Some(row) = found else { return Ok(None) };
        let owner = match TenantId::parse(&row.tenant_id) {
            Some(tenant_id) => SessionOwner::Tenant {
                tenant_id,
                account_sid: row.account_sid,
            },
            None => SessionOwner::Operator,
        };
        let is_live = match &owner {
            SessionOwner::Tenant { .. } => row.credentials > 0,
            SessionOwner::Operator => row.proof == self.proof(&owner, operator_token),
        };
        Ok(is_live.then(|| Session {
            suspended: row.suspended_at.is_some(),
            expires_at: row.created_at + MAX_SESSION_AGE,
            is_use_due: row.seen_at + USE_INTERVAL < now,
            owner,
        }))
    }

    /// Records the use of a session.
    pub async fn session_used(&self, token: &str, now: Timestamp) -> Result<(), StoreError> {
        let digest = self.keys.digest(token).to_hex();
        let write = self
            .writers
            .common()
            .write(move |tx| tx.execute(sql::SESSION_USED, (now.micros(), &digest)));
        write.await.map(|_: usize| ())
    }

    /// Ends a session.
    pub async fn end_session(&self, token: &str) -> Result<(), StoreError> {
        let digest = self.keys.digest(token).to_hex();
        let write = self
            .writers
            .common()
            .write(move |tx| tx.execute(sql::SESSION_DELETE, [&digest]));
        write.await.map(|_: usize| ())
    }

    /// Ends all sessions of an owner.
    pub async fn end_sessions(&self, owner: SessionOwner) -> Result<(), StoreError> {
        let write = self.writers.common().write(move |tx| {
            let key = (owner.tenant_id(), owner.account_sid());
            tx.execute(sql::SESSIONS_DELETE_OF_ACCOUNT, key)
        });
        write.await.map(|_: usize| ())
    }

    /// Returns the digest that ties a session of the operator to the configured token.
    fn proof(&self, owner: &SessionOwner, operator_token: &str) -> String {
        match owner {
            SessionOwner::Tenant { .. } => String::new(),
            SessionOwner::Operator => self.keys.digest(operator_token).to_hex(),
        }
    }
}

fn micros_before(now: Timestamp, duration: Duration) -> i64 {
    let duration = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    now.micros().saturating_sub(duration)
}
