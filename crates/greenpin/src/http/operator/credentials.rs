//! `/v1/admin/tenants/{tenant_id}/credentials`

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::{CreateCredential, RotateCredential};
use super::{Operator, parse_tenant_id, utc};
use crate::http::middleware::body;
use crate::http::middleware::field::RequestBody as _;
use crate::http::middleware::problem::{Code, Problem, not_found};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::Moment;
use crate::http::{Api, Success, success};
use crate::store::{
    CredentialError, CredentialRecord, NewCredential, OperatorStore, TenantId, Timestamp,
    is_account_sid,
};

problems! {
    ListProblems: [NotFound];
    CreateProblems: [InvalidRequest, NotFound, TenantErased, AccountSidTaken] fields [UnknownField, WrongType, TooLong, InvalidValue];
    RotateProblems: [InvalidRequest, NotFound, TenantErased, AccountSidTaken, AlreadyRevoked, RuleViolated] fields [UnknownField, WrongType, TooLong, InvalidValue, OutOfRange];
    RevokeProblems: [NotFound, TenantErased, AlreadyRevoked];
}

/// List credentials
///
/// Lists the credentials of a tenant, without their tokens. The server stores only digests of tokens.
#[utoipa::path(
    get,
    path = "/tenants/{tenant_id}/credentials",
    operation_id = "list_credentials",
    tag = "Tenants",
    responses(
        (status = 200, description = "The credentials.", body = Success<Vec<CredentialDetails>>),
        ListProblems,
    )
)]
pub(crate) async fn list(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    of_tenant(&store, &parse_tenant_id(&tenant)?, api.now()).await
}

/// Returns the response with the credentials of a tenant.
pub(crate) async fn of_tenant(
    store: &OperatorStore,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<Response, Problem> {
    let found = store.credentials(tenant).await?;
    let found = found.ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok(success(
        StatusCode::OK,
        found
            .iter()
            .map(|record| CredentialDetails::from_record(record, now))
            .collect::<Vec<_>>(),
    ))
}

/// Create a credential
///
/// Adds a credential. A tenant can have several live credentials.
#[utoipa::path(
    post,
    path = "/tenants/{tenant_id}/credentials",
    operation_id = "create_credential",
    tag = "Tenants",
    request_body(content = ref("#/components/schemas/CreateCredential"), content_type = "application/json"),
    responses(
        (status = 201, description = "The credential, with its token.", body = Success<CreatedCredential>),
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
    let tenant = parse_tenant_id(&tenant)?;
    let mut fields = Fields::new(body::optional_json_object(&headers, body).await?);
    let request = CreateCredential::read(&mut fields);
    fields.finish()?;
    let new = NewCredential {
        account_sid: request.account_sid,
        label: request.label,
    };
    let created = store.create_credential(&tenant, new, api.now()).await?;
    let credential = CreatedCredential {
        account_sid: created.account_sid,
        token: created.token,
    };
    Ok(success(StatusCode::CREATED, credential))
}

/// Rotate a credential
///
/// Creates a new credential. The old one remains valid for `overlap` seconds, or until it is revoked.
#[utoipa::path(
    post,
    path = "/tenants/{tenant_id}/credentials/{account_sid}/rotate",
    operation_id = "rotate_credential",
    tag = "Tenants",
    request_body(content = ref("#/components/schemas/RotateCredential"), content_type = "application/json"),
    responses(
        (status = 201, description = "The new credential, with its token.", body = Success<RotatedCredential>),
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
    let tenant = parse_tenant_id(&tenant)?;
    check_account_sid(&old)?;
    let mut fields = Fields::new(body::optional_json_object(&headers, body).await?);
    let request = RotateCredential::read(&mut fields);
    fields.finish()?;
    let new = NewCredential {
        account_sid: request.account_sid,
        label: request.label,
    };
    let overlap = request
        .overlap
        .map(|seconds| Duration::from_secs(seconds.into()));
    let now = api.now();
    let created = store
        .rotate_credential(&tenant, &old, new, overlap, now)
        .await?;
    api.credential_cache.clear();
    let credential = RotatedCredential {
        account_sid: created.account_sid,
        token: created.token,
        replaces: old,
        replaced_until: overlap.map(|overlap| utc(now + overlap)),
    };
    Ok(success(StatusCode::CREATED, credential))
}

/// Revoke a credential
///
/// Requests with this credential are rejected at once.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant_id}/credentials/{account_sid}",
    operation_id = "revoke_credential",
    tag = "Tenants",
    responses(
        (status = 200, description = "The credential is revoked.", body = Success<RevokedCredential>),
        RevokeProblems,
    )
)]
pub(crate) async fn revoke(
    Operator(store): Operator,
    State(api): State<Api>,
    Path((tenant, account_sid)): Path<(String, String)>,
) -> Result<Response, Problem> {
    check_account_sid(&account_sid)?;
    let now = api.now();
    store
        .revoke_credential(&parse_tenant_id(&tenant)?, &account_sid, now)
        .await?;
    api.credential_cache.clear();
    Ok(success(
        StatusCode::OK,
        RevokedCredential {
            account_sid,
            revoked_at: utc(now),
        },
    ))
}

