//! `/events/{event_id}/deliveries`: deliveries of an event to webhook endpoints, with their attempts.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::problem::Problem;
use crate::http::middleware::problem::not_found;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{AttemptFailure, DeliveryStanding, Moment, WebhookId};
use crate::http::{Success, success};
use crate::store::{Attempt, AttemptError, DeliveryRecord, EventId, Timestamp};

problems! {
    DeliveriesProblems: [NotFound];
}

/// List an event's deliveries
///
/// Returns one delivery per endpoint, with the attempts of the last 30 days, newest first.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/events/{event_id}/deliveries",
    operation_id = "list_event_deliveries",
    tag = "Events",
    responses(
        (status = 200, description = "The deliveries.", body = Success<Vec<EventDelivery>>),
        DeliveriesProblems,
    )
)]
pub(crate) async fn list(
    Tenant(store): Tenant,
    Path((_, event_id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let event_id = EventId::parse(&event_id).ok_or_else(not_found)?;
    let deliveries = store.deliveries(&event_id).await?.ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    let deliveries: Vec<_> = deliveries
        .into_iter()
        .map(|delivery| EventDelivery::from_record(delivery, &zone))
        .collect();
    Ok(success(StatusCode::OK, deliveries))
}

/// Delivery of an event to one endpoint, with its attempts.
#[derive(Serialize, ToSchema)]
#[schema(description = "Delivery of an event to one endpoint, with its attempts.")]
struct EventDelivery {
    #[schema(value_type = WebhookId)]
    endpoint_id: String,
    /// URL of the endpoint; `null`: the endpoint no longer exists.
    #[schema(required)]
    url: Option<String>,
    #[schema(value_type = DeliveryStanding)]
    state: &'static str,
    /// Number of attempts since the event, or since the last redelivery request.
    attempt_count: u32,
    /// Latest time of the next attempt; `null`: no further attempt, or waiting for an earlier event of the
    /// allocation.
    #[schema(required, value_type = Option<Moment>)]
    next_attempt_at: Option<String>,
    /// Time of the event, or of the last redelivery request.
    #[schema(value_type = Moment)]
    created_at: String,
    /// Time at which the state became `delivered` or `dead`; `null` while pending.
    #[schema(required, value_type = Option<Moment>)]
    finished_at: Option<String>,
    attempts: Vec<EventAttempt>,
}

/// One POST of an event, with its outcome.
#[derive(Serialize, ToSchema)]
#[schema(description = "One POST of an event, with its outcome.")]
struct EventAttempt {
    /// Start of the attempt.
    #[schema(value_type = Moment)]
    attempted_at: String,
    /// Milliseconds until the response headers, or until the failure.
    latency_ms: u64,
    /// Status of the response; `null`: no response.
    #[schema(required)]
    status: Option<u16>,
    /// Reason for the missing response; `null`: there was a response.
    #[schema(required, value_type = Option<AttemptFailure>)]
    error: Option<&'static str>,
    /// First 512 bytes of the response body.
    answer: String,
}

impl EventDelivery {
    fn from_record(delivery: DeliveryRecord, zone: &TimeZone) -> Self {
        let time = |moment: Timestamp| moment.rfc3339(zone);
        Self {
            endpoint_id: delivery.endpoint_id.to_string(),
            url: delivery.url,
            state: delivery.state.as_str(),
            attempt_count: delivery.attempt_count,
            next_attempt_at: delivery.next_attempt_at.map(time),
            created_at: time(delivery.created_at),
            finished_at: delivery.finished_at.map(time),
            attempts: delivery
                .attempts
                .into_iter()
                .map(|attempt| EventAttempt::from_attempt(attempt, zone))
                .collect(),
        }
    }
}

impl EventAttempt {
    fn from_attempt(attempt: Attempt, zone: &TimeZone) -> Self {
        Self {
            attempted_at: attempt.begun_at.rfc3339(zone),
            latency_ms: u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX),
            status: attempt.status,
            error: attempt.error.map(AttemptError::as_str),
            answer: attempt.answer,
        }
    }
}
