//! Requests to the operator API.

use std::time::Instant;

use serde_json::Value;

use super::http_client::{HttpResponse, basic, raw, request};
use super::server::{Server, TIMEOUT};

/// The operator's token.
pub const OPERATOR: &str = "fictional-operator-token";
/// The first line of JSON that a request with a body has.
pub const JSON: &str = "content-type: application/json\r\n";

/// A server whose operator API is on.
pub fn server() -> Server {
    Server::with_operator(OPERATOR, "")
}

/// A request with any header lines.
pub fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &[u8]) -> HttpResponse {
    raw(
        server.http,
        &request(method, &format!("/v1/admin{path}"), headers, body),
    )
}

/// The operator's header.
pub fn bearer() -> String {
    format!("authorization: Bearer {OPERATOR}\r\n")
}

/// A request of the operator without a body.
pub fn operator_request(server: &Server, method: &str, path: &str) -> HttpResponse {
    ask(server, method, path, &bearer(), b"")
}

/// A request of the operator with JSON.
pub fn send(server: &Server, method: &str, path: &str, body: &Value) -> HttpResponse {
    ask(
        server,
        method,
        path,
        &format!("{}{JSON}", bearer()),
        body.to_string().as_bytes(),
    )
}

/// The `response` of an answer with this status.
pub fn response(answer: HttpResponse, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    answer.body["response"].clone()
}

/// The status of a tenant's own request.
pub fn tenants_status(server: &Server, tenant: &str, sid: &str, token: &str) -> (u16, String) {
    let path = format!("/v1/tenants/{tenant}/settings");
    let answer = raw(server.http, &request("GET", &path, &basic(sid, token), b""));
    (answer.status, answer.code().to_owned())
}

/// Returns a trunk as the operator API shows it.
pub fn trunk(server: &Server, index: usize) -> Value {
    response(operator_request(server, "GET", "/trunks"), 200)[index].clone()
}

/// Waits until a trunk has a value.
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
