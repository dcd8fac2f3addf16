//! `POST /greenpin`: creates an allocation.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use call::PhoneNumber;
use jiff::tz::TimeZone;

use super::fields::CreateAllocation;
use super::resource::CreatedAllocation;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::idempotency::{Earlier, WrittenEarlier};
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{BusyAllocation, Code, FieldError, Problem};
use crate::http::openapi::problems::problems;
use crate::http::{Api, Success, success};
use crate::store::{AllocationFilter, CreateError, GuessOddsError, Status, TenantStore, Timestamp};

problems! {
    CreateProblems: [InvalidRequest, NumberNotInPool, VirtualNumberBusy, NumberQuarantined, PinSpaceExhausted, RuleViolated, ToRequired, DestinationNotAllowed, GuessOddsTooHigh]
        fields [
            Required, UnknownField, WrongType, NotE164, TooLong, InvalidValue,
            OutOfRange, TooMany, Repeated, OnBothSides, ToRequired, DestinationNotAllowed,
        ];
}

/// Allocate a PIN
///
/// Draws a PIN on a virtual number of the tenant's pool and connects two sides with it until the allocation
/// expires or is deleted. An **exclusive** number has one active allocation at a time. A **shared** number has
/// many, each with its own PIN.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/greenpin",
    operation_id = "create_allocation",
    tag = "Allocations",
    request_body(content = ref("#/components/schemas/CreateAllocation"), content_type = "application/json"),
    responses(
        (status = 201, description = "The allocation, with its PIN.", body = Success<CreatedAllocation>),
        CreateProblems,
    )
)]
pub(crate) async fn create(
    Tenant(store): Tenant,
    State(api): State<Api>,
    earlier: Earlier,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let settings = store.settings().await?;
    if let Some(Extension(WrittenEarlier(id))) = earlier {
        let created = store.allocation(&id).await?.ok_or_else(not_found)?;
        let allocation = CreatedAllocation::from_allocation(&created, &settings.zone(), api.now());
        return Ok(success(StatusCode::CREATED, allocation));
    }
    let object = body::json_object(&headers, body).await?;
    let new_allocation = CreateAllocation::parse(object, &settings)?;
    if api.readiness.is_draining() {
        return Err(Problem::plain(Code::Draining));
    }
    let now = api.now();
    let number = new_allocation.virtual_number;
    let created = match store.create_allocation(new_allocation, now).await {
        Err(error @ CreateError::VirtualNumberBusy) => {
            let zone = settings.zone();
            return Err(busy_problem(&store, number, error.into(), &zone, now).await);
        }
        created => created?,
    };
    Ok(success(
        StatusCode::CREATED,
        CreatedAllocation::from_allocation(&created, &settings.zone(), now),
    ))
}

/// Adds the allocation that holds a number to a problem. Only the tenant that owns the number gets here.
async fn busy_problem(
    store: &TenantStore,
    number: PhoneNumber,
    problem: Problem,
    zone: &TimeZone,
    now: Timestamp,
) -> Problem {
    let filter = AllocationFilter {
        status: Some(Status::Active),
        virtual_number: Some(number),
        ..AllocationFilter::default()
    };
    // Without the allocation, which may have ended meanwhile, the problem is still right.
    let found = store.allocations(filter, None, 1, now).await;
    let holder = found.ok().and_then(|found| found.into_iter().next());
    match holder {
        Some(holder) => problem.held_by(BusyAllocation {
            greenpin_id: holder.greenpin_id.to_string(),
            expires_at: holder.expires_at.rfc3339(zone),
        }),
        None => problem,
    }
}

/// Returns the error for a missing `to` on a shared number with short PINs.
pub(crate) fn to_required() -> Problem {
    let message =
        "is required: PINs of fewer than 6 digits on a shared number open for listed callers only";
    let error = FieldError {
        field: "to".into(),
        code: Code::ToRequired,
        message: message.into(),
    };
    Problem::from_fields(vec![error])
}

/// Returns the error for an allocation that makes a PIN of its number too easy to guess.
fn guess_odds_too_high(error: GuessOddsError) -> Problem {
    let GuessOddsError { odds, limit, .. } = error;
    let (odds, limit) = (odds.value(), limit.value());
    let advice = match error.pin_length {
        Some(length) => format!("A number with PINs of {length} digits would be within the limit."),
        None => "Use further numbers, or set caller_policy to listed.".to_owned(),
    };
    let detail = format!(
        "With this allocation, unlisted callers guess a PIN of the number within a year with a probability of {odds:.4}. \
         max_guess_odds is {limit}. {advice}"
    );
    Problem::new(Code::GuessOddsTooHigh, detail)
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::NumberNotInPool => Self::plain(Code::NumberNotInPool),
            CreateError::NumberQuarantined => Self::plain(Code::NumberQuarantined),
            CreateError::VirtualNumberBusy => Self::new(
                Code::VirtualNumberBusy,
                "An exclusive number can have only one active allocation at a time.",
            ),
            CreateError::PinSpaceExhausted => Self::new(
                Code::PinSpaceExhausted,
                "The number has reached max_active, or all of its PINs are in use or cooling off.",
            ),
            CreateError::ToRequired => to_required(),
            CreateError::GuessOddsTooHigh(error) => guess_odds_too_high(error),
            CreateError::Store(error) => error.into(),
        }
    }
}
