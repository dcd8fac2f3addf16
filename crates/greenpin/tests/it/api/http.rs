//! HTTP as clients, proxies and strangers use it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::support::call_setup::CallSetup;
use crate::support::http_client::{basic, call, raw, raw_text, request};
use crate::support::server::{SID, Server, TIMEOUT, TOKEN};

const NUMBER: &str = "+914000000001";

/// Opens a connection from an address of this machine and sends the beginning of a request.
fn half_request(server: &Server, source: &str) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&server.http.into()).unwrap();
    let _ = (&socket).write_all(b"GET / HTTP/1.1\r\nX: ");
    socket
}

fn metric(server: &Server, name: &str) -> u64 {
    let (_, text) = raw_text(server.http, &request("GET", "/metrics", "", b""));
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn half_requests_of_strangers_keep_no_client_out() {
    let keys = "max_connections = 64\nmax_connections_per_address = 32";
    let server = Server::with_http(keys, "");
    for source in ["127.0.0.8", "127.0.0.9", "127.0.0.1"] {
        let held: Vec<_> = (0..200).map(|_| half_request(&server, source)).collect();
        assert_eq!(call(server.http, "GET", "/numbers").status, 200, "{source}");
        assert_eq!(server.readiness(), Some(200));
        drop(held);
    }
    let evicted = "greenpin_http_connections_ended_total{reason=\"evicted\"}";
    assert!(metric(&server, evicted) > 400);
    assert!(metric(&server, "greenpin_http_connections ") <= 64);
}

#[test]
fn few_open_files_leave_room_for_calls() {
    for files in [256, 1024] {
        let mut setup = CallSetup::start();
        setup.restart_with_open_files(files);
        let log = setup.server.log();
        assert!(log.contains("lowers http.max_connections"), "{log}");
        let held: Vec<_> = (0..1100)
            .map(|index| half_request(&setup.server, &format!("127.0.2.{}", index % 50)))
            .collect();
        let allocation = setup.allocate(&json!({ "record": true }));
        setup.connect(&allocation);
        setup.both_talk();
        assert!(metric(&setup.server, "greenpin_http_connections ") <= files / 4);
        drop(held);
    }
}

#[test]
fn a_request_that_is_no_http_gets_a_problem_and_is_counted_and_logged() {
    let server = Server::with("");
    let fields = "x: y\r\n".repeat(101);
    for (text, status, code) in [
        (
            format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{fields}\r\n"),
            431,
            "header_too_large",
        ),
        (
            "GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n".into(),
            400,
            "malformed_request",
        ),
        (
            "GET /healthz HTTP/1.1\r\n\r\n".into(),
            400,
            "malformed_request",
        ),
        (
            "GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".into(),
            400,
            "malformed_request",
        ),
    ] {
        let response = raw(server.http, text.as_bytes());
        assert_eq!((response.status, response.code()), (status, code), "{text}");
        assert_eq!(
            response.header("x-request-id"),
            response.body["request_id"].as_str()
        );
    }
    let name = "greenpin_http_requests_total{route=\"unmatched\",method=\"other\",status=\"4xx\"}";
    assert_eq!(metric(&server, name), 4);
    server.wait_for_log("refused an HTTP request that cannot be read");
}

#[test]
fn a_client_that_sends_a_large_body_sees_the_early_response() {
    let server = Server::with("");
    let body = vec![b'x'; 3_000_000];
    for (credentials, status) in [(basic(SID, TOKEN), 413), (String::new(), 401)] {
        let headers = format!("{credentials}content-type: application/json\r\n");
        let path = "/v1/tenants/acme/greenpin";
        let text = request("POST", path, &headers, &body);
        let mut stream = TcpStream::connect(server.http).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(&text).expect("the server reads all of it");
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{response}"
        );
    }
}

