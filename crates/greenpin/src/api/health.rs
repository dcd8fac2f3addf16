//! Whether the process is alive, and whether it can take requests and calls.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;

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

/// `GET /healthz`
pub(super) async fn alive() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// `GET /readyz`
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let draining = api.readiness.is_draining();
    let sip = api.readiness.sip_bound.load(Ordering::Relaxed);
    let store = api.store.ready().await.is_ok();
    let (status, word) = match !draining && sip && store {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let body = json!({ "status": word, "store": store, "sip": sip, "draining": draining });
    (status, Json(body)).into_response()
}
