//! `/v1/admin/tenants`

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::{ChangeDestinations, CreateTenant};
use super::{Operator, parse_query, parse_tenant_id, utc};
use crate::destinations::{DestinationChange, DestinationRules, in_both};
use crate::http::middleware::body;
use crate::http::middleware::field::RequestBody as _;
use crate::http::middleware::paging::{Page, PageQuery, split_page};
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{Moment, NewTenantState, TenantState};
use crate::http::{Api, Success, success};
use crate::store::{
    EraseError, ErasureReceipt, NewTenant, OperatorStore, TenantError, TenantId, TenantRecord,
    TenantSettings, TenantStatusError, Timestamp, draw_account_sid,
};

problems! {
    CreateProblems: [InvalidRequest, TenantExists, AccountSidTaken, RuleViolated] fields [Required, UnknownField, WrongType, InvalidValue];
    ListProblems: [InvalidRequest] fields [InvalidValue];
    ReadProblems: [NotFound];
    SuspendProblems: [NotFound, TenantErased];
    ResumeProblems: [NotFound, TenantErased];
    DestinationProblems: [InvalidRequest, NotFound, TenantErased, RuleViolated]
        fields [UnknownField, WrongType, InvalidValue, OutOfRange, TooMany, Repeated];
    EraseProblems: [NotFound, TenantHasCalls, ErasurePending];
}

/// `Retry-After` while other nodes delete recordings: the interval of their cleanup.
const ERASURE_RETRY_SECONDS: u64 = 60;

/// Create a tenant
///
/// Creates a tenant and its first credential. Only this response contains the token.
#[utoipa::path(
    post,
    path = "/tenants",
    operation_id = "create_tenant",
    tag = "Tenants",
    request_body(content = ref("#/components/schemas/CreateTenant"), content_type = "application/json"),
    responses(
        (status = 201, description = "The tenant.", body = Success<CreatedTenant>),
        CreateProblems,
    )
)]
pub(crate) async fn create(
    Operator(store): Operator,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let request = CreateTenant::read(&mut fields);
    fields.finish()?;
    let new = new_tenant(request)?;
    let (tenant_id, account_sid) = (new.tenant_id.to_string(), new.account_sid.clone());
    let created = store.create_tenant(new, api.now()).await?;
    let tenant = CreatedTenant {
        tenant_id,
        account_sid,
        token: created.token,
        status: "active",
    };
    Ok(success(StatusCode::CREATED, tenant))
}

/// List tenants
///
/// Lists tenants by name.
#[utoipa::path(
    get,
    path = "/tenants",
    operation_id = "list_tenants",
    tag = "Tenants",
    params(
        ("limit" = Option<u32>, Query, description = "Maximum number of items to return.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page.", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"),
    ),
    responses(
        (status = 200, description = "A page of tenants.", body = Page<TenantDetails>),
        ListProblems,
    )
)]
pub(crate) async fn list(
    Operator(store): Operator,
    State(api): State<Api>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = parse_query(query, "limit, cursor")?.page(TenantId::parse)?;
    let found = store
        .tenants_after(page.cursor, page.limit + 1, api.now())
        .await?;
    let (found, next_cursor) = split_page(&found, page.limit, |last| last.tenant_id.to_string());
    Ok(Page::json_response(
        found.iter().map(TenantDetails::from_record).collect(),
        next_cursor,
    ))
}

/// Read a tenant
#[utoipa::path(
    get,
    path = "/tenants/{tenant_id}",
    operation_id = "read_tenant",
    tag = "Tenants",
    responses(
        (status = 200, description = "The tenant.", body = Success<TenantDetails>),
        ReadProblems,
    )
)]
pub(crate) async fn read(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    tenant_response(&store, &parse_tenant_id(&tenant)?, &api).await
}

/// Suspend a tenant
///
/// The API rejects the tenant's requests, and new calls to its numbers are treated as calls to an unused number.
/// Connected calls continue. Repeating the request has no effect.
#[utoipa::path(
    post,
    path = "/tenants/{tenant_id}/suspend",
    operation_id = "suspend_tenant",
    tag = "Tenants",
    responses(
        (status = 200, description = "The tenant.", body = Success<TenantDetails>),
        SuspendProblems,
    )
)]
pub(crate) async fn suspend(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    let tenant = parse_tenant_id(&tenant)?;
    store.suspend(&tenant, api.now()).await?;
    api.credential_cache.clear();
    tenant_response(&store, &tenant, &api).await
}

