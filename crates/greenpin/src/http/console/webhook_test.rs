//! Test event to a webhook endpoint. The response has the result of the one attempt.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::reveal::require_tenant;
use crate::http::middleware::body;
use crate::http::middleware::problem::{Code, Problem, not_found};
use crate::http::{Api, success};
use crate::store::EndpointId;

/// Result of a test event.
#[derive(Serialize)]
struct TestResult {
    /// Status of the response; `null`: no response.
    status: Option<u16>,
    /// Reason for the missing response.
    error: Option<&'static str>,
    latency_ms: u64,
    /// Start of the response body.
    answer: String,
}

/// Sends a test event to the endpoint `endpoint_id` of the body.
pub(super) async fn send(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (store, _) = require_tenant(&parts, &api).await?;
    let fields = body::json_object(&parts.headers, body).await?;
    let id = fields.get("endpoint_id").and_then(Value::as_str);
    let id = id.and_then(EndpointId::parse).ok_or_else(not_found)?;
    let event = store.test_event(&id, api.now()).await?;
    let event = event.ok_or_else(not_found)?;
    let sent = api.node.test_sender.send(event).await;
    let attempt = sent.ok_or_else(|| {
        let detail = "Too many test events are under way; retry later.";
        Problem::new(Code::Overloaded, detail)
    })?;
    let result = TestResult {
        status: attempt.status,
        error: attempt.error.map(|error| error.as_str()),
        latency_ms: u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX),
        answer: attempt.answer,
    };
    Ok(success(StatusCode::OK, result))
}
