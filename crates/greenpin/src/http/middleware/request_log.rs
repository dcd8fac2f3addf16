//! Latest requests of each tenant to this node, for the console. Kept in memory only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::MatchedPath;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;

use super::problem::Problem;
use super::request_metrics::method_label;
use crate::http::RequestId;
use crate::store::{TenantId, Timestamp};

/// Maximum number of logged requests of a tenant. Older ones are dropped.
pub const MAX_LOGGED_REQUESTS: usize = 200;
/// Maximum number of tenants with logged requests. The one whose last request is the oldest is dropped.
pub const MAX_LOGGED_TENANTS: usize = 200;

/// Logged request. It has the template of the path: a path and a query can contain numbers.
#[derive(Debug, Clone)]
pub(crate) struct LoggedRequest {
    pub(crate) at: Timestamp,
    pub(crate) method: &'static str,
    pub(crate) route: MatchedPath,
    pub(crate) status: u16,
    /// Code of an error.
    pub(crate) code: Option<&'static str>,
    pub(crate) latency: Duration,
    pub(crate) request_id: String,
}

/// Logged request, as the console shows it.
#[derive(Serialize)]
pub(crate) struct LoggedRequestDetails<'a> {
    at: String,
    method: &'static str,
    route: &'a str,
    status: u16,
    code: Option<&'static str>,
    latency_ms: f64,
    request_id: &'a str,
}

/// Start of a request.
pub(crate) struct RequestStart {
    at: Timestamp,
    instant: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    request_id: Option<RequestId>,
}

/// Latest requests of each tenant, the newest last.
#[derive(Default)]
pub(crate) struct RequestLog(Mutex<HashMap<TenantId, VecDeque<LoggedRequest>>>);

impl RequestStart {
    pub(crate) fn new(parts: &Parts, now: Timestamp) -> Self {
        Self {
            at: now,
            instant: Instant::now(),
            method: method_label(&parts.method),
            route: parts.extensions.get::<MatchedPath>().cloned(),
            request_id: parts.extensions.get::<RequestId>().cloned(),
        }
    }

    /// Returns the request with its response.
    pub(crate) fn end(self, response: &Response) -> Option<LoggedRequest> {
        let problem = response.extensions().get::<Problem>();
        Some(LoggedRequest {
            at: self.at,
            method: self.method,
            route: self.route?,
            status: response.status().as_u16(),
            code: problem.map(|problem| problem.code().as_str()),
            latency: self.instant.elapsed(),
            request_id: self.request_id?.0,
        })
    }
}

impl RequestLog {
    pub(crate) fn add(&self, tenant: &TenantId, request: LoggedRequest) {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= MAX_LOGGED_TENANTS && !tenants.contains_key(tenant) {
            let last = |requests: &VecDeque<LoggedRequest>| requests.back().map(|last| last.at);
            let oldest = tenants.iter().min_by_key(|(_, requests)| last(requests));
            if let Some(oldest) = oldest.map(|(tenant, _)| tenant.clone()) {
                tenants.remove(&oldest);
            }
        }
        let requests = tenants.entry(tenant.clone()).or_default();
        if requests.len() >= MAX_LOGGED_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(request);
    }

    /// Returns the requests of a tenant, newest first.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<LoggedRequest> {
        let tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = tenants.get(tenant).into_iter().flatten();
        requests.rev().cloned().collect()
    }
}

impl LoggedRequest {
    /// Returns the request with its time in a time zone.
    pub(crate) fn details(&self, zone: &jiff::tz::TimeZone) -> LoggedRequestDetails<'_> {
        LoggedRequestDetails {
            at: self.at.rfc3339(zone),
            method: self.method,
            route: self.route.as_str(),
            status: self.status,
            code: self.code,
            latency_ms: (self.latency.as_secs_f64() * 1e4).round() / 10.0,
            request_id: &self.request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use tower_service::Service as _;

    use super::*;

    async fn matched() -> MatchedPath {
        let handler = |path: MatchedPath| async move { path.as_str().to_owned() };
        let found = std::sync::Arc::new(Mutex::new(None));
        let kept = found.clone();
        let layer =
            axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
                *kept.lock().unwrap() = request.extensions().get::<MatchedPath>().cloned();
                next.run(request)
            });
        let mut router: Router = Router::new()
            .route("/a/{id}", get(handler))
            .route_layer(layer);
        let request = Request::get("/a/1").body(Body::empty()).unwrap();
        router.call(request).await.unwrap();
        found.lock().unwrap().take().unwrap()
    }

    #[tokio::test]
    async fn the_log_keeps_the_newest_requests_and_the_tenants_with_the_newest() {
        let (log, route) = (RequestLog::default(), matched().await);
        let add = |tenant: usize, second: usize| {
            let request = LoggedRequest {
                at: Timestamp::from_micros(i64::try_from(second).unwrap() * 1_000_000),
                method: "GET",
                route: route.clone(),
                status: 200,
                code: None,
                latency: Duration::ZERO,
                request_id: format!("req_{second}"),
            };
            log.add(&TenantId::parse(&format!("t{tenant}")).unwrap(), request);
        };
        let of = |tenant: usize| log.of(&TenantId::parse(&format!("t{tenant}")).unwrap());
        (0..=MAX_LOGGED_REQUESTS).for_each(|second| add(0, second));
        let kept = of(0);
        assert_eq!(kept.len(), MAX_LOGGED_REQUESTS);
        assert_eq!(kept[0].request_id, format!("req_{MAX_LOGGED_REQUESTS}"));
        assert_eq!(kept[0].route.as_str(), "/a/{id}");
        (1..MAX_LOGGED_TENANTS).for_each(|tenant| add(tenant, 1000 + tenant));
        add(0, 5000);
        add(MAX_LOGGED_TENANTS, 6000);
        assert!(of(1).is_empty(), "its last request is the oldest");
        assert_eq!(of(2).len() + of(MAX_LOGGED_TENANTS).len(), 2);
        assert_eq!(of(0)[0].request_id, "req_5000");
    }
}
