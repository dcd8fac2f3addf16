//! `/events`: the event log, and redelivery of events.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::field::{Field, Parsed, RequestBody as _, request_body};
use crate::http::middleware::idempotency::stored_success;
use crate::http::middleware::paging::{Page, invalid_parameter, page_request, split_page};
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{DeadOnly, EventBody, EventLogId, FromNow, WebhookId};
use crate::http::tenant::settings::fields::{EventTypeList, endpoint_id, event_types};
use crate::http::{Api, Success, success};
use crate::store;
use crate::store::{EndpointId, EventId, LoggedEvent, StoreError, TenantStore, Timestamp};

/// Maximum value of `wait`, in seconds.
pub const MAX_WAIT_SECONDS: u64 = 30;
/// Shortest interval between two reads of the log while a request waits; with other nodes also the longest.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Longest interval between two reads of the log of a file while this process writes nothing: a command may write.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(1);
const ENDPOINT_RULE: &str = "must be an endpoint id: ep_ and 26 characters";

/// Query parameters of the event log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// Return only events after this `event_id`: the last one that you have, or `next_cursor`.
    #[param(value_type = EventLogId, required = false)]
    after: Option<String>,
    /// `now`: without `after`, return only events written after this request arrived. `next_cursor` is then always a
    /// position for `after`.
    #[param(value_type = FromNow, required = false)]
    from: Option<String>,
    /// Maximum number of items to return.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// Seconds to wait for an event if there is none yet.
    #[param(value_type = u32, required = false, minimum = 0, maximum = 30, default = 0)]
    wait: Option<String>,
    /// `dead`: return only events with a delivery in state `dead`.
    #[param(value_type = DeadOnly, required = false)]
    state: Option<String>,
    /// Return only events sent to this endpoint; with `state=dead`, only those with a dead delivery there.
    #[param(value_type = WebhookId, required = false)]
    endpoint_id: Option<String>,
}

/// Read the event log
///
/// Lists events, oldest first, including those without a webhook delivery. Store the last `event_id` and pass it
/// in `after` to continue from there. With `wait`, the response is sent as soon as an event exists. To follow the log
/// from its end on, start with `from=now` and continue with `next_cursor`.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/events",
    operation_id = "list_events",
    tag = "Events",
    params(LogQuery),
    responses(
        (status = 200, description = "A page of events.", body = Page<EventBody>),
        QueryProblems,
    )
)]
pub(crate) async fn list(
    Tenant(store): Tenant,
    State(api): State<Api>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        Problem::new(
            Code::InvalidRequest,
            "The query accepts these parameters, each at most once: after, from, limit, wait, state, endpoint_id.",
        )
    })?;
    let page = page_request(
        query.limit.as_deref(),
        query.after.as_deref(),
        EventId::parse,
    )?;
    let is_from_now = parse_from(&query)?;
    let after = match (page.cursor, is_from_now) {
        (None, true) => Some(store.end_of_events().await?),
        (cursor, _) => cursor,
    };
    let (selection, until) = (
        EventSelection::from_query(&query)?,
        Instant::now() + parse_wait(query.wait.as_deref())?,
    );
    let mut commits = api.store.watch_commits();
    let events = loop {
        commits.mark_unchanged();
        let found = selection
            .read(&store, after.clone(), page.limit + 1)
            .await?;
        if !found.is_empty() || Instant::now() >= until || api.readiness.is_draining() {
            break found;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        // Another node may write the event, and then there is no local signal to wait for.
        if !api.store.is_shared() {
            let left = until.saturating_duration_since(Instant::now());
            let wait = FILE_POLL_INTERVAL.min(left);
            let _ = tokio::time::timeout(wait, commits.changed()).await;
        }
    };
    let (events, next_cursor) = split_page(&events, page.limit, |last| last.event_id.clone());
    let next_cursor = next_cursor.or_else(|| {
        let last = events.last().map(|last| last.event_id.clone());
        last.or(after.map(|after| after.to_string()))
            .filter(|_| is_from_now)
    });
    let bodies: Result<Vec<_>, _> = events
        .iter()
        .map(|event| RawValue::from_string(event.body.clone()))
        .collect();
    Ok(Page::json_response(
        bodies.map_err(|_| Problem::plain(Code::Internal))?,
        next_cursor,
    ))
}

