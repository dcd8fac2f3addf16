//! Allocations in the API, contract sections 1.1 to 1.5.

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER};
use crate::support::http_client::{HttpResponse, basic, call, create, raw, request};
use crate::support::server::{SID, Server, TENANT, TOKEN, unix_seconds};

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const FOREIGN: &str = "+914000000009";
const JSON: &str = "content-type: application/json\r\n";

fn server() -> Server {
    let server = Server::with("");
    server.add_number(EXCLUSIVE, &[]);
    server.add_number(SHARED, &["--mode", "shared", "--max-active", "2"]);
    server
}

fn allocation_body(number: &str) -> Value {
    json!({ "caller_id_number": number, "from": [AGENT], "to": [CUSTOMER], "duration": 3600 })
}

fn post(server: &Server, body: &Value) -> HttpResponse {
    create(server.http, &body.to_string())
}

/// Returns the body of a create request with some fields replaced. `null` is retained.
fn allocation_body_with(changes: Value) -> Value {
    let mut body = allocation_body(EXCLUSIVE);
    let (Some(body_fields), Value::Object(changes)) = (body.as_object_mut(), changes) else {
        unreachable!()
    };
    body_fields.extend(changes);
    body
}

#[test]
fn a_create_returns_every_field_of_the_contract() {
    let server = server();
    let response = post(
        &server,
        &allocation_body_with(json!({ "custom_field": "order_id=12345" })),
    );
    assert_eq!(response.status, 201);
    let made = &response.body["response"];
    let pin = made["pin"].as_str().unwrap();
    assert!(pin.len() == 4 && pin.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(made["greenpin_id"].as_str().unwrap().starts_with("gp_"));
    assert_eq!(
        unix_seconds(&made["expires_at"]) - unix_seconds(&made["created_at"]),
        3600
    );
    for time in ["created_at", "expires_at"] {
        let text = made[time].as_str().unwrap();
        assert!(text.len() == 25 && text.ends_with("+05:30"), "{text}");
    }
    let mut rest = made.clone();
    for name in ["greenpin_id", "pin", "created_at", "expires_at", "dial_uri"] {
        rest.as_object_mut().unwrap().remove(name);
    }
    let expected = json!({
        "virtual_number": EXCLUSIVE, "from": [AGENT], "to": [CUSTOMER], "status": "active", "locked": false,
        "max_pin_attempts": 3, "record": false, "custom_field": "order_id=12345",
    });
    assert_eq!(rest, expected);
    assert_eq!(made["dial_uri"], format!("tel:{EXCLUSIVE},,{pin}"));
    let read = server.get(&format!(
        "/greenpin/{}",
        made["greenpin_id"].as_str().unwrap()
    ));
    for (name, value) in made.as_object().unwrap() {
        assert_eq!(&read[name], value, "{name}");
    }
    for (name, value) in [
        ("call_count", 0),
        ("attempt_count", 0),
        ("failed_pin_attempts", 0),
    ] {
        assert_eq!(read[name], value, "{name}");
    }
    assert_eq!(read["updated_at"], made["created_at"]);
    assert!(read.get("deleted_at").is_none());
}

#[test]
fn null_counts_as_omitted_and_a_single_number_is_a_list_of_one() {
    let server = server();
    let body = json!({
        "caller_id_number": EXCLUSIVE, "from": AGENT, "to": null, "duration": null, "max_pin_attempts": null,
        "record": null, "custom_field": null,
    });
    let made = server.allocate(&body);
    assert_eq!((&made["from"], &made["to"]), (&json!([AGENT]), &json!([])));
    assert_eq!(
        unix_seconds(&made["expires_at"]) - unix_seconds(&made["created_at"]),
        86_400
    );
    assert_eq!(made["custom_field"], Value::Null);
}

#[test]
fn all_faults_are_reported_at_once() {
    let server = server();
    let body = json!({
        "caller_id_number": "04000000001", "from": [AGENT, 7, AGENT], "to": [AGENT], "duration": 299,
        "max_pin_attempt": 3, "record": "yes", "custom_field": "x".repeat(257),
    });
    let response = post(&server, &body);
    assert_eq!((response.status, response.code()), (400, "invalid_request"));
    let mut faults = response.faults();
    faults.sort_unstable();
    let expected = [
        ("caller_id_number", "not_e164"),
        ("custom_field", "too_long"),
        ("duration", "out_of_range"),
        ("from[1]", "wrong_type"),
        ("from[2]", "repeated"),
        ("max_pin_attempt", "unknown_field"),
        ("record", "wrong_type"),
    ];
    assert_eq!(faults, expected);
    assert!(
        response
            .body
            .to_string()
            .contains("did you mean max_pin_attempts?")
    );
}

#[test]
fn a_malformed_value_is_400_with_its_field() {
    let server = server();
    for (changes, field, code) in [
        (
            json!({ "caller_id_number": null }),
            "caller_id_number",
            "required",
        ),
        (json!({ "from": null }), "from", "required"),
        (json!({ "from": [] }), "from", "required"),
        (json!({ "from": 7 }), "from", "wrong_type"),
        (json!({ "from": "" }), "from", "not_e164"),
        (json!({ "to": ["+0123456789"] }), "to[0]", "not_e164"),
        (json!({ "to": ["+123456"] }), "to[0]", "not_e164"),
        (json!({ "duration": "3600" }), "duration", "wrong_type"),
        (json!({ "duration": 3600.5 }), "duration", "wrong_type"),
        (
            json!({ "custom_field": "\u{0}" }),
            "custom_field",
            "invalid_value",
        ),
        (json!({ "pin": "1234" }), "pin", "unknown_field"),
    ] {
        let response = post(&server, &allocation_body_with(changes));
        assert_eq!(
            (response.status, response.faults()),
            (400, vec![(field, code)])
        );
    }
}

#[test]
fn a_value_that_violates_a_rule_is_422_with_its_field() {
    let server = server();
    let eleven: Vec<String> = (0..11)
        .map(|index| format!("+9199000001{index:02}"))
        .collect();
    for (changes, field, code) in [
        (json!({ "duration": 299 }), "duration", "out_of_range"),
        (
            json!({ "duration": 14_688_001 }),
            "duration",
            "out_of_range",
        ),
        (json!({ "duration": -1 }), "duration", "out_of_range"),
        (
            json!({ "max_pin_attempts": 0 }),
            "max_pin_attempts",
            "out_of_range",
        ),
        (
            json!({ "max_pin_attempts": 11 }),
            "max_pin_attempts",
            "out_of_range",
        ),
        (json!({ "from": eleven.clone() }), "from", "too_many"),
        (json!({ "to": eleven }), "to", "too_many"),
        (json!({ "to": [CUSTOMER, CUSTOMER] }), "to[1]", "repeated"),
        (json!({ "to": [CUSTOMER, AGENT] }), "to[1]", "on_both_sides"),
    ] {
        let response = post(&server, &allocation_body_with(changes));
        assert_eq!(
            (response.status, response.faults()),
            (422, vec![(field, code)])
        );
    }
    post(
        &server,
        &allocation_body_with(json!({ "duration": 300, "custom_field": "ü".repeat(256) })),
    )
    .body["response"]
        .as_object()
        .expect("the limits themselves are allowed, and characters are counted, not bytes");
}

#[test]
fn a_body_other_than_a_json_object_is_rejected_and_the_next_request_succeeds() {
    let server = server();
    let deep = "[".repeat(60_000);
    for body in [
        "",
        "x",
        "[]",
        "{\"from\":",
        "{} {}",
        "{\"duration\":1,\"duration\":1}",
        &deep,
    ] {
        let response = create(server.http, body);
        assert_eq!(response.status, 400);
        assert!(["invalid_json", "invalid_request"].contains(&response.code()));
    }
    let headers = format!("{}{JSON}", basic(SID, TOKEN));
    let invalid = raw(
        server.http,
        &request(
            "POST",
            "/v1/tenants/acme/greenpin",
            &headers,
            b"{\"from\":\"\xff\"}",
        ),
    );
    assert_eq!(invalid.status, 400);
    assert_eq!(post(&server, &allocation_body(EXCLUSIVE)).status, 201);
}

#[test]
fn a_body_over_64_kib_is_413_with_or_without_content_length() {
    let server = server();
    let long = format!("{{\"custom_field\":\"{}\"}}", "x".repeat(66_000));
    assert_eq!(create(server.http, &long).status, 413);
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let endless = format!(
        "POST /v1/tenants/{TENANT}/greenpin HTTP/1.1\r\nhost: x\r\n{}{JSON}transfer-encoding: chunked\r\n\r\n{}",
        basic(SID, TOKEN),
        chunk.repeat(5)
    );
    let response = raw(server.http, endless.as_bytes());
    assert_eq!((response.status, response.code()), (413, "body_too_large"));
}

#[test]
fn a_body_that_is_not_declared_as_json_is_415() {
    let server = server();
    for media_type in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/json; charset=latin1\r\n",
    ] {
        let headers = format!("{}{media_type}", basic(SID, TOKEN));
        let response = raw(
            server.http,
            &request("POST", "/v1/tenants/acme/greenpin", &headers, b"{}"),
        );
        assert_eq!(
            (response.status, response.code()),
            (415, "unsupported_media_type")
        );
    }
}

