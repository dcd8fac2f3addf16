//! Who asks: HTTP Basic, with the Account SID and its token.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::idempotency;
use super::problem::{Code, Problem};
use crate::http::Api;
use crate::store::{Authenticated, CredentialDigest, Store, TenantId, TenantStore, Timestamp};

/// How long right credentials are remembered: so long a token that another process has revoked, or a tenant that it has
/// suspended, may still be served.
const CACHE_TTL: Duration = Duration::from_secs(1);
/// Microseconds.
const MICROS_PER_MINUTE: i64 = 60_000_000;
const MAX_CACHED: usize = 10_000;

/// The tenant of a request: the one of its credentials, which is also the one of its path. There is no other way to
/// a tenant's store in this module.
pub(crate) struct Tenant(pub(crate) TenantStore);

/// Right credentials that were seen a moment ago. Wrong ones are never remembered: each costs the same work, whether
/// or not the Account SID exists.
#[derive(Default)]
pub(crate) struct CredentialCache(Mutex<HashMap<CredentialDigest, (TenantId, Instant)>>);

impl CredentialCache {
    fn get(&self, digest: &CredentialDigest) -> Option<TenantId> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .get(digest)
            .filter(|(_, at)| at.elapsed() < CACHE_TTL)
            .map(|(tenant, _)| tenant.clone())
    }

    fn insert(&self, digest: CredentialDigest, tenant: &TenantId) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(digest, (tenant.clone(), Instant::now()));
    }

    /// Forgets everybody: what an operator has done takes effect at once.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Lets a request with right credentials in to the tenant of its path, and makes it known to the handler.
pub(crate) async fn authenticate_tenant(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let store = authorize(&mut parts, &api).await?;
    parts.extensions.insert(store.clone());
    let limit = store.settings().await?.rate_limit;
    let limited = api
        .rate_limiter
        .check_request(store.tenant_id(), limit, Instant::now());
    let result = if limited.allowed {
        idempotency::handle(store, api.now(), Request::from_parts(parts, body), next).await
    } else {
        let detail = "The tenant asks more often than its rate limit allows.";
        Err(Problem::new(Code::RateLimited, detail).retry_after(limited.retry_after))
    };
    let mut response = result.unwrap_or_else(Problem::into_response);
    limited.insert_headers(response.headers_mut());
    Ok(response)
}

async fn authorize(parts: &mut Parts, api: &Api) -> Result<TenantStore, Problem> {
    let Authenticated {
        tenant_id: tenant,
        suspended,
    } = authenticate(parts, api).await?;
    let params = RawPathParams::from_request_parts(parts, api).await;
    let params = params.map_err(|_| Problem::plain(Code::NotFound))?;
    let path_tenant = params
        .iter()
        .find(|(name, _)| *name == "tenant_id")
        .map(|(_, value)| value);
    if path_tenant != Some(tenant.as_str()) {
        return Err(Problem::plain(Code::ForeignTenant));
    }
    if suspended {
        return Err(Problem::plain(Code::TenantSuspended));
    }
    Ok(api.store.tenant(tenant))
}

impl FromRequestParts<Api> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        // A route that nobody guards shows nothing.
        let store = parts.extensions.get::<TenantStore>().cloned();
        store
            .map(Self)
            .ok_or_else(|| Problem::plain(Code::Internal))
    }
}

async fn authenticate(parts: &Parts, api: &Api) -> Result<Authenticated, Problem> {
    let has_header = parts.headers.contains_key(header::AUTHORIZATION);
    let reject = |parts: &Parts| reject_credentials(&parts.extensions, Code::Unauthorized, api);
    let Some((account_sid, token)) = parse_basic(&parts.headers) else {
        return Err(if has_header {
            reject(parts)
        } else {
            Problem::plain(Code::Unauthorized)
        });
    };
    let digest = api.store.credential_digest(&account_sid, &token);
    if let Some(tenant_id) = api.credential_cache.get(&digest) {
        return Ok(Authenticated {
            tenant_id,
            suspended: false,
        });
    }
    let now = api.now();
    let found = api
        .store
        .authenticate(&account_sid, &token, now)
        .await?
        .ok_or_else(|| reject(parts))?;
    if api.last_use_tracker.is_new(&account_sid, now) {
        tokio::spawn(record_use(api.store.clone(), account_sid, now));
    }
    if !found.suspended {
        api.credential_cache.insert(digest, &found.tenant_id);
    }
    Ok(found)
}

/// In which minute each credential was last noted to be used.
#[derive(Default)]
pub(crate) struct LastUseTracker(Mutex<HashMap<String, i64>>);

impl LastUseTracker {
    /// Whether this is the credential's first use in this minute.
    fn is_new(&self, account_sid: &str, now: Timestamp) -> bool {
        let minute = now.micros().div_euclid(MICROS_PER_MINUTE);
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() >= MAX_CACHED {
            uses.clear();
        }
        uses.insert(account_sid.to_owned(), minute) != Some(minute)
    }
}

/// No request waits for this, and none fails with it.
async fn record_use(store: Store, account_sid: String, now: Timestamp) {
    if let Err(error) = store.credential_used(account_sid, now).await {
        tracing::warn!(%error, "the use of a credential was not noted");
    }
}

/// Wrong credentials count against the address that they come from. Right ones are let in from there all the same:
/// many clients can share an address.
pub(crate) fn reject_credentials(request: &Extensions, code: Code, api: &Api) -> Problem {
    let limited = api.rate_limiter.count_failure(request, Instant::now());
    if limited.allowed {
        return Problem::plain(code);
    }
    let detail = "Too many wrong credentials come from this address.";
    Problem::new(Code::RateLimited, detail).retry_after(limited.retry_after)
}

/// Reads `Authorization: Basic` (RFC 7617).
fn parse_basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (account_sid, token) = decoded.split_once(':')?;
    Some((account_sid.to_owned(), token.to_owned()))
}
