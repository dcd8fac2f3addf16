//! `GET /stream`: the event log as server-sent events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::watch;

use crate::http::Api;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::client_address::{ClientAddress, source_network};
use crate::http::middleware::masking::mask_json;
use crate::http::middleware::paging::invalid_parameter;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::session::{self, SessionAuthorized};
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::schemas::EventLogId;
use crate::store::{EventId, LoggedEvent, StoreError, TenantId, TenantStore};

/// Maximum number of open streams of a tenant on a node.
pub const MAX_STREAMS_PER_TENANT: usize = 50;
/// Maximum number of open streams of a source address on a node.
pub const MAX_STREAMS_PER_SOURCE: usize = 20;
/// Maximum duration of a stream. The client continues with a new one, whose credentials are checked.
pub const MAX_STREAM_DURATION: Duration = Duration::from_secs(5 * 60);
/// Interval between two comments on an idle stream.
pub const STREAM_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Shortest interval between two reads of the log.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Longest interval between two reads of the log of a file while this process writes nothing: a command may write.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of events in one read.
const MAX_EVENTS_PER_READ: u32 = 100;
/// Milliseconds until a client connects again, and the time before the first event.
const PREAMBLE: &str = "retry: 2000\n\n";
const HEARTBEAT: &str = ": \n\n";

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Open streams of this node.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams {
    tenants: Mutex<HashMap<TenantId, usize>>,
    sources: Mutex<HashMap<IpAddr, usize>>,
}

impl OpenStreams {
    /// Counts a stream; `None` if the tenant or the source has too many.
    fn open(self: &Arc<Self>, tenant: &TenantId, source: IpAddr) -> Option<StreamSlot> {
        if !increment(&self.tenants, tenant.clone(), MAX_STREAMS_PER_TENANT) {
            return None;
        }
        if !increment(&self.sources, source, MAX_STREAMS_PER_SOURCE) {
            decrement(&self.tenants, tenant);
            return None;
        }
        Some(StreamSlot {
            streams: Arc::clone(self),
            tenant: tenant.clone(),
            source,
        })
    }
}

fn increment<K: Eq + Hash>(counts: &Mutex<HashMap<K, usize>>, key: K, max: usize) -> bool {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let count = counts.entry(key).or_default();
    let is_free = *count < max;
    *count += usize::from(is_free);
    is_free
}

fn decrement<K: Eq + Hash>(counts: &Mutex<HashMap<K, usize>>, key: &K) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Place of an open stream, free again when it is dropped.
struct StreamSlot {
    streams: Arc<OpenStreams>,
    tenant: TenantId,
    source: IpAddr,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        decrement(&self.streams.tenants, &self.tenant);
        decrement(&self.streams.sources, &self.source);
    }
}

