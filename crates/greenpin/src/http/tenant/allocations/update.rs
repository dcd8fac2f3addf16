//! `PUT /greenpin/{id}`: changing an allocation.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::allocation::{
    LONGEST_CUSTOM_FIELD, MOST_ATTEMPTS, MOST_NUMBERS, Resource, greenpin_id, not_found,
    refuse_both_sides, to_required,
};
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::problem::{Code, FieldError, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::{Api, Success, success};
use crate::store::{AllocationChange, ChangeError, PartyList, TenantSettings};

problems! {
    ChangeProblems: [InvalidRequest, NotFound, AllocationNotActive, PinSpaceExhausted, RuleViolated, ToRequired]
        fields [
            UnknownField, WrongType, NotE164, TooLong, InvalidValue,
            OutOfRange, TooFew, TooMany, Repeated, OnBothSides, ToRequired,
        ];
}

/// Change an allocation
///
/// What is left out stays as it is; number and PIN cannot change. A limit over the count of wrong PINs unlocks, one at or
/// under it locks. The event `allocation.updated` tells what changed.
#[utoipa::path(
    put,
    path = "/greenpin/{greenpin_id}",
    operation_id = "update_allocation",
    tag = "Allocations",
    request_body(content = ref("#/components/schemas/UpdateAllocation"), content_type = "application/json"),
    responses(
        (status = 200, description = "The allocation as it is now.", body = Success<Resource>),
        ChangeProblems,
    )
)]
pub(crate) async fn update(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    let object = body::json_object(&headers, body).await?;
    let settings = store.settings().await?;
    let mut fields = Fields::new(object);
    let change = change(&mut fields, &settings);
    fields.finish()?;
    let now = api.now();
    let changed = store.change_allocation(&id, change, now).await?;
    Ok(success(
        StatusCode::OK,
        Resource::of(&changed, &settings.zone(), now),
    ))
}

/// Reads what is to change. `null` takes `custom_field` away; elsewhere it means "not given".
pub(crate) fn change(fields: &mut Fields, settings: &TenantSettings) -> AllocationChange {
    let clear = fields.is_null("custom_field");
    let from = fields.numbers("from", MOST_NUMBERS);
    if from.as_ref().is_some_and(Vec::is_empty) {
        fields.fault("from", Code::TooFew, "must hold 1 to 10 numbers");
    }
    let to = fields.numbers("to", MOST_NUMBERS);
    refuse_both_sides(
        fields,
        from.as_deref().unwrap_or_default(),
        to.as_deref().unwrap_or_default(),
    );
    let duration = fields.integer("duration", settings.min_duration, settings.max_duration);
    let attempts = fields.integer("max_pin_attempts", 1, MOST_ATTEMPTS.into());
    let record = fields.boolean("record");
    let custom_field = fields.short_text("custom_field", LONGEST_CUSTOM_FIELD);
    for name in ["caller_id_number", "virtual_number", "pin"] {
        fields.unchangeable(name);
    }
    AllocationChange {
        from,
        to,
        duration: duration.map(|seconds| Duration::from_secs(seconds.into())),
        max_pin_attempts: attempts.and_then(|attempts| u8::try_from(attempts).ok()),
        record,
        custom_field: if clear {
            Some(None)
        } else {
            custom_field.map(Some)
        },
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => not_found(),
            ChangeError::NotActive => Self::plain(Code::AllocationNotActive),
            ChangeError::OnBothSides(party, places) => {
                Self::of_fields(on_both_sides(party, &places))
            }
            ChangeError::ToRequired => to_required(),
            ChangeError::PinSpaceExhausted => Self::new(
                Code::PinSpaceExhausted,
                "Every PIN of the number is in use or cooling off.",
            ),
            ChangeError::Store(error) => error.into(),
        }
    }
}

fn on_both_sides(party: PartyList, places: &[usize]) -> Vec<FieldError> {
    let (list, other) = match party {
        PartyList::From => ("from", "to"),
        PartyList::To => ("to", "from"),
    };
    let fault = |place: &usize| FieldError {
        field: format!("{list}[{place}]"),
        code: Code::OnBothSides,
        message: format!("is in {other}, too"),
    };
    places.iter().map(fault).collect()
}
