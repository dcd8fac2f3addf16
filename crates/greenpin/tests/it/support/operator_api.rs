//! Requests to the operator API.

use std::time::Instant;

use serde_json::Value;

use super::http_client::{HttpResponse, basic, raw, request};
use super::server::{Server, TIMEOUT};

/// Operator token.
pub const OPERATOR: &str = "fictional-operator-token";
/// Content type header of requests with a JSON body.
pub const JSON: &str = "content-type: application/json\r\n";

/// Starts a server with the operator API.
pub fn server() -> Server {
    Server::with_operator(OPERATOR, "")
}

/// Sends a request with the given header lines.
pub fn send_request(
    server: &Server,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> HttpResponse {
    raw(
        server.http,
        &request(method, &format!("/v1/admin{path}"), headers, body),
    )
}

/// Returns the operator's `Authorization` header.
pub fn bearer() -> String {
    format!("authorization: Bearer {OPERATOR}\r\n")
}

/// Sends a request of the operator without a body.
pub fn operator_request(server: &Server, method: &str, path: &str) -> HttpResponse {
    send_request(server, method, path, &bearer(), b"")
}

/// Sends a request of the operator with a JSON body.
pub fn send(server: &Server, method: &str, path: &str, body: &Value) -> HttpResponse {
    send_request(
        server,
        method,
        path,
        &format!("{}{JSON}", bearer()),
        body.to_string().as_bytes(),
    )
}

/// Checks the status and returns `response` of the body.
pub fn expect_response(response: HttpResponse, status: u16) -> Value {
    assert_eq!(response.status, status, "{}", response.body);
    response.body["response"].clone()
}

/// Returns the status and error code of a tenant's request.
pub fn tenants_status(server: &Server, tenant: &str, sid: &str, token: &str) -> (u16, String) {
    let path = format!("/v1/tenants/{tenant}/settings");
    let response = raw(server.http, &request("GET", &path, &basic(sid, token), b""));
    (response.status, response.code().to_owned())
}

/// Returns a trunk from the operator API.
pub fn trunk(server: &Server, index: usize) -> Value {
    expect_response(operator_request(server, "GET", "/trunks"), 200)[index].clone()
}

/// Waits until a field of a trunk has a value.
pub fn wait_for_trunk(server: &Server, index: usize, key: &str, value: &Value) {
    let deadline = Instant::now() + TIMEOUT;
    while trunk(server, index)[key] != *value {
        assert!(
            Instant::now() < deadline,
            "{key} is never {value}\n{}",
            server.log()
        );
        std::thread::yield_now();
    }
}
