//! The web console: sessions, masking, reveals, its request log and files; the stream and the search that it uses.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::http_client::{HttpResponse, basic, raw, raw_text, request};
use crate::support::operator_api::{JSON, OPERATOR, expect_response, operator_request, server};
use crate::support::server::{SID, Server, TENANT, TIMEOUT, TOKEN};
use crate::support::webhook_inbox::WebhookInbox;

const NUMBER: &str = "+914000000001";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";
const CONSOLE: &str = "x-greenpin-console: 1\r\n";

fn send(server: &Server, method: &str, path: &str, headers: &str, body: &Value) -> HttpResponse {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let headers = format!("{headers}{JSON}");
    raw(
        server.http,
        &request(method, path, &headers, body.as_bytes()),
    )
}

/// Signs in and returns the header with the cookie.
fn sign_in(server: &Server, credentials: &Value) -> String {
    let response = send(server, "POST", "/console/session", CONSOLE, credentials);
    assert_eq!(response.status, 200, "{}", response.body);
    let cookie = response.header("set-cookie").unwrap();
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "the server has no TLS");
    format!("cookie: {}\r\n", cookie.split(';').next().unwrap())
}

fn tenant() -> Value {
    json!({ "account_sid": SID, "token": TOKEN })
}

fn tenant_path(path: &str) -> String {
    format!("/v1/tenants/{TENANT}{path}")
}

fn status_of_session(server: &Server, cookie: &str) -> u16 {
    let path = tenant_path("/numbers");
    send(server, "GET", &path, cookie, &Value::Null).status
}

fn allocate(server: &Server) -> Value {
    server.add_number(NUMBER, &[]);
    server.allocate(&json!({ "caller_id_number": NUMBER, "from": AGENT, "to": CUSTOMER }))
}

