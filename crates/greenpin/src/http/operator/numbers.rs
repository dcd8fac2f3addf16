//! `/v1/admin/numbers`: the number pools of all tenants.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use call::PhoneNumber;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::fields::{AddNumber, ChangeNumber, MoveNumber};
use super::number_import;
use super::number_import::{FileError, NumberFile, RejectedLine};
use super::{Operator, parse_query, utc};
use crate::http::middleware::body;
use crate::http::middleware::field::RequestBody as _;
use crate::http::middleware::paging::{Page, invalid_parameter, page_request, split_page};
use crate::http::middleware::problem::{Code, FieldError, Problem, RefusedLine};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{E164, Moment, RemovedNumberState, SharingMode};
use crate::http::{Api, Success, success};
use crate::store::{
    ImportError, NewNumber, NumberChange, NumberError, NumberFilter, NumberMode, NumberRecord,
    OperatorStore, PoolError, TenantId,
};

/// Filters of the list of numbers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NumberQuery {
    /// Return only numbers of this tenant.
    #[param(value_type = String, required = false, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", example = "acme")]
    tenant_id: Option<String>,
    /// Return only numbers with this mode.
    #[param(value_type = SharingMode, required = false)]
    mode: Option<String>,
    /// `true`: return only quarantined numbers; `false`: only others.
    #[param(value_type = bool, required = false)]
    quarantined: Option<String>,
    /// Maximum number of items to return.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]{22}$")]
    cursor: Option<String>,
}

/// Options of an import.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportQuery {
    /// Tenant to receive the numbers.
    #[param(value_type = String, required = true, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", example = "acme")]
    tenant_id: Option<String>,
    /// Check the file without importing it.
    #[param(value_type = bool, required = false, default = false)]
    dry_run: Option<String>,
}

problems! {
    ListProblems: [InvalidRequest] fields [InvalidValue];
    AddProblems: [InvalidRequest, NumberExists, RuleViolated] fields [Required, UnknownField, WrongType, NotE164, InvalidValue, OutOfRange, NoSuchTenant];
    ImportProblems: [InvalidRequest, InvalidCsv, NumberExists, ImportRefused, RuleViolated] fields [Required, InvalidValue, OutOfRange, NoSuchTenant];
    ReadProblems: [NotFound];
    ChangeProblems: [InvalidRequest, NotFound, NumberInUse, RuleViolated] fields [UnknownField, WrongType, InvalidValue, OutOfRange];
    MoveToProblems: [InvalidRequest, NotFound, NumberInUse, RuleViolated] fields [Required, UnknownField, WrongType, InvalidValue, NoSuchTenant];
    QuarantineProblems: [NotFound];
    ReleaseProblems: [NotFound];
    RemoveProblems: [NotFound, NumberInUse];
}

/// Returns whether a text has the form of a cursor: 16 octets in base64url.
fn is_cursor(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == 22 && text.bytes().all(allowed)
}

/// List numbers
///
/// Lists the numbers of all pools, in no particular order.
#[utoipa::path(
    get,
    path = "/numbers",
    operation_id = "list_pool_numbers",
    tag = "Pools",
    params(NumberQuery),
    responses(
        (status = 200, description = "A page of numbers.", body = Page<NumberDetails>),
        ListProblems,
    )
)]
pub(crate) async fn list(
    Operator(store): Operator,
    State(api): State<Api>,
    query: Result<Query<NumberQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = parse_query(query, "tenant_id, mode, quarantined, limit, cursor")?;
    let page = page_request(query.limit.as_deref(), query.cursor.as_deref(), |cursor| {
        is_cursor(cursor).then(|| cursor.to_owned())
    })?;
    let filter = NumberFilter {
        tenant: query.tenant_id.as_deref().map(parse_tenant).transpose()?,
        mode: query.mode.as_deref().map(parse_mode).transpose()?,
        quarantined: query
            .quarantined
            .as_deref()
            .map(|text| parse_bool("quarantined", text))
            .transpose()?,
    };
    let found = store
        .numbers_after(filter, page.cursor, page.limit + 1, api.now())
        .await?;
    let (found, next_cursor) = split_page(&found, page.limit, |last| last.cursor.clone());
    Ok(Page::json_response(
        found.iter().map(NumberDetails::from_record).collect(),
        next_cursor,
    ))
}

