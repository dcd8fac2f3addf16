//! Rate limits and retention, contract section 1.5.

use std::time::Instant;

use greenpin::store::{CallSid, Timestamp};
use serde_json::{Value, json};

use crate::support::http_client::{HttpResponse, basic, call, raw, raw_text, request, send};
use crate::support::server::{SID, Server, TIMEOUT};
use crate::support::stored_call::store_recorded_call;

fn number(response: &HttpResponse, header: &str) -> u64 {
    response
        .header(header)
        .unwrap_or_else(|| panic!("no {header}"))
        .parse()
        .unwrap()
}

#[test]
fn a_rate_limited_tenant_gets_a_retry_after() {
    let server = Server::with("");
    let token = "fictional-token-of-other";
    server.add_tenant("other", "AC2", token);
    let free = call(server.http, "GET", "/numbers");
    assert_eq!((free.status, number(&free, "ratelimit-limit")), (200, 2000));
    server.update_settings(&json!({ "rate_limit": { "requests_per_second": 1, "burst": 3 } }));
    let refused = (0..20)
        .map(|_| call(server.http, "GET", "/numbers"))
        .find(|response| response.status != 200);
    let refused = refused.expect("twenty requests take less than 17 seconds");
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
    assert!(number(&refused, "retry-after") >= 1 && number(&refused, "ratelimit-reset") >= 1);
    assert_eq!(
        (
            number(&refused, "ratelimit-limit"),
            number(&refused, "ratelimit-remaining")
        ),
        (3, 0)
    );
    let other = raw(
        server.http,
        &request(
            "GET",
            "/v1/tenants/other/numbers",
            &basic("AC2", token),
            b"",
        ),
    );
    assert_eq!(
        (other.status, number(&other, "ratelimit-limit")),
        (200, 2000)
    );
    let deadline = Instant::now() + TIMEOUT;
    while call(server.http, "PUT", "/settings").status == 429 {
        assert!(Instant::now() < deadline, "the limit is never over");
    }
}

#[test]
fn every_response_to_a_tenant_has_rate_limit_headers() {
    let server = Server::with("");
    for (method, path, status) in [
        ("GET", "/settings", 200),
        ("GET", "/greenpin/nonsense", 404),
        ("POST", "/greenpin", 415),
        ("GET", "/greenpin?page=1", 400),
    ] {
        let response = call(server.http, method, path);
        assert_eq!(
            (response.status, number(&response, "ratelimit-limit")),
            (status, 2000)
        );
        assert!(
            number(&response, "ratelimit-remaining") < 2000
                && number(&response, "ratelimit-reset") <= 2
        );
    }
}