#[test]
fn wrong_credentials_get_the_same_response_for_every_account() {
    let server = server();
    let ask = |headers: &str| {
        raw(
            server.http,
            &request("GET", "/v1/tenants/acme/settings", headers, b""),
        )
    };
    let anonymous = |response: HttpResponse| {
        assert_eq!((response.status, response.code()), (401, "unauthorized"));
        assert!(
            response
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic ")
        );
        let mut body = response.body;
        body.as_object_mut().unwrap().remove("request_id");
        body
    };
    let wrong_token = anonymous(ask(&basic(SID, "wrong")));
    for headers in [
        basic("nobody", TOKEN),
        String::new(),
        "authorization: Bearer x\r\n".into(),
        basic("", ""),
    ] {
        assert_eq!(anonymous(ask(&headers)), wrong_token);
    }
    assert_eq!(ask(&basic(SID, TOKEN)).status, 200);
}

#[test]
fn a_tenant_cannot_access_another_tenant() {
    let server = server();
    let made = server.allocate(&allocation_body(EXCLUSIVE));
    let id = made["greenpin_id"].as_str().unwrap();
    let token = "fictional-token-of-other";
    server.add_tenant("other", "AC2", token);
    assert!(
        server
            .command(&["number", "add", "--tenant", "other", FOREIGN])
            .status
            .success()
    );
    let ask = |method, path: &str, body: &[u8]| {
        raw(
            server.http,
            &request(
                method,
                path,
                &format!("{}{JSON}", basic("AC2", token)),
                body,
            ),
        )
    };
    let foreign = ask("GET", &format!("/v1/tenants/acme/greenpin/{id}"), b"");
    assert_eq!((foreign.status, foreign.code()), (403, "foreign_tenant"));
    for method in ["GET", "DELETE"] {
        assert_eq!(
            ask(method, &format!("/v1/tenants/other/greenpin/{id}"), b"").status,
            404
        );
    }
    let stolen = ask(
        "POST",
        "/v1/tenants/other/greenpin",
        allocation_body(SHARED).to_string().as_bytes(),
    );
    assert_eq!((stolen.status, stolen.code()), (403, "number_not_in_pool"));
    assert_eq!(
        post(&server, &allocation_body(FOREIGN)).code(),
        "number_not_in_pool"
    );
    assert_eq!(
        post(&server, &allocation_body("+914000000099")).code(),
        "number_not_in_pool"
    );
}

