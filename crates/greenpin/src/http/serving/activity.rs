//! Activity of a connection: which side it waits for, and since when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Times that a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For a whole head. The first head counts from the start of the connection.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// Without reading anything of a response.
    pub(super) write: Duration,
}

/// Time-out that ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The head of a request did not arrive.
    Head,
    /// No further request arrived.
    Idle,
    /// The client does not read its response.
    Write,
}

/// Rank of a connection that can be closed to make room: the lowest is closed first. Connections without any complete
/// request come first, then idle ones, then those whose client reads a response. Among equals the longest wait decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EvictionRank(u8, Instant);

/// Activity of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    evicted: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests without a complete response.
    open_requests: usize,
    /// Open requests whose client waits for the server.
    working_requests: usize,
    /// A part of a response can still be in a buffer of the server.
    is_unflushed: bool,
    has_served: bool,
    /// Start of the head in progress.
    head_since: Option<Instant>,
    has_partial_head: bool,
    has_unread_body: bool,
    is_evicted: bool,
    /// Start of the last request.
    request_at: Instant,
    /// Time at which the client last took a part of a response, or the connection started.
    progress_at: Instant,
}

impl State {
    /// Returns `true` if the server waits for a request.
    fn is_waiting(&self) -> bool {
        self.open_requests == 0 && !self.is_unflushed
    }
}

impl Activity {
    /// Returns the activity of a new connection.
    pub(super) fn new() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            state: Mutex::new(State {
                open_requests: 0,
                working_requests: 0,
                is_unflushed: false,
                has_served: false,
                head_since: Some(now),
                has_partial_head: false,
                has_unread_body: false,
                is_evicted: false,
                request_at: now,
                progress_at: now,
            }),
            evicted: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if the server waits for a request: no response is in progress.
    pub(super) fn is_waiting(&self) -> bool {
        self.state().is_waiting()
    }

    /// Returns `true` if a part of a head has arrived, and not the rest.
    pub(super) fn has_partial_head(&self) -> bool {
        self.state().has_partial_head
    }

    /// Returns `true` if the server has not read the whole body of the last request.
    pub(super) fn has_unread_body(&self) -> bool {
        self.state().has_unread_body
    }

    /// Records bytes from the client. Between two requests they begin a head.
    pub(super) fn on_received(&self) {
        let mut state = self.state();
        if state.is_waiting() {
            state.head_since.get_or_insert_with(Instant::now);
            state.has_partial_head = true;
        }
    }

    /// Records response bytes that the client's side has accepted.
    pub(super) fn on_sent(&self) {
        self.state().progress_at = Instant::now();
    }

    /// Records that no response bytes are left in the server's buffers.
    pub(super) fn on_flushed(&self) {
        let mut state = self.state();
        if state.open_requests == 0 && state.is_unflushed {
            state.is_unflushed = false;
            state.progress_at = Instant::now();
        }
    }

    /// Records a request whose body the handler has dropped before its end.
    pub(super) fn on_unread_body(&self) {
        self.state().has_unread_body = true;
    }

    /// Returns the time-out that applies now and its end; `None` while the client waits for the server.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Expiry)> {
        let state = self.state();
        let (since, expiry) = match (state.is_waiting(), state.head_since) {
            (true, Some(since)) => (since, Expiry::Head),
            (true, None) => (state.progress_at, Expiry::Idle),
            (false, _) if state.working_requests > 0 => return None,
            (false, _) => (state.progress_at, Expiry::Write),
        };
        let time = match expiry {
            Expiry::Head => timeouts.head,
            Expiry::Idle => timeouts.idle,
            Expiry::Write => timeouts.write,
        };
        Some((since.checked_add(time)?, expiry))
    }

    /// Returns the rank among the connections that can be closed to make room; `None` while the client waits for the
    /// server.
    pub(super) fn eviction_rank(&self) -> Option<EvictionRank> {
        let state = self.state();
        match (state.is_waiting(), state.has_served) {
            (true, false) => Some(EvictionRank(0, state.progress_at)),
            (true, true) => Some(EvictionRank(1, state.progress_at)),
            (false, _) if state.working_requests > 0 => None,
            (false, _) => Some(EvictionRank(2, state.request_at)),
        }
    }

    /// Returns `true` if another connection has the place of this one, and no request waits for the server.
    pub(super) fn must_end(&self) -> bool {
        let state = self.state();
        state.is_evicted && state.working_requests == 0
    }

    /// Asks the connection to end, because others need its place.
    pub(super) fn evict(&self) {
        self.state().is_evicted = true;
        self.evicted.notify_one();
    }

    /// Waits for [`Activity::evict`].
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// A request without a complete response. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct OpenRequest {
    activity: Arc<Activity>,
    is_working: bool,
}