/// Resume a tenant
///
/// Ends a suspension. Has no effect on an active tenant.
#[utoipa::path(
    post,
    path = "/tenants/{tenant_id}/resume",
    operation_id = "resume_tenant",
    tag = "Tenants",
    responses(
        (status = 200, description = "The tenant.", body = Success<TenantDetails>),
        ResumeProblems,
    )
)]
pub(crate) async fn resume(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    let tenant = parse_tenant_id(&tenant)?;
    store.resume(&tenant, api.now()).await?;
    tenant_response(&store, &tenant, &api).await
}

/// Change the destination rules of a tenant
///
/// Sets the numbers that the tenant may dial. New allocations and new calls follow the rules within one second. Of all
/// prefixes of a number the longest decides. Satellite and premium-rate numbers are denied unless `allow` has their
/// prefix. A prefix in both lists is rejected.
#[utoipa::path(
    put,
    path = "/tenants/{tenant_id}/destinations",
    operation_id = "set_tenant_destinations",
    tag = "Tenants",
    request_body(content = ref("#/components/schemas/ChangeDestinations"), content_type = "application/json"),
    responses(
        (status = 200, description = "The rules.", body = Success<DestinationRules>),
        DestinationProblems,
    )
)]
pub(crate) async fn set_destinations(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let tenant = parse_tenant_id(&tenant)?;
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let change = DestinationChange::from(ChangeDestinations::read(&mut fields));
    let now = api.now();
    let stored = store.tenant(&tenant, now).await?;
    let stored = stored.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let mut rules = stored.settings.destinations;
    change.apply(&mut rules);
    if in_both(&rules.allow, &rules.deny).is_some() {
        fields.add_fault("deny", Code::Repeated, "has a prefix that is also in allow");
    }
    fields.finish()?;
    let rules = store.set_destinations(&tenant, change, now).await?;
    Ok(success(StatusCode::OK, rules))
}

/// Erase a tenant's data
///
/// Permanently deletes all data of the tenant and returns a receipt. Repeating the request continues an
/// interrupted erasure, or returns the same receipt.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant_id}",
    operation_id = "erase_tenant",
    tag = "Tenants",
    responses(
        (status = 200, description = "The receipt.", body = Success<Erasure>),
        EraseProblems,
    )
)]
pub(crate) async fn erase(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    let tenant = parse_tenant_id(&tenant)?;
    let forget = api.clone();
    // The erasure runs to completion even if the client disconnects.
    let task = tokio::spawn(async move {
        let erased = store
            .erase_tenant(&tenant, &api.recordings, Timestamp::now)
            .await;
        erased.map(|receipt| Erasure::from_receipt(&receipt))
    });
    let receipt = task.await.map_err(|_| Problem::plain(Code::Internal))?;
    forget.credential_cache.clear();
    Ok(success(StatusCode::OK, receipt?))
}

async fn tenant_response(
    store: &OperatorStore,
    tenant: &TenantId,
    api: &Api,
) -> Result<Response, Problem> {
    let now = api.now();
    let record = store
        .tenant(tenant, now)
        .await?
        .ok_or_else(|| Problem::plain(Code::NotFound))?;
    let active = store.active_allocations(tenant, now).await?;
    let erasure = store.erasure(tenant).await?;
    let details = TenantDetails {
        active_allocations: Some(active),
        erasure: erasure.as_ref().map(Erasure::from_receipt),
        ..TenantDetails::from_record(&record)
    };
    Ok(success(StatusCode::OK, details))
}

fn new_tenant(request: CreateTenant) -> Result<NewTenant, Problem> {
    let default = TenantSettings::default();
    Ok(NewTenant {
        tenant_id: request
            .tenant_id
            .ok_or_else(|| Problem::plain(Code::Internal))?,
        account_sid: request.account_sid.unwrap_or_else(draw_account_sid),
        token: None,
        settings: TenantSettings {
            timezone: request.timezone.unwrap_or(default.timezone.clone()),
            ..default
        },
        webhooks: Vec::new(),
    })
}

/// A new tenant with its first credential.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeTenant)]
struct CreatedTenant {
    /// Name of the tenant.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", examples("acme"))]
    tenant_id: String,
    /// User name for HTTP Basic.
    #[schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("AC-acme"))]
    account_sid: String,
    /// Password. Only this response contains it.
    #[schema(
        pattern = "^[!-~]{1,256}$",
        examples("3q2-7wYfT1s0Xo9aVbKc5LdMnEpRgHiJ")
    )]
    token: String,
    /// Always `active`.
    #[schema(value_type = NewTenantState)]
    status: &'static str,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = Tenant)]
