//! Whether the process is alive, and whether it can take requests and calls.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;

/// What stands between a live process and one that is ready.
#[derive(Debug, Default)]
pub struct Readiness {
    sip_bound: AtomicBool,
    draining: AtomicBool,
    drained: AtomicBool,
}

impl Readiness {
    /// Tells whether SIP is served.
    pub fn set_sip_bound(&self, bound: bool) {
        self.sip_bound.store(bound, Ordering::Relaxed);
    }

    /// Says that the server is going: not ready any more, and no new allocation is made.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The operator has the node drained, or takes that back. The end of the server cannot be taken back.
    pub fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Relaxed);
    }

    /// Whether the server is going, or was drained by the operator.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.drained.load(Ordering::Relaxed)
    }
}

/// What a living process says.
#[derive(Serialize, ToSchema)]
#[schema(description = "The process lives.")]
struct Alive {
    /// Always `alive`.
    #[schema(pattern = "^alive$", examples("alive"))]
    status: &'static str,
}

/// What readiness hangs on.
#[derive(Serialize, ToSchema)]
#[schema(description = "Whether requests and calls can be taken, and what it hangs on.")]
struct Ready {
    /// `ready` or `not ready`.
    #[schema(pattern = "^(not )?ready$", examples("ready"))]
    status: &'static str,
    /// Whether the store can be reached.
    store: bool,
    /// Whether SIP is served.
    sip: bool,
    /// Whether the server is being shut down.
    draining: bool,
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "Server",
    responses((status = 200, description = "It does.", body = Alive))
)]
pub(crate) async fn alive() -> Response {
    Json(Alive { status: "alive" }).into_response()
}

/// Whether requests and calls can be taken
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "Server",
    responses(
        (status = 200, description = "They can.", body = Ready),
        (status = 503, description = "They cannot.", body = Ready),
    )
)]
pub(crate) async fn ready(State(api): State<Api>) -> Response {
    let draining = api.readiness.is_draining();
    let sip = api.readiness.sip_bound.load(Ordering::Relaxed);
    let store = api.store.ready().await.is_ok();
    let (status, word) = match !draining && sip && store {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    (
        status,
        Json(Ready {
            status: word,
            store,
            sip,
            draining,
        }),
    )
        .into_response()
}