/// Follow the event log
///
/// The events of the tenant as server-sent events, as soon as they are written: `id` is the `event_id`, `data` the event
/// on one line. Without `Last-Event-ID` the stream starts with the next event. With it, the stream continues after that
/// event without a gap. A comment arrives every 10 seconds. The server ends a stream after 5 minutes; a client such as
/// `EventSource` connects again by itself.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/stream",
    operation_id = "stream_events",
    tag = "Events",
    params(("Last-Event-ID" = inline(Option<EventLogId>), Header, description = "`event_id` of the last event that you have.")),
    responses(
        (status = 200, description = "The events.", content_type = "text/event-stream", body = String),
        QueryProblems,
    )
)]
pub(crate) async fn follow(
    Tenant(store): Tenant,
    State(api): State<Api>,
    authorized: Option<Extension<SessionAuthorized>>,
    client: Option<Extension<ClientAddress>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = match headers.get(&LAST_EVENT_ID) {
        None => None,
        Some(id) => {
            let id = id.to_str().ok().and_then(EventId::parse);
            Some(id.ok_or_else(|| invalid_parameter("Last-Event-ID", "must be an event_id"))?)
        }
    };
    let source = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0.0);
    let slot = api.streams.open(store.tenant_id(), source_network(source));
    let slot = slot.ok_or_else(|| {
        let detail = "Too many open streams of this tenant or address.";
        Problem::new(Code::RateLimited, detail).retry_after(STREAM_HEARTBEAT_INTERVAL.as_secs())
    })?;
    let after = match last {
        Some(last) => last,
        None => store.end_of_events().await?,
    };
    let follower = Follower {
        commits: api.store.watch_commits(),
        api,
        store,
        after,
        session: authorized.and_then(|_| session::token(&headers).map(str::to_owned)),
        ends_at: Instant::now() + MAX_STREAM_DURATION,
        has_begun: false,
        _slot: slot,
    };
    let chunks = stream::unfold(follower, |mut follower| async {
        let chunk = follower.next().await?;
        Some((Ok::<_, Infallible>(chunk), follower))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would hold events back otherwise.
        (X_ACCEL_BUFFERING.clone(), "no"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// State of one stream.
struct Follower {
    api: Api,
    store: TenantStore,
    commits: watch::Receiver<u64>,
    /// Last event of the stream.
    after: EventId,
    /// Token of the session of the console that reads the stream.
    session: Option<String>,
    ends_at: Instant,
    has_begun: bool,
    _slot: StreamSlot,
}

impl Follower {
    /// Returns the next part of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.has_begun {
            self.has_begun = true;
            return Some(PREAMBLE.into());
        }
        let heartbeat_at = Instant::now() + STREAM_HEARTBEAT_INTERVAL;
        loop {
            if Instant::now() >= self.ends_at || self.api.readiness.is_draining() {
                return None;
            }
            self.commits.mark_unchanged();
            match self.read().await {
                Ok(Some(events)) => return Some(events),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot read the event log for a stream");
                    return None;
                }
            }
            if Instant::now() >= heartbeat_at {
                return self.has_session().await.then(|| HEARTBEAT.into());
            }
            self.wait().await;
        }
    }

    /// Returns whether the session of the stream still exists; `true` for a stream with credentials.
    async fn has_session(&self) -> bool {
        let Some(token) = &self.session else {
            return true;
        };
        let operator_token = session::operator_token(&self.api);
        let found = self
            .api
            .store
            .session(token, operator_token, self.api.now())
            .await;
        found.is_ok_and(|found| found.is_some_and(|session| !session.suspended))
    }

    /// Waits until the log may have changed.
    async fn wait(&mut self) {
        tokio::time::sleep(POLL_INTERVAL).await;
        // Another node may write the event, and then there is no local signal to wait for.
        if !self.api.store.is_shared() {
            let _ = tokio::time::timeout(FILE_POLL_INTERVAL, self.commits.changed()).await;
        }
    }

    /// Returns the events after the last one; `None` if there are none.
    async fn read(&mut self) -> Result<Option<Bytes>, StoreError> {
        let after = Some(self.after.clone());
        let events = self.store.events_after(after, MAX_EVENTS_PER_READ).await?;
        let last = events
            .last()
            .and_then(|last| EventId::parse(&last.event_id));
        let Some(last) = last else { return Ok(None) };
        self.after = last;
        let text: String = events.iter().map(|event| self.message(event)).collect();
        Ok(Some(text.into()))
    }

    fn message(&self, event: &LoggedEvent) -> String {
        let masked = self
            .session
            .as_ref()
            .map(|_| mask_json(event.body.as_bytes()))
            .map(|masked| String::from_utf8(masked.unwrap_or_default()).unwrap_or_default());
        let data = masked.as_deref().unwrap_or(&event.body);
        format!("id: {}\ndata: {data}\n\n", event.event_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_limited_by_tenant_and_source_and_free_their_place() {
        let streams = Arc::new(OpenStreams::default());
        let tenant = |name: &str| TenantId::parse(name).unwrap();
        let source = |last: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let mut open: Vec<_> = (0..MAX_STREAMS_PER_SOURCE)
            .map(|_| streams.open(&tenant("acme"), source(1)).unwrap())
            .collect();
        assert!(streams.open(&tenant("other"), source(1)).is_none());
        let others = MAX_STREAMS_PER_SOURCE..MAX_STREAMS_PER_TENANT;
        open.extend(others.map(|index| {
            let source = source(u8::try_from(index).unwrap());
            streams.open(&tenant("acme"), source).unwrap()
        }));
        assert!(streams.open(&tenant("acme"), source(2)).is_none());
        assert!(streams.open(&tenant("other"), source(2)).is_some());
        drop(open);
        assert!(streams.tenants.lock().unwrap().is_empty());
        assert!(streams.sources.lock().unwrap().is_empty());
    }
}