struct TenantDetails {
    /// Name of the tenant.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", examples("acme"))]
    tenant_id: String,
    /// State of the tenant.
    #[schema(value_type = TenantState)]
    status: &'static str,
    /// Time zone of the tenant's timestamps.
    timezone: String,
    /// Numbers that the tenant may dial.
    destinations: DestinationRules,
    /// Number of virtual numbers in its pool.
    numbers: u64,
    /// Number of live credentials.
    credentials: u64,
    /// Time of creation.
    #[schema(value_type = Moment)]
    created_at: String,
    /// Start of the suspension.
    #[schema(required, value_type = Option<Moment>)]
    suspended_at: Option<String>,
    /// Start of the erasure.
    #[schema(required, value_type = Option<Moment>)]
    erased_at: Option<String>,
    /// Number of active allocations. Omitted in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    active_allocations: Option<u64>,
    /// Receipt of the erasure, if the tenant was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Erasure, required = false)]
    erasure: Option<Erasure>,
}

/// The receipt of an erasure.
#[derive(Serialize, ToSchema)]
struct Erasure {
    /// Id of the receipt.
    #[schema(
        pattern = "^era_[0-9a-hjkmnp-tv-z]{26}$",
        examples("era_01jxs0q5w8e2r4t6y8u3i5o7pa")
    )]
    erasure_id: String,
    /// Name of the tenant.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", examples("acme"))]
    tenant_id: String,
    /// Start of the erasure.
    #[schema(value_type = Moment)]
    begun_at: String,
    /// End of the erasure; `null` if it was interrupted. Repeat the request to continue it.
    #[schema(required, value_type = Option<Moment>)]
    finished_at: Option<String>,
    /// Time from which on copies of the database from before the erasure cannot be read with the master key: the end of
    /// the first `greenpin key rotate` after the erasure. `null` until then.
    #[schema(required, value_type = Option<Moment>)]
    key_destroyed_at: Option<String>,
    /// Number of deleted rows and files by kind.
    erased: BTreeMap<String, u64>,
}

impl TenantDetails {
    fn from_record(record: &TenantRecord) -> Self {
        Self {
            tenant_id: record.tenant_id.to_string(),
            status: record.status.as_str(),
            timezone: record.settings.timezone.clone(),
            destinations: record.settings.destinations.clone(),
            numbers: record.numbers,
            credentials: record.credentials,
            created_at: utc(record.created_at),
            suspended_at: record.suspended_at.map(utc),
            erased_at: record.erased_at.map(utc),
            active_allocations: None,
            erasure: None,
        }
    }
}

impl Erasure {
    fn from_receipt(receipt: &ErasureReceipt) -> Self {
        Self {
            erasure_id: receipt.erasure_id.to_string(),
            tenant_id: receipt.tenant_id.to_string(),
            begun_at: utc(receipt.begun_at),
            finished_at: receipt.finished_at.map(utc),
            key_destroyed_at: receipt.key_destroyed_at.map(utc),
            erased: receipt.erased.clone(),
        }
    }
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::NotFound => Self::plain(Code::NotFound),
            EraseError::HasCalls => Self::new(
                Code::TenantHasCalls,
                "Suspend the tenant and wait for its calls to end, or end them.",
            ),
            EraseError::Recording { call_sid, source } => {
                tracing::error!(%call_sid, error = %source, "cannot delete a recording; the erasure is incomplete");
                Self::new(
                    Code::Internal,
                    "A recording could not be deleted. Repeat the request to continue.",
                )
            }
            EraseError::OtherNodes { recordings, nodes } => {
                let nodes = nodes.join(", ");
                let detail = format!(
                    "{recordings} recordings lie on {nodes}. Repeat the request after a minute."
                );
                Self::new(Code::ErasurePending, detail).retry_after(ERASURE_RETRY_SECONDS)
            }
            EraseError::Store(error) => error.into(),
        }
    }
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Exists => Self::plain(Code::TenantExists),
            TenantError::AccountSidTaken => Self::plain(Code::AccountSidTaken),
            TenantError::Store(error) => error.into(),
        }
    }
}

impl From<TenantStatusError> for Problem {
    fn from(error: TenantStatusError) -> Self {
        match error {
            TenantStatusError::NotFound => Self::plain(Code::NotFound),
            TenantStatusError::Erased => Self::plain(Code::TenantErased),
            TenantStatusError::Store(error) => error.into(),
        }
    }
}