#[test]
fn head_has_the_status_and_headers_of_get_on_every_route() {
    let server = Server::with_http("operator_token = \"fictional-operator-token\"", "");
    server.add_number(NUMBER, &[]);
    let document: Value = serde_json::from_str(greenpin::http::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut routes = 0;
    // A stream has no end.
    let has_end = |path: &str| !path.ends_with("/stream");
    for (path, _) in paths
        .iter()
        .filter(|(path, item)| item["get"].is_object() && has_end(path))
    {
        let credentials = match path.starts_with("/v1/admin") {
            true => "authorization: Bearer fictional-operator-token\r\n".to_owned(),
            false => basic(SID, TOKEN),
        };
        let path = path.replace("{tenant_id}", "acme").replace(['{', '}'], "");
        let [get, head] = ["GET", "HEAD"].map(|method| {
            let (response, body) =
                raw_text(server.http, &request(method, &path, &credentials, b""));
            let kind = response.header("content-type").map(str::to_owned);
            assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
            (response.status, kind)
        });
        assert_eq!(head, get, "{path}");
        routes += 1;
    }
    assert!(routes > 20, "{routes}");
}

fn post(server: &Server, path: &str, headers: &str, body: &[u8]) -> u16 {
    let path = format!("/v1/tenants/acme{path}");
    let headers = format!("{}{headers}", basic(SID, TOKEN));
    raw(server.http, &request("POST", &path, &headers, body)).status
}

#[test]
fn bodies_in_gzip_and_each_spelling_of_utf_8_are_read() {
    let server = Server::with("");
    server.add_number(NUMBER, &["--mode", "shared", "--pin-length", "6"]);
    let body = json!({ "caller_id_number": NUMBER, "from": "+919900000001" }).to_string();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let json = "content-type: application/json\r\n";
    let gzipped = format!("{json}content-encoding: gzip\r\n");
    let create = |headers: &str, body: &[u8]| post(&server, "/greenpin", headers, body);
    for charset in ["utf8", "UTF-8", "\"utf-8\""] {
        let headers = format!("content-type: application/json; charset={charset}\r\n");
        assert_eq!(create(&headers, body.as_bytes()), 201, "{charset}");
    }
    assert_eq!(create(&gzipped, &gzip(body.as_bytes())), 201);
    let with_key = format!("{gzipped}idempotency-key: one\r\n");
    assert_eq!(create(&with_key, &gzip(body.as_bytes())), 201);
    assert_eq!(create(&gzipped, body.as_bytes()), 400);
    assert_eq!(create(&gzipped, &gzip(&vec![b' '; 10_000_000])), 413);
    assert_eq!(
        create(&format!("{json}content-encoding: br\r\n"), body.as_bytes()),
        415
    );
}

#[test]
fn a_content_type_without_a_body_is_no_fault_where_no_body_is_needed() {
    let server = Server::with("");
    server.send_events_to("http://127.0.0.1:9/");
    let id = server.get("/settings")["webhooks"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/webhooks/{id}/rotate-secret");
    let json = "content-type: application/json\r\n";
    assert_eq!(post(&server, &path, json, b""), 200);
    assert_eq!(
        post(&server, &path, "content-type: text/plain\r\n", b""),
        200
    );
    assert_eq!(
        post(&server, &path, "content-type: text/plain\r\n", b"{}"),
        415
    );
    let chunked = format!(
        "POST /v1/tenants/acme{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        basic(SID, TOKEN),
    );
    assert_eq!(raw(server.http, chunked.as_bytes()).status, 200);
}

#[test]
fn filters_take_every_time_of_rfc_3339() {
    let server = Server::with("");
    for path in [
        "/greenpin?created_before=9999-12-31T23:59:59Z",
        "/greenpin?created_after=0000-01-01T00:00:00Z",
        "/calls?started_before=9999-12-31T23:59:59Z",
        "/calls?started_after=0000-01-01T00:00:00Z",
    ] {
        assert_eq!(call(server.http, "GET", path).status, 200, "{path}");
    }
    let period = json!({ "after": "0000-01-01T00:00:00Z", "before": "9999-12-31T23:59:59Z" });
    let (status, body) = server.request("POST", "/events/redeliver", Some(&period));
    assert_eq!(status, 200, "{body}");
}

#[test]
fn links_of_a_server_on_every_address_can_be_opened() {
    let mut server = Server::with("");
    server.add_number(NUMBER, &[]);
    let started_at = greenpin::store::Timestamp::now();
    let stored = crate::support::stored_call::store_recorded_call(&server, NUMBER, started_at);
    let (sid, _) = tokio::runtime::Runtime::new().unwrap().block_on(stored);
    server.kill();
    server.start_again_on("0.0.0.0:0");
    let base = format!("http://127.0.0.1:{}/v1/", server.http.port());
    let shown = server.get(&format!("/calls/{sid}"));
    let recording = format!("{base}tenants/acme/calls/{sid}/recording");
    assert_eq!(shown["recording_url"], recording);
    assert_eq!(server.get("/calls")[0]["recording_url"], recording);
    let (_, link) = server.request("POST", &format!("/calls/{sid}/recording/link"), None);
    assert!(
        link["response"]["url"].as_str().unwrap().starts_with(&base),
        "{link}"
    );
    server.wait_for_log("http.public_url is not set");
}

#[test]
fn a_webhook_url_has_one_spelling_in_the_api_and_on_the_command_line() {
    let server = Server::with("");
    let put = |webhooks: Value| {
        server.request("PUT", "/settings", Some(&json!({ "webhooks": webhooks })))
    };
    let (status, body) = put(json!([{ "url": "HTTPS://Hooks.Example.com:443" }]));
    assert_eq!(status, 200, "{body}");
    let shown = &body["response"]["webhooks"][0];
    assert_eq!(shown["url"], "https://hooks.example.com/");
    let id = shown["id"].clone();
    let (_, again) = put(json!([{ "url": "https://hooks.example.com/#part" }]));
    assert_eq!(
        again["response"]["webhooks"][0]["id"], id,
        "it is the same endpoint"
    );
    let twice = put(json!([{ "url": "https://a.example" }, { "url": "https://A.example/" }]));
    assert_eq!(
        (twice.0, &twice.1["errors"][0]["field"]),
        (422, &json!("webhooks[1].url"))
    );
    let twice = put(
        json!([{ "id": id, "url": "https://a.example" }, { "id": id, "url": "https://b.example" }]),
    );
    assert_eq!(
        (twice.0, &twice.1["errors"][0]["field"]),
        (422, &json!("webhooks[1].id"))
    );
    for wrong in ["https://user:pw@a.example/", "http://a.example:0/"] {
        assert_eq!(put(json!([{ "url": wrong }])).0, 400, "{wrong}");
        let made = server.command(&["tenant", "create", "other", "--webhook", wrong]);
        let reason = String::from_utf8_lossy(&made.stderr);
        assert!(
            reason.contains("must be an http or https URL"),
            "{wrong}: {reason}"
        );
    }
}

#[test]
fn a_busy_number_names_the_allocation_that_holds_it() {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    let body = json!({ "caller_id_number": NUMBER, "from": "+919900000001" });
    let made = server.allocate(&body);
    let (status, busy) = server.request("POST", "/greenpin", Some(&body));
    assert_eq!(
        (status, &busy["code"]),
        (409, &json!("virtual_number_busy"))
    );
    let holder = json!({ "greenpin_id": made["greenpin_id"], "expires_at": made["expires_at"] });
    assert_eq!(busy["allocation"], holder);
}

#[test]
fn the_event_log_is_followed_from_now_on() {
    let server = Server::with("");
    server.add_number(
        NUMBER,
        &[
            "--mode",
            "shared",
            "--pin-length",
            "6",
            "--max-active",
            "5000",
        ],
    );
    let body = json!({ "caller_id_number": NUMBER, "from": "+919900000001" });
    let follow = |query: &str| {
        let (status, body) = server.request("GET", &format!("/events?{query}"), None);
        assert_eq!(status, 200, "{body}");
        let ids = body["response"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|event| event["greenpin_id"].clone()).collect();
        (ids, body["next_cursor"].as_str().map(str::to_owned))
    };
    let (none, start) = follow("from=now");
    assert!(none.is_empty(), "of an empty log");
    let first = server.allocate(&body)["greenpin_id"].clone();
    assert_eq!(follow(&format!("after={}", start.unwrap())).0, [first]);
    let (none, cursor) = follow("from=now");
    assert!(none.is_empty(), "the first event is in the past");
    let second = server.allocate(&body)["greenpin_id"].clone();
    assert_eq!(
        follow(&format!("after={}&wait=30", cursor.unwrap())).0,
        [second]
    );
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| call(server.http, "GET", "/events?from=now&wait=30"));
        while metric(&server, "greenpin_http_connections ") < 2 {}
        // The waiting request may read the end of the log after the first of these, but not after the last.
        while !waiting.is_finished() {
            server_allocate(&server);
        }
        waiting.join().unwrap()
    });
    assert_eq!(waiting.body["response"][0]["type"], "allocation.created");
    let from_yesterday = call(server.http, "GET", "/events?from=yesterday");
    assert_eq!(from_yesterday.status, 400);
    let query = "/events?from=now&after=evt_00000000000000000000000000";
    let continued = call(server.http, "GET", query);
    let first = &continued.body["response"][0]["type"];
    assert_eq!(first, "allocation.created", "after comes first");
}

/// Creates an allocation over a connection of its own.
fn server_allocate(server: &Server) {
    let body = json!({ "caller_id_number": NUMBER, "from": "+919900000001" }).to_string();
    let made = crate::support::http_client::create(server.http, &body);
    assert_eq!(made.status, 201, "{}", made.body);
}
