//! `/calls/{call_sid}/events` and `/greenpin/{greenpin_id}/events`: the events of one call or allocation.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::problem::{Code, Problem, not_found};
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::EventBody;
use crate::http::tenant::allocations::resource::greenpin_id;
use crate::http::{Api, Success, success};
use crate::store::{CallSid, LoggedEvent};

/// Number of events of a tenant that a list looks at. Events have no index by allocation or call.
pub const MAX_SCANNED_EVENTS: u32 = 20_000;
/// Time after the end of a call or an allocation in which its last events are written.
const LAST_EVENT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

problems! {
    EventsProblems: [NotFound];
}

/// Call of an event.
#[derive(Deserialize)]
struct CallEvent {
    data: CallEventData,
}

#[derive(Deserialize)]
struct CallEventData {
    call_sid: Option<String>,
}

/// List the events of a call
///
/// Returns the events, oldest first. It looks at the first 20,000 events of the tenant since the start of the call.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/calls/{call_sid}/events",
    operation_id = "list_call_events",
    tag = "Calls",
    responses(
        (status = 200, description = "The events.", body = Success<Vec<EventBody>>),
        EventsProblems,
    )
)]
pub(crate) async fn list_for_call(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, call_sid)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let call_sid = CallSid::parse(&call_sid).ok_or_else(not_found)?;
    let record = store.call(&call_sid).await?.ok_or_else(not_found)?;
    let until = record.ended_at.unwrap_or(api.now()) + LAST_EVENT_TIMEOUT;
    let mut events = store
        .events_between(None, record.started_at, until, MAX_SCANNED_EVENTS)
        .await?;
    if record.greenpin_id.is_some() {
        let of_allocation = store
            .events_between(
                record.greenpin_id,
                record.started_at,
                until,
                MAX_SCANNED_EVENTS,
            )
            .await?;
        events.extend(of_allocation);
    }
    events.retain(|event| {
        let event: Result<CallEvent, _> = serde_json::from_str(&event.body);
        event.is_ok_and(|event| event.data.call_sid.as_deref() == Some(call_sid.as_str()))
    });
    events.sort_by(|one, other| one.event_id.cmp(&other.event_id));
    response(&events)
}

/// List the events of an allocation
///
/// Returns the events, oldest first. It looks at the first 20,000 events of the tenant since the creation.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}/events",
    operation_id = "list_allocation_events",
    tag = "Allocations",
    responses(
        (status = 200, description = "The events.", body = Success<Vec<EventBody>>),
        EventsProblems,
    )
)]
pub(crate) async fn list_for_allocation(
    Tenant(store): Tenant,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    let allocation = store.allocation(&id).await?.ok_or_else(not_found)?;
    let end = allocation.deleted_at.unwrap_or(allocation.expires_at);
    let until = end.max(allocation.expires_at) + LAST_EVENT_TIMEOUT;
    let events = store
        .events_between(Some(id), allocation.created_at, until, MAX_SCANNED_EVENTS)
        .await?;
    response(&events)
}

fn response(events: &[LoggedEvent]) -> Result<Response, Problem> {
    let bodies: Result<Vec<_>, _> = events
        .iter()
        .map(|event| RawValue::from_string(event.body.clone()))
        .collect();
    let bodies = bodies.map_err(|_| Problem::plain(Code::Internal))?;
    Ok(success(StatusCode::OK, bodies))
}
