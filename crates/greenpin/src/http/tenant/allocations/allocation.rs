//! `/greenpin`: allocations.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use call::PhoneNumber;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::problem::{Code, FieldError, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{AllocationId, AllocationStatus, E164, Moment, PinText};
use crate::http::{Api, Success, success};
use crate::store::{
    Allocation, CreateError, DeleteError, GreenpinId, NewAllocation, Status, TenantSettings,
    TenantStore, Timestamp,
};

pub(crate) const MOST_NUMBERS: usize = 10;
pub(crate) const LONGEST_CUSTOM_FIELD: usize = 256;
pub(crate) const DEFAULT_DURATION: u32 = 86_400;
pub(crate) const DEFAULT_ATTEMPTS: u8 = 3;
pub(crate) const MOST_ATTEMPTS: u8 = 10;

problems! {
    CreateProblems: [InvalidRequest, NumberNotInPool, VirtualNumberBusy, NumberQuarantined, PinSpaceExhausted, RuleViolated, ToRequired]
        fields [
            MissingField, UnknownField, WrongType, NotE164, TooLong, InvalidValue,
            OutOfRange, TooFew, TooMany, Repeated, OnBothSides, ToRequired,
        ];
    ReadProblems: [NotFound];
    DeleteProblems: [NotFound, AlreadyDeleted];
}

/// Allocate a PIN
///
/// Draws a PIN on a virtual number of the tenant's pool and ties both sides to it until the allocation expires or is
/// deleted. An **exclusive** number takes one active allocation at a time, a **shared** one many, each with a PIN of its own.
#[utoipa::path(
    post,
    path = "/greenpin",
    operation_id = "create_allocation",
    tag = "Allocations",
    request_body(content = ref("#/components/schemas/CreateAllocation"), content_type = "application/json"),
    responses(
        (status = 201, description = "The allocation, with its PIN.", body = Success<Created>),
        CreateProblems,
    )
)]
pub(crate) async fn create(
    Tenant(store): Tenant,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let object = body::json_object(&headers, body).await?;
    let settings = store.settings().await?;
    let wanted = new_allocation(object, &settings)?;
    if api.readiness.is_draining() {
        return Err(Problem::plain(Code::Draining));
    }
    let now = api.now();
    let made = store.create_allocation(wanted, now).await?;
    Ok(success(
        StatusCode::CREATED,
        Created::of(&made, &settings.zone(), now),
    ))
}

/// The answer to a create that was done, and whose answer was lost in a crash.
pub(crate) async fn made_before(
    store: &TenantStore,
    id: &GreenpinId,
    now: Timestamp,
) -> Result<Response, Problem> {
    let made = store.allocation(id).await?.ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    Ok(success(StatusCode::CREATED, Created::of(&made, &zone, now)))
}

/// Read an allocation
///
/// The allocation with its counters, also when it has expired or was deleted.
#[utoipa::path(
    get,
    path = "/greenpin/{greenpin_id}",
    operation_id = "read_allocation",
    tag = "Allocations",
    responses(
        (status = 200, description = "The allocation.", body = Success<Resource>),
        ReadProblems,
    )
)]
pub(crate) async fn read(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    let allocation = store.allocation(&id).await?.ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    Ok(success(
        StatusCode::OK,
        Resource::of(&allocation, &zone, api.now()),
    ))
}

/// Delete an allocation
///
/// No new call is connected from now on; calls that are connected go on. An exclusive number is free at once, the PIN
/// after its cool-off.
#[utoipa::path(
    delete,
    path = "/greenpin/{greenpin_id}",
    operation_id = "delete_allocation",
    tag = "Allocations",
    responses(
        (status = 200, description = "It is deleted.", body = Success<Deleted>),
        DeleteProblems,
    )
)]
pub(crate) async fn delete(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    let deleted_at = store.delete_allocation(&id, api.now()).await?;
    let zone = store.settings().await?.zone();
    let deleted = Deleted {
        greenpin_id: id.as_str(),
        status: Status::Deleted.as_str(),
        deleted_at: deleted_at.rfc3339(&zone),
    };
    Ok(success(StatusCode::OK, deleted))
}

