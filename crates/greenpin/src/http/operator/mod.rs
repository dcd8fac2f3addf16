//! `/v1/admin`: operations of the operator, authenticated by the operator token.
//!
//! - `tenants`, `credentials`: tenants and their access.
//! - `numbers`, `number_import`: the number pools of all tenants, and CSV files for them.
//! - `node`, `trunks`: this process, its calls and its carriers.
//! - `refused`: the last refused INVITEs.
//! - `audit`: the log of operators' actions.
//! - `fields`: declarations of the request fields.

pub(crate) mod audit;
pub(crate) mod credentials;
mod fields;
pub(crate) mod node;
pub(crate) mod number_import;
mod numbers;
mod refused;
mod tenants;
pub(crate) mod trunks;

use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use jiff::tz::TimeZone;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::middleware::session::{self, SessionAuthorized};
use super::middleware::{auth, masking};
use super::{Api, RequestId};
use crate::http::middleware::field::schema_of;
use crate::http::middleware::problem::{Code, Problem};
use crate::store::{Actor, OperatorStore, SessionOwner, TenantId, Timestamp};

/// Store with access to all tenants, for requests with the operator token.
pub(crate) struct Operator(OperatorStore);

/// Returns the schemas of all request bodies, by name.
pub(super) fn requests() -> Vec<(&'static str, Value)> {
    vec![
        schema_of::<fields::CreateTenant>(),
        schema_of::<fields::ChangeDestinations>(),
        schema_of::<fields::CreateCredential>(),
        schema_of::<fields::RotateCredential>(),
        schema_of::<fields::AddNumber>(),
        schema_of::<fields::ChangeNumber>(),
        schema_of::<fields::MoveNumber>(),
    ]
}

/// Returns every route of the operator. [`require_token`] protects all of them.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::read, tenants::erase))
        .routes(routes!(tenants::suspend))
        .routes(routes!(tenants::resume))
        .routes(routes!(tenants::set_destinations))
        .routes(routes!(credentials::list, credentials::create))
        .routes(routes!(credentials::revoke))
        .routes(routes!(credentials::rotate))
        .routes(routes!(numbers::list, numbers::add))
        .routes(routes!(numbers::import))
        .routes(routes!(numbers::read, numbers::change, numbers::remove))
        .routes(routes!(numbers::move_to))
        .routes(routes!(numbers::quarantine))
        .routes(routes!(numbers::release))
        .routes(routes!(audit::list))
        .routes(routes!(trunks::list))
        .routes(routes!(refused::list))
        .routes(routes!(node::nodes))
        .routes(routes!(node::drain))
        .routes(routes!(node::undrain))
        .routes(routes!(node::drain_node))
        .routes(routes!(node::undrain_node))
        .routes(routes!(node::calls))
        .routes(routes!(node::ended_calls))
        .routes(routes!(node::call))
        .routes(routes!(node::end_call))
}

/// Rejects requests without the operator token.
pub(super) async fn require_token(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(expected) = &api.node.operator_token else {
        let detail =
            "Set http.operator_token in the configuration, or GREENPIN_HTTP__OPERATOR_TOKEN.";
        return Err(Problem::new(Code::OperatorApiOff, detail));
    };
    if !request.headers().contains_key(header::AUTHORIZATION) {
        let (mut parts, body) = request.into_parts();
        let found = session::find(&parts, &api, Code::OperatorUnauthorized).await?;
        if found.is_some_and(|session| session.owner == SessionOwner::Operator) {
            parts.extensions.insert(SessionAuthorized);
            let response = next.run(Request::from_parts(parts, body)).await;
            return Ok(masking::mask_response(response).await);
        }
        return Err(Problem::plain(Code::OperatorUnauthorized));
    }
    let token = parse_bearer(request.headers()).unwrap_or_default();
    if !tokens_match(token, expected.expose()) {
        return Err(auth::reject_credentials(
            request.extensions(),
            Code::OperatorUnauthorized,
            &api,
        ));
    }
    Ok(next.run(request).await)
}

/// Returns whether a token is the configured token of the operator.
pub(crate) fn is_operator_token(api: &Api, token: &str) -> bool {
    let expected = api.node.operator_token.as_ref();
    expected.is_some_and(|expected| tokens_match(token, expected.expose()))
}

/// Reads `Authorization: Bearer` (RFC 6750, section 2.1).
fn parse_bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares two tokens by digest, in constant time for any content and length.
fn tokens_match(token: &str, expected: &str) -> bool {
    let (token, expected) = (
        digest(&SHA256, token.as_bytes()),
        digest(&SHA256, expected.as_bytes()),
    );
    constant_time::verify_slices_are_equal(token.as_ref(), expected.as_ref()).is_ok()
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let id = Extension::<RequestId>::from_request_parts(parts, api).await;
        let id = id.ok().map(|Extension(RequestId(id))| id);
        Ok(Self(api.store.operator(Actor::operator(id))))
    }
}

/// Parses a tenant id of a path. An invalid id is not found.
fn parse_tenant_id(text: &str) -> Result<TenantId, Problem> {
    TenantId::parse(text).ok_or_else(|| Problem::plain(Code::NotFound))
}

/// Extracts the query. `known` lists the parameters for the error message.
fn parse_query<T>(query: Result<Query<T>, QueryRejection>, known: &str) -> Result<T, Problem> {
    let Query(query) = query.map_err(|_| {
        Problem::new(
            Code::InvalidRequest,
            format!("The query accepts these parameters, each at most once: {known}."),
        )
    })?;
    Ok(query)
}

/// Formats a time in UTC. The operator API uses UTC throughout.
pub(crate) fn utc(moment: Timestamp) -> String {
    moment.rfc3339(&TimeZone::UTC)
}
