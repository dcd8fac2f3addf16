//! Responses to requests that never reach the router, because their head cannot be read.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::http::middleware::client_address::ClientAddress;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::{RequestId, new_request_id};
use crate::limits::log_limit::LogLimit;
use crate::metrics::METRICS;

/// Limits the log lines about unreadable requests.
static LOG_LIMIT: LogLimit = LogLimit::new();

/// Returns the code of a status that the HTTP library responds with.
pub(super) fn code_of(status: u16) -> Code {
    match status {
        414 => Code::UriTooLong,
        431 => Code::HeaderTooLarge,
        _ => Code::MalformedRequest,
    }
}

/// Counts and logs a request that cannot be read.
fn report(code: Code, client: IpAddr, request_id: &str) {
    METRICS.count_unreadable_request();
    if let Some(suppressed) = LOG_LIMIT.allow() {
        tracing::warn!(
            %client,
            request_id,
            code = code.as_str(),
            suppressed,
            "refused an HTTP request that cannot be read"
        );
    }
}

/// Returns a whole HTTP/1.1 response with a problem. Counts and logs the refused request.
pub(super) fn respond(code: Code, client: IpAddr) -> Vec<u8> {
    let request_id = new_request_id();
    report(code, client, &request_id);
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = Problem::plain(code).body(&request_id);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    let date = date.map(|date| format!("date: {date}\r\n"));
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         x-request-id: {request_id}\r\nconnection: close\r\n{}\r\n",
        body.len(),
        date.unwrap_or_default(),
    );
    [head.into_bytes(), body].concat()
}

/// Returns whether the `Host` of a request is as RFC 9112, section 3.2, demands: exactly one in HTTP/1.1, and valid.
pub(crate) fn has_valid_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_valid =
        |host: &HeaderValue| host.is_empty() || Authority::try_from(host.as_bytes()).is_ok();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => is_valid(host),
        (Some(_), Some(_)) => false,
    }
}

/// Returns the response to a request whose `Host` is not valid. Counts and logs the refused request.
pub(crate) fn refuse_unreadable<B>(request: &Request<B>) -> Response {
    let code = Code::MalformedRequest;
    let id = request.extensions().get::<RequestId>();
    let id = id.map(|id| id.0.as_str()).unwrap_or_default();
    let client = request.extensions().get::<ClientAddress>();
    let client = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0);
    report(code, client, id);
    let detail = "A request needs exactly one valid Host header.";
    Problem::new(code, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_http_1_1_has_one_valid_host() {
        let valid = |version, hosts: &[&str]| {
            let builder = hosts
                .iter()
                .fold(Request::builder().version(version), |builder, host| {
                    builder.header(header::HOST, *host)
                });
            has_valid_host(&builder.body(()).unwrap())
        };
        for hosts in [
            &["example.com"][..],
            &["[::1]:8080"],
            &["127.0.0.1:80"],
            &[""],
        ] {
            assert!(valid(Version::HTTP_11, hosts), "{hosts:?}");
        }
        for hosts in [&[][..], &["a", "a"], &["a b"], &["a/b"]] {
            assert!(!valid(Version::HTTP_11, hosts), "{hosts:?}");
        }
        assert!(valid(Version::HTTP_10, &[]) && valid(Version::HTTP_2, &[]));
    }
}