/// Add a number
#[utoipa::path(
    post,
    path = "/numbers",
    operation_id = "add_number",
    tag = "Pools",
    request_body(content = ref("#/components/schemas/AddNumber"), content_type = "application/json"),
    responses(
        (status = 201, description = "The number.", body = Success<NumberDetails>),
        AddProblems,
    )
)]
pub(crate) async fn add(
    Operator(store): Operator,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let request = AddNumber::read(&mut fields);
    fields.finish()?;
    let (Some(tenant), Some(virtual_number)) = (request.tenant_id, request.virtual_number) else {
        return Err(Problem::plain(Code::Internal));
    };
    let change = request.change;
    let mode = change.mode.unwrap_or(NumberMode::Exclusive);
    let new = NewNumber::with_defaults(virtual_number, mode, change.pin_length, change.max_active)?;
    store.add_number(tenant, new, api.now()).await?;
    number_response(&store, virtual_number, StatusCode::CREATED, &api).await
}

/// Import numbers
///
/// Imports a CSV file (RFC 4180, UTF-8) of at most 100,000 numbers and 8 MiB. Either all lines are imported or
/// none.
#[utoipa::path(
    post,
    path = "/numbers/import",
    operation_id = "import_numbers",
    tag = "Pools",
    params(ImportQuery),
    request_body(content = String, description = "CSV file. The header names the columns; `virtual_number` is required.", content_type = "text/csv", example = "virtual_number,mode,pin_length,max_active\n+914000000001,exclusive,4,1\n"),
    responses(
        (status = 200, description = "The report of a dry run.", body = Success<ImportReport>),
        (status = 201, description = "All numbers were added.", body = Success<ImportReport>),
        ImportProblems,
    )
)]
pub(crate) async fn import(
    Operator(store): Operator,
    State(api): State<Api>,
    query: Result<Query<ImportQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let query = parse_query(query, "tenant_id, dry_run")?;
    let tenant = query.tenant_id.as_deref().ok_or_else(|| {
        let (field, message) = ("tenant_id".to_owned(), "is required".to_owned());
        Problem::from_fields(vec![FieldError {
            field,
            code: Code::Required,
            message,
        }])
    })?;
    let tenant = parse_tenant(tenant)?;
    let dry_run = query
        .dry_run
        .as_deref()
        .map(|text| parse_bool("dry_run", text))
        .transpose()?
        .unwrap_or(false);
    let file = body::csv(&headers, body, number_import::MAX_FILE_BYTES).await?;
    // Parsing 8 MiB would block other requests on this thread.
    let file = tokio::task::spawn_blocking(move || NumberFile::read(&file)).await;
    let file = file.map_err(|_| Problem::plain(Code::Internal))??;
    let report = file
        .import(&store, &tenant, dry_run, api.now(), |_| {})
        .await?;
    let refused: Vec<RefusedLine> = report.refused.into_iter().map(refused_line).collect();
    if !refused.is_empty() && !dry_run {
        return Err(Problem::from_lines(refused));
    }
    let status = if dry_run {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let report = ImportReport {
        tenant_id: tenant.to_string(),
        dry_run,
        lines: report.lines,
        added: report.added,
        refused,
    };
    Ok(success(status, report))
}

/// Read a number
#[utoipa::path(
    get,
    path = "/numbers/{virtual_number}",
    operation_id = "read_number",
    tag = "Pools",
    responses(
        (status = 200, description = "The number.", body = Success<NumberDetails>),
        ReadProblems,
    )
)]
pub(crate) async fn read(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    number_response(&store, parse_number(&text)?, StatusCode::OK, &api).await
}