#[test]
fn a_delete_frees_the_number_and_succeeds_once() {
    let server = server();
    let path = |made: &Value| format!("/greenpin/{}", made["greenpin_id"].as_str().unwrap());
    let made = server.allocate(&allocation_body(EXCLUSIVE));
    let busy = post(&server, &allocation_body(EXCLUSIVE));
    assert_eq!((busy.status, busy.code()), (409, "virtual_number_busy"));
    let deleted = call(server.http, "DELETE", &path(&made));
    assert_eq!(deleted.status, 200);
    assert_eq!(deleted.body["response"]["status"], "deleted");
    assert!(
        deleted.body["response"]["deleted_at"]
            .as_str()
            .unwrap()
            .ends_with("+05:30")
    );
    let again = call(server.http, "DELETE", &path(&made));
    assert_eq!((again.status, again.code()), (409, "already_deleted"));
    assert_eq!(server.get(&path(&made))["status"], "deleted");
    assert_ne!(
        server.allocate(&allocation_body(EXCLUSIVE))["pin"],
        made["pin"]
    );
}

#[test]
fn a_shared_number_requires_listed_callers_and_enforces_its_limit() {
    let server = server();
    let mut nobody = allocation_body(SHARED);
    nobody["to"] = json!([]);
    let response = post(&server, &nobody);
    assert_eq!(
        (response.status, response.code(), response.faults()),
        (422, "to_required", vec![("to", "to_required")])
    );
    server.allocate(&allocation_body(SHARED));
    server.allocate(&allocation_body(SHARED));
    let full = post(&server, &allocation_body(SHARED));
    assert_eq!((full.status, full.code()), (409, "pin_space_exhausted"));
}

