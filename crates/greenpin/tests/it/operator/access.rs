//! Access to the operator API: the token, unknown paths and methods.

use serde_json::{Value, json};

use crate::support::http_client::basic;
use crate::support::operator_api::{
    OPERATOR, bearer, expect_response, operator_request, send, send_request, server,
};
use crate::support::server::{Server, TENANT};

/// Operations of the operator API.
const CALLS: &[(&str, &str)] = &[
    ("GET", "/tenants"),
    ("POST", "/tenants"),
    ("GET", "/tenants/acme"),
    ("DELETE", "/tenants/acme"),
    ("POST", "/tenants/acme/suspend"),
    ("POST", "/tenants/acme/resume"),
    ("PUT", "/tenants/acme/destinations"),
    ("GET", "/tenants/acme/credentials"),
    ("POST", "/tenants/acme/credentials"),
    ("DELETE", "/tenants/acme/credentials/AC0001"),
    ("POST", "/tenants/acme/credentials/AC0001/rotate"),
    ("GET", "/numbers"),
    ("POST", "/numbers"),
    ("POST", "/numbers/import"),
    ("GET", "/numbers/+914000000001"),
    ("PATCH", "/numbers/+914000000001"),
    ("DELETE", "/numbers/+914000000001"),
    ("POST", "/numbers/+914000000001/move"),
    ("POST", "/numbers/+914000000001/quarantine"),
    ("POST", "/numbers/+914000000001/release"),
    ("GET", "/audit"),
    ("GET", "/trunks"),
    ("GET", "/nodes"),
    ("POST", "/drain"),
    ("POST", "/undrain"),
    ("GET", "/calls"),
    ("GET", "/calls/call_01jxs0d4e8v6m2q9r7t5w3y1zk"),
    ("DELETE", "/calls/call_00000000000000000000000000"),
];

#[test]
fn without_the_operator_token_every_request_is_401_with_a_challenge() {
    let server = server();
    for (method, path) in CALLS {
        let response = send_request(&server, method, path, "", b"");
        assert_eq!(
            (response.status, response.code()),
            (401, "operator_unauthorized"),
            "{method} {path}"
        );
        assert!(
            response
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer"),
            "{method} {path}"
        );
        assert!(response.header("x-request-id").is_some());
    }
    let untouched = operator_request(&server, "GET", &format!("/tenants/{TENANT}")).body;
    assert_eq!(
        untouched["response"]["status"], "active",
        "none of them did anything"
    );
}

#[test]
fn a_wrong_token_is_401_and_a_flood_of_them_429_from_where_it_comes() {
    let server = server();
    let wrong = [
        "authorization: Bearer\r\n".to_owned(),
        format!("authorization: Bearer {OPERATOR}x\r\n"),
        format!(
            "authorization: Bearer {}\r\n",
            OPERATOR.trim_end_matches('n')
        ),
        format!("authorization: Basic {OPERATOR}\r\n"),
        basic(crate::support::server::SID, crate::support::server::TOKEN),
    ];
    for headers in &wrong {
        let response = send_request(&server, "GET", "/tenants", headers, b"");
        assert_eq!(
            (response.status, response.code()),
            (401, "operator_unauthorized"),
            "{headers}"
        );
    }
    let flood = (0..100).map(|_| send_request(&server, "GET", "/tenants", &wrong[1], b""));
    let limited = flood
        .into_iter()
        .find(|response| response.status == 429)
        .unwrap();
    assert!(limited.code() == "rate_limited" && limited.header("retry-after").is_some());
    assert_eq!(
        operator_request(&server, "GET", "/tenants").status,
        200,
        "the right one is let in all the same"
    );
}

#[test]
fn without_a_configured_token_every_request_is_403() {
    let server = Server::with("");
    for (method, path) in CALLS {
        for headers in [
            bearer(),
            "authorization: Bearer \r\n".to_owned(),
            String::new(),
        ] {
            let response = send_request(&server, method, path, &headers, b"");
            assert_eq!(
                (response.status, response.code()),
                (403, "operator_api_off"),
                "{method} {path}"
            );
        }
    }
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let server = server();
    assert_eq!(operator_request(&server, "GET", "/nothing").status, 404);
    for (method, path) in [
        ("DELETE", "/tenants"),
        ("PUT", "/tenants/acme"),
        ("GET", "/tenants/acme/suspend"),
        ("DELETE", "/tenants/acme/credentials"),
        ("GET", "/tenants/acme/credentials/AC0001/rotate"),
        ("PUT", "/numbers"),
        ("GET", "/numbers/+914000000001/move"),
        ("POST", "/numbers/+914000000001"),
        ("POST", "/audit"),
        ("POST", "/trunks"),
        ("POST", "/nodes"),
        ("GET", "/drain"),
        ("POST", "/calls"),
    ] {
        let response = operator_request(&server, method, path);
        assert_eq!(
            (response.status, response.code()),
            (405, "method_not_allowed"),
            "{method} {path}"
        );
    }
}

#[test]
fn a_weak_operator_token_prevents_the_start() {
    let server = Server::with("");
    let mut short = std::process::Command::new(env!("CARGO_BIN_EXE_greenpin"));
    short.current_dir(server.database().parent().unwrap());
    let output = short
        .arg("serve")
        .env("GREENPIN_HTTP__OPERATOR_TOKEN", "fifteen-letters")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && error.contains("http.operator_token"),
        "{error}"
    );
    assert!(!error.contains("fifteen-letters"), "{error}");
}

#[test]
fn every_action_is_in_the_audit_log_with_its_actor_and_without_secrets() {
    let server = server();
    let made = expect_response(
        send(
            &server,
            "POST",
            "/tenants",
            &json!({ "tenant_id": "other" }),
        ),
        201,
    );
    let suspended = operator_request(&server, "POST", "/tenants/other/suspend");
    let log = operator_request(&server, "GET", "/audit");
    let lines = log.body["response"].as_array().unwrap();
    let acts: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["actor"].as_str().unwrap(),
                line["act"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("command line", "tenant.create"),
        ("operator", "tenant.create"),
        ("operator", "tenant.suspend"),
    ];
    assert_eq!(acts, expected);
    assert_eq!(
        lines[2]["request_id"],
        suspended.header("x-request-id").unwrap()
    );
    assert_eq!(
        (&lines[2]["tenant_id"], &lines[1]["object"]),
        (&json!("other"), &made["account_sid"])
    );
    assert!(
        !log.body
            .to_string()
            .contains(made["token"].as_str().unwrap())
    );
    check_audit_queries(&server, lines);
}

/// Checks pagination and rejected queries of the audit log.
fn check_audit_queries(server: &Server, lines: &[Value]) {
    let first = operator_request(server, "GET", "/audit?limit=1");
    let cursor = first.body["next_cursor"].as_str().unwrap();
    assert_eq!(cursor, lines[0]["audit_id"].as_str().unwrap());
    let rest = operator_request(server, "GET", &format!("/audit?after={cursor}"));
    assert_eq!(
        (
            rest.body["response"].as_array().unwrap().len(),
            &rest.body["next_cursor"]
        ),
        (2, &Value::Null)
    );
    for wrong in [
        "after=x",
        "limit=0",
        "limit=201",
        "nonsense=1",
        "limit=1&limit=2",
    ] {
        assert_eq!(
            operator_request(server, "GET", &format!("/audit?{wrong}")).status,
            400,
            "{wrong}"
        );
    }
}
