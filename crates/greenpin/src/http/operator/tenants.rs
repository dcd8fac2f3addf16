//! `/v1/admin/tenants`

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{Operator, query, tenant_id, utc};
use crate::http::middleware::body;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::tenant::allocations::list::{Page, PageQuery, cut};
use crate::http::tenant::settings;
use crate::http::{Api, success};
use crate::store::{
    EraseError, ErasureReceipt, NewTenant, OperatorStore, TenantError, TenantId, TenantRecord,
    TenantSettings, TenantStatusError, Timestamp, draw_account_sid, is_account_sid,
};

const TENANT_RULE: &str = "must be 1 to 64 of a-z, 0-9, '-' and '_', the first a letter or digit";
const SID_RULE: &str = "must be 1 to 64 letters, digits, '-', '_' and '.'";

problems! {
    CreateProblems: [InvalidRequest, TenantExists, AccountSidTaken, RuleViolated] fields [MissingField, UnknownField, WrongType, InvalidValue];
    ListProblems: [InvalidRequest] fields [InvalidValue];
    ReadProblems: [NotFound];
    SuspendProblems: [NotFound, TenantErased];
    ResumeProblems: [NotFound, TenantErased];
    EraseProblems: [NotFound, TenantHasCalls];
}

/// Make a tenant
///
/// With its first credential, whose token is in the answer and nowhere else.
#[utoipa::path(
    post,
    path = "/tenants",
    operation_id = "create_tenant",
    tag = "Tenants",
    request_body(content = ref("#/components/schemas/CreateTenant"), content_type = "application/json"),
    responses(
        (status = 201, description = "The tenant.", body = ref("#/components/schemas/Success_MadeTenant"), content_type = "application/json"),
        CreateProblems,
    )
)]
pub(crate) async fn create(
    Operator(store): Operator,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let new = new_tenant(body::json_object(&headers, body).await?)?;
    let (tenant, account_sid) = (new.tenant_id.clone(), new.account_sid.clone());
    let made = store.create_tenant(new, api.now()).await?;
    let answer = json!({ "tenant_id": tenant.as_str(), "account_sid": account_sid, "token": made.token, "status": "active" });
    Ok(success(StatusCode::CREATED, answer))
}

/// List tenants
///
/// By name, a page at a time.
#[utoipa::path(
    get,
    path = "/tenants",
    operation_id = "list_tenants",
    tag = "Tenants",
    params(
        ("limit" = Option<u32>, Query, description = "How many at most.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before.", pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"),
    ),
    responses(
        (status = 200, description = "A page of tenants.", body = ref("#/components/schemas/Page_Tenant"), content_type = "application/json"),
        ListProblems,
    )
)]
pub(crate) async fn list(
    Operator(store): Operator,
    State(api): State<Api>,
    asked: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = query(asked, "limit, cursor")?.page(TenantId::parse)?;
    let found = store
        .tenants_after(page.cursor, page.limit + 1, api.now())
        .await?;
    let (found, more) = cut(&found, page.limit);
    let next_cursor = found
        .last()
        .filter(|_| more)
        .map(|last| last.tenant_id.to_string());
    Ok(Page::answer(found.iter().map(shown).collect(), next_cursor))
}

/// Read a tenant
#[utoipa::path(
    get,
    path = "/tenants/{tenant_id}",
    operation_id = "read_tenant",
    tag = "Tenants",
    responses(
        (status = 200, description = "The tenant.", body = ref("#/components/schemas/Success_Tenant"), content_type = "application/json"),
        ReadProblems,
    )
)]
pub(crate) async fn read(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    answer(&store, &tenant_id(&tenant)?, &api).await
}

/// Suspend a tenant
///
/// Its requests are refused, its numbers are not in use; calls that are connected go on. Also if it is suspended already.
#[utoipa::path(
    post,
    path = "/tenants/{tenant_id}/suspend",
    operation_id = "suspend_tenant",
    tag = "Tenants",
    responses(
        (status = 200, description = "The tenant.", body = ref("#/components/schemas/Success_Tenant"), content_type = "application/json"),
        SuspendProblems,
    )
)]
pub(crate) async fn suspend(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    let tenant = tenant_id(&tenant)?;
    store.suspend(&tenant, api.now()).await?;
    api.seen.clear();
    answer(&store, &tenant, &api).await
}

