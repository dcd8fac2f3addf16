//! Counts requests, and turns a panic of a handler into a response.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Code, Problem};
use crate::http::Api;
use crate::metrics::{METRICS, RequestLabel, StoreFigures, text_format};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Read metrics
///
/// Prometheus metrics: in OpenMetrics format if `Accept` names it, as Prometheus does, else in the older text format.
/// Labels never contain telephone numbers, PINs or ids.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "Server",
    responses((status = 200, description = "The metrics.", content(
        (String = "application/openmetrics-text"),
        (String = "text/plain"),
    )))
)]
pub(crate) async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Response {
    // A database that does not answer leaves its figures out.
    let (backlog, disabled, uploads) = tokio::join!(
        api.store.open_deliveries(),
        api.store.disabled_endpoints(),
        api.store.pending_uploads(&api.node.name),
    );
    let stored = StoreFigures {
        webhook_backlog: backlog.ok(),
        endpoints_disabled: disabled.ok(),
        upload_backlog: uploads.ok(),
    };
    let text = METRICS.render(&stored);
    let (text, media_type) = match accepts_open_metrics(&headers) {
        true => (text, OPEN_METRICS),
        false => (text_format::from_open_metrics(&text), TEXT_FORMAT),
    };
    let mut response = text.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("application/openmetrics-text"))
}

/// Counts a request under its route template, and measures its duration.
pub(crate) async fn record_metrics(request: Request, next: Next) -> Response {
    let started_at = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let method = method_label(request.method());
    let response = catch_panic(request, next).await;
    let route = matched
        .as_ref()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let status = status_class(response.status());
    METRICS.count_request(
        RequestLabel {
            route,
            method,
            status,
        },
        started_at.elapsed().as_secs_f64(),
    );
    response
}

/// Maps unknown methods to one label, so that clients cannot create labels.
pub(super) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Responds with 500 if the handler panics. Other requests are not affected.
async fn catch_panic(request: Request, next: Next) -> Response {
    let mut response = pin!(next.run(request));
    let caught = poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| response.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
            Err(_) => Poll::Ready(None),
        }
    });
    caught.await.unwrap_or_else(|| {
        tracing::error!("request handler panicked");
        Problem::plain(Code::Internal).into_response()
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn get_response(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn a_panicking_handler_is_a_500_with_the_request_id_and_the_next_request_succeeds() {
        async fn broken() -> &'static str {
            tokio::task::yield_now().await;
            panic!("a handler that is broken on purpose")
        }
        let router = Router::new()
            .route("/broken", get(broken))
            .route("/well", get(|| async { "well" }));
        let router = crate::http::with_request_layer(router);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(crate::http::serve(
            listener,
            router,
            crate::http::ServingOptions::default(),
            std::future::pending(),
        ));
        let response = get_response(address, "/broken").await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 500"), "{response}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{response}"
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "internal");
        let id = body["request_id"].as_str().unwrap();
        assert!(head.contains(&format!("x-request-id: {id}")), "{response}");
        assert!(!response.contains("on purpose"), "{response}");
        assert!(get_response(address, "/well").await.ends_with("well"));
        let counted = METRICS.render(&StoreFigures::default());
        let line =
            "greenpin_http_requests_total{route=\"/broken\",method=\"GET\",status=\"5xx\"} 1";
        assert!(counted.contains(line), "{counted}");
    }
}
