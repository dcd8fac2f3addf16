//! `GET /search`: calls, allocations and events by an id, a number, its last digits or a `Call-ID`.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use call::PhoneNumber;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::allocations::resource::AllocationDetails;
use super::calls::read::CallDetails;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::paging::invalid_parameter;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::schemas::{EventBody, SearchKind};
use crate::http::{Api, Success, success};
use crate::store::{
    Allocation, AllocationFilter, CallFilter, CallRecord, CallSid, EventId, GreenpinId, LastDigits,
    LoggedEvent, StoreError, TenantStore, Timestamp,
};

/// Maximum number of calls, and of allocations, in a response.
pub const MAX_FOUND: u32 = 20;
/// Number of calls, and of allocations, in which a search looks for the last digits of a number, newest first. There is no
/// index of them.
pub const MAX_SEARCHED: u32 = 5_000;
/// Fewest digits of a number, and characters of a Call-ID.
const MIN_QUERY_LENGTH: usize = 3;
/// Most characters of a Call-ID.
const MAX_QUERY_LENGTH: usize = 255;
const RULE: &str = "must be an id, an E.164 number, its last 3 or more digits, or a SIP Call-ID";

/// Query parameters of a search.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// Id of a call, an allocation or an event; a number with `+` encoded as `%2B`; the last 3 or more digits of a number; or
    /// the SIP `Call-ID` of a leg.
    #[param(value_type = String, required = true, example = "4821", pattern = "^[!-~]{3,255}$")]
    q: Option<String>,
}

/// Result of a search.
#[derive(Serialize, ToSchema)]
#[schema(description = "Result of a search.")]
struct SearchResult<'a> {
    /// Kind of the query.
    #[schema(value_type = SearchKind)]
    kind: &'static str,
    /// Calls, newest first.
    #[schema(max_items = 20)]
    calls: Vec<CallDetails<'a>>,
    /// Allocations, newest first.
    #[schema(max_items = 20)]
    allocations: Vec<AllocationDetails<'a>>,
    /// Events.
    #[schema(max_items = 1, value_type = Vec<EventBody>)]
    events: Vec<Box<RawValue>>,
    /// `false`: there are more results, or older calls and allocations that were not searched.
    complete: bool,
}

/// Search calls, allocations and events
///
/// Finds by an id, by a number of a party or a virtual number, by the last 3 or more digits of one, or by a SIP `Call-ID`.
/// The last two are searched in the newest 5,000 calls and 5,000 allocations; `complete` is `false` if there are older ones.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/search",
    operation_id = "search",
    tag = "Calls",
    params(SearchQuery),
    responses(
        (status = 200, description = "The result.", body = Success<SearchResult>),
        QueryProblems,
    )
)]
pub(crate) async fn search(
    Tenant(store): Tenant,
    State(api): State<Api>,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        let detail = "The query accepts these parameters, each at most once: q.";
        Problem::new(Code::InvalidRequest, detail)
    })?;
    find(&store, query.q.as_deref().unwrap_or_default(), api.now()).await
}

/// Results of a search, before they are limited.
#[derive(Default)]
struct Found {
    calls: Vec<CallRecord>,
    allocations: Vec<Allocation>,
    events: Vec<LoggedEvent>,
    /// There are older calls or allocations that were not searched.
    has_older: bool,
}

