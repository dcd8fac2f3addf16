//! `POST /greenpin/resolve`: the outcome of a hypothetical call.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use call::PhoneNumber;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::ResolveRequest;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::field::RequestBody as _;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{AllocationId, E164, ResolvedOutcome, ResolvedReason};
use crate::http::{Api, Success, success};
use crate::store::{GreenpinId, Resolution};

/// Outcome of a hypothetical call.
#[derive(Serialize, Default, ToSchema)]
#[schema(as = Resolution)]
struct ResolvedCall {
    #[schema(value_type = ResolvedOutcome)]
    outcome: &'static str,
    #[schema(value_type = ResolvedReason)]
    reason: &'static str,
    /// Allocation of the call, if known.
    #[schema(value_type = Option<AllocationId>, required)]
    greenpin_id: Option<String>,
    /// Numbers to dial, in order.
    #[schema(value_type = Vec<E164>, max_items = 10)]
    dial: Vec<String>,
    /// `true` if the call would be recorded.
    record: bool,
    /// With `collect_pin`: number of digits of the requested PIN.
    #[schema(required, minimum = 4, maximum = 8)]
    pin_length: Option<u8>,
}

problems! {
    ResolveProblems: [InvalidRequest]
        fields [Required, UnknownField, WrongType, NotE164, InvalidValue];
}

/// Resolve a call
///
/// Returns the outcome of a call if it came in now, and the reason. No attempt is counted and no number is
/// dialled. Callers hear the same prompt for every reason; only this API distinguishes them.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/greenpin/resolve",
    operation_id = "resolve",
    tag = "Allocations",
    request_body(content = ref("#/components/schemas/ResolveRequest"), content_type = "application/json"),
    responses(
        (status = 200, description = "The outcome and its reason.", body = Success<ResolvedCall>),
        ResolveProblems,
    )
)]
pub(crate) async fn resolve(
    Tenant(store): Tenant,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let call = ResolveRequest::read(&mut fields);
    fields.finish()?;
    let virtual_number = call
        .virtual_number
        .ok_or_else(|| Problem::plain(Code::Internal))?;
    let resolution = store
        .resolve(virtual_number, call.caller, call.digits, api.now())
        .await?;
    Ok(success(StatusCode::OK, to_resolved_call(resolution)))
}

fn to_resolved_call(resolution: Resolution) -> ResolvedCall {
    let id = |id: GreenpinId| id.as_str().to_owned();
    let resolved = |outcome, reason| ResolvedCall {
        outcome,
        reason,
        ..ResolvedCall::default()
    };
    match resolution {
        Resolution::UnknownNumber => resolved("unknown_number", "number_not_in_pool"),
        Resolution::NotInUse => resolved("not_in_use", "no_active_allocation"),
        Resolution::CollectPin {
            pin_length,
            greenpin_id,
        } => ResolvedCall {
            greenpin_id: greenpin_id.map(id),
            pin_length: Some(pin_length),
            ..resolved("collect_pin", "pin_required")
        },
        Resolution::Refused(refusal, greenpin_id) => ResolvedCall {
            greenpin_id: greenpin_id.map(id),
            ..resolved("refuse", refusal.as_str())
        },
        Resolution::Connected {
            greenpin_id,
            connection,
        } if connection.dial.is_empty() => ResolvedCall {
            greenpin_id: Some(id(greenpin_id)),
            ..resolved("refuse", "no_one_to_connect")
        },
        Resolution::Connected {
            greenpin_id,
            connection,
        } => ResolvedCall {
            greenpin_id: Some(id(greenpin_id)),
            dial: connection
                .dial
                .into_iter()
                .map(PhoneNumber::expose)
                .collect(),
            record: connection.record,
            ..resolved("connect", "right_pin")
        },
    }
}
