//! Credentials. A tenant may have several, so that one can be replaced without an interruption.

use std::time::Duration;

use crate::crypto::random;
use crate::store::Tx;
use crate::store::core::crypto::TokenDigest;
use crate::store::tenants::NewToken;
use crate::store::tenants::audit;
use crate::store::tenants::audit::AuditAction;
use crate::store::tenants::operator::{Actor, OperatorStore};
use crate::store::tenants::sql;
use crate::store::tenants::sql::{CredentialRecord, LoginRow};
use crate::store::tenants::status;
use crate::store::tenants::status::TenantStatusError;
use crate::store::{Store, StoreError, TenantId, Timestamp};

/// Resolution of the last use of a credential: one minute in microseconds.
const USE_RESOLUTION: i64 = 60_000_000;

/// Tenant of valid credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Id of the tenant.
    pub tenant_id: TenantId,
    /// The tenant is suspended.
    pub suspended: bool,
}

/// Credential to create.
#[derive(Debug, Clone, Default)]
pub struct NewCredential {
    /// User name; `None` for a random one, `AC` and 32 hexadecimal digits.
    pub account_sid: Option<String>,
    /// Purpose, in the words of the operator.
    pub label: Option<String>,
}

/// Secrets of a new credential, shown once.
pub struct CreatedCredential {
    /// User name.
    pub account_sid: String,
    /// Password.
    pub token: String,
}

/// Failure to create or change a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The tenant does not exist.
    #[error("there is no such tenant")]
    NoSuchTenant,
    /// The tenant was erased.
    #[error("the tenant was erased")]
    TenantErased,
    /// The tenant does not have this credential.
    #[error("the tenant has no such credential")]
    NotFound,
    /// The Account SID is in use.
    #[error("the account SID is already in use")]
    AccountSidTaken,
    /// The credential was revoked before.
    #[error("the credential was revoked before")]
    AlreadyRevoked,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TenantStatusError> for CredentialError {
    fn from(error: TenantStatusError) -> Self {
        match error {
            TenantStatusError::NotFound => Self::NoSuchTenant,
            TenantStatusError::Erased => Self::TenantErased,
            TenantStatusError::Store(error) => error.into(),
        }
    }
}

impl CredentialRecord {
    /// Returns whether the credential is valid at a time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none_or(|revoked_at| revoked_at > now)
    }
}

