//! `/v1/admin/audit`: what operators did.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Operator, parse_query, utc};
use crate::http::middleware::paging::{Page, page_request, split_page};
use crate::http::middleware::problem::Problem;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{ActorKind, Moment};
use crate::store::{AuditEntry, AuditId};

/// Where to go on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Only acts after this one: the last `audit_id` that you have, or `next_cursor`.
    #[param(value_type = String, required = false, pattern = "^aud_[0-9a-hjkmnp-tv-z]{26}$")]
    after: Option<String>,
    /// How many at most.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
}

problems! {
    ListProblems: [InvalidRequest] fields [InvalidValue];
}

/// Read the audit log
///
/// What operators did, oldest first, after the `audit_id` in `after`.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "list_audit",
    tag = "Node",
    params(AuditQuery),
    responses(
        (status = 200, description = "A page of acts.", body = Page<AuditLine>),
        ListProblems,
    )
)]
pub(crate) async fn list(
    Operator(store): Operator,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = parse_query(query, "after, limit")?;
    let limit = page_request(query.limit.as_deref(), None, |_| Some(()))?.limit;
    let after = query.after.as_deref().map(|text| {
        AuditId::parse(text).ok_or_else(|| {
            crate::http::middleware::paging::invalid_parameter("after", "must be an audit_id")
        })
    });
    let found = store.audit_after(after.transpose()?, limit + 1).await?;
    let (found, more) = split_page(&found, limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| last.audit_id.to_string());
    Ok(Page::json_response(
        found.iter().map(AuditLine::from_entry).collect(),
        next,
    ))
}

/// An act of an operator.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct AuditLine {
    /// Its id.
    #[schema(
        pattern = "^aud_[0-9a-hjkmnp-tv-z]{26}$",
        examples("aud_01jxs0r7t9y2u4i6o8p3a5s7da")
    )]
    audit_id: String,
    /// Time of the act.
    #[schema(value_type = Moment)]
    occurred_at: String,
    /// Way in which the operator acted.
    #[schema(value_type = ActorKind)]
    actor: String,
    /// The act.
    #[schema(examples("tenant.suspend"))]
    act: String,
    /// The tenant that it concerns.
    #[schema(required)]
    tenant_id: Option<String>,
    /// The thing that it concerns; numbers by their last two digits.
    #[schema(required)]
    object: Option<String>,
    /// The request that asked for it; `null`: a command.
    #[schema(required)]
    request_id: Option<String>,
}

impl AuditLine {
    fn from_entry(entry: &AuditEntry) -> Self {
        Self {
            audit_id: entry.audit_id.to_string(),
            occurred_at: utc(entry.occurred_at),
            actor: entry.actor.clone(),
            act: entry.act.clone(),
            tenant_id: entry.tenant_id.clone(),
            object: entry.object.clone(),
            request_id: entry.request_id.clone(),
        }
    }
}