impl OpenRequest {
    /// Records a request whose head has arrived.
    pub(super) fn begin(activity: Arc<Activity>) -> Self {
        let mut state = activity.state();
        state.open_requests = state.open_requests.saturating_add(1);
        state.working_requests = state.working_requests.saturating_add(1);
        state.is_unflushed = true;
        state.has_served = true;
        state.head_since = None;
        state.has_partial_head = false;
        state.has_unread_body = false;
        state.request_at = Instant::now();
        drop(state);
        Self {
            activity,
            is_working: true,
        }
    }

    /// Records that the client has room for a further part of the response.
    pub(super) fn on_progress(&self) {
        self.activity.on_sent();
    }

    /// Records whether the client waits for the server (`true`), or the server for the client to take the response.
    pub(super) fn set_working(&mut self, is_working: bool) {
        if self.is_working == is_working {
            return;
        }
        self.is_working = is_working;
        let mut state = self.activity.state();
        if is_working {
            state.working_requests = state.working_requests.saturating_add(1);
        } else {
            state.working_requests = state.working_requests.saturating_sub(1);
            state.progress_at = Instant::now();
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.set_working(false);
        let mut state = self.activity.state();
        state.open_requests = state.open_requests.saturating_sub(1);
        state.progress_at = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(30),
        idle: Duration::from_secs(75),
        write: Duration::from_secs(20),
    };

    fn expiry(activity: &Activity) -> Option<(u64, Expiry)> {
        let (at, expiry) = activity.deadline(&TIMEOUTS)?;
        Some((at.duration_since(Instant::now()).as_secs(), expiry))
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_of_a_connection_has_its_own_time_out() {
        let advance = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let activity = Activity::new();
        assert_eq!(expiry(&activity), Some((30, Expiry::Head)));
        advance(10).await;
        activity.on_received();
        assert_eq!(
            expiry(&activity),
            Some((20, Expiry::Head)),
            "from the start"
        );
        assert!(activity.has_partial_head());
        let mut request = OpenRequest::begin(activity.clone());
        assert_eq!(expiry(&activity), None, "the handler works");
        assert!(!activity.is_waiting() && !activity.has_partial_head());
        request.set_working(false);
        assert_eq!(expiry(&activity), Some((20, Expiry::Write)));
        advance(5).await;
        activity.on_sent();
        assert_eq!(expiry(&activity), Some((20, Expiry::Write)));
        drop(request);
        assert!(!activity.is_waiting(), "the response is not flushed");
        activity.on_flushed();
        assert_eq!(expiry(&activity), Some((75, Expiry::Idle)));
        advance(40).await;
        activity.on_received();
        assert_eq!(expiry(&activity), Some((30, Expiry::Head)));
        advance(29).await;
        activity.on_received();
        assert_eq!(expiry(&activity), Some((1, Expiry::Head)), "a whole head");
    }

    #[tokio::test(start_paused = true)]
    async fn connections_without_a_request_are_evicted_first_and_busy_ones_never() {
        let connection = || async {
            tokio::time::advance(Duration::from_secs(1)).await;
            Activity::new()
        };
        let [idle, old, new, reading, busy] = [
            connection().await,
            connection().await,
            connection().await,
            connection().await,
            connection().await,
        ];
        drop(OpenRequest::begin(idle.clone()));
        idle.on_flushed();
        OpenRequest::begin(reading.clone()).set_working(false);
        let _busy = OpenRequest::begin(busy.clone());
        let ranks: Vec<_> = [&old, &new, &idle, &reading]
            .map(|activity| activity.eviction_rank().unwrap())
            .into();
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(busy.eviction_rank(), None);
    }
}
