//! Who asks: HTTP Basic, with the Account SID and its token.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Api;
use super::problem::{Code, Problem};
use crate::store::{Authenticated, CredentialDigest, Store, TenantId, TenantStore, Timestamp};

/// How long right credentials are remembered: so long a token that another process has revoked, or a tenant that it has
/// suspended, may still be served.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Microseconds.
const MINUTE: i64 = 60_000_000;
const MOST_REMEMBERED: usize = 10_000;

/// The tenant of a request: the one of its credentials, which is also the one of its path. There is no other way to
/// a tenant's store in this module.
pub(super) struct Tenant(pub(super) TenantStore);

/// Right credentials that were seen a moment ago. Wrong ones are never remembered: each costs the same work, whether
/// or not the Account SID exists.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<CredentialDigest, (TenantId, Instant)>>);

impl Seen {
    fn get(&self, digest: &CredentialDigest) -> Option<TenantId> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(digest).filter(|(_, at)| at.elapsed() < REMEMBERED).map(|(tenant, _)| tenant.clone())
    }

    fn put(&self, digest: CredentialDigest, tenant: &TenantId) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_REMEMBERED {
            seen.clear();
        }
        seen.insert(digest, (tenant.clone(), Instant::now()));
    }

    /// Forgets everybody: what an operator has done takes effect at once.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl FromRequestParts<Api> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Authenticated { tenant_id: tenant, suspended } = authenticate(&parts.headers, api).await?;
        let params = RawPathParams::from_request_parts(parts, api).await;
        let params = params.map_err(|_| Problem::plain(Code::NotFound))?;
        let asked = params.iter().find(|(name, _)| *name == "tenant_id").map(|(_, value)| value);
        if asked != Some(tenant.as_str()) {
            return Err(Problem::plain(Code::ForeignTenant));
        }
        if suspended {
            return Err(Problem::plain(Code::TenantSuspended));
        }
        Ok(Self(api.store.tenant(tenant)))
    }
}

async fn authenticate(headers: &HeaderMap, api: &Api) -> Result<Authenticated, Problem> {
    let refused = || Problem::plain(Code::Unauthorized);
    let (account_sid, token) = basic(headers).ok_or_else(refused)?;
    let digest = api.store.credential_digest(&account_sid, &token);
    if let Some(tenant_id) = api.seen.get(&digest) {
        return Ok(Authenticated { tenant_id, suspended: false });
    }
    let now = api.now();
    let found = api.store.authenticate(&account_sid, &token, now).await?.ok_or_else(refused)?;
    if api.uses.is_new(&account_sid, now) {
        tokio::spawn(note_use(api.store.clone(), account_sid, now));
    }
    if !found.suspended {
        api.seen.put(digest, &found.tenant_id);
    }
    Ok(found)
}

/// In which minute each credential was last noted to be used.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<String, i64>>);

impl Uses {
    /// Whether this is the credential's first use in this minute.
    fn is_new(&self, account_sid: &str, now: Timestamp) -> bool {
        let minute = now.micros().div_euclid(MINUTE);
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() >= MOST_REMEMBERED {
            uses.clear();
        }
        uses.insert(account_sid.to_owned(), minute) != Some(minute)
    }
}

/// No request waits for this, and none fails with it.
async fn note_use(store: Store, account_sid: String, now: Timestamp) {
    if let Err(error) = store.credential_used(account_sid, now).await {
        tracing::warn!(%error, "the use of a credential was not noted");
    }
}

/// Reads `Authorization: Basic` (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (account_sid, token) = decoded.split_once(':')?;
    Some((account_sid.to_owned(), token.to_owned()))
}