fn new_allocation(
    object: Map<String, Value>,
    settings: &TenantSettings,
) -> Result<NewAllocation, Problem> {
    let mut fields = Fields::new(object);
    let virtual_number = fields.required("caller_id_number", Fields::number);
    let from = fields.required("from", |fields, name| fields.numbers(name, MOST_NUMBERS));
    if from.as_ref().is_some_and(Vec::is_empty) {
        fields.fault("from", Code::TooFew, "must hold 1 to 10 numbers");
    }
    let to = fields.numbers("to", MOST_NUMBERS).unwrap_or_default();
    refuse_both_sides(&mut fields, from.as_deref().unwrap_or_default(), &to);
    let duration = fields.integer("duration", settings.min_duration, settings.max_duration);
    let default = DEFAULT_DURATION.clamp(settings.min_duration, settings.max_duration);
    let attempts = fields
        .integer("max_pin_attempts", 1, MOST_ATTEMPTS.into())
        .and_then(|attempts| u8::try_from(attempts).ok());
    let record = fields.boolean("record");
    let custom_field = fields.short_text("custom_field", LONGEST_CUSTOM_FIELD);
    fields.finish()?;
    let internal = || Problem::plain(Code::Internal);
    Ok(NewAllocation {
        virtual_number: virtual_number.ok_or_else(internal)?,
        from: from.ok_or_else(internal)?,
        to,
        duration: Duration::from_secs(duration.unwrap_or(default).into()),
        max_pin_attempts: attempts.unwrap_or(DEFAULT_ATTEMPTS),
        record: record.unwrap_or(false),
        custom_field,
    })
}

pub(crate) fn refuse_both_sides(fields: &mut Fields, from: &[PhoneNumber], to: &[PhoneNumber]) {
    for (index, number) in to.iter().enumerate() {
        if from.contains(number) {
            fields.fault(format!("to[{index}]"), Code::OnBothSides, "is in from, too");
        }
    }
}

/// Reads an id of a path. One that cannot be is one that is not there.
pub(crate) fn greenpin_id(text: &str) -> Result<GreenpinId, Problem> {
    GreenpinId::parse(text).ok_or_else(not_found)
}

pub(crate) fn not_found() -> Problem {
    Problem::plain(Code::NotFound)
}

/// The callers of short shared PINs must be named.
pub(crate) fn to_required() -> Problem {
    let message =
        "is required: PINs of fewer than 6 digits on a shared number open for listed callers only";
    let error = FieldError {
        field: "to".into(),
        code: Code::ToRequired,
        message: message.into(),
    };
    Problem::of_fields(vec![error])
}

/// What a create answers.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedAllocation, description = "An allocation as it was made.", examples(created_example))]
struct Created<'a> {
    #[schema(value_type = AllocationId)]
    greenpin_id: &'a str,
    /// The number that parties call.
    #[schema(value_type = E164)]
    virtual_number: String,
    /// What parties enter after it. Tell it to nobody else.
    #[schema(value_type = PinText)]
    pin: &'a str,
    /// A-party: the agent's or seller's side.
    #[schema(value_type = Vec<E164>, min_items = 1, max_items = 10)]
    from: Vec<String>,
    /// B-party: the customer's side. Empty: whoever has the PIN.
    #[schema(value_type = Vec<E164>, max_items = 10)]
    to: Vec<String>,
    /// Where it stands.
    #[schema(value_type = AllocationStatus)]
    status: &'static str,
    /// Whether wrong PINs have used up `max_pin_attempts`: no PIN opens it.
    locked: bool,
    /// When it was made.
    #[schema(value_type = Moment)]
    created_at: String,
    /// From when on no new call is connected.
    #[schema(value_type = Moment)]
    expires_at: String,
    /// Wrong PINs after which it is locked.
    #[schema(minimum = 1, maximum = 10)]
    max_pin_attempts: u8,
    /// Whether its calls are recorded.
    record: bool,
    /// Your own text.
    #[schema(required, max_length = 256)]
    custom_field: Option<&'a str>,
    /// A link with which a phone dials number and PIN in one tap.
    #[schema(pattern = r"^tel:\+[1-9][0-9]{6,14},,[0-9]{4,8}$")]
    dial_uri: String,
}

