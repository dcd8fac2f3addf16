//! `/v1/admin/numbers`: the pools of all tenants.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use call::PhoneNumber;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::fields::Fields;
use super::super::listing::{Page, asked, cut, invalid};
use super::super::problem::{Code, FieldError, Problem, RefusedLine};
use super::super::{Api, body, success};
use super::{Operator, query, utc};
use crate::pool_import::{self, Refused, Sheet, Unreadable};
use crate::store::{
    ImportError, NewNumber, NumberChange, NumberError, NumberFilter, NumberMode, NumberRecord, OperatorStore,
    PoolError, TenantId,
};

const MODES: [(&str, NumberMode); 2] = [("exclusive", NumberMode::Exclusive), ("shared", NumberMode::Shared)];
const LONGEST_LIMIT: u32 = 50_000_000;

/// What the list of numbers can be narrowed by.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NumberQuery {
    tenant_id: Option<String>,
    mode: Option<String>,
    quarantined: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// How an import is to be done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportQuery {
    tenant_id: Option<String>,
    dry_run: Option<String>,
}

/// `GET /numbers`
pub(super) async fn list(
    Operator(store): Operator,
    State(api): State<Api>,
    given: Result<Query<NumberQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let given = query(given, "tenant_id, mode, quarantined, limit, cursor")?;
    let page = asked(given.limit.as_deref(), given.cursor.as_deref(), |cursor| Some(cursor.to_owned()))?;
    let filter = NumberFilter {
        tenant: given.tenant_id.as_deref().map(name).transpose()?,
        mode: given.mode.as_deref().map(mode).transpose()?,
        quarantined: given.quarantined.as_deref().map(|text| truth("quarantined", text)).transpose()?,
    };
    let found = store.numbers_after(filter, page.cursor, page.limit + 1, api.now()).await?;
    let (found, more) = cut(&found, page.limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.cursor.clone());
    Ok(Page::answer(found.iter().map(shown).collect(), next_cursor))
}

/// `POST /numbers`
pub(super) async fn add(
    Operator(store): Operator,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let tenant = tenant(&mut fields);
    let virtual_number = fields.required("virtual_number", Fields::number);
    let change = change_of(&mut fields);
    fields.finish()?;
    let (Some(tenant), Some(virtual_number)) = (tenant, virtual_number) else {
        return Err(Problem::plain(Code::Internal));
    };
    let mode = change.mode.unwrap_or(NumberMode::Exclusive);
    let new = NewNumber::of(virtual_number, mode, change.pin_length, change.max_active)?;
    store.add_number(tenant, new, api.now()).await?;
    answer(&store, virtual_number, StatusCode::CREATED, &api).await
}

/// `POST /numbers/import`: `text/csv`; every line, or none.
pub(super) async fn import(
    Operator(store): Operator,
    State(api): State<Api>,
    given: Result<Query<ImportQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let given = query(given, "tenant_id, dry_run")?;
    let tenant = given.tenant_id.as_deref().ok_or_else(|| {
        let (field, message) = ("tenant_id".to_owned(), "is required".to_owned());
        Problem::of_fields(vec![FieldError { field, code: Code::MissingField, message }])
    })?;
    let tenant = name(tenant)?;
    let dry_run = given.dry_run.as_deref().map(|text| truth("dry_run", text)).transpose()?.unwrap_or(false);
    let file = body::csv(&headers, body, pool_import::MOST_BYTES).await?;
    // A file of 8 MiB takes longer to read than other requests may be held up.
    let sheet = tokio::task::spawn_blocking(move || Sheet::read(&file)).await;
    let sheet = sheet.map_err(|_| Problem::plain(Code::Internal))??;
    let report = sheet.import(&store, &tenant, dry_run, api.now(), |_| {}).await?;
    let refused: Vec<RefusedLine> = report.refused.into_iter().map(refused_line).collect();
    if !refused.is_empty() && !dry_run {
        return Err(Problem::of_lines(refused));
    }
    let status = if dry_run { StatusCode::OK } else { StatusCode::CREATED };
    let answer = json!({
        "tenant_id": tenant.as_str(),
        "dry_run": dry_run,
        "lines": report.lines,
        "added": report.added,
        "refused": refused,
    });
    Ok(success(status, answer))
}

/// `GET /numbers/{virtual_number}`
pub(super) async fn read(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    answer(&store, number(&text)?, StatusCode::OK, &api).await
}

/// `PATCH /numbers/{virtual_number}`: changes what is given.
pub(super) async fn change(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let number = number(&text)?;
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let change = change_of(&mut fields);
    fields.finish()?;
    store.change_number(number, change, api.now()).await?;
    answer(&store, number, StatusCode::OK, &api).await
}