/// Resume a tenant
///
/// Also if it is not suspended.
#[utoipa::path(
    post,
    path = "/tenants/{tenant_id}/resume",
    operation_id = "resume_tenant",
    tag = "Tenants",
    responses(
        (status = 200, description = "The tenant.", body = ref("#/components/schemas/Success_Tenant"), content_type = "application/json"),
        ResumeProblems,
    )
)]
pub(crate) async fn resume(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    let tenant = tenant_id(&tenant)?;
    store.resume(&tenant, api.now()).await?;
    answer(&store, &tenant, &api).await
}

/// Erase a tenant's data
///
/// All of it, for good, with a receipt. Asked for once more, it goes on where it was cut short, or answers with the same receipt.
#[utoipa::path(
    delete,
    path = "/tenants/{tenant_id}",
    operation_id = "erase_tenant",
    tag = "Tenants",
    responses(
        (status = 200, description = "The receipt.", body = ref("#/components/schemas/Success_Erasure"), content_type = "application/json"),
        EraseProblems,
    )
)]
pub(crate) async fn erase(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, Problem> {
    let tenant = tenant_id(&tenant)?;
    let forget = api.clone();
    // It is finished also if nobody waits for the answer any more.
    let task = tokio::spawn(async move {
        let erased = store
            .erase_tenant(&tenant, &api.recordings, Timestamp::now)
            .await;
        erased.map(|receipt| receipt_shown(&receipt))
    });
    let receipt = task.await.map_err(|_| Problem::plain(Code::Internal))?;
    forget.seen.clear();
    Ok(success(StatusCode::OK, receipt?))
}

async fn answer(store: &OperatorStore, tenant: &TenantId, api: &Api) -> Result<Response, Problem> {
    let now = api.now();
    let record = store
        .tenant(tenant, now)
        .await?
        .ok_or_else(|| Problem::plain(Code::NotFound))?;
    let active = store.active_allocations(tenant, now).await?;
    let mut shown = shown(&record);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("active_allocations".into(), active.into());
        if let Some(receipt) = store.erasure(tenant).await? {
            shown.insert("erasure".into(), receipt_shown(&receipt));
        }
    }
    Ok(success(StatusCode::OK, shown))
}

fn new_tenant(object: Map<String, Value>) -> Result<NewTenant, Problem> {
    let mut fields = Fields::new(object);
    let name = fields.required("tenant_id", Fields::text);
    let tenant_id = name.and_then(|name| {
        let read = TenantId::parse(&name);
        if read.is_none() {
            fields.fault("tenant_id", Code::InvalidValue, TENANT_RULE);
        }
        read
    });
    let account_sid = account_sid(&mut fields);
    let timezone = settings::timezone(&mut fields);
    fields.finish()?;
    let default = TenantSettings::default();
    Ok(NewTenant {
        tenant_id: tenant_id.ok_or_else(|| Problem::plain(Code::Internal))?,
        account_sid: account_sid.unwrap_or_else(draw_account_sid),
        token: None,
        settings: TenantSettings {
            timezone: timezone.unwrap_or(default.timezone.clone()),
            ..default
        },
        webhooks: Vec::new(),
    })
}

/// The user name that a credential is to have, if one was asked for.
pub(crate) fn account_sid(fields: &mut Fields) -> Option<String> {
    let account_sid = fields.text("account_sid")?;
    if !is_account_sid(&account_sid) {
        fields.fault("account_sid", Code::InvalidValue, SID_RULE);
        return None;
    }
    Some(account_sid)
}

fn shown(record: &TenantRecord) -> Value {
    json!({
        "tenant_id": record.tenant_id.as_str(),
        "status": record.status.as_str(),
        "timezone": record.settings.timezone,
        "numbers": record.numbers,
        "credentials": record.credentials,
        "created_at": utc(record.created_at),
        "suspended_at": record.suspended_at.map(utc),
        "erased_at": record.erased_at.map(utc),
    })
}

fn receipt_shown(receipt: &ErasureReceipt) -> Value {
    json!({
        "erasure_id": receipt.erasure_id.as_str(),
        "tenant_id": receipt.tenant_id.as_str(),
        "begun_at": utc(receipt.begun_at),
        "finished_at": receipt.finished_at.map(utc),
        "erased": receipt.erased,
    })
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::NotFound => Self::plain(Code::NotFound),
            EraseError::HasCalls => Self::new(
                Code::TenantHasCalls,
                "Suspend it and wait for them, or end them.",
            ),
            EraseError::Recording { call_sid, source } => {
                tracing::error!(%call_sid, error = %source, "a recording was not deleted: an erasure is not finished");
                Self::new(
                    Code::Internal,
                    "A recording could not be deleted. Ask again to go on.",
                )
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