/// Change a number
///
/// Changes the given fields. Mode and PIN length can change only if the number has no active allocation.
#[utoipa::path(
    patch,
    path = "/numbers/{virtual_number}",
    operation_id = "change_number",
    tag = "Pools",
    request_body(content = ref("#/components/schemas/ChangeNumber"), content_type = "application/json"),
    responses(
        (status = 200, description = "The number.", body = Success<NumberDetails>),
        ChangeProblems,
    )
)]
pub(crate) async fn change(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let number = parse_number(&text)?;
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let request = ChangeNumber::read(&mut fields);
    fields.finish()?;
    let change = NumberChange {
        mode: request.mode,
        pin_length: request.pin_length,
        max_active: request.max_active,
    };
    store.change_number(number, change, api.now()).await?;
    number_response(&store, number, StatusCode::OK, &api).await
}

/// Move a number to another tenant
#[utoipa::path(
    post,
    path = "/numbers/{virtual_number}/move",
    operation_id = "move_number",
    tag = "Pools",
    request_body(content = ref("#/components/schemas/MoveNumber"), content_type = "application/json"),
    responses(
        (status = 200, description = "The number.", body = Success<NumberDetails>),
        MoveToProblems,
    )
)]
pub(crate) async fn move_to(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let number = parse_number(&text)?;
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let request = MoveNumber::read(&mut fields);
    fields.finish()?;
    let tenant = request
        .tenant_id
        .ok_or_else(|| Problem::plain(Code::Internal))?;
    store.move_number(number, tenant, api.now()).await?;
    number_response(&store, number, StatusCode::OK, &api).await
}

/// Quarantine a number
///
/// The number accepts no new allocations. Active allocations continue. Repeating the request has no effect.
#[utoipa::path(
    post,
    path = "/numbers/{virtual_number}/quarantine",
    operation_id = "quarantine_number",
    tag = "Pools",
    responses(
        (status = 200, description = "The number.", body = Success<NumberDetails>),
        QuarantineProblems,
    )
)]
pub(crate) async fn quarantine(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let number = parse_number(&text)?;
    store.quarantine_number(number, api.now()).await?;
    number_response(&store, number, StatusCode::OK, &api).await
}

/// Release a number
///
/// Ends the quarantine of the number. Has no effect on a number without quarantine.
#[utoipa::path(
    post,
    path = "/numbers/{virtual_number}/release",
    operation_id = "release_number",
    tag = "Pools",
    responses(
        (status = 200, description = "The number.", body = Success<NumberDetails>),
        ReleaseProblems,
    )
)]
pub(crate) async fn release(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let number = parse_number(&text)?;
    store.release_number(number, api.now()).await?;
    number_response(&store, number, StatusCode::OK, &api).await
}

/// Remove a number
///
/// Removes the number from its pool. The number must have no active allocation.
#[utoipa::path(
    delete,
    path = "/numbers/{virtual_number}",
    operation_id = "remove_number",
    tag = "Pools",
    responses(
        (status = 200, description = "The number is removed.", body = Success<RemovedNumber>),
        RemoveProblems,
    )
)]
pub(crate) async fn remove(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let number = parse_number(&text)?;
    store.remove_number(number, api.now()).await?;
    Ok(success(
        StatusCode::OK,
        RemovedNumber {
            virtual_number: number.expose(),
            status: "removed",
        },
    ))
}

async fn number_response(
    store: &OperatorStore,
    number: PhoneNumber,
    status: StatusCode,
    api: &Api,
) -> Result<Response, Problem> {
    let found = store
        .number(number, api.now())
        .await?
        .ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok(success(status, NumberDetails::from_record(&found)))
}

/// Parses a number of a path. An invalid number is not found.
fn parse_number(text: &str) -> Result<PhoneNumber, Problem> {
    PhoneNumber::parse(text).map_err(|_| Problem::plain(Code::NotFound))
}

fn parse_tenant(text: &str) -> Result<TenantId, Problem> {
    TenantId::parse(text).ok_or_else(|| invalid_parameter("tenant_id", "must be a tenant id"))
}

fn parse_mode(text: &str) -> Result<NumberMode, Problem> {
    text.parse()
        .map_err(|_| invalid_parameter("mode", "must be one of: exclusive, shared"))
}

fn parse_bool(field: &str, text: &str) -> Result<bool, Problem> {
    text.parse()
        .map_err(|_| invalid_parameter(field, "must be true or false"))
}

