//! `/events`: the event log, and sending an event again.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::auth::Tenant;
use super::document::problems::problems;
use super::document::schemas::{Event, EventLogId};
use super::greenpin::not_found;
use super::listing::{Page, QueryProblems, asked, cut};
use super::problem::{Code, Problem};
use super::{Api, Success, body, success};
use crate::store::EventId;

/// From where the log is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// Only events after this one: the last `event_id` that you have, or `next_cursor`.
    #[param(value_type = EventLogId, required = false)]
    after: Option<String>,
    /// How many at most.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
}

/// Read the event log
///
/// Oldest first, a page at a time: everything that was sent to webhooks, or would have been. Keep the last `event_id` and
/// ask with `after` to go on from there.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "list_events",
    tag = "Events",
    params(LogQuery),
    responses(
        (status = 200, description = "A page of events.", body = Page<Event>),
        QueryProblems,
    )
)]
pub(super) async fn list(
    Tenant(store): Tenant,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query
        .map_err(|_| Problem::new(Code::InvalidRequest, "The query can hold, once each: after, limit."))?;
    let page = asked(query.limit.as_deref(), query.after.as_deref(), EventId::parse)?;
    let events = store.events_after(page.cursor, page.limit + 1).await?;
    let (events, more) = cut(&events, page.limit);
    let next_cursor = events.last().filter(|_| more).map(|last| last.event_id.clone());
    let bodies: Result<Vec<_>, _> =
        events.iter().map(|event| RawValue::from_string(event.body.clone())).collect();
    Ok(Page::answer(bodies.map_err(|_| Problem::plain(Code::Internal))?, next_cursor))
}

problems! {
    RedeliverProblems: [NotFound];
}

/// What a redelivery answers.
#[derive(Serialize, ToSchema)]
#[schema(description = "An event that goes again.")]
struct Redelivery<'a> {
    #[schema(value_type = EventLogId)]
    event_id: &'a str,
    /// To how many endpoints it goes.
    #[schema(value_type = u32)]
    deliveries: usize,
}

/// Send an event again
///
/// The event goes again, with its own `webhook-id`, to each endpoint that asks for its type now; one that is paused gets it
/// when it goes on.
#[utoipa::path(
    post,
    path = "/events/{event_id}/redeliver",
    operation_id = "redeliver_event",
    tag = "Events",
    request_body(content = ref("#/components/schemas/Nothing"), content_type = "application/json"),
    responses(
        (status = 200, description = "It goes again.", body = Success<Redelivery>),
        RedeliverProblems,
    )
)]
pub(super) async fn redeliver(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, event_id)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let event_id = EventId::parse(&event_id).ok_or_else(not_found)?;
    body::nothing(body).await?;
    let deliveries = store.redeliver(&event_id, api.now()).await?.ok_or_else(not_found)?;
    Ok(success(StatusCode::OK, Redelivery { event_id: event_id.as_str(), deliveries }))
}