/// Returns whether a text is a valid user name: 1 to 64 letters, digits, `-`, `_` and `.`.
pub fn is_account_sid(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Returns a random user name: `AC` and 32 hexadecimal digits.
pub fn draw_account_sid() -> String {
    format!("AC{:016x}{:016x}", random::u64(), random::u64())
}

impl Store {
    /// Returns the tenant of valid credentials; `None` for wrong ones. An unknown Account SID costs the same work as a
    /// wrong token.
    pub async fn authenticate(
        &self,
        account_sid: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Authenticated>, StoreError> {
        let account_sid = account_sid.to_owned();
        let found: Option<LoginRow> = self
            .readers
            .look_up(move |snapshot| {
                let key = (&account_sid, now.micros());
                snapshot.row(sql::CREDENTIAL_SELECT, key, LoginRow::read)
            })
            .await
            .map_err(|error: StoreError| error)?;
        let (tenant, digest, suspended) = match &found {
            Some(row) => (
                TenantId::parse(&row.tenant_id),
                TokenDigest::from_hex(&row.digest),
                row.suspended_at.is_some(),
            ),
            None => (None, None, false),
        };
        let right = digest
            .unwrap_or(TokenDigest::none())
            .matches(&self.keys.digest(token));
        Ok(tenant.filter(|_| right).map(|tenant_id| Authenticated {
            tenant_id,
            suspended,
        }))
    }

    /// Records the use of a credential in this minute.
    pub async fn credential_used(
        &self,
        account_sid: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let minute = now
            .micros()
            .div_euclid(USE_RESOLUTION)
            .saturating_mul(USE_RESOLUTION);
        let write = self
            .writers
            .common()
            .write(move |tx| tx.execute(sql::CREDENTIAL_USED, (minute, &account_sid)));
        write.await.map(|_: usize| ())
    }
}

impl OperatorStore {
    /// Returns the credentials of a tenant, oldest first, including revoked ones; `None` if the tenant does not exist.
    pub async fn credentials(
        &self,
        tenant: &TenantId,
    ) -> Result<Option<Vec<CredentialRecord>>, StoreError> {
        let tenant = tenant.clone();
        let read = self.store.readers.read(move |snapshot| {
            let status = status::find(snapshot, &tenant)?;
            let found = snapshot.rows(
                sql::CREDENTIAL_LIST,
                [tenant.as_str()],
                CredentialRecord::read,
            )?;
            Ok(status.map(|_| found))
        });
        read.await
    }

    /// Creates a further credential.
    pub async fn create_credential(
        &self,
        tenant: &TenantId,
        new: NewCredential,
        now: Timestamp,
    ) -> Result<CreatedCredential, CredentialError> {
        let (actor, tenant) = (self.actor.clone(), tenant.clone());
        let token = NewToken::draw(None, &self.store);
        let account_sid = new.account_sid.clone().unwrap_or_else(draw_account_sid);
        let (sid, digest) = (account_sid.clone(), token.digest);
        let write = self.store.writers.whole().write(move |tx| {
            status::require_live(tx, &tenant)?;
            let insert = CredentialInsert {
                tenant: &tenant,
                account_sid: &sid,
                digest: &digest,
                label: new.label.as_deref(),
            };
            insert.insert(tx, &actor, "credential.create", now)
        });
        write.await?;
        Ok(CreatedCredential {
            account_sid,
            token: token.token,
        })
    }

    /// Replaces a credential with a new one of the same label. The old one remains valid until it is revoked, or for
    /// the duration of `overlap`.
    pub async fn rotate_credential(
        &self,
        tenant: &TenantId,
        old: &str,
        new: NewCredential,
        overlap: Option<Duration>,
        now: Timestamp,
    ) -> Result<CreatedCredential, CredentialError> {
        let (actor, tenant, old) = (self.actor.clone(), tenant.clone(), old.to_owned());
        let token = NewToken::draw(None, &self.store);
        let account_sid = new.account_sid.clone().unwrap_or_else(draw_account_sid);
        let (sid, digest) = (account_sid.clone(), token.digest);
        let write = self.store.writers.whole().write(move |tx| {
            let replaced = find_live(tx, &tenant, &old, now)?;
            if let Some(overlap) = overlap {
                let until = (now + overlap).micros();
                tx.execute(sql::CREDENTIAL_REVOKE, (until, tenant.as_str(), &old))?;
            }
            let label = new.label.as_deref().or(replaced.label.as_deref());
            let insert = CredentialInsert {
                tenant: &tenant,
                account_sid: &sid,
                digest: &digest,
                label,
            };
            insert.insert(tx, &actor, "credential.create", now)?;
            let action = AuditAction {
                name: "credential.rotate",
                tenant: Some(&tenant),
                object: Some(&old),
            };
            Ok::<_, CredentialError>(audit::write(tx, &actor, action, now)?)
        });
        write.await?;
        Ok(CreatedCredential {
            account_sid,
            token: token.token,
        })
    }

    /// Revokes a credential now.
    pub async fn revoke_credential(
        &self,
        tenant: &TenantId,
        account_sid: &str,
        now: Timestamp,
    ) -> Result<(), CredentialError> {
        let (actor, tenant, sid) = (self.actor.clone(), tenant.clone(), account_sid.to_owned());
        let write = self.store.writers.whole().write(move |tx| {
            find_live(tx, &tenant, &sid, now)?;
            tx.execute(
                sql::CREDENTIAL_REVOKE,
                (now.micros(), tenant.as_str(), &sid),
            )?;
            let action = AuditAction {
                name: "credential.revoke",
                tenant: Some(&tenant),
                object: Some(&sid),
            };
            Ok(audit::write(tx, &actor, action, now)?)
        });
        write.await
    }
}

/// Credential to insert.
struct CredentialInsert<'a> {
    tenant: &'a TenantId,
    account_sid: &'a str,
    digest: &'a str,
    label: Option<&'a str>,
}

impl CredentialInsert<'_> {
    fn insert(
        &self,
        tx: &Tx<'_>,
        actor: &Actor,
        name: &'static str,
        now: Timestamp,
    ) -> Result<(), CredentialError> {
        let row = (
            self.account_sid,
            self.tenant.as_str(),
            self.digest,
            now.micros(),
            self.label,
        );
        if tx.execute(sql::CREDENTIAL_INSERT_LABELLED, row)? == 0 {
            return Err(CredentialError::AccountSidTaken);
        }
        let action = AuditAction {
            name,
            tenant: Some(self.tenant),
            object: Some(self.account_sid),
        };
        Ok(audit::write(tx, actor, action, now)?)
    }
}

/// Reads a valid credential of a tenant.
fn find_live(
    tx: &Tx<'_>,
    tenant: &TenantId,
    sid: &str,
    now: Timestamp,
) -> Result<CredentialRecord, CredentialError> {
    status::require_live(tx, tenant)?;
    let found = tx.row(
        sql::CREDENTIAL_DETAIL,
        (tenant.as_str(), sid),
        CredentialRecord::read,
    )?;
    let found = found.ok_or(CredentialError::NotFound)?;
    if found.is_live(now) {
        Ok(found)
    } else {
        Err(CredentialError::AlreadyRevoked)
    }
}