/// Rejects a path with a name that no credential has.
fn check_account_sid(account_sid: &str) -> Result<(), Problem> {
    is_account_sid(account_sid)
        .then_some(())
        .ok_or_else(not_found)
}

/// A credential. The server stores only a digest of its token.
#[derive(Serialize, ToSchema)]
#[schema(as = Credential)]
struct CredentialDetails {
    /// User name for HTTP Basic.
    #[schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("AC-acme"))]
    account_sid: String,
    /// Label chosen by the operator.
    #[schema(required)]
    label: Option<String>,
    /// `true` if the server accepts the credential.
    live: bool,
    /// Time of creation.
    #[schema(value_type = Moment)]
    created_at: String,
    /// Time of the last use, to the minute.
    #[schema(required, value_type = Option<Moment>)]
    last_used_at: Option<String>,
    /// Time of revocation. It can be in the future during a rotation.
    #[schema(required, value_type = Option<Moment>)]
    revoked_at: Option<String>,
}

/// A new credential.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedCredential)]
struct CreatedCredential {
    /// User name for HTTP Basic.
    #[schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("AC-acme"))]
    account_sid: String,
    /// Password. Only this response contains it.
    #[schema(
        pattern = "^[!-~]{1,256}$",
        examples("3q2-7wYfT1s0Xo9aVbKc5LdMnEpRgHiJ")
    )]
    token: String,
}

/// A credential that replaces another.
#[derive(Serialize, ToSchema)]
struct RotatedCredential {
    /// User name for HTTP Basic.
    #[schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("AC-acme"))]
    account_sid: String,
    /// Password. Only this response contains it.
    #[schema(
        pattern = "^[!-~]{1,256}$",
        examples("3q2-7wYfT1s0Xo9aVbKc5LdMnEpRgHiJ")
    )]
    token: String,
    /// User name of the old credential.
    replaces: String,
    /// End of the old credential's validity; `null`: valid until revoked.
    #[schema(required, value_type = Option<Moment>)]
    replaced_until: Option<String>,
}

/// A revoked credential.
#[derive(Serialize, ToSchema)]
struct RevokedCredential {
    /// User name of the credential.
    account_sid: String,
    /// Time of revocation.
    #[schema(value_type = Moment)]
    revoked_at: String,
}

impl CredentialDetails {
    fn from_record(record: &CredentialRecord, now: Timestamp) -> Self {
        Self {
            account_sid: record.account_sid.clone(),
            label: record.label.clone(),
            live: record.is_live(now),
            created_at: utc(record.created_at),
            last_used_at: record.last_used_at.map(utc),
            revoked_at: record.revoked_at.map(utc),
        }
    }
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
