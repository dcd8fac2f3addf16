//! Tenants and their credentials.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::random;
use crate::store::Tx;
use crate::store::core::crypto::{TokenDigest, WrappedKey};
use crate::store::tenants::endpoints;
use crate::store::tenants::sql;
use crate::store::{
    EndpointId, EndpointSpec, Store, StoreError, TenantId, TenantSettings, Timestamp,
};

/// A tenant to be made.
#[derive(Clone)]
pub struct NewTenant {
    /// Its name.
    pub tenant_id: TenantId,
    /// The user name of its credential.
    pub account_sid: String,
    /// The password of its credential; `None`: drawn.
    pub token: Option<String>,
    /// Its settings.
    pub settings: TenantSettings,
    /// Its webhook endpoints.
    pub webhooks: Vec<EndpointSpec>,
}

/// What is shown once, when a tenant is made.
pub struct CreatedTenant {
    /// The password of its credential.
    pub token: String,
    /// Ids and secrets of its endpoints.
    pub webhooks: Vec<(EndpointId, String)>,
}

/// A keyed digest of an Account SID and a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialDigest(TokenDigest);

/// Why a tenant was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// The name is taken.
    #[error("there is a tenant of this name already")]
    Exists,
    /// The Account SID is taken.
    #[error("the account SID is in use already")]
    AccountSidTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a tenant with one credential, without an operator: for a store of one's own.
    pub async fn create_tenant(
        &self,
        new: NewTenant,
        now: Timestamp,
    ) -> Result<CreatedTenant, TenantError> {
        let token = NewToken::for_tenant(&new, self);
        let (digest, key) = (token.digest, self.keys.new_tenant_key(&new.tenant_id)?);
        let webhooks = self
            .writer
            .write(move |tx| insert(tx, &new, &digest, &key, now));
        Ok(CreatedTenant {
            webhooks: webhooks.await?,
            token: token.token,
        })
    }

    /// Whether a tenant of this name exists.
    pub async fn tenant_exists(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        let read = self.readers.look_up(move |snapshot| {
            snapshot.row(sql::TENANT_SETTINGS, [tenant.as_str()], |_| Ok(()))
        });
        read.await.map(|found| found.is_some())
    }

    /// A keyed digest of credentials, to remember without them that they were right.
    pub fn credential_digest(&self, account_sid: &str, token: &str) -> CredentialDigest {
        CredentialDigest(
            self.keys
                .digest(&format!("{}:{account_sid}:{token}", account_sid.len())),
        )
    }
}

/// A token, and what is kept of it.
pub(crate) struct NewToken {
    pub(crate) token: String,
    pub(crate) digest: String,
}

impl NewToken {
    /// The token that was asked for, else a new one.
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

/// Writes a tenant with its credential and its endpoints; returns ids and secrets of the endpoints.
pub(crate) fn insert(
    tx: &Tx<'_>,
    new: &NewTenant,
    digest: &str,
    key: &WrappedKey,
    now: Timestamp,
) -> Result<Vec<(EndpointId, String)>, TenantError> {
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

/// 32 random bytes, in characters that need no quoting anywhere.
fn draw_token() -> String {
    let mut token = [0; 32];
    random::fill(&mut token);
    URL_SAFE_NO_PAD.encode(token)
}
