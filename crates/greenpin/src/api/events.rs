//! `GET /events`: the event log.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::auth::Tenant;
use super::document::schemas::{Event, EventLogId};
use super::listing::{Page, QueryProblems, asked, cut};
use super::problem::{Code, Problem};
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
