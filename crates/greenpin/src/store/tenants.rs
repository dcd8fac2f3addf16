//! Tenants and their credentials.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::database::Row;
use super::key::TokenDigest;
use super::{
    EndpointId, EndpointSpec, Store, StoreError, TenantId, TenantSettings, Timestamp, endpoints, settings,
    sql,
};
use crate::random;

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
pub struct MadeTenant {
    /// The password of its credential.
    pub token: String,
    /// Ids and secrets of its endpoints.
    pub webhooks: Vec<(EndpointId, String)>,
}

/// A line of the list of tenants.
#[derive(Debug, Clone)]
pub struct TenantSummary {
    /// Its name.
    pub tenant_id: TenantId,
    /// Its settings.
    pub settings: TenantSettings,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// How many numbers its pool holds.
    pub numbers: u64,
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
    /// Makes a tenant with one credential.
    pub async fn create_tenant(&self, new: NewTenant, now: Timestamp) -> Result<MadeTenant, TenantError> {
        let token = new.token.unwrap_or_else(draw_token);
        let digest = self.keys.digest(&token).to_hex();
        let key = self.keys.draw(&new.tenant_id)?;
        let webhooks = self.writer.write(move |tx| {
            let stored = (new.tenant_id.as_str(), new.settings.stored()?, key.as_str(), now.micros());
            if tx.execute(sql::TENANT_INSERT, stored)? == 0 {
                return Err(TenantError::Exists);
            }
            let credential = (&new.account_sid, new.tenant_id.as_str(), &digest, now.micros());
            if tx.execute(sql::CREDENTIAL_INSERT, credential)? == 0 {
                return Err(TenantError::AccountSidTaken);
            }
            Ok(endpoints::replace(tx, &new.tenant_id, &new.webhooks, now)?)
        });
        Ok(MadeTenant { webhooks: webhooks.await?, token })
    }

    /// Every tenant, by name.
    pub async fn tenants(&self) -> Result<Vec<TenantSummary>, StoreError> {
        type Line = (String, String, i64, i64);
        let read = |row: &Row<'_>| -> Result<Line, StoreError> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        };
        let lines = self.readers.read(move |snapshot| snapshot.rows(sql::TENANT_LIST, (), read)).await?;
        lines.into_iter().map(summary).collect()
    }

    /// Whether a tenant of this name exists.
    pub async fn tenant_exists(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        let read = self
            .readers
            .look_up(move |snapshot| snapshot.row(sql::TENANT_SETTINGS, [tenant.as_str()], |_| Ok(())));
        read.await.map(|found| found.is_some())
    }

    /// Whose credentials these are; `None`: nobody's. An unknown Account SID costs the same work as a wrong token.
    pub async fn authenticate(&self, account_sid: &str, token: &str) -> Result<Option<TenantId>, StoreError> {
        let account_sid = account_sid.to_owned();
        let read = self.readers.look_up(move |snapshot| {
            let read = |row: &Row<'_>| Ok((row.get::<String>(0)?, row.get::<String>(1)?));
            snapshot.row(sql::CREDENTIAL_SELECT, [&account_sid], read)
        });
        let found = read.await.map_err(|error: StoreError| error)?;
        let (tenant, kept) = match &found {
            Some((tenant, digest)) => (TenantId::parse(tenant), TokenDigest::from_hex(digest)),
            None => (None, None),
        };
        let right = kept.unwrap_or(TokenDigest::none()).matches(&self.keys.digest(token));
        Ok(tenant.filter(|_| right))
    }

    /// A keyed digest of credentials, to remember without them that they were right.
    pub fn credential_digest(&self, account_sid: &str, token: &str) -> CredentialDigest {
        CredentialDigest(self.keys.digest(&format!("{}:{account_sid}:{token}", account_sid.len())))
    }
}

/// 32 random bytes, in characters that need no quoting anywhere.
fn draw_token() -> String {
    let mut token = [0; 32];
    random::fill(&mut token);
    URL_SAFE_NO_PAD.encode(token)
}

fn summary(
    (tenant_id, stored, created_at, numbers): (String, String, i64, i64),
) -> Result<TenantSummary, StoreError> {
    Ok(TenantSummary {
        tenant_id: TenantId::parse(&tenant_id).ok_or(StoreError::Unreadable("tenant id"))?,
        settings: settings::parse(&stored)?,
        created_at: Timestamp::from_micros(created_at),
        numbers: u64::try_from(numbers).unwrap_or(0),
    })
}