/// `POST /numbers/{virtual_number}/move`
pub(super) async fn move_to(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let number = number(&text)?;
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let tenant = tenant(&mut fields);
    fields.finish()?;
    let tenant = tenant.ok_or_else(|| Problem::plain(Code::Internal))?;
    store.move_number(number, tenant, api.now()).await?;
    answer(&store, number, StatusCode::OK, &api).await
}

/// `POST /numbers/{virtual_number}/quarantine`
pub(super) async fn quarantine(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let number = number(&text)?;
    store.quarantine_number(number, api.now()).await?;
    answer(&store, number, StatusCode::OK, &api).await
}

/// `POST /numbers/{virtual_number}/release`
pub(super) async fn release(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let number = number(&text)?;
    store.release_number(number, api.now()).await?;
    answer(&store, number, StatusCode::OK, &api).await
}

/// `DELETE /numbers/{virtual_number}`
pub(super) async fn remove(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let number = number(&text)?;
    store.remove_number(number, api.now()).await?;
    Ok(success(StatusCode::OK, json!({ "virtual_number": number.expose(), "status": "removed" })))
}

async fn answer(
    store: &OperatorStore,
    number: PhoneNumber,
    status: StatusCode,
    api: &Api,
) -> Result<Response, Problem> {
    let found = store.number(number, api.now()).await?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok(success(status, shown(&found)))
}

/// Reads a number of a path. One that cannot be is one that is not there.
fn number(text: &str) -> Result<PhoneNumber, Problem> {
    PhoneNumber::parse(text).map_err(|_| Problem::plain(Code::NotFound))
}

fn name(text: &str) -> Result<TenantId, Problem> {
    TenantId::parse(text).ok_or_else(|| invalid("tenant_id", "must be a tenant's name"))
}

fn mode(text: &str) -> Result<NumberMode, Problem> {
    let found = MODES.iter().find(|(word, _)| *word == text).map(|(_, mode)| *mode);
    found.ok_or_else(|| invalid("mode", "must be one of: exclusive, shared"))
}

fn truth(field: &str, text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| invalid(field, "must be true or false"))
}

fn tenant(fields: &mut Fields) -> Option<TenantId> {
    let name = fields.required("tenant_id", Fields::text)?;
    let read = TenantId::parse(&name);
    if read.is_none() {
        fields.fault("tenant_id", Code::InvalidValue, "must be a tenant's name");
    }
    read
}

fn change_of(fields: &mut Fields) -> NumberChange {
    let pin_length = fields.integer("pin_length", 4, 8);
    NumberChange {
        mode: fields.word("mode", &MODES),
        pin_length: pin_length.and_then(|length| u8::try_from(length).ok()),
        max_active: fields.integer("max_active", 1, LONGEST_LIMIT),
    }
}

fn refused_line(refused: Refused) -> RefusedLine {
    let Refused { line, field, fault, message } = refused;
    RefusedLine { line, field, code: fault.as_str(), message }
}

fn shown(record: &NumberRecord) -> Value {
    let number = &record.number;
    json!({
        "virtual_number": number.virtual_number.expose(),
        "tenant_id": number.tenant_id.as_str(),
        "mode": number.mode.as_str(),
        "pin_length": number.pin_length,
        "max_active": number.max_active,
        "active": number.active,
        "quarantined": record.quarantined_at.is_some(),
        "quarantined_at": record.quarantined_at.map(utc),
        "created_at": utc(record.created_at),
    })
}

fn no_such_tenant() -> Problem {
    let (field, message) = ("tenant_id".to_owned(), "is no tenant, or one that was erased".to_owned());
    Problem::of_fields(vec![FieldError { field, code: Code::NoSuchTenant, message }])
}

impl From<NumberError> for Problem {
    fn from(error: NumberError) -> Self {
        let message = error.to_string();
        let against = |field: &str, message: String| {
            Self::of_fields(vec![FieldError { field: field.into(), code: Code::OutOfRange, message }])
        };
        match error {
            NumberError::NoSuchTenant => no_such_tenant(),
            NumberError::Exists => Self::plain(Code::NumberExists),
            NumberError::PinLength => against("pin_length", message),
            NumberError::MaxActive(_) | NumberError::ExclusiveTakesOne => against("max_active", message),
            NumberError::Store(error) => error.into(),
        }
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::NotFound => Self::plain(Code::NotFound),
            PoolError::InUse(active) => {
                Self::new(Code::NumberInUse, format!("Active allocations of the number: {active}."))
            }
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

impl From<Unreadable> for Problem {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::TooLong => Self::new(Code::BodyTooLarge, format!("{error}.")),
            error => Self::new(Code::InvalidCsv, format!("{error}.")),
        }
    }
}
