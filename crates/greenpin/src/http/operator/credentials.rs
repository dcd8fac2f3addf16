//! `/v1/admin/tenants/{tenant_id}/credentials`

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::tenants::account_sid;
use super::{Operator, tenant_id, utc};
use crate::http::middleware::body;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::{Api, success};
use crate::store::{
    CreatedCredential, CredentialError, CredentialRecord, NewCredential, Timestamp,
};

const LONGEST_LABEL: usize = 100;
/// A quarter of a year.
const LONGEST_OVERLAP: u32 = 7_776_000;

problems! {
    ListProblems: [NotFound];
    CreateProblems: [InvalidRequest, NotFound, TenantErased, AccountSidTaken] fields [UnknownField, WrongType, TooLong, InvalidValue];
    RotateProblems: [InvalidRequest, NotFound, TenantErased, AccountSidTaken, AlreadyRevoked, RuleViolated] fields [UnknownField, WrongType, TooLong, InvalidValue, OutOfRange];
    RevokeProblems: [NotFound, TenantErased, AlreadyRevoked];
}

/// List credentials
///
/// Tokens are not in it: nobody has them.
#[utoipa::path(
    get,
    path = "/tenants/{tenant_id}/credentials",
    operation_id = "list_credentials",
    tag = "Tenants",
    responses(
        (status = 200, description = "The credentials.", body = ref("#/components/schemas/Success_Vec_Credential"), content_type = "application/json"),
        ListProblems,
    )
)]
pub(crate) async fn list(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    let found = store.credentials(&tenant_id(&tenant)?).await?;
    let found = found.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let now = api.now();
    Ok(success(
        StatusCode::OK,
        found.iter().map(|one| shown(one, now)).collect::<Vec<_>>(),
    ))
}

/// Make a credential
///
/// Several are live at a time.
#[utoipa::path(
    post,
    path = "/tenants/{tenant_id}/credentials",
    operation_id = "create_credential",
    tag = "Tenants",
    request_body(content = ref("#/components/schemas/CreateCredential"), content_type = "application/json"),
    responses(
        (status = 201, description = "The credential, with its token.", body = ref("#/components/schemas/Success_MadeCredential"), content_type = "application/json"),
        CreateProblems,
    )
)]
pub(crate) async fn create(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let tenant = tenant_id(&tenant)?;
    let mut fields = Fields::new(body::json_object_or_nothing(&headers, body).await?);
    let new = new_credential(&mut fields);
    fields.finish()?;
    let made = store.create_credential(&tenant, new, api.now()).await?;
    Ok(success(StatusCode::CREATED, answer(&made)))
}

/// Replace a credential
///
/// Makes another; the old one lives on for a while.
#[utoipa::path(
    post,
    path = "/tenants/{tenant_id}/credentials/{account_sid}/rotate",
    operation_id = "rotate_credential",
    tag = "Tenants",
    request_body(content = ref("#/components/schemas/RotateCredential"), content_type = "application/json"),
    responses(
        (status = 201, description = "The new credential, with its token.", body = ref("#/components/schemas/Success_RotatedCredential"), content_type = "application/json"),
        RotateProblems,
    )
)]
pub(crate) async fn rotate(
    Operator(store): Operator,
    State(api): State<Api>,
    Path((tenant, old)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let tenant = tenant_id(&tenant)?;
    let mut fields = Fields::new(body::json_object_or_nothing(&headers, body).await?);
    let new = new_credential(&mut fields);
    let overlap = fields.integer("overlap", 0, LONGEST_OVERLAP);
    fields.finish()?;
    let overlap = overlap.map(|seconds| Duration::from_secs(seconds.into()));
    let now = api.now();
    let made = store
        .rotate_credential(&tenant, &old, new, overlap, now)
        .await?;
    api.seen.clear();
    let mut answer = answer(&made);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("replaces".into(), old.into());
        answer.insert(
            "replaced_until".into(),
            overlap.map(|overlap| utc(now + overlap)).into(),
        );
    }
    Ok(success(StatusCode::CREATED, answer))
}

/// Revoke a credential
///
/// It is dead at once.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant_id}/credentials/{account_sid}",
    operation_id = "revoke_credential",
    tag = "Tenants",
    responses(
        (status = 200, description = "It is dead.", body = ref("#/components/schemas/Success_RevokedCredential"), content_type = "application/json"),
        RevokeProblems,
    )
)]
pub(crate) async fn revoke(
    Operator(store): Operator,
    State(api): State<Api>,
    Path((tenant, account_sid)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let now = api.now();
    store
        .revoke_credential(&tenant_id(&tenant)?, &account_sid, now)
        .await?;
    api.seen.clear();
    Ok(success(
        StatusCode::OK,
        json!({ "account_sid": account_sid, "revoked_at": utc(now) }),
    ))
}

fn new_credential(fields: &mut Fields) -> NewCredential {
    NewCredential {
        account_sid: account_sid(fields),
        label: fields.short_text("label", LONGEST_LABEL),
    }
}

fn answer(made: &CreatedCredential) -> Value {
    json!({ "account_sid": made.account_sid, "token": made.token })
}

fn shown(record: &CredentialRecord, now: Timestamp) -> Value {
    json!({
        "account_sid": record.account_sid,
        "label": record.label,
        "live": record.is_live(now),
        "created_at": utc(record.created_at),
        "last_used_at": record.last_used_at.map(utc),
        "revoked_at": record.revoked_at.map(utc),
    })
}

impl From<CredentialError> for Problem {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::NoSuchTenant | CredentialError::NotFound => {
                Self::plain(Code::NotFound)
            }
            CredentialError::TenantErased => Self::plain(Code::TenantErased),
            CredentialError::AccountSidTaken => Self::plain(Code::AccountSidTaken),
            CredentialError::AlreadyRevoked => Self::plain(Code::AlreadyRevoked),
            CredentialError::Store(error) => error.into(),
        }
    }
}
