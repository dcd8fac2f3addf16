//! Authentication of tenants: HTTP Basic with the account SID and its token.

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

use super::problem::{Code, Problem};
use super::request_log::RequestStart;
use super::session::{self, SessionAuthorized};
use super::{idempotency, masking};
use crate::http::Api;
use crate::store::{
    Authenticated, CredentialDigest, SessionOwner, Store, TenantId, TenantStore, Timestamp,
    is_account_sid,
};

/// Lifetime of a cached credential. A token revoked or a tenant suspended by another process may be accepted for
/// this long.
const CACHE_TTL: Duration = Duration::from_secs(1);
/// Microseconds in a minute.
const MICROS_PER_MINUTE: i64 = 60_000_000;
const MAX_CACHED: usize = 10_000;

/// Tenant of a request. The credentials and the path name the same tenant. This extractor is the only access to a
/// tenant's store in this module.
pub(crate) struct Tenant(pub(crate) TenantStore);

/// Cache of recently verified credentials. Wrong credentials are never cached: each attempt costs the same work,
/// even if the account SID does not exist.
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

    /// Removes all entries, so that a change by an operator takes effect at once.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Authenticates a request to its tenant and passes the tenant's store to the handler. Applies the rate limit and
/// the idempotency key.
pub(crate) async fn authenticate_tenant(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let start = RequestStart::new(&parts, api.now());
    let store = authorize(&mut parts, &api).await?;
    let tenant = store.tenant_id().clone();
    parts.extensions.insert(store.clone());
    let is_masked = parts.extensions.get::<SessionAuthorized>().is_some();
    let limit = store.settings().await?.rate_limit;
    let limit = limit.unwrap_or_else(|| api.node.live.borrow().rate_limit);
    let limited = api
        .rate_limiter
        .check_request(store.tenant_id(), limit, Instant::now());
    let result = if limited.allowed {
        idempotency::handle(store, api.now(), Request::from_parts(parts, body), next).await
    } else {
        let detail = "The tenant has exceeded its rate limit.";
        Err(Problem::new(Code::RateLimited, detail).retry_after(limited.retry_after))
    };
    let mut response = result.unwrap_or_else(Problem::into_response);
    if is_masked {
        response = masking::mask_response(response).await;
    } else if let Some(request) = start.end(&response) {
        api.request_log.add(&tenant, request);
    }
    limited.insert_headers(response.headers_mut());
    Ok(response)
}

async fn authorize(parts: &mut Parts, api: &Api) -> Result<TenantStore, Problem> {
    let Authenticated {
        tenant_id: tenant,
        suspended,
    } = match find_session(parts, api).await? {
        Some(found) => found,
        None => authenticate(parts, api).await?,
    };
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

/// Returns the tenant of the session of a request without credentials; `None` without a session.
async fn find_session(parts: &mut Parts, api: &Api) -> Result<Option<Authenticated>, Problem> {
    if parts.headers.contains_key(header::AUTHORIZATION) {
        return Ok(None);
    }
    let Some(found) = session::find(parts, api, Code::Unauthorized).await? else {
        return Ok(None);
    };
    let SessionOwner::Tenant { tenant_id, .. } = found.owner else {
        return Err(Problem::plain(Code::ForeignTenant));
    };
    parts.extensions.insert(SessionAuthorized);
    Ok(Some(Authenticated {
        tenant_id,
        suspended: found.suspended,
    }))
}

impl FromRequestParts<Api> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        // A route without [`authenticate_tenant`] has no tenant and fails.
        let store = parts.extensions.get::<TenantStore>().cloned();
        store
            .map(Self)
            .ok_or_else(|| Problem::plain(Code::Internal))
    }
}

async fn authenticate(parts: &Parts, api: &Api) -> Result<Authenticated, Problem> {
    let has_header = parts.headers.contains_key(header::AUTHORIZATION);
    let reject = |parts: &Parts| reject_credentials(&parts.extensions, Code::Unauthorized, api);
    let Some(credentials) = parse_basic(&parts.headers) else {
        return Err(if has_header {
            reject(parts)
        } else if session::is_from_script(&parts.headers) {
            session::ended(Code::Unauthorized)
        } else {
            Problem::plain(Code::Unauthorized)
        });
    };
    let digest = api.store.credential_digest(&credentials.text);
    if let Some(tenant_id) = api.credential_cache.get(&digest) {
        return Ok(Authenticated {
            tenant_id,
            suspended: false,
        });
    }
    let now = api.now();
    let (account_sid, token) = credentials.split();
    let found = api
        .store
        .authenticate(account_sid, token, now)
        .await?
        .ok_or_else(|| reject(parts))?;
    if api.last_use_tracker.is_new(account_sid, now) {
        tokio::spawn(record_use(api.store.clone(), account_sid.to_owned(), now));
    }
    if !found.suspended {
        api.credential_cache.insert(digest, &found.tenant_id);
    }
    Ok(found)
}

/// Minute of the last recorded use of each credential.
#[derive(Default)]
pub(crate) struct LastUseTracker(Mutex<HashMap<String, i64>>);

impl LastUseTracker {
    /// Returns `true` for the first use of a credential in the current minute.
    fn is_new(&self, account_sid: &str, now: Timestamp) -> bool {
        let minute = now.micros().div_euclid(MICROS_PER_MINUTE);
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() >= MAX_CACHED {
            uses.clear();
        }
        uses.insert(account_sid.to_owned(), minute) != Some(minute)
    }
}

/// Records the use of a credential. It runs in the background, and its failure does not affect the request.
async fn record_use(store: Store, account_sid: String, now: Timestamp) {
    if let Err(error) = store.credential_used(account_sid, now).await {
        tracing::warn!(%error, "cannot record the last use of a credential");
    }
}

/// Counts rejected credentials against the source address. Valid credentials from the same address still pass,
/// because many clients can share an address.
pub(crate) fn reject_credentials(request: &Extensions, code: Code, api: &Api) -> Problem {
    let limited = api.rate_limiter.count_failure(request, Instant::now());
    if limited.allowed {
        return Problem::plain(code);
    }
    let detail = "This address has sent too many wrong credentials.";
    Problem::new(Code::RateLimited, detail).retry_after(limited.retry_after)
}

/// Credentials of a request, in clear.
struct BasicCredentials {
    /// Account SID, colon and token.
    text: String,
    /// Position of the colon.
    colon: usize,
}

impl BasicCredentials {
    /// Returns the account SID and the token.
    fn split(&self) -> (&str, &str) {
        let (account_sid, token) = self.text.split_at(self.colon);
        (account_sid, token.get(1..).unwrap_or_default())
    }
}

/// Parses `Authorization: Basic` (RFC 7617).
fn parse_basic(headers: &HeaderMap) -> Option<BasicCredentials> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let colon = text.find(':')?;
    let credentials = BasicCredentials { text, colon };
    // No credential has another form, and not every database takes every character.
    is_account_sid(credentials.split().0).then_some(credentials)
}