fn refused_line(refused: RejectedLine) -> RefusedLine {
    let RejectedLine {
        line,
        field,
        fault,
        message,
    } = refused;
    RefusedLine {
        line,
        field,
        code: fault.as_str(),
        message,
    }
}

/// A number in a pool.
#[derive(Serialize, ToSchema)]
#[schema(as = PoolNumber)]
struct NumberDetails {
    /// The virtual number.
    #[schema(value_type = E164)]
    virtual_number: String,
    /// Tenant of the number.
    tenant_id: String,
    /// Number of active allocations allowed: one (`exclusive`) or many (`shared`).
    #[schema(value_type = SharingMode)]
    mode: &'static str,
    /// Number of digits of each PIN.
    #[schema(minimum = 4, maximum = 8)]
    pin_length: u8,
    /// Maximum number of active allocations.
    #[schema(minimum = 1)]
    max_active: u32,
    /// Current number of active allocations.
    active: u32,
    /// `true` if the number rejects new allocations.
    quarantined: bool,
    /// Start of the quarantine.
    #[schema(required, value_type = Option<Moment>)]
    quarantined_at: Option<String>,
    /// Time of its addition to the pool.
    #[schema(value_type = Moment)]
    created_at: String,
}

/// A number after its removal.
#[derive(Serialize, ToSchema)]
struct RemovedNumber {
    /// The virtual number.
    #[schema(value_type = E164)]
    virtual_number: String,
    /// Always `removed`.
    #[schema(value_type = RemovedNumberState)]
    status: &'static str,
}

/// Report of an import or a dry run.
#[derive(Serialize, ToSchema)]
struct ImportReport {
    /// Tenant of the pool.
    tenant_id: String,
    /// `true` if the file was only checked.
    dry_run: bool,
    /// Number of lines, without the header.
    #[schema(value_type = u64)]
    lines: usize,
    /// Number of numbers added; 0 for a dry run.
    #[schema(value_type = u64)]
    added: usize,
    /// Rejected lines.
    refused: Vec<RefusedLine>,
}

impl NumberDetails {
    fn from_record(record: &NumberRecord) -> Self {
        let number = &record.number;
        Self {
            virtual_number: number.virtual_number.expose(),
            tenant_id: number.tenant_id.to_string(),
            mode: number.mode.as_str(),
            pin_length: number.pin_length,
            max_active: number.max_active,
            active: number.active,
            quarantined: record.quarantined_at.is_some(),
            quarantined_at: record.quarantined_at.map(utc),
            created_at: utc(record.created_at),
        }
    }
}

fn no_such_tenant() -> Problem {
    let (field, message) = (
        "tenant_id".to_owned(),
        "does not exist or has been erased".to_owned(),
    );
    Problem::from_fields(vec![FieldError {
        field,
        code: Code::NoSuchTenant,
        message,
    }])
}

impl From<NumberError> for Problem {
    fn from(error: NumberError) -> Self {
        let message = error.to_string();
        let out_of_range = |field: &str, message: String| {
            Self::from_fields(vec![FieldError {
                field: field.into(),
                code: Code::OutOfRange,
                message,
            }])
        };
        match error {
            NumberError::NoSuchTenant => no_such_tenant(),
            NumberError::Exists => Self::plain(Code::NumberExists),
            NumberError::PinLength => out_of_range("pin_length", message),
            NumberError::MaxActive(_) | NumberError::ExclusiveTakesOne => {
                out_of_range("max_active", message)
            }
            NumberError::Store(error) => error.into(),
        }
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::NotFound => Self::plain(Code::NotFound),
            PoolError::InUse(active) => Self::new(
                Code::NumberInUse,
                format!("The number has active allocations: {active}."),
            ),
            PoolError::NoSuchTenant => no_such_tenant(),
            PoolError::Rule(error) => error.into(),
            PoolError::Store(error) => error.into(),
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::NoSuchTenant => no_such_tenant(),
            ImportError::Taken => Self::plain(Code::NumberExists),
            ImportError::Rule(error) => error.into(),
            ImportError::Store(error) => error.into(),
        }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        match error {
            FileError::TooLong => Self::new(Code::BodyTooLarge, format!("{error}.")),
            error => Self::new(Code::InvalidCsv, format!("{error}.")),
        }
    }
}
