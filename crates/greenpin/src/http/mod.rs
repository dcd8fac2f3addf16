//! The HTTP API.
//!
//! - `tenant/`: handlers of a tenant's resources, below `/v1/tenants/{tenant_id}`.
//! - `operator/`: handlers of the operator, below `/v1/admin`.
//! - `middleware/`: parts shared by all requests, such as credentials, rate limits, bodies and errors.
//! - `console/`: the web console.
//! - `openapi/`: the OpenAPI document and its HTML page.
//! - `limits`: the limits that the reference of limits names.
//! - `health`, `serving`: liveness and readiness; the HTTP server.

mod console;
mod health;
pub mod limits;
pub(crate) mod middleware;
mod openapi;
pub(crate) mod operator;
mod serving;
pub(crate) mod tenant;

use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::health::Readiness;
pub use self::middleware::problem::{Code, FieldError, Problem, RefusedLine};
use self::middleware::{auth, rate_limit, request_log, request_metrics};
pub use self::serving::{ConnectionLimits, HttpCertificate, ServingOptions, serve};

use crate::calls;
use crate::config::{Secret, Trunk};
use crate::crypto::random;
use crate::recordings::Recordings;
use crate::store::{CallLimit, RateLimit, Store, Timestamp};
use crate::webhooks::TestSender;

/// State shared by all handlers.
#[derive(Clone)]
pub(crate) struct Api(Arc<ApiState>);

/// Contents of [`Api`]. Each layer and handler of a request clones the [`Api`], so it is a single reference count.
pub(crate) struct ApiState {
    store: Store,
    readiness: Arc<Readiness>,
    recordings: Recordings,
    credential_cache: auth::CredentialCache,
    last_use_tracker: auth::LastUseTracker,
    node: NodeInfo,
    rate_limiter: rate_limit::RateLimiter,
    request_log: request_log::RequestLog,
    streams: Arc<tenant::events::stream::OpenStreams>,
}

impl Deref for Api {
    type Target = ApiState;

    fn deref(&self) -> &ApiState {
        &self.0
    }
}

/// Settings of the API that a reload of the configuration replaces.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    /// Configured trunks.
    pub trunks: Vec<Trunk>,
    /// Call limit of tenants without a limit in their settings.
    pub call_limit: CallLimit,
    /// Rate limit of tenants without a limit in their settings.
    pub rate_limit: RateLimit,
    /// Languages of the available prompts.
    pub languages: Vec<String>,
}

/// Data about this process for the operator API.
#[derive(Clone)]
pub struct NodeInfo {
    /// Name of the node in call records.
    pub name: String,
    /// Time of the start.
    pub started_at: Timestamp,
    /// Token for the operator API. `None` disables the operator API.
    pub operator_token: Option<Secret>,
    /// Settings that a reload of the configuration replaces.
    pub live: watch::Receiver<LiveSettings>,
    /// Base of the URLs in links, before `/v1/…`.
    pub public_url: String,
    /// Handle to the call engine.
    pub engine: calls::Handle,
    /// Sender of test events to webhook endpoints.
    pub test_sender: TestSender,
}

impl Api {
    /// Returns the current time for writes and checks of a request.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Builds the router with every route. `recordings` is the storage of recordings.
pub fn router(
    store: Store,
    readiness: Arc<Readiness>,
    recordings: Recordings,
    node: NodeInfo,
) -> Router {
    let api = Api(Arc::new(ApiState {
        store,
        readiness,
        recordings,
        credential_cache: auth::CredentialCache::default(),
        last_use_tracker: auth::LastUseTracker::default(),
        node,
        rate_limiter: rate_limit::RateLimiter::default(),
        request_log: request_log::RequestLog::default(),
        streams: Arc::default(),
    }));
    let tenant_routes =
        tenant::routes().route_layer(from_fn_with_state(api.clone(), auth::authenticate_tenant));
    let operator_routes =
        operator::routes().layer(from_fn_with_state(api.clone(), operator::require_token));
    let router = Router::from(routes(tenant_routes, operator_routes))
        .merge(console::routes())
        .fallback(|| async { Problem::plain(Code::NotFound) })
        .method_not_allowed_fallback(|| async { Problem::plain(Code::MethodNotAllowed) });
    with_request_layer(router).with_state(api)
}

/// Adds the layer shared by all requests. It is one layer because each extra layer costs as much as its work.
fn with_request_layer<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(from_fn(assign_request_id))
}

