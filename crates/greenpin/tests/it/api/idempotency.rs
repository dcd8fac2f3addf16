//! `Idempotency-Key`, contract section 1.3.

use std::collections::BTreeMap;
use std::time::Instant;

use call::PhoneNumber;
use greenpin::store::{KeyClaim, NewAllocation, Store, TenantId, Timestamp};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::http_client::{HttpResponse, basic, raw, request};
use crate::support::server::{SID, Server, TENANT, TIMEOUT, TOKEN};

const NUMBER: &str = "+914000000001";
const SHARED: &str = "+914000000002";

fn server() -> Server {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    server.add_number(SHARED, &["--mode", "shared", "--pin-length", "6"]);
    server
}

fn allocation_body() -> Value {
    json!({ "caller_id_number": SHARED, "from": ["+919900000001"], "duration": 600 })
}

/// Sends a request with an idempotency key.
fn send_with_key(
    to: std::net::SocketAddr,
    method: &str,
    path: &str,
    key: &str,
    body: &str,
) -> HttpResponse {
    let headers = format!(
        "{}content-type: application/json\r\nidempotency-key: {key}\r\n",
        basic(SID, TOKEN)
    );
    raw(
        to,
        &request(
            method,
            &format!("/v1/tenants/{TENANT}{path}"),
            &headers,
            body.as_bytes(),
        ),
    )
}

fn create(server: &Server, key: &str, body: &Value) -> HttpResponse {
    send_with_key(server.http, "POST", "/greenpin", key, &body.to_string())
}

fn count_allocations(server: &Server) -> usize {
    server.get("/greenpin").as_array().unwrap().len()
}

#[test]
fn a_repeated_request_gets_the_stored_response_and_is_not_executed() {
    let mut server = server();
    let first = create(&server, "order 1", &allocation_body());
    assert_eq!(
        (first.status, first.header("idempotency-replayed")),
        (201, None)
    );
    for _ in 0..2 {
        let again = create(&server, "order 1", &allocation_body());
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
        server.kill();
        server.start_again();
    }
    assert_eq!(count_allocations(&server), 1);
    assert_eq!(
        create(&server, "order 2", &allocation_body()).header("idempotency-replayed"),
        None
    );
    assert_eq!(count_allocations(&server), 2);
}

/// Imitates a process that ends after the commit of an allocation and before the response.
async fn create_and_crash(store: Store, key: &str, body: &str) {
    let tenant = store.tenant(TenantId::parse(TENANT).unwrap());
    // Paths are relative to the tenant.
    let (asked, now) = (
        tenant.idempotent_request(key, "POST", "/greenpin", body.as_bytes()),
        Timestamp::now(),
    );
    let KeyClaim::Claimed(claim) = tenant.claim_key(&asked, now).await.unwrap() else {
        panic!("the key is free")
    };
    let number = |text: &str| PhoneNumber::parse(text).unwrap();
    let new = NewAllocation::new(number(SHARED), vec![number("+919900000001")]);
    tenant
        .claimed(&asked, claim)
        .create_allocation(new, now)
        .await
        .unwrap();
}

#[test]
fn a_create_with_a_response_lost_in_a_crash_is_answered_without_a_second_execution() {
    let server = server();
    // Bodies are compared without the order of their fields.
    let sorted: BTreeMap<String, Value> = serde_json::from_value(allocation_body()).unwrap();
    let body = serde_json::to_string(&sorted).unwrap();
    Runtime::new()
        .unwrap()
        .block_on(create_and_crash(server.store(), "order 1", &body));
    for _ in 0..2 {
        let again = create(&server, "order 1", &allocation_body());
        assert_eq!(
            (again.status, again.header("idempotency-replayed")),
            (201, Some("true")),
            "{}",
            again.body
        );
        assert_eq!(again.body["response"]["pin"].as_str().unwrap().len(), 6);
    }
    assert_eq!(count_allocations(&server), 1);
    let other = create(
        &server,
        "order 1",
        &json!({ "caller_id_number": NUMBER, "from": ["+919900000001"] }),
    );
    assert_eq!(
        (other.status, other.code()),
        (409, "idempotency_key_reused")
    );
}

