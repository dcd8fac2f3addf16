//! `/v1/admin/audit`: what operators did.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::listing::{Page, asked, cut};
use super::super::problem::Problem;
use super::{Operator, query, utc};
use crate::store::{AuditEntry, AuditId};

/// Where to go on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    after: Option<String>,
    limit: Option<String>,
}

/// `GET /audit`: oldest first, after the id in `after`.
pub(super) async fn list(
    Operator(store): Operator,
    given: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let given = query(given, "after, limit")?;
    let limit = asked(given.limit.as_deref(), None, |_| Some(()))?.limit;
    let after = given.after.as_deref().map(|text| {
        AuditId::parse(text).ok_or_else(|| super::super::listing::invalid("after", "must be an audit_id"))
    });
    let found = store.audit_after(after.transpose()?, limit + 1).await?;
    let (found, more) = cut(&found, limit);
    let next = found.last().filter(|_| more).map(|last| last.audit_id.to_string());
    Ok(Page::answer(found.iter().map(shown).collect(), next))
}

fn shown(entry: &AuditEntry) -> Value {
    json!({
        "audit_id": entry.audit_id.as_str(),
        "occurred_at": utc(entry.occurred_at),
        "actor": entry.actor,
        "act": entry.act,
        "tenant_id": entry.tenant_id,
        "object": entry.object,
        "request_id": entry.request_id,
    })
}
