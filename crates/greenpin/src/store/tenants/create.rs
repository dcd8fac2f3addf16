//! Creation of tenants and their first credential.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::random;
use crate::store::Tx;
use crate::store::core::crypto::TokenDigest;
use crate::store::tenants::endpoints;
use crate::store::tenants::sql;
use crate::store::{
    EndpointId, EndpointSpec, Store, StoreError, TenantId, TenantSettings, Timestamp,
};

/// Tenant to create.
#[derive(Clone)]
pub struct NewTenant {
    /// Name of the tenant.
    pub tenant_id: TenantId,
    /// User name of its credential.
    pub account_sid: String,
    /// Password of its credential; `None` for a random one.
    pub token: Option<String>,
    /// Settings of the tenant.
    pub settings: TenantSettings,
    /// Webhook endpoints of the tenant.
    pub webhooks: Vec<EndpointSpec>,
}

/// Secrets of a new tenant, shown once.
pub struct CreatedTenant {
    /// Password of its credential.
    pub token: String,
    /// Ids and secrets of its endpoints.
    pub webhooks: Vec<(EndpointId, String)>,
}

/// Keyed digest of an Account SID and a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialDigest(TokenDigest);

/// Failure to create a tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// The name is in use.
    #[error("a tenant with this name already exists")]
    Exists,
    /// The Account SID is in use.
    #[error("the account SID is already in use")]
    AccountSidTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Creates a tenant with one credential without an audit entry, for embedded use.
    pub async fn create_tenant(
        &self,
        new: NewTenant,
        now: Timestamp,
    ) -> Result<CreatedTenant, TenantError> {
        let token = NewToken::for_tenant(&new, self);
        let digest = token.digest;
        let webhooks = self
            .writers
            .whole()
            .write(move |tx| insert(tx, &new, &digest, now));
        Ok(CreatedTenant {
            webhooks: webhooks.await?,
            token: token.token,
        })
    }

    /// Returns whether a tenant exists.
    pub async fn tenant_exists(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        let read = self.readers.look_up(move |snapshot| {
            snapshot.row(sql::TENANT_SETTINGS, [tenant.as_str()], |_| Ok(()))
        });
        read.await.map(|found| found.is_some())
    }

    /// Returns a keyed digest of credentials, so that a cache of valid ones need not hold them.
    ///
    /// `credentials` is the account SID, a colon and the token, as in RFC 7617.
    pub fn credential_digest(&self, credentials: &str) -> CredentialDigest {
        CredentialDigest(self.keys.digest(credentials))
    }
}

/// Token with its stored digest.
pub(crate) struct NewToken {
    pub(crate) token: String,
    pub(crate) digest: String,
}

impl NewToken {
    /// Returns the requested token, or else a random one.
    pub(crate) fn for_tenant(new: &NewTenant, store: &Store) -> Self {
        Self::draw(new.token.clone(), store)
    }

    pub(crate) fn draw(wanted: Option<String>, store: &Store) -> Self {
        let token = wanted.unwrap_or_else(draw_token);
        Self {
            digest: store.keys.digest(&token).to_hex(),
            token,
        }
    }
}

/// Inserts a tenant with its credential and endpoints. Returns the ids and secrets of the endpoints.
pub(crate) fn insert(
    tx: &Tx<'_>,
    new: &NewTenant,
    digest: &str,
    now: Timestamp,
) -> Result<Vec<(EndpointId, String)>, TenantError> {
    let key = tx.new_tenant_key(&new.tenant_id)?;
    let stored = (
        new.tenant_id.as_str(),
        new.settings.stored()?,
        key.as_str(),
        now.micros(),
    );
    if tx.execute(sql::TENANT_INSERT, stored)? == 0 {
        return Err(TenantError::Exists);
    }
    let credential = (
        &new.account_sid,
        new.tenant_id.as_str(),
        digest,
        now.micros(),
    );
    if tx.execute(sql::CREDENTIAL_INSERT, credential)? == 0 {
        return Err(TenantError::AccountSidTaken);
    }
    Ok(endpoints::replace(tx, &new.tenant_id, &new.webhooks, now)?)
}

/// Returns 32 random bytes in base64url.
fn draw_token() -> String {
    let mut token = [0; 32];
    random::fill(&mut token);
    URL_SAFE_NO_PAD.encode(token)
}
