//! Requests of the console that the public API does not have: numbers and PINs in clear, a search with the number in the
//! body, the tenant's part of the audit log, and its latest requests.

use axum::extract::{Query, Request, State};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::session;
use crate::http::middleware::body;
use crate::http::middleware::masking;
use crate::http::middleware::paging::{Page, page_request, split_page};
use crate::http::middleware::problem::{Code, Problem, not_found};
use crate::http::operator::audit::AuditLine;
use crate::http::operator::credentials;
use crate::http::tenant::allocations::read as allocation;
use crate::http::tenant::calls::read as call;
use crate::http::tenant::search;
use crate::http::{Api, success};
use crate::store::{Actor, AuditId, CallSid, GreenpinId, SessionOwner, TenantStore};

/// Returns a call or an allocation with its numbers and its PIN. The body has its `kind` and its `id`. The audit entry
/// is durable before the response.
pub(super) async fn reveal(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (store, account_sid) = require_tenant(&parts, &api).await?;
    let fields = body::json_object(&parts.headers, body).await?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let now = api.now();
    let (mut response, id) = match text("kind") {
        "call" => {
            let id = CallSid::parse(text("id")).ok_or_else(not_found)?;
            (call::stored(&store, &id).await?, id.to_string())
        }
        "allocation" => {
            let id = GreenpinId::parse(text("id")).ok_or_else(not_found)?;
            (allocation::stored(&store, &id, now).await?, id.to_string())
        }
        _ => {
            let detail = "kind must be call or allocation.";
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
    };
    let tenant = store.tenant_id().clone();
    let object = format!("{id} by {account_sid}");
    session::record(
        &parts,
        &api,
        Some(&tenant),
        "console.reveal",
        Some(object),
        now,
    )
    .await?;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Searches as `GET …/search` does, with `q` in the body: the console sends no number in a URL.
pub(super) async fn search(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (store, _) = require_tenant(&parts, &api).await?;
    let fields = body::json_object(&parts.headers, body).await?;
    let query = fields.get("q").and_then(Value::as_str).unwrap_or_default();
    let found = search::find(&store, query, api.now()).await?;
    Ok(masking::mask_response(found).await)
}

/// Query parameters of the audit log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// Lists the audit entries of the tenant, newest first.
pub(super) async fn audit(
    State(api): State<Api>,
    Query(query): Query<AuditQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let (store, _) = require_tenant(&parts, &api).await?;
    let page = page_request(
        query.limit.as_deref(),
        query.cursor.as_deref(),
        AuditId::parse,
    )?;
    let audit = api.store.operator(Actor::console(None));
    let found = audit
        .audit_before(store.tenant_id(), page.cursor, page.limit + 1)
        .await?;
    let (found, next) = split_page(&found, page.limit, |last| last.audit_id.to_string());
    Ok(Page::json_response(
        found.iter().map(AuditLine::from_entry).collect(),
        next,
    ))
}

/// Returns the credentials of the tenant, without their tokens.
pub(super) async fn credentials(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let (store, _) = require_tenant(&parts, &api).await?;
    let operator = api.store.operator(Actor::console(None));
    credentials::of_tenant(&operator, store.tenant_id(), api.now()).await
}

/// Returns the latest requests of the tenant to this node, newest first, except those of the console.
pub(super) async fn requests(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let (store, _) = require_tenant(&parts, &api).await?;
    let zone = store.settings().await?.zone();
    let found = api.request_log.of(store.tenant_id());
    let requests: Vec<_> = found.iter().map(|request| request.details(&zone)).collect();
    Ok(success(StatusCode::OK, requests))
}

/// Returns the store of the tenant of a session, and the user name of its credential.
pub(super) async fn require_tenant(
    parts: &Parts,
    api: &Api,
) -> Result<(TenantStore, String), Problem> {
    match session::require(parts, api).await?.owner {
        SessionOwner::Tenant {
            tenant_id,
            account_sid,
        } => Ok((api.store.tenant(tenant_id), account_sid)),
        SessionOwner::Operator => Err(Problem::plain(Code::ForeignTenant)),
    }
}
