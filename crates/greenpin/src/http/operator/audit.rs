//! `/v1/admin/audit`: the audit log of operators' actions.

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

/// Query parameters of the audit log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Return only entries after this `audit_id`: the last one that you have, or `next_cursor`.
    #[param(value_type = String, required = false, pattern = "^aud_[0-9a-hjkmnp-tv-z]{26}$")]
    after: Option<String>,
    /// Maximum number of items to return.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
}

problems! {
    ListProblems: [InvalidRequest] fields [InvalidValue];
}

/// Read the audit log
///
/// Lists the actions of operators, oldest first, starting after the entry in `after`.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "list_audit",
    tag = "Node",
    params(AuditQuery),
    responses(
        (status = 200, description = "A page of audit entries.", body = Page<AuditLine>),
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
    let (found, next) = split_page(&found, limit, |last| last.audit_id.to_string());
    Ok(Page::json_response(
        found.iter().map(AuditLine::from_entry).collect(),
        next,
    ))
}

/// An entry of the audit log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditLine {
    /// Id of the entry.
    #[schema(
        pattern = "^aud_[0-9a-hjkmnp-tv-z]{26}$",
        examples("aud_01jxs0r7t9y2u4i6o8p3a5s7da")
    )]
    audit_id: String,
    /// Time of the action.
    #[schema(value_type = Moment)]
    occurred_at: String,
    /// Means of the action: the API or the command line.
    #[schema(value_type = ActorKind)]
    actor: String,
    /// Name of the action.
    #[schema(examples("tenant.suspend"))]
    act: String,
    /// Tenant affected, or `null`.
    #[schema(required)]
    tenant_id: Option<String>,
    /// Object affected, or `null`. Numbers are shown with their last two digits only.
    #[schema(required)]
    object: Option<String>,
    /// Id of the request, or `null` for a command.
    #[schema(required)]
    request_id: Option<String>,
}

impl AuditLine {
    pub(crate) fn from_entry(entry: &AuditEntry) -> Self {
        Self {
            audit_id: entry.audit_id.to_string(),
            occurred_at: utc(entry.occurred_at),
            actor: entry.actor.clone(),
            act: entry.action.clone(),
            tenant_id: entry.tenant_id.clone(),
            object: entry.object.clone(),
            request_id: entry.request_id.clone(),
        }
    }
}