/// Returns every route with its documentation. `routes!` rejects a handler without `#[utoipa::path]`.
fn routes(
    tenant_routes: OpenApiRouter<Api>,
    operator_routes: OpenApiRouter<Api>,
) -> OpenApiRouter<Api> {
    tenant_routes
        .nest("/v1/admin", operator_routes)
        .routes(routes!(tenant::calls::recording_link::follow))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(request_metrics::metrics))
        .routes(routes!(openapi::serve::openapi))
        .routes(routes!(openapi::docs_page::docs))
}

/// OpenAPI document of this version with each operation in full, for its HTML page.
static OPENAPI_IN_FULL: LazyLock<serde_json::Value> = LazyLock::new(|| {
    let routes = routes(tenant::routes(), operator::routes()).into_openapi();
    let requests = [tenant::requests(), operator::requests()].concat();
    openapi::complete(&routes, &requests)
});

/// OpenAPI document of this version, both served and committed.
static OPENAPI: LazyLock<String> =
    LazyLock::new(|| openapi::sharing::write(&openapi::sharing::share(OPENAPI_IN_FULL.clone())));

/// Returns the OpenAPI document of this version, as JSON.
pub fn openapi() -> &'static str {
    &OPENAPI
}

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, `req_…`.
#[derive(Clone)]
struct RequestId(String);

/// Returns a new id for a request.
fn new_request_id() -> String {
    let mut id = String::with_capacity(36);
    // Writing to a `String` does not fail.
    let _ = write!(id, "req_{:016x}{:016x}", random::u64(), random::u64());
    id
}

/// Assigns an id to each request, for its response and its log lines.
async fn assign_request_id(mut request: Request, next: Next) -> Response {
    let request_id = new_request_id();
    request
        .extensions_mut()
        .insert(RequestId(request_id.clone()));
    let span = tracing::info_span!("request", request_id, method = request.method().as_str());
    let answered = tracing::Instrument::instrument(respond(request, next), span);
    let mut response = answered.await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.render(&mut response, &request_id);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(&X_REQUEST_ID, value);
    }
    response
}

/// Passes a request to its handler, unless its `Host` is not as RFC 9112, section 3.2, demands.
async fn respond(request: Request, next: Next) -> Response {
    if serving::has_valid_host(&request) {
        request_metrics::record_metrics(request, next).await
    } else {
        serving::refuse_unreadable(&request)
    }
}

/// A successful response.
#[derive(Serialize, ToSchema)]
struct Success<T> {
    /// The result of the request.
    response: T,
}

fn success<T: Serialize>(status: StatusCode, response: T) -> Response {
    json_response(status, &Success { response }, ITEM_OCTETS)
}

/// Expected size of one item of a response in JSON, in octets.
const ITEM_OCTETS: usize = 640;

/// Returns a response in JSON. `expected` is the expected size of its body in octets: a growing buffer is copied.
fn json_response(status: StatusCode, body: &impl Serialize, expected: usize) -> Response {
    let mut octets = Vec::with_capacity(expected);
    if let Err(error) = serde_json::to_writer(&mut octets, body) {
        tracing::error!(%error, "cannot write a response");
        return Problem::plain(Code::Internal).into_response();
    }
    let media_type = HeaderValue::from_static("application/json");
    let mut response = Response::new(octets.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}
