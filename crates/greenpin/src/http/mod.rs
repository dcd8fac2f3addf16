//! The HTTP API.

mod health;
pub(crate) mod middleware;
mod openapi;
pub(crate) mod operator;
mod serving;
pub(crate) mod tenant;

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::{Router, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::health::Readiness;
pub use self::middleware::problem::{Code, FieldError, Problem, RefusedLine};
use self::middleware::{auth, rate_limit, request_metrics};
pub use self::serving::serve;

use crate::calls;
use crate::config::{Secret, Trunk};
use crate::crypto::random;
use crate::recordings::Recordings;
use crate::store::{CallLimit, RateLimit, Store, Timestamp};

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct Api(Arc<ApiState>);

/// Each layer and handler of a request has an [`Api`] of its own, so that it is one count.
pub(crate) struct ApiState {
    store: Store,
    readiness: Arc<Readiness>,
    recordings: Recordings,
    credential_cache: auth::CredentialCache,
    last_use_tracker: auth::LastUseTracker,
    node: NodeInfo,
    rate_limiter: rate_limit::RateLimiter,
}

impl Deref for Api {
    type Target = ApiState;

    fn deref(&self) -> &ApiState {
        &self.0
    }
}

/// What the operator API tells of this process.
#[derive(Clone)]
pub struct NodeInfo {
    /// Its name in call records.
    pub name: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// What opens the operator API; `None`: it is off.
    pub operator_token: Option<Secret>,
    /// The carriers that are configured.
    pub trunks: Vec<Trunk>,
    /// How many calls it takes for a tenant whose settings say nothing.
    pub call_limit: CallLimit,
    /// The languages that it has prompts in.
    pub languages: Vec<String>,
    /// What stands before `/v1/…` in links.
    pub public_url: String,
    /// Its calls.
    pub engine: calls::Handle,
}

impl Api {
    /// The present, for everything that a request writes or judges.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Every route. `recordings` is where recordings are kept, `rate_limit` what holds for tenants whose settings
/// say nothing of it.
pub fn router(
    store: Store,
    readiness: Arc<Readiness>,
    recordings: Recordings,
    rate_limit: RateLimit,
    node: NodeInfo,
) -> Router {
    let api = Api(Arc::new(ApiState {
        store,
        readiness,
        recordings,
        credential_cache: auth::CredentialCache::default(),
        last_use_tracker: auth::LastUseTracker::default(),
        node,
        rate_limiter: rate_limit::RateLimiter::new(rate_limit),
    }));
    let tenant_routes =
        tenant::routes().route_layer(from_fn_with_state(api.clone(), auth::authenticate_tenant));
    let operator_routes =
        operator::routes().layer(from_fn_with_state(api.clone(), operator::require_token));
    let router = Router::from(routes(tenant_routes, operator_routes))
        .fallback(|| async { Problem::plain(Code::NotFound) })
        .method_not_allowed_fallback(|| async { Problem::plain(Code::MethodNotAllowed) });
    with_request_layer(router).with_state(api)
}

/// What every request meets first. One layer, not one for each part of it: a layer costs as much as its work.
fn with_request_layer<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(from_fn(assign_request_id))
}

/// Every route with what the document says of it: `routes!` takes no handler without `#[utoipa::path]`.
fn routes(
    tenant_routes: OpenApiRouter<Api>,
    operator_routes: OpenApiRouter<Api>,
) -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .nest("/v1/tenants/{tenant_id}", tenant_routes)
        .nest("/v1/admin", operator_routes)
        .routes(routes!(tenant::calls::recording_link::follow))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(request_metrics::metrics))
        .routes(routes!(openapi::serve::openapi))
        .routes(routes!(openapi::docs_page::docs))
}

/// The OpenAPI document of this version, as it is served and committed.
static OPENAPI: LazyLock<String> = LazyLock::new(|| {
    let routes = routes(tenant::routes(), operator::routes()).into_openapi();
    let requests = [tenant::requests(), operator::requests()].concat();
    serde_json::to_string_pretty(&openapi::complete(&routes, &requests)).unwrap_or_default() + "\n"
});

/// Returns the OpenAPI document of this version, as JSON.
pub fn openapi() -> &'static str {
    &OPENAPI
}

/// The id of a request, `req_…`.
#[derive(Clone)]
struct RequestId(String);

/// Gives each request an id, which its answer carries and each of its log lines.
async fn assign_request_id(mut request: Request, next: Next) -> Response {
    let request_id = format!("req_{:016x}{:016x}", random::u64(), random::u64());
    request
        .extensions_mut()
        .insert(RequestId(request_id.clone()));
    let span = tracing::info_span!("request", request_id, method = %request.method());
    let mut response =
        tracing::Instrument::instrument(request_metrics::record_metrics(request, next), span).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.render(&mut response, &request_id);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// What a call that went well answers.
#[derive(Serialize, ToSchema)]
struct Success<T> {
    /// What was asked for.
    response: T,
}

fn success<T: Serialize>(status: StatusCode, response: T) -> Response {
    (status, Json(Success { response })).into_response()
}
