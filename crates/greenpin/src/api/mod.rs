//! The HTTP API.

mod admin;
mod auth;
mod body;
mod bulk;
mod call_list;
mod calls;
mod change;
mod events;
mod fields;
mod greenpin;
mod health;
mod idempotency;
mod listing;
mod numbers;
mod pin;
mod problem;
mod range;
mod rate;
mod resolve;
mod serve;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, get};
use axum::{Router, http::StatusCode};
use serde::Serialize;

pub use health::Readiness;
pub use problem::{Code, FieldError, Problem, RefusedLine};
pub use serve::serve;

use crate::config::{Secret, Trunk};
use crate::engine;
use crate::random;
use crate::store::{RateLimit, Store, Timestamp};

/// What every handler can reach.
#[derive(Clone)]
struct Api {
    store: Store,
    readiness: Arc<Readiness>,
    recordings: Arc<PathBuf>,
    seen: Arc<auth::Seen>,
    uses: Arc<auth::Uses>,
    node: Arc<Node>,
    limits: Arc<rate::Limits>,
}

/// What the operator API tells of this process.
#[derive(Clone)]
pub struct Node {
    /// Its name in call records.
    pub name: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// What opens the operator API; `None`: it is off.
    pub operator_token: Option<Secret>,
    /// The carriers that are configured.
    pub trunks: Vec<Trunk>,
    /// Its calls.
    pub engine: engine::Handle,
}

impl Api {
    /// The present, for everything that a request writes or judges.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

macro_rules! tenant_routes {
    ($($path:literal: $($method:ident $handler:path),+;)*) => {
        /// Every route of the tenant API: its method, and its path below `/v1/tenants/{tenant_id}`.
        pub const TENANT_ROUTES: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),*];

        fn tenant_routes() -> Router<Api> {
            Router::new()$(.route($path, MethodRouter::new()$(.$method($handler))+))*
        }
    };
}

tenant_routes! {
    "/greenpin": get listing::list, post greenpin::create, put bulk::update;
    "/greenpin/resolve": post resolve::resolve;
    "/greenpin/{greenpin_id}": get greenpin::read, put change::update, delete greenpin::delete;
    "/greenpin/{greenpin_id}/unlock": post pin::unlock;
    "/greenpin/{greenpin_id}/rotate-pin": post pin::rotate;
    "/greenpin/{greenpin_id}/calls": get calls::of_allocation;
    "/calls": get call_list::list;
    "/calls/{call_sid}": get calls::read;
    "/calls/{call_sid}/recording": get calls::recording;
    "/events": get events::list;
    "/events/{event_id}/redeliver": post events::redeliver;
    "/numbers": get numbers::list;
    "/settings": get settings::read, put settings::update;
}

/// Every route. `recordings` is the folder that recordings are in, `rate_limit` what holds for tenants whose settings
/// say nothing of it.
pub fn router(
    store: Store,
    readiness: Arc<Readiness>,
    recordings: PathBuf,
    rate_limit: RateLimit,
    node: Node,
) -> Router {
    let api = Api {
        store,
        readiness,
        recordings: Arc::new(recordings),
        seen: Arc::default(),
        uses: Arc::default(),
        node: Arc::new(node),
        limits: Arc::new(rate::Limits::new(rate_limit)),
    };
    let tenant = tenant_routes().route_layer(from_fn_with_state(api.clone(), auth::enter));
    Router::new()
        .nest("/v1/tenants/{tenant_id}", tenant)
        .nest("/v1/admin", admin::router(&api))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(|| async { Problem::plain(Code::NotFound) })
        .method_not_allowed_fallback(|| async { Problem::plain(Code::MethodNotAllowed) })
        .layer(from_fn(identify))
        .with_state(api)
}

/// The id of a request, `req_…`.
#[derive(Clone)]
struct RequestId(String);

/// Gives each request an id, which its answer carries and each of its log lines.
async fn identify(mut request: Request, next: Next) -> Response {
    let request_id = format!("req_{:016x}{:016x}", random::u64(), random::u64());
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let span = tracing::info_span!("request", request_id, method = %request.method());
    let mut response = tracing::Instrument::instrument(next.run(request), span).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.render(&mut response, &request_id);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

#[derive(Serialize)]
struct Success<T> {
    response: T,
}

fn success<T: Serialize>(status: StatusCode, response: T) -> Response {
    (status, Json(Success { response })).into_response()
}