#[test]
fn each_kind_of_write_is_executed_once() {
    let server = server();
    let id = server.allocate(&allocation_body())["greenpin_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let item = format!("[{{\"greenpin_id\":\"{id}\",\"duration\":900}}]");
    for (method, path, body) in [
        ("POST", format!("/greenpin/{id}/rotate-pin"), ""),
        ("PUT", format!("/greenpin/{id}"), "{\"duration\":700}"),
        ("PUT", "/greenpin".to_owned(), item.as_str()),
        (
            "PUT",
            "/settings".to_owned(),
            "{\"webhooks\":[{\"url\":\"http://127.0.0.1:9/\"}]}",
        ),
        ("DELETE", format!("/greenpin/{id}"), ""),
    ] {
        let key = format!("{method} {path}");
        let [first, again] =
            [(), ()].map(|()| send_with_key(server.http, method, &path, &key, body));
        assert_eq!((first.status, again.status), (200, 200), "{key}");
        assert_eq!(first.body, again.body, "{key}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{key}");
    }
    assert_eq!(
        send_with_key(server.http, "GET", "/greenpin", "x", "").header("idempotency-replayed"),
        None
    );
    assert_eq!(
        send_with_key(server.http, "GET", "/greenpin", "x", "").header("idempotency-replayed"),
        None
    );
}

#[test]
fn a_client_error_is_replayed_unchanged() {
    let server = server();
    let mut body = allocation_body();
    body["duration"] = json!(1);
    let first = create(&server, "a", &body);
    let again = create(&server, "a", &body);
    assert_eq!(
        (first.status, again.status, &first.body),
        (422, 422, &again.body)
    );
    assert_eq!(
        first.body["request_id"].as_str(),
        first.header("x-request-id")
    );
    assert_eq!(
        again.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[test]
fn an_idempotency_key_is_valid_for_one_request_of_one_tenant() {
    let server = server();
    assert_eq!(create(&server, "k", &allocation_body()).status, 201);
    let mut other = allocation_body();
    other["record"] = json!(true);
    let responses = [
        create(&server, "k", &other),
        send_with_key(
            server.http,
            "PUT",
            "/greenpin",
            "k",
            &allocation_body().to_string(),
        ),
        send_with_key(
            server.http,
            "POST",
            "/greenpin/resolve",
            "k",
            &allocation_body().to_string(),
        ),
        send_with_key(
            server.http,
            "POST",
            "/greenpin?x",
            "k",
            &allocation_body().to_string(),
        ),
    ];
    for response in responses {
        assert_eq!(
            (response.status, response.code()),
            (409, "idempotency_key_reused")
        );
    }
    check_same_key_of_another_tenant(&server);
    assert_eq!(count_allocations(&server), 1);
}

/// Checks that another tenant can use the same key.
fn check_same_key_of_another_tenant(server: &Server) {
    let token = "fictional-token-of-other";
    server.add_tenant("other", "AC2", token);
    let headers = format!(
        "{}content-type: application/json\r\nidempotency-key: k\r\n",
        basic("AC2", token)
    );
    let body = allocation_body().to_string();
    let foreign = raw(
        server.http,
        &request(
            "POST",
            "/v1/tenants/other/greenpin",
            &headers,
            body.as_bytes(),
        ),
    );
    assert_eq!(
        (foreign.status, foreign.code()),
        (403, "number_not_in_pool")
    );
}

#[test]
fn a_key_that_is_malformed_is_400() {
    let server = server();
    for key in [
        "",
        &"k".repeat(256),
        "schlüssel",
        "a\tb",
        "one\r\nidempotency-key: two",
    ] {
        let response = create(&server, key, &allocation_body());
        assert_eq!(
            (response.status, response.faults()),
            (400, vec![("Idempotency-Key", "invalid_value")]),
            "{key:?}"
        );
    }
    assert_eq!(count_allocations(&server), 0);
    assert_eq!(
        create(&server, &"k".repeat(255), &allocation_body()).status,
        201
    );
    let too_long = send_with_key(server.http, "POST", "/greenpin", "l", &"x".repeat(66_000));
    assert_eq!((too_long.status, too_long.code()), (413, "body_too_large"));
    assert_eq!(
        create(&server, "l", &allocation_body()).status,
        201,
        "what was never read took no key"
    );
}

#[test]
fn one_of_fifty_concurrent_requests_with_one_key_is_executed() {
    let server = server();
    let at = server.http;
    let racers: Vec<_> = (0..50)
        .map(|_| std::thread::spawn(move || repeat_until_finished(at)))
        .collect();
    let ids: Vec<Value> = racers
        .into_iter()
        .map(|racer| racer.join().unwrap())
        .collect();
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]));
    assert_eq!(count_allocations(&server), 1);
}

/// Repeats the request until the first one has finished.
fn repeat_until_finished(at: std::net::SocketAddr) -> Value {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let response = send_with_key(
            at,
            "POST",
            "/greenpin",
            "race",
            &allocation_body().to_string(),
        );
        if response.status == 201 {
            return response.body["response"]["greenpin_id"].clone();
        }
        assert_eq!(
            (response.status, response.code()),
            (409, "idempotency_key_in_use")
        );
        assert_eq!(response.header("retry-after"), Some("1"));
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn neither_an_idempotency_key_nor_its_response_is_readable_in_the_files() {
    let mut server = server();
    let key = "order of +917700000099";
    let made = create(&server, key, &allocation_body());
    assert_eq!(
        create(&server, key, &allocation_body()).header("idempotency-replayed"),
        Some("true")
    );
    server.kill();
    let pin = format!("\"pin\":{}", made.body["response"]["pin"]);
    let folder = server.database().with_file_name("");
    let files = ["greenpin.db", "greenpin.db-wal"]
        .map(|name| std::fs::read(folder.join(name)).unwrap_or_default());
    let files = files.concat();
    assert!(
        files
            .windows(16)
            .any(|octets| octets == b"idempotency_keys"),
        "the right files are looked at"
    );
    for secret in [key, "919900000001", "dial_uri", &pin] {
        assert!(
            !files
                .windows(secret.len())
                .any(|octets| octets == secret.as_bytes()),
            "{secret}"
        );
    }
}