/// Returns `true` if the request follows the log from its end on.
fn parse_from(query: &LogQuery) -> Result<bool, Problem> {
    match query.from.as_deref() {
        None => Ok(false),
        Some("now") => Ok(true),
        Some(_) => Err(invalid_parameter("from", "must be now")),
    }
}

fn parse_wait(text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else {
        return Ok(Duration::ZERO);
    };
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| *seconds <= MAX_WAIT_SECONDS);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| invalid_parameter("wait", "must be 0 to 30"))
}

/// Events selected by the query.
enum EventSelection {
    All,
    Dead(Option<EndpointId>),
    Endpoint(EndpointId),
}

impl EventSelection {
    fn from_query(query: &LogQuery) -> Result<Self, Problem> {
        let endpoint = query.endpoint_id.as_deref();
        let read = |id| {
            EndpointId::parse(id).ok_or_else(|| invalid_parameter("endpoint_id", ENDPOINT_RULE))
        };
        match (query.state.as_deref(), endpoint.map(read).transpose()?) {
            (None, None) => Ok(Self::All),
            (None, Some(endpoint)) => Ok(Self::Endpoint(endpoint)),
            (Some("dead"), endpoint) => Ok(Self::Dead(endpoint)),
            (Some(_), _) => Err(invalid_parameter("state", "must be dead")),
        }
    }

    async fn read(
        &self,
        store: &TenantStore,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        match self {
            Self::All => store.events_after(after, limit).await,
            Self::Dead(endpoint) => {
                store
                    .failed_events_after(after, endpoint.clone(), limit)
                    .await
            }
            Self::Endpoint(endpoint) => {
                store
                    .events_of_endpoint_after(after, endpoint.clone(), limit)
                    .await
            }
        }
    }
}

problems! {
    RedeliverProblems: [NotFound];
    ReplayProblems: [InvalidRequest, RuleViolated]
        fields [Required, UnknownField, WrongType, InvalidValue, UnknownEndpoint];
}

/// Result of a redelivery.
#[derive(Clone, Serialize, ToSchema)]
#[schema(description = "Result of a redelivery.")]
struct Redelivery {
    #[schema(value_type = EventLogId)]
    event_id: String,
    /// Number of endpoints to receive the event.
    #[schema(value_type = u32)]
    deliveries: usize,
}

/// Redeliver an event
///
/// Sends the event again, with the same `webhook-id`, to each endpoint currently subscribed to its type. A paused
/// endpoint receives it after the pause.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/events/{event_id}/redeliver",
    operation_id = "redeliver_event",
    tag = "Events",
    request_body(content = ref("#/components/schemas/Nothing"), content_type = "application/json"),
    responses(
        (status = 200, description = "The event will be sent again.", body = Success<Redelivery>),
        RedeliverProblems,
    )
)]
pub(crate) async fn redeliver(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, event_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let event_id = EventId::parse(&event_id).ok_or_else(not_found)?;
    body::empty(&headers, body).await?;
    let redelivery = {
        let event_id = event_id.to_string();
        move |deliveries: &usize| Redelivery {
            event_id: event_id.clone(),
            deliveries: *deliveries,
        }
    };
    let answer = stored_success(redelivery.clone());
    let deliveries = store.redeliver(&event_id, api.now(), answer).await?;
    let deliveries = deliveries.ok_or_else(not_found)?;
    Ok(success(StatusCode::OK, redelivery(&deliveries)))
}

