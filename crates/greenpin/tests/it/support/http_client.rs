//! HTTP client on plain sockets, for requests that no HTTP library would send.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::server::{SID, TENANT, TIMEOUT, TOKEN};

/// Response, read until the end of the connection.
#[derive(Debug)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    head: String,
    /// JSON body, or `null` for other bodies.
    pub body: Value,
}

impl HttpResponse {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Returns `code` of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Returns `field` and `code` of each fault.
    pub fn faults(&self) -> Vec<(&str, &str)> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .map(|error| {
                (
                    error["field"].as_str().unwrap(),
                    error["code"].as_str().unwrap(),
                )
            })
            .collect()
    }
}

/// Returns the `Authorization` header of a tenant.
pub fn basic(account_sid: &str, token: &str) -> String {
    format!(
        "authorization: Basic {}\r\n",
        STANDARD.encode(format!("{account_sid}:{token}"))
    )
}

/// Sends a request and reads the response. The server may stop reading before the end of the request.
pub fn raw(server: SocketAddr, request: &[u8]) -> HttpResponse {
    raw_text(server, request).0
}

/// Like [`raw`], and returns the body as text.
pub fn raw_text(server: SocketAddr, request: &[u8]) -> (HttpResponse, String) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let _ = stream.write_all(request);
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let text = String::from_utf8_lossy(&response);
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    (
        parse(&response).unwrap_or_else(|| panic!("no response: {text:?}")),
        body,
    )
}

fn parse(response: &[u8]) -> Option<HttpResponse> {
    let text = String::from_utf8_lossy(response);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(HttpResponse {
        status,
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    })
}

/// Builds a request with further header lines and a body.
pub fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: greenpin\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Sends one create to each address, all at the same time.
pub fn create_at_once(addresses: &[SocketAddr], body: &str) -> Vec<HttpResponse> {
    std::thread::scope(|scope| {
        let creates: Vec<_> = addresses
            .iter()
            .map(|http| scope.spawn(|| create(*http, body)))
            .collect();
        creates
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Counts the responses with a status.
pub fn count_status(responses: &[HttpResponse], status: u16) -> usize {
    let with_status = responses.iter().filter(|found| found.status == status);
    with_status.count()
}

/// Returns the distinct PINs of the created allocations.
pub fn distinct_pins(responses: &[HttpResponse]) -> HashSet<&str> {
    let created = responses.iter().filter(|found| found.status == 201);
    created
        .map(|found| found.body["response"]["pin"].as_str().unwrap())
        .collect()
}

/// Sends a create request for the test tenant.
pub fn create(server: SocketAddr, body: &str) -> HttpResponse {
    let headers = format!("{}content-type: application/json\r\n", basic(SID, TOKEN));
    raw(
        server,
        &request(
            "POST",
            &format!("/v1/tenants/{TENANT}/greenpin"),
            &headers,
            body.as_bytes(),
        ),
    )
}

/// Sends a request without a body for the test tenant.
pub fn call(server: SocketAddr, method: &str, path: &str) -> HttpResponse {
    raw(
        server,
        &request(
            method,
            &format!("/v1/tenants/{TENANT}{path}"),
            &basic(SID, TOKEN),
            b"",
        ),
    )
}

/// Sends a request with a JSON body for the test tenant.
pub fn send(server: SocketAddr, method: &str, path: &str, body: &Value) -> HttpResponse {
    let headers = format!("{}content-type: application/json\r\n", basic(SID, TOKEN));
    let path = format!("/v1/tenants/{TENANT}{path}");
    raw(
        server,
        &request(method, &path, &headers, body.to_string().as_bytes()),
    )
}