#[test]
fn a_session_takes_the_place_of_credentials_until_it_is_ended() {
    let server = server();
    let cookie = sign_in(&server, &tenant());
    assert_eq!(status_of_session(&server, &cookie), 200);
    let session = send(&server, "GET", "/console/session", &cookie, &Value::Null);
    assert_eq!(session.body["response"]["tenant_id"], TENANT);
    let other = send(
        &server,
        "GET",
        "/v1/tenants/other/numbers",
        &cookie,
        &Value::Null,
    );
    assert_eq!((other.status, other.code()), (403, "foreign_tenant"));
    let admin = send(&server, "GET", "/v1/admin/tenants", &cookie, &Value::Null);
    assert_eq!(admin.status, 401);

    let second = sign_in(&server, &tenant());
    let headers = format!("{cookie}{CONSOLE}");
    let ended = send(
        &server,
        "DELETE",
        "/console/session",
        &headers,
        &Value::Null,
    );
    assert!(ended.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(status_of_session(&server, &cookie), 401);
    assert_eq!(status_of_session(&server, &second), 200);
    let third = sign_in(&server, &tenant());
    let headers = format!("{third}{CONSOLE}");
    send(
        &server,
        "DELETE",
        "/console/sessions",
        &headers,
        &Value::Null,
    );
    for cookie in [&second, &third] {
        assert_eq!(status_of_session(&server, cookie), 401);
    }
}

#[test]
fn a_session_ends_with_its_credential_and_while_its_tenant_is_suspended() {
    let server = server();
    let cookie = sign_in(&server, &tenant());
    let tenant_of = |path: &str| format!("/tenants/{TENANT}{path}");
    expect_response(
        operator_request(&server, "POST", &tenant_of("/suspend")),
        200,
    );
    assert_eq!(status_of_session(&server, &cookie), 403);
    expect_response(
        operator_request(&server, "POST", &tenant_of("/resume")),
        200,
    );
    assert_eq!(status_of_session(&server, &cookie), 200);
    let credential = tenant_of(&format!("/credentials/{SID}"));
    expect_response(operator_request(&server, "DELETE", &credential), 200);
    assert_eq!(status_of_session(&server, &cookie), 401);
}

#[test]
fn a_credential_has_a_limited_number_of_sessions_and_a_new_one_ends_the_oldest() {
    let server = server();
    let cookies: Vec<String> = (0..21).map(|_| sign_in(&server, &tenant())).collect();
    assert_eq!(status_of_session(&server, &cookies[0]), 401);
    assert!(
        cookies[1..]
            .iter()
            .all(|cookie| status_of_session(&server, cookie) == 200)
    );
}

#[test]
fn wrong_credentials_show_no_dialog_of_the_browser_and_are_limited_by_source() {
    let server = server();
    let wrong = json!({ "account_sid": SID, "token": "wrong" });
    for credentials in [
        &wrong,
        &json!({ "operator_token": "wrong" }),
        &json!({ "account_sid": "x y", "token": "" }),
        &json!({}),
    ] {
        let response = send(&server, "POST", "/console/session", CONSOLE, credentials);
        assert_eq!((response.status, response.code()), (401, "unauthorized"));
        assert_eq!(response.header("www-authenticate"), None);
        assert_eq!(response.header("set-cookie"), None);
    }
    let expired = send(
        &server,
        "GET",
        &tenant_path("/calls"),
        "sec-fetch-dest: empty\r\n",
        &Value::Null,
    );
    assert_eq!(
        (expired.status, expired.header("www-authenticate")),
        (401, None)
    );
    let statuses: Vec<u16> = (0..30)
        .map(|_| send(&server, "POST", "/console/session", CONSOLE, &wrong).status)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn another_site_can_use_no_session() {
    let server = server();
    server.add_number(NUMBER, &[]);
    let cookie = sign_in(&server, &tenant());
    let path = tenant_path("/greenpin");
    let body = json!({ "caller_id_number": NUMBER, "from": AGENT });
    for headers in [
        cookie.clone(),
        format!("{cookie}{CONSOLE}sec-fetch-site: cross-site\r\n"),
        format!("{cookie}{CONSOLE}sec-fetch-site: same-site\r\n"),
    ] {
        let response = send(&server, "POST", &path, &headers, &body);
        assert_eq!((response.status, response.code()), (401, "unauthorized"));
        assert_eq!(response.header("www-authenticate"), None);
    }
    let sign_in = send(&server, "POST", "/console/session", "", &tenant());
    assert_eq!(sign_in.status, 401, "another site signs nobody in");
    let headers = format!("{cookie}{CONSOLE}sec-fetch-site: same-origin\r\n");
    assert_eq!(send(&server, "POST", &path, &headers, &body).status, 201);
}

#[test]
fn the_request_log_has_the_requests_of_programs_without_their_paths() {
    let server = server();
    let cookie = sign_in(&server, &tenant());
    let made = allocate(&server);
    let id = made["greenpin_id"].as_str().unwrap();
    let path = format!("/greenpin/{id}");
    for status in [200, 409] {
        assert_eq!(server.request("DELETE", &path, None).0, status);
    }
    let path = "/console/credentials";
    let credentials = send(&server, "GET", path, &cookie, &Value::Null);
    let credential = &credentials.body["response"][0];
    assert_eq!(
        (&credential["account_sid"], &credential["live"]),
        (&json!(SID), &json!(true))
    );
    let requests = send(
        &server,
        "GET",
        "/console/request-log",
        &cookie,
        &Value::Null,
    );
    let newest = &requests.body["response"][0];
    let route = "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}";
    assert_eq!(
        (&newest["method"], &newest["route"]),
        (&json!("DELETE"), &json!(route))
    );
    assert_eq!(
        (&newest["status"], &newest["code"]),
        (&json!(409), &json!("already_deleted"))
    );
    let request_id = newest["request_id"].as_str().unwrap();
    assert!(request_id.starts_with("req_") && newest["latency_ms"].is_number());
    assert!(!requests.body.to_string().contains(id));
}

#[test]
fn numbers_and_pins_are_masked_until_a_reveal_which_is_in_the_audit_log() {
    let server = server();
    let cookie = sign_in(&server, &tenant());
    let made = allocate(&server);
    let id = made["greenpin_id"].as_str().unwrap();
    let pin = made["pin"].as_str().unwrap();
    let headers = format!("{cookie}{CONSOLE}");
    let masked_paths = [
        tenant_path("/greenpin"),
        tenant_path(&format!("/greenpin/{id}")),
        tenant_path(&format!("/greenpin/{id}/events")),
        tenant_path("/events"),
        tenant_path("/search?q=0001"),
    ];
    for path in masked_paths {
        let (response, text) = raw_text(server.http, &request("GET", &path, &cookie, b""));
        assert_eq!(response.status, 200, "{path}: {text}");
        let numbers = text.matches('+').count();
        assert!(
            numbers > 0 && !text.contains(AGENT) && !text.contains(CUSTOMER),
            "{text}"
        );
        assert!(!text.contains(&format!("\"{pin}\"")) && !text.contains(&format!(",,{pin}")));
        assert!(text.contains("+91 99…01"), "{path}: {text}");
    }
    let found = json!({ "q": CUSTOMER });
    let found = send(&server, "POST", "/console/search", &headers, &found);
    assert_eq!(found.body["response"]["kind"], "number");
    assert_eq!(found.body["response"]["allocations"][0]["greenpin_id"], id);
    assert_eq!(
        found.body["response"]["allocations"][0]["to"][0],
        "+91 88…01"
    );

    let wanted = json!({ "kind": "allocation", "id": id });
    let revealed = send(&server, "POST", "/console/reveal", &headers, &wanted);
    assert_eq!(revealed.body["response"]["pin"], pin);
    assert_eq!(revealed.body["response"]["to"], json!([CUSTOMER]));
    assert_eq!(revealed.header("cache-control"), Some("no-store"));
    let audit = send(&server, "GET", "/console/audit-log", &cookie, &Value::Null);
    let entry = &audit.body["response"][0];
    assert_eq!(
        (&entry["act"], &entry["actor"], &entry["object"]),
        (
            &json!("console.reveal"),
            &json!("console"),
            &json!(format!("{id} by {SID}"))
        )
    );
    assert_eq!(server.get(&format!("/greenpin/{id}"))["pin"], pin);
    let log = server.log();
    assert!(!log.contains(AGENT) && !log.contains(CUSTOMER) && !log.contains(&cookie[8..]));
}

#[test]
fn a_session_of_the_operator_opens_the_operator_api_and_ends_with_its_token() {
    let mut server = server();
    let cookie = sign_in(&server, &json!({ "operator_token": OPERATOR }));
    let tenants =
        |server: &Server| send(server, "GET", "/v1/admin/tenants", &cookie, &Value::Null).status;
    assert_eq!(tenants(&server), 200);
    assert_eq!(status_of_session(&server, &cookie), 403);
    let without_header = send(&server, "POST", "/v1/admin/drain", &cookie, &Value::Null);
    assert_eq!(without_header.status, 401);
    server.change_configuration(OPERATOR, "another-operator-token");
    server.kill();
    server.start_again();
    assert_eq!(tenants(&server), 401);
}

#[test]
fn every_address_of_the_console_is_its_page_and_its_files_are_immutable() {
    let server = Server::with("");
    let get =
        |path: &str, headers: &str| raw_text(server.http, &request("GET", path, headers, b""));
    for path in [
        "/console",
        "/console/",
        "/console/calls/call_1",
        "/console/a/b",
    ] {
        let (response, text) = get(path, "");
        assert_eq!(
            (response.status, response.header("cache-control")),
            (200, Some("no-cache"))
        );
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        assert!(
            text.contains("<script type=\"module\" src=\"/console/assets/"),
            "{text}"
        );
        assert!(!text.contains("{version}") && !text.contains("style="));
    }
    let (_, page) = get("/console", "");
    for part in page.split("=\"/console/assets/").skip(1) {
        let path = format!("/console/assets/{}", part.split('"').next().unwrap());
        let (response, _) = get(&path, "accept-encoding: gzip\r\n");
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert!(
            response
                .header("cache-control")
                .unwrap()
                .contains("immutable")
        );
        let tag = response.header("etag").unwrap().to_owned();
        let (again, _) = get(&path, &format!("if-none-match: {tag}\r\n"));
        assert_eq!(again.status, 304);
        let other = path.replace("assets/", "assets/0");
        let (response, _) = get(&other, "");
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    assert_eq!(get("/console/assets/1/other.js", "").0.status, 404);
}

/// Opens a stream and returns its lines.
fn stream(server: &Server, headers: &str) -> impl Iterator<Item = String> + use<> {
    let mut socket = TcpStream::connect(server.http).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let wanted = request("GET", &tenant_path("/stream"), headers, b"");
    socket.write_all(&wanted).unwrap();
    BufReader::new(socket).lines().map(|line| line.unwrap())
}

/// Returns the next event of a stream: its id and its data.
fn next_event(lines: &mut impl Iterator<Item = String>) -> (String, Value) {
    let id = lines.find_map(|line| line.strip_prefix("id: ").map(str::to_owned));
    let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
    (id.unwrap(), serde_json::from_str(&data.unwrap()).unwrap())
}

#[test]
fn the_stream_starts_with_the_next_event_and_resumes_without_a_gap() {
    let server = Server::with("");
    let credentials = basic(SID, TOKEN);
    let made = allocate(&server);
    let path = format!("/greenpin/{}", made["greenpin_id"].as_str().unwrap());
    let mut lines = stream(&server, &credentials);
    assert!(lines.any(|line| line.starts_with("retry: ")));
    server.request("PUT", &path, Some(&json!({ "record": true })));
    let (id, event) = next_event(&mut lines);
    assert_eq!(
        (&event["type"], event["event_id"].as_str()),
        (&json!("allocation.updated"), Some(&*id))
    );
    assert_eq!(event["data"]["to"], json!([CUSTOMER]));
    drop(lines);
    server.request("PUT", &path, Some(&json!({ "record": false })));
    server.request("DELETE", &path, None);
    let cookie = sign_in(&server, &tenant());
    for headers in [&credentials, &cookie] {
        let mut lines = stream(&server, &format!("{headers}last-event-id: {id}\r\n"));
        let types = [next_event(&mut lines).1, next_event(&mut lines).1];
        assert_eq!(
            types
                .each_ref()
                .map(|event| event["type"].as_str().unwrap()),
            ["allocation.updated", "allocation.deleted"]
        );
        let is_masked = !types[0].to_string().contains(CUSTOMER);
        assert_eq!(is_masked, headers == &cookie);
    }
    let wrong = format!("{credentials}last-event-id: 7\r\n");
    let wrong = send(
        &server,
        "GET",
        &tenant_path("/stream"),
        &wrong,
        &Value::Null,
    );
    assert_eq!((wrong.status, wrong.code()), (400, "invalid_request"));
}

#[test]
fn a_stream_ends_with_its_session() {
    let server = Server::with("");
    let cookie = sign_in(&server, &tenant());
    let mut lines = stream(&server, &cookie);
    assert!(lines.any(|line| line.starts_with("retry: ")));
    let headers = format!("{cookie}{CONSOLE}");
    send(
        &server,
        "DELETE",
        "/console/session",
        &headers,
        &Value::Null,
    );
    // The next comment is the occasion on which the server looks.
    assert_eq!(lines.find(|line| line.starts_with(": ")), None);
}

#[test]
fn an_address_has_a_limited_number_of_streams() {
    let server = Server::with("");
    let credentials = basic(SID, TOKEN);
    let mut open: Vec<_> = (0..20).map(|_| stream(&server, &credentials)).collect();
    for lines in &mut open {
        assert!(lines.any(|line| line.starts_with("retry: ")));
    }
    let path = tenant_path("/stream");
    let refused = send(&server, "GET", &path, &credentials, &Value::Null);
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
}

#[test]
fn a_search_finds_by_id_by_number_and_by_last_digits() {
    let server = Server::with("");
    let made = allocate(&server);
    let id = made["greenpin_id"].as_str().unwrap();
    let found = |query: &str| {
        let found = server.get(&format!("/search?q={query}"));
        let allocations = found["allocations"].as_array().unwrap();
        let ids: Vec<_> = allocations
            .iter()
            .map(|one| one["greenpin_id"].as_str().unwrap().to_owned())
            .collect();
        (found["kind"].as_str().unwrap().to_owned(), ids)
    };
    let encoded = |number: &str| number.replace('+', "%2B");
    for (query, kind) in [
        (id.to_owned(), "allocation"),
        (encoded(CUSTOMER), "number"),
        (encoded(NUMBER), "number"),
        ("0001".to_owned(), "digits"),
        ("8800000001".to_owned(), "digits"),
    ] {
        assert_eq!(
            found(&query),
            (kind.to_owned(), vec![id.to_owned()]),
            "{query}"
        );
    }
    assert_eq!(found("990").1, Vec::<String>::new());
    let events = server.get("/events");
    let event = events[0]["event_id"].as_str().unwrap();
    let found = server.get(&format!("/search?q={event}"));
    assert_eq!(found["events"][0]["event_id"], event);
    let found = server.get("/search?q=a84b4c76e66710");
    assert_eq!(
        (&found["kind"], &found["calls"]),
        (&json!("sip_call_id"), &json!([]))
    );
    for query in ["", "12", "a%20call", "%C3%A4%C3%B6%C3%BC"] {
        let path = format!("/search?q={query}");
        assert_eq!(server.request("GET", &path, None).0, 400, "{query}");
    }
}

#[test]
fn a_test_event_is_signed_sent_once_and_in_no_log() {
    let server = server();
    let cookie = sign_in(&server, &tenant());
    let headers = format!("{cookie}{CONSOLE}");
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let endpoint = server.get("/settings")["webhooks"][0]["id"].clone();
    let body = json!({ "endpoint_id": endpoint });
    let result = send(&server, "POST", "/console/webhook-test", &headers, &body);
    assert_eq!(result.body["response"]["status"], 204, "{}", result.body);
    let received = inbox.next_webhook();
    let event: Value = serde_json::from_str(&received.body).unwrap();
    assert_eq!(
        (&event["type"], &event["data"]),
        (&json!("test"), &json!({}))
    );
    assert_eq!(received.headers["webhook-id"], event["event_id"]);
    assert!(received.headers["webhook-signature"].starts_with("v1,"));
    assert_eq!(server.get("/events"), json!([]));
    for id in ["ep_00000000000000000000000000", "other"] {
        let body = json!({ "endpoint_id": id });
        let result = send(&server, "POST", "/console/webhook-test", &headers, &body);
        assert_eq!(result.status, 404);
    }
}