#[test]
fn every_response_has_a_request_id_and_every_error_body_contains_it() {
    let server = server();
    let made = server.allocate(&allocation_body(EXCLUSIVE));
    let allocation = format!(
        "/v1/tenants/acme/greenpin/{}",
        made["greenpin_id"].as_str().unwrap()
    );
    let get =
        |method, path: &str| raw(server.http, &request(method, path, &basic(SID, TOKEN), b""));
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("GET", "/v1/tenants/%ff/greenpin", 404, "not_found"),
    ] {
        check_problem(&get(method, path), status, code);
    }
    for (method, path, status, code) in [
        ("GET", "/greenpin/gp_nonsense", 404, "not_found"),
        ("PATCH", "/greenpin", 405, "method_not_allowed"),
        ("GET", "/greenpin?limit=0", 400, "invalid_request"),
        ("GET", "/greenpin?page=1", 400, "invalid_request"),
        ("GET", "/calls/call_nonsense", 404, "not_found"),
        ("GET", "/events?after=x", 400, "invalid_request"),
        ("GET", "/greenpin/%ff", 404, "not_found"),
        ("GET", "/settings/more", 404, "not_found"),
    ] {
        let path = format!("/v1/tenants/acme{path}");
        check_problem(&get(method, &path), status, code);
    }
    for query in ["page=1", "cursor=x"] {
        let response = get("GET", &format!("{allocation}/calls?{query}"));
        check_problem(&response, 400, "invalid_request");
    }
    for path in ["/healthz", "/readyz", "/v1/tenants/acme/settings"] {
        let response = get("GET", path);
        assert_eq!(response.status, 200);
        assert!(response.header("x-request-id").is_some());
    }
}

/// Checks the form of a problem, and the request id in its header and its body.
fn check_problem(response: &HttpResponse, status: u16, code: &str) {
    assert_eq!((response.status, response.code()), (status, code));
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        response.header("x-request-id"),
        response.body["request_id"].as_str()
    );
    assert_eq!(response.body["status"], status);
    assert!(
        ["type", "title", "detail"]
            .iter()
            .all(|name| response.body[name].is_string())
    );
}

