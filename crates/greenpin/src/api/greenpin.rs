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

use super::auth::Tenant;
use super::fields::Fields;
use super::problem::{Code, FieldError, Problem};
use super::{Api, body, success};
use crate::store::{
    Allocation, CreateError, DeleteError, GreenpinId, NewAllocation, TenantSettings, Timestamp,
};

pub(super) const MOST_NUMBERS: usize = 10;
pub(super) const LONGEST_CUSTOM_FIELD: usize = 256;
const DEFAULT_DURATION: u32 = 86_400;
const DEFAULT_ATTEMPTS: u8 = 3;

/// `POST /greenpin`
pub(super) async fn create(
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
    Ok(success(StatusCode::CREATED, Created::of(&made, &settings.zone(), now)))
}

/// `GET /greenpin/{id}`
pub(super) async fn read(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    let allocation = store.allocation(&id).await?.ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    Ok(success(StatusCode::OK, Resource::of(&allocation, &zone, api.now())))
}

/// `DELETE /greenpin/{id}`
pub(super) async fn delete(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    let deleted_at = store.delete_allocation(&id, api.now()).await?;
    let zone = store.settings().await?.zone();
    let body =
        json!({ "greenpin_id": id.as_str(), "status": "deleted", "deleted_at": deleted_at.rfc3339(&zone) });
    Ok(success(StatusCode::OK, body))
}

fn new_allocation(object: Map<String, Value>, settings: &TenantSettings) -> Result<NewAllocation, Problem> {
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
    let attempts = fields.integer("max_pin_attempts", 1, 10).and_then(|attempts| u8::try_from(attempts).ok());
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

pub(super) fn refuse_both_sides(fields: &mut Fields, from: &[PhoneNumber], to: &[PhoneNumber]) {
    for (index, number) in to.iter().enumerate() {
        if from.contains(number) {
            fields.fault(format!("to[{index}]"), Code::OnBothSides, "is in from, too");
        }
    }
}

/// Reads an id of a path. One that cannot be is one that is not there.
pub(super) fn greenpin_id(text: &str) -> Result<GreenpinId, Problem> {
    GreenpinId::parse(text).ok_or_else(not_found)
}

pub(super) fn not_found() -> Problem {
    Problem::plain(Code::NotFound)
}

/// The callers of short shared PINs must be named.
pub(super) fn to_required() -> Problem {
    let message = "is required: PINs of fewer than 6 digits on a shared number open for listed callers only";
    let error = FieldError { field: "to".into(), code: Code::ToRequired, message: message.into() };
    Problem::of_fields(vec![error])
}

/// What a create answers.
#[derive(Serialize)]
struct Created<'a> {
    greenpin_id: &'a str,
    virtual_number: String,
    pin: &'a str,
    from: Vec<String>,
    to: Vec<String>,
    status: &'static str,
    locked: bool,
    created_at: String,
    expires_at: String,
    max_pin_attempts: u8,
    record: bool,
    custom_field: Option<&'a str>,
    dial_uri: String,
}

/// What a read answers.
#[derive(Serialize)]
pub(super) struct Resource<'a> {
    #[serde(flatten)]
    created: Created<'a>,
    call_count: u64,
    attempt_count: u64,
    failed_pin_attempts: u8,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<String>,
}

impl<'a> Created<'a> {
    fn of(allocation: &'a Allocation, zone: &TimeZone, now: Timestamp) -> Self {
        let exposed = |numbers: &[PhoneNumber]| numbers.iter().map(|number| number.expose()).collect();
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
    pub(super) fn of(allocation: &'a Allocation, zone: &TimeZone, now: Timestamp) -> Self {
        Self {
            created: Created::of(allocation, zone, now),
            call_count: allocation.call_count,
            attempt_count: allocation.attempt_count,
            failed_pin_attempts: allocation.failed_pin_attempts,
            updated_at: allocation.updated_at.rfc3339(zone),
            deleted_at: allocation.deleted_at.map(|deleted_at| deleted_at.rfc3339(zone)),
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