#[test]
fn wrong_credentials_are_limited_by_address_and_valid_ones_pass() {
    let server = Server::with("");
    let ask = |headers: &str| {
        raw(
            server.http,
            &request("GET", "/v1/tenants/acme/settings", headers, b""),
        )
    };
    let responses: Vec<_> = (0..200)
        .map(|index| ask(&basic(SID, &format!("wrong-{index}"))))
        .collect();
    assert!(
        responses[..20]
            .iter()
            .all(|response| (response.status, response.code()) == (401, "unauthorized"))
    );
    let limited = responses
        .iter()
        .find(|response| response.status == 429)
        .expect("two hundred are too many");
    assert_eq!(
        (limited.code(), limited.header("retry-after")),
        ("rate_limited", Some("1"))
    );
    assert!(limited.header("www-authenticate").is_none());
    assert_eq!(
        call(server.http, "GET", "/settings").status,
        200,
        "who shares the address is let in"
    );
    let metrics = raw_text(server.http, &request("GET", "/metrics", "", b"")).1;
    assert!(metrics.contains("greenpin_http_wrong_credentials_total 200\n"));
    let log = server.wait_for_log("wrong credentials");
    assert!(log.contains(r#""source":"127.0.0.1""#) && !log.contains("wrong-0"));
}

#[test]
fn rate_limit_and_retention_are_settings() {
    let server = Server::with("");
    let shown = server.get("/settings");
    let kept = json!({ "calls": null, "recordings": null, "ended_allocations": null, "trace": 7 });
    assert_eq!(
        (&shown["rate_limit"], &shown["retention"]),
        (&Value::Null, &kept)
    );
    let rate = json!({ "requests_per_second": 100, "burst": 200 });
    let set = server.update_settings(
        &json!({ "rate_limit": rate, "retention": { "calls": 90, "recordings": 30 } }),
    );
    let kept = json!({ "calls": 90, "recordings": 30, "ended_allocations": null, "trace": 7 });
    assert_eq!((&set["rate_limit"], &set["retention"]), (&rate, &kept));
    let set = server
        .update_settings(&json!({ "rate_limit": null, "retention": { "recordings": null, "ended_allocations": 365 } }));
    let kept = json!({ "calls": 90, "recordings": null, "ended_allocations": 365, "trace": 7 });
    assert_eq!(
        (&set["rate_limit"], &set["retention"]),
        (&Value::Null, &kept)
    );
    check_rejected_settings(&server);
    assert_eq!(
        server.update_settings(&json!({ "retention": null }))["retention"]["calls"],
        Value::Null
    );
}

/// Checks settings that are rejected.
fn check_rejected_settings(server: &Server) {
    for (change, status, field, code) in [
        (json!({ "rate_limit": 7 }), 400, "rate_limit", "wrong_type"),
        (
            json!({ "rate_limit": { "burst": 7 } }),
            400,
            "rate_limit.requests_per_second",
            "required",
        ),
        (
            json!({ "rate_limit": { "requests_per_second": 1001, "burst": 1 } }),
            422,
            "rate_limit.requests_per_second",
            "out_of_range",
        ),
        (
            json!({ "rate_limit": { "requests_per_second": 1, "burst": 0 } }),
            422,
            "rate_limit.burst",
            "out_of_range",
        ),
        (json!({ "retention": [] }), 400, "retention", "wrong_type"),
        (
            json!({ "retention": { "days": 1 } }),
            400,
            "retention.days",
            "unknown_field",
        ),
        (
            json!({ "retention": { "calls": "1" } }),
            400,
            "retention.calls",
            "wrong_type",
        ),
        (
            json!({ "retention": { "calls": 0 } }),
            422,
            "retention.calls",
            "out_of_range",
        ),
        (
            json!({ "retention": { "recordings": 3651 } }),
            422,
            "retention.recordings",
            "out_of_range",
        ),
    ] {
        let response = send(server.http, "PUT", "/settings", &change);
        assert_eq!(
            (response.status, response.faults()),
            (status, vec![(field, code)]),
            "{change}"
        );
    }
}

/// Writes a call from a hundred days ago, with a recording.
async fn old_call(server: &Server) -> (CallSid, std::path::PathBuf) {
    let started_at =
        Timestamp::from_micros(Timestamp::now().micros() - 100 * 24 * 3600 * 1_000_000);
    store_recorded_call(server, "+914000000001", started_at).await
}

#[test]
fn data_past_its_retention_is_deleted_with_its_file() {
    let mut server = Server::with("");
    server.add_number("+914000000001", &[]);
    let (sid, file) = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(old_call(&server));
    let path = format!("/calls/{sid}");
    for (days, is_there) in [(101, true), (99, false)] {
        server.update_settings(&json!({ "retention": { "calls": days } }));
        server.kill();
        server.start_again();
        let deadline = Instant::now() + TIMEOUT;
        while !is_there && call(server.http, "GET", &path).status != 404 {
            assert!(Instant::now() < deadline, "it is still there");
        }
        assert_eq!(
            (call(server.http, "GET", &path).status == 200, file.exists()),
            (is_there, is_there)
        );
    }
}
