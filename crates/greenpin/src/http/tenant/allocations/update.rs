//! `PUT /greenpin/{greenpin_id}`: changes an allocation.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::create::to_required;
use super::fields::UpdateAllocation;
use super::read::stored;
use super::resource::{AllocationDetails, greenpin_id};
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::idempotency::Earlier;
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, FieldError, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::{Api, Success, success};
use crate::store::{ChangeError, PartyList};

problems! {
    ChangeProblems: [InvalidRequest, NotFound, AllocationNotActive, PinSpaceExhausted, RuleViolated, ToRequired, DestinationNotAllowed]
        fields [
            UnknownField, WrongType, NotE164, TooLong, InvalidValue,
            OutOfRange, TooMany, Repeated, OnBothSides, ToRequired, DestinationNotAllowed,
        ];
}

/// Change an allocation
///
/// Omitted fields stay unchanged. The number and the PIN cannot change. A `max_pin_attempts` above
/// `failed_pin_attempts` unlocks the allocation; any other value locks it. The event `allocation.updated` lists
/// the changes.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}",
    operation_id = "update_allocation",
    tag = "Allocations",
    request_body(content = ref("#/components/schemas/UpdateAllocation"), content_type = "application/json"),
    responses(
        (status = 200, description = "The changed allocation.", body = Success<AllocationDetails>),
        ChangeProblems,
    )
)]
pub(crate) async fn update(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    earlier: Earlier,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    if earlier.is_some() {
        return stored(&store, &id, api.now()).await;
    }
    let object = body::json_object(&headers, body).await?;
    let settings = store.settings().await?;
    let mut fields = Fields::new(object);
    let change = UpdateAllocation::parse(&mut fields, &settings);
    fields.finish()?;
    let now = api.now();
    let changed = store.change_allocation(&id, change, now).await?;
    Ok(success(
        StatusCode::OK,
        AllocationDetails::from_allocation(&changed, &settings.zone(), now),
    ))
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => not_found(),
            ChangeError::NotActive => Self::plain(Code::AllocationNotActive),
            ChangeError::OnBothSides(party, positions) => {
                Self::from_fields(on_both_sides(party, &positions))
            }
            ChangeError::ToRequired => to_required(),
            ChangeError::PinSpaceExhausted => Self::new(
                Code::PinSpaceExhausted,
                "All PINs of the number are in use or cooling off.",
            ),
            ChangeError::Store(error) => error.into(),
        }
    }
}

fn on_both_sides(party: PartyList, positions: &[usize]) -> Vec<FieldError> {
    let (list, other) = match party {
        PartyList::From => ("from", "to"),
        PartyList::To => ("to", "from"),
    };
    let fault = |index: &usize| FieldError {
        field: format!("{list}[{index}]"),
        code: Code::OnBothSides,
        message: format!("is also in {other}"),
    };
    positions.iter().map(fault).collect()
}