/// What a read answers.
#[derive(Serialize, ToSchema)]
#[schema(as = Allocation, description = "An allocation as it is.")]
pub(crate) struct Resource<'a> {
    #[serde(flatten)]
    created: Created<'a>,
    /// Calls of it in which both sides talked.
    call_count: u64,
    /// All calls that met it.
    attempt_count: u64,
    /// Wrong PINs that count towards `max_pin_attempts`.
    #[schema(maximum = 10)]
    failed_pin_attempts: u8,
    /// When it was last changed.
    #[schema(value_type = Moment)]
    updated_at: String,
    /// When it was deleted; left out if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Moment, required = false)]
    deleted_at: Option<String>,
}

/// What a delete answers.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedAllocation, description = "An allocation that was deleted.")]
struct Deleted<'a> {
    #[schema(value_type = AllocationId)]
    greenpin_id: &'a str,
    /// Always `deleted`.
    #[schema(value_type = AllocationStatus)]
    status: &'static str,
    /// When.
    #[schema(value_type = Moment)]
    deleted_at: String,
}

fn created_example() -> Value {
    json!({
        "greenpin_id": "gp_01jxs0d4e8v6m2q9r7t5w3y1zk",
        "virtual_number": "+914000000001",
        "pin": "4821",
        "from": ["+919900000001"],
        "to": ["+918800000001"],
        "status": "active",
        "locked": false,
        "created_at": "2026-06-15T10:30:00+05:30",
        "expires_at": "2026-06-15T11:30:00+05:30",
        "max_pin_attempts": 3,
        "record": false,
        "custom_field": "order_id=12345",
        "dial_uri": "tel:+914000000001,,4821",
    })
}

impl<'a> Created<'a> {
    fn of(allocation: &'a Allocation, zone: &TimeZone, now: Timestamp) -> Self {
        let exposed =
            |numbers: &[PhoneNumber]| numbers.iter().map(|number| number.expose()).collect();
        let virtual_number = allocation.virtual_number.expose();
        Self {
            greenpin_id: allocation.greenpin_id.as_str(),
            dial_uri: format!("tel:{virtual_number},,{}", allocation.pin.expose()),
            virtual_number,
            pin: allocation.pin.expose(),
            from: exposed(&allocation.from),
            to: exposed(&allocation.to),
            status: allocation.status(now).as_str(),
            locked: allocation.is_locked(),
            created_at: allocation.created_at.rfc3339(zone),
            expires_at: allocation.expires_at.rfc3339(zone),
            max_pin_attempts: allocation.max_pin_attempts,
            record: allocation.record,
            custom_field: allocation.custom_field.as_deref(),
        }
    }
}

impl<'a> Resource<'a> {
    pub(crate) fn of(allocation: &'a Allocation, zone: &TimeZone, now: Timestamp) -> Self {
        Self {
            created: Created::of(allocation, zone, now),
            call_count: allocation.call_count,
            attempt_count: allocation.attempt_count,
            failed_pin_attempts: allocation.failed_pin_attempts,
            updated_at: allocation.updated_at.rfc3339(zone),
            deleted_at: allocation
                .deleted_at
                .map(|deleted_at| deleted_at.rfc3339(zone)),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::NumberNotInPool => Self::plain(Code::NumberNotInPool),
            CreateError::NumberQuarantined => Self::plain(Code::NumberQuarantined),
            CreateError::VirtualNumberBusy => Self::new(
                Code::VirtualNumberBusy,
                "An exclusive number takes one active allocation at a time.",
            ),
            CreateError::PinSpaceExhausted => Self::new(
                Code::PinSpaceExhausted,
                "Every place or PIN of the number is in use or cooling off.",
            ),
            CreateError::ToRequired => to_required(),
            CreateError::Store(error) => error.into(),
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => not_found(),
            DeleteError::AlreadyDeleted => Self::plain(Code::AlreadyDeleted),
            DeleteError::Store(error) => error.into(),
        }
    }
}