/// Declares a required time field in RFC 3339 form.
const fn timestamp_field(name: &'static str, doc: &'static str) -> Field<Parsed<Timestamp>> {
    Field::new(
        name,
        Parsed {
            parse: Timestamp::parse_rfc3339,
            rule: "must be an RFC 3339 time",
            schema: r#"{ "type": "string", "format": "date-time" }"#,
        },
        doc,
    )
    .required()
    .with_example(r#""2026-06-15T10:30:00+05:30""#)
}

request_body! {
    /// Events to redeliver.
    ReplayEvents {
        after: Parsed<Timestamp> = timestamp_field("after", "Select events at or after this time."),
        before: Parsed<Timestamp> = timestamp_field("before", "Select events before this time."),
        types: EventTypeList = event_types("Select events of these types. Omitted: all types."),
        endpoint_id: Parsed<EndpointId> = endpoint_id(
            "endpoint_id",
            "Send only to this endpoint. Omitted: to every endpoint subscribed to the type.",
        ),
        state: Parsed<()> = Field::new(
            "state",
            Parsed {
                parse: |text| (text == "dead").then_some(()),
                rule: "must be one of: dead",
                schema: r#"{ "enum": ["dead"] }"#,
            },
            "`dead`: select only events with a delivery in state `dead`.",
        ),
        cursor: Parsed<EventId> = Field::new(
            "cursor",
            Parsed {
                parse: EventId::parse,
                rule: "must be a next_cursor of this operation",
                schema: r#"{ "type": "string", "pattern": "^evt_[0-9a-hjkmnp-tv-z]{26}$" }"#,
            },
            "`next_cursor` of the previous response.",
        ),
    }
    example r#"{ "after": "2026-06-15T10:30:00+05:30", "before": "2026-06-15T12:00:00+05:30", "state": "dead" }"#
}

/// Result of a bulk redelivery.
#[derive(Serialize, ToSchema)]
#[schema(as = Replay, description = "Result of a bulk redelivery.")]
struct ReplaySummary {
    /// Number of events sent to at least one endpoint.
    #[schema(value_type = u32)]
    events: usize,
    /// Number of deliveries.
    #[schema(value_type = u32)]
    deliveries: usize,
    /// Cursor for the next request, because one request covers at most a thousand events; `null` after the last
    /// one.
    #[schema(required, value_type = Option<EventLogId>)]
    next_cursor: Option<String>,
}

/// Redeliver events of a period
///
/// Sends events again, oldest first, with the same `webhook-id`, to the endpoints currently subscribed to their
/// types. Repeat the request with `cursor` until `next_cursor` is `null`.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/events/redeliver",
    operation_id = "replay_events",
    tag = "Events",
    request_body(content = ref("#/components/schemas/ReplayEvents"), content_type = "application/json"),
    responses(
        (status = 200, description = "The events will be sent again.", body = Success<ReplaySummary>),
        ReplayProblems,
    )
)]
pub(crate) async fn replay(
    Tenant(store): Tenant,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::new(body::json_object(&headers, body).await?);
    let ReplayEvents {
        after,
        before,
        types,
        endpoint_id,
        state,
        cursor,
    } = ReplayEvents::read(&mut fields);
    let dead = state.is_some();
    if let Some(selection) = &endpoint_id
        && store
            .endpoints()
            .await?
            .iter()
            .all(|endpoint| endpoint.id != *selection)
    {
        fields.add_fault(
            "endpoint_id",
            Code::UnknownEndpoint,
            "is not an endpoint of this tenant",
        );
    }
    fields.finish()?;
    let (Some(after), Some(before)) = (after, before) else {
        return Err(Problem::plain(Code::Internal));
    };
    let selection = store::ReplayRequest {
        after,
        before,
        types,
        endpoint_id,
        failed: dead,
        cursor,
    };
    let (sent, next) = store.replay(selection, api.now()).await?;
    let next_cursor = next.map(|next| next.to_string());
    Ok(success(
        StatusCode::OK,
        ReplaySummary {
            events: sent.events,
            deliveries: sent.deliveries,
            next_cursor,
        },
    ))
}
