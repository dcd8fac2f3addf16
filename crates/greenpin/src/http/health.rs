//! Liveness and readiness probes.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::supervision::Supervisor;

/// Conditions for readiness, besides a reachable store.
#[derive(Debug, Default)]
pub struct Readiness {
    supervisor: Supervisor,
    sip_bound: AtomicBool,
    draining: AtomicBool,
    drained: AtomicBool,
}

impl Readiness {
    /// Creates the readiness of a server whose parts the supervisor watches.
    pub fn new(supervisor: Supervisor) -> Self {
        Self {
            supervisor,
            ..Self::default()
        }
    }

    /// Sets the state of the SIP service.
    pub fn set_sip_bound(&self, bound: bool) {
        self.sip_bound.store(bound, Ordering::Relaxed);
    }

    /// Marks the server as shutting down. It is no longer ready and rejects new allocations.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Starts or ends a drain requested by the operator. The drain of a shutdown cannot be ended.
    pub fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Relaxed);
    }

    /// Returns `true` during a drain requested by the operator.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Returns `true` during a shutdown or a drain requested by the operator.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.is_drained()
    }
}

/// Liveness of the process.
#[derive(Serialize, ToSchema)]
#[schema(description = "Liveness of the process.")]
struct Alive {
    /// Always `alive`.
    #[schema(pattern = "^alive$", examples("alive"))]
    status: &'static str,
}

/// Readiness, with the state of each condition.
#[derive(Serialize, ToSchema)]
#[schema(description = "Readiness, with the state of each condition.")]
struct Ready {
    /// `ready` or `not ready`.
    #[schema(pattern = "^(not )?ready$", examples("ready"))]
    status: &'static str,
    /// `true` if the store is reachable.
    store: bool,
    /// `true` if the node serves SIP.
    sip: bool,
    /// `true` during a drain or a shutdown.
    draining: bool,
    /// `true` if all long-lived tasks of the node run.
    tasks: bool,
}

/// Check liveness
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "Server",
    responses((status = 200, description = "The process is alive.", body = Alive))
)]
pub(crate) async fn alive() -> Response {
    Json(Alive { status: "alive" }).into_response()
}

/// Check readiness
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "Server",
    responses(
        (status = 200, description = "The node accepts requests and calls.", body = Ready),
        (status = 503, description = "The node does not accept requests or calls.", body = Ready),
    )
)]
pub(crate) async fn ready(State(api): State<Api>) -> Response {
    let draining = api.readiness.is_draining();
    let sip = api.readiness.sip_bound.load(Ordering::Relaxed);
    let store = api.store.ready().await.is_ok();
    let tasks = api.readiness.supervisor.is_sound();
    let (status, word) = match !draining && sip && store && tasks {
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
            tasks,
        }),
    )
        .into_response()
}