/// Returns the response of a search.
pub(crate) async fn find(
    store: &TenantStore,
    query: &str,
    now: Timestamp,
) -> Result<Response, Problem> {
    let query = query.trim();
    let (kind, found) = if let Some(id) = CallSid::parse(query) {
        ("call", found_call(store, &id).await?)
    } else if let Some(id) = GreenpinId::parse(query) {
        ("allocation", found_allocation(store, &id).await?)
    } else if let Some(id) = EventId::parse(query) {
        ("event", found_event(store, id).await?)
    } else if let Ok(number) = PhoneNumber::parse(query) {
        ("number", found_number(store, number, now).await?)
    } else if is_last_digits(query) {
        ("digits", found_digits(store, query).await?)
    } else if is_call_id(query) {
        ("sip_call_id", found_call_id(store, query).await?)
    } else {
        return Err(invalid_parameter("q", RULE));
    };
    let zone = store.settings().await?.zone();
    let max = usize::try_from(MAX_FOUND).unwrap_or(usize::MAX);
    let events = found
        .events
        .iter()
        .map(|event| RawValue::from_string(event.body.clone()));
    let events: Result<Vec<_>, _> = events.collect();
    let result = SearchResult {
        kind,
        complete: !found.has_older && found.calls.len() <= max && found.allocations.len() <= max,
        calls: found
            .calls
            .iter()
            .take(max)
            .map(|record| CallDetails::from_record(record, store, &zone))
            .collect(),
        allocations: found
            .allocations
            .iter()
            .take(max)
            .map(|allocation| AllocationDetails::from_allocation(allocation, &zone, now))
            .collect(),
        events: events.map_err(|_| Problem::plain(Code::Internal))?,
    };
    Ok(success(StatusCode::OK, result))
}

/// Returns whether a text can be the end of a number.
fn is_last_digits(text: &str) -> bool {
    (MIN_QUERY_LENGTH..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a text can be a `Call-ID` (RFC 3261, section 25.1: `callid`), in a wider sense.
fn is_call_id(text: &str) -> bool {
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (MIN_QUERY_LENGTH..=MAX_QUERY_LENGTH).contains(&text.len()) && is_visible
}

async fn found_call(store: &TenantStore, id: &CallSid) -> Result<Found, StoreError> {
    Ok(Found {
        calls: store.call(id).await?.into_iter().collect(),
        ..Found::default()
    })
}

async fn found_allocation(store: &TenantStore, id: &GreenpinId) -> Result<Found, StoreError> {
    let calls = store.calls_of_allocation(id, None, MAX_FOUND + 1).await?;
    Ok(Found {
        allocations: store.allocation(id).await?.into_iter().collect(),
        calls,
        ..Found::default()
    })
}

async fn found_event(store: &TenantStore, id: EventId) -> Result<Found, StoreError> {
    Ok(Found {
        events: store.event(id).await?.into_iter().collect(),
        ..Found::default()
    })
}

/// Finds by the index of parties, and by the index of virtual numbers.
async fn found_number(
    store: &TenantStore,
    number: PhoneNumber,
    now: Timestamp,
) -> Result<Found, StoreError> {
    let limit = MAX_FOUND + 1;
    let mut found = Found::default();
    for is_virtual in [false, true] {
        let (party, virtual_number) = match is_virtual {
            false => (Some(number), None),
            true => (None, Some(number)),
        };
        let calls = CallFilter {
            party,
            virtual_number,
            ..CallFilter::default()
        };
        let allocations = AllocationFilter {
            party,
            virtual_number,
            ..AllocationFilter::default()
        };
        found.calls.extend(store.calls(calls, None, limit).await?);
        let allocations = store.allocations(allocations, None, limit, now).await?;
        found.allocations.extend(allocations);
    }
    Ok(found)
}

/// Finds by decrypting the newest calls and allocations.
async fn found_digits(store: &TenantStore, digits: &str) -> Result<Found, StoreError> {
    let digits = LastDigits::new(digits);
    let (calls, more_calls) = store
        .calls_with_digits(digits.clone(), MAX_SEARCHED)
        .await?;
    let (allocations, more_allocations) =
        store.allocations_with_digits(digits, MAX_SEARCHED).await?;
    Ok(Found {
        calls,
        allocations,
        has_older: more_calls || more_allocations,
        ..Found::default()
    })
}

/// Finds by decrypting the newest calls.
async fn found_call_id(store: &TenantStore, call_id: &str) -> Result<Found, StoreError> {
    let (calls, has_older) = store
        .calls_with_call_id(call_id.to_owned(), MAX_SEARCHED)
        .await?;
    Ok(Found {
        calls,
        has_older,
        ..Found::default()
    })
}
