//! `/console/session`: sign-in with the credentials of a tenant or the operator token, and sign-out.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::http::middleware::auth;
use crate::http::middleware::body;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::session;
use crate::http::{Api, RequestId, operator, success};
use crate::store::{
    Actor, MAX_SESSION_AGE, Session, SessionOwner, TenantId, Timestamp, is_account_sid,
};

/// Session, as its page sees it.
#[derive(Serialize)]
struct SessionDetails {
    /// `tenant` or `operator`.
    kind: &'static str,
    tenant_id: Option<String>,
    account_sid: Option<String>,
    /// Time zone of the page.
    timezone: String,
    expires_at: String,
    version: &'static str,
    /// Base of the addresses in `curl` commands.
    public_url: String,
}

/// Signs in. The body has `account_sid` and `token`, or `operator_token`.
pub(super) async fn sign_in(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    session::require_own_site(&parts, Code::Unauthorized)?;
    let fields = body::json_object(&parts.headers, body).await?;
    let now = api.now();
    let owner = match verify(&fields, &api, now).await? {
        Some(owner) => owner,
        None => {
            let problem = auth::reject_credentials(&parts.extensions, Code::Unauthorized, &api);
            return Err(problem.without_challenge());
        }
    };
    let token = api
        .store
        .create_session(owner.clone(), session::operator_token(&api), now)
        .await?;
    audit(&parts, &api, &owner, "console.sign_in", now).await?;
    let session = Session {
        owner,
        suspended: false,
        expires_at: now + MAX_SESSION_AGE,
        is_use_due: false,
    };
    let response = success(StatusCode::OK, details(&session, &api).await?);
    Ok(with_cookie(
        response,
        &token,
        MAX_SESSION_AGE.as_secs(),
        &api,
    ))
}

/// Returns the owner of valid credentials.
async fn verify(
    fields: &Map<String, Value>,
    api: &Api,
    now: Timestamp,
) -> Result<Option<SessionOwner>, Problem> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim);
    if let Some(token) = text("operator_token") {
        return Ok(operator::is_operator_token(api, token).then_some(SessionOwner::Operator));
    }
    let (Some(account_sid), Some(token)) = (text("account_sid"), text("token")) else {
        return Ok(None);
    };
    if !is_account_sid(account_sid) {
        return Ok(None);
    }
    let found = api.store.authenticate(account_sid, token, now).await?;
    match found {
        Some(found) if found.suspended => Err(Problem::plain(Code::TenantSuspended)),
        found => Ok(found.map(|found| SessionOwner::Tenant {
            tenant_id: found.tenant_id,
            account_sid: account_sid.to_owned(),
        })),
    }
}

/// Returns the session of the cookie.
pub(super) async fn read(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let session = require(&parts, &api).await?;
    let mut response = success(StatusCode::OK, details(&session, &api).await?);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Ends the session of the cookie.
pub(super) async fn sign_out(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    session::require_own_site(&parts, Code::Unauthorized)?;
    if let Some(token) = session::token(&parts.headers) {
        api.store.end_session(token).await?;
    }
    Ok(signed_out(&api))
}

/// Ends every session of the credential.
pub(super) async fn sign_out_everywhere(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let session = require(&parts, &api).await?;
    api.store.end_sessions(session.owner.clone()).await?;
    let now = api.now();
    audit(
        &parts,
        &api,
        &session.owner,
        "console.sign_out_everywhere",
        now,
    )
    .await?;
    Ok(signed_out(&api))
}

/// Returns the session of a request, which must have one.
pub(super) async fn require(parts: &Parts, api: &Api) -> Result<Session, Problem> {
    let found = session::find(parts, api, Code::Unauthorized).await?;
    let session = found.ok_or_else(|| session::ended(Code::Unauthorized))?;
    if session.suspended {
        return Err(Problem::plain(Code::TenantSuspended));
    }
    Ok(session)
}

/// Writes an audit entry of the owner of a session.
pub(super) async fn audit(
    parts: &Parts,
    api: &Api,
    owner: &SessionOwner,
    action: &'static str,
    now: Timestamp,
) -> Result<(), Problem> {
    let (tenant, account_sid) = match owner {
        SessionOwner::Tenant {
            tenant_id,
            account_sid,
        } => (Some(tenant_id), Some(account_sid.clone())),
        SessionOwner::Operator => (None, None),
    };
    record(parts, api, tenant, action, account_sid, now).await
}

/// Writes an audit entry of the console.
pub(super) async fn record(
    parts: &Parts,
    api: &Api,
    tenant: Option<&TenantId>,
    action: &'static str,
    object: Option<String>,
    now: Timestamp,
) -> Result<(), Problem> {
    let request_id = parts.extensions.get::<RequestId>();
    let actor = Actor::console(request_id.map(|RequestId(id)| id.clone()));
    let store = api.store.operator(actor);
    Ok(store.audit_of(tenant, action, object, now).await?)
}

async fn details(session: &Session, api: &Api) -> Result<SessionDetails, Problem> {
    let (kind, tenant_id, account_sid, zone) = match &session.owner {
        SessionOwner::Operator => ("operator", None, None, "UTC".to_owned()),
        SessionOwner::Tenant {
            tenant_id,
            account_sid,
        } => {
            let settings = api.store.tenant(tenant_id.clone()).settings().await?;
            let zone = settings.timezone.clone();
            (
                "tenant",
                Some(tenant_id.to_string()),
                Some(account_sid.clone()),
                zone,
            )
        }
    };
    Ok(SessionDetails {
        kind,
        tenant_id,
        account_sid,
        timezone: zone,
        expires_at: operator::utc(session.expires_at),
        version: env!("CARGO_PKG_VERSION"),
        public_url: api.node.public_url.clone(),
    })
}

fn signed_out(api: &Api) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    with_cookie(response, "", 0, api)
}

/// Sets the cookie. `Secure` follows from the address of the server: a browser drops such a cookie over plain HTTP.
fn with_cookie(mut response: Response, token: &str, seconds: u64, api: &Api) -> Response {
    let secure = match api.node.public_url.starts_with("https://") {
        true => "; Secure",
        false => "",
    };
    let cookie = format!(
        "{}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}",
        session::COOKIE
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
