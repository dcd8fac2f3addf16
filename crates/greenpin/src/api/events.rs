//! `/events`: the event log, and sending an event again.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::auth::Tenant;
use super::greenpin::not_found;
use super::listing::{Page, asked, cut};
use super::problem::{Code, Problem};
use super::{Api, body, success};
use crate::store::EventId;

/// From where the log is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    after: Option<String>,
    limit: Option<String>,
}

/// `GET /events?after=`: oldest first.
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

/// `POST /events/{event_id}/redeliver`
pub(super) async fn redeliver(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, event_id)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let event_id = EventId::parse(&event_id).ok_or_else(not_found)?;
    body::nothing(body).await?;
    let deliveries = store.redeliver(&event_id, api.now()).await?.ok_or_else(not_found)?;
    Ok(success(StatusCode::OK, json!({ "event_id": event_id.as_str(), "deliveries": deliveries })))
}