#[test]
fn settings_change_the_given_fields_and_apply_to_the_next_create() {
    let server = server();
    server.update_settings(
        &json!({ "timezone": "America/New_York", "min_duration": 600, "max_duration": 3600 }),
    );
    let made = server.allocate(&allocation_body(EXCLUSIVE));
    let offset = &made["created_at"].as_str().unwrap()[19..];
    assert!(["-05:00", "-04:00"].contains(&offset), "{offset}");
    let mut body = allocation_body(SHARED);
    for duration in [599, 3601] {
        body["duration"] = json!(duration);
        assert_eq!(
            post(&server, &body).faults(),
            [("duration", "out_of_range")]
        );
    }
    let wrong = json!({ "timezone": "Mars/Olympus", "min_duration": 3601, "prompts": { "language": "tlh" }, "ring_timeot": 1 });
    let (status, response) = server.request("PUT", "/settings", Some(&wrong));
    assert_eq!(
        (status, response["errors"].as_array().unwrap().len()),
        (400, 4)
    );
    assert_eq!(server.get("/settings")["timezone"], "America/New_York");
}

#[test]
fn an_endpoints_secret_is_returned_only_at_creation() {
    let server = server();
    let inbox = json!({ "url": "https://inbox.example/a", "types": ["call.completed"] });
    let made = server.update_settings(&json!({ "webhooks": [inbox] }));
    assert!(
        made["webhooks"][0]["secret"]
            .as_str()
            .unwrap()
            .starts_with("whsec_")
    );
    let id = made["webhooks"][0]["id"].clone();
    let moved =
        json!({ "webhooks": [{ "id": id, "url": "https://inbox.example/b", "paused": true }] });
    let kept = server.update_settings(&moved);
    assert_eq!(
        (&kept["webhooks"][0]["id"], &kept["webhooks"][0]["paused"]),
        (&id, &json!(true))
    );
    assert!(kept["webhooks"][0].get("secret").is_none());
    assert!(
        server.get("/settings")["webhooks"][0]
            .get("secret")
            .is_none()
    );
    let wrong = json!({ "webhooks": [{ "url": "ftp://x", "format": "square", "types": ["call.gone"] }, {}] });
    let (status, response) = server.request("PUT", "/settings", Some(&wrong));
    let fields: Vec<_> = response["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["field"].clone())
        .collect();
    assert_eq!(status, 400);
    assert_eq!(
        fields,
        [
            "webhooks[0].url",
            "webhooks[0].types[0]",
            "webhooks[0].format",
            "webhooks[1].url"
        ]
    );
}

#[test]
fn pagination_continues_correctly_while_rows_are_added() {
    let server = Server::with("");
    server.add_number(SHARED, &["--mode", "shared"]);
    let ids: Vec<_> = (0..5)
        .map(|_| server.allocate(&allocation_body(SHARED))["greenpin_id"].clone())
        .collect();
    let page = |path: &str| {
        let (status, body) = server.request("GET", path, None);
        assert_eq!(status, 200, "{body}");
        let found: Vec<_> = body["response"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["greenpin_id"].clone())
            .collect();
        (found, body["next_cursor"].as_str().map(str::to_owned))
    };
    let (first, cursor) = page("/greenpin?limit=3");
    server.allocate(&allocation_body(SHARED));
    let (second, end) = page(&format!("/greenpin?limit=3&cursor={}", cursor.unwrap()));
    let mut newest_first: Vec<_> = ids.clone();
    newest_first.sort_by(|first, second| second.as_str().cmp(&first.as_str()));
    assert_eq!([first, second].concat(), newest_first);
    assert_eq!(end, None);
    assert_eq!(
        page(&format!("/greenpin?party=%2B{}", &CUSTOMER[1..]))
            .0
            .len(),
        6
    );
    assert_eq!(page("/greenpin?party=%2B918800000009").0.len(), 0);
    assert_eq!(page("/greenpin?status=deleted").0.len(), 0);
}
