//! Import of numbers from a CSV file: all lines or none.

use serde_json::{Value, json};

use crate::support::http_client::HttpResponse;
use crate::support::operator_api::{
    bearer, expect_response, operator_request, send_request, server,
};
use crate::support::server::{Server, TENANT};

const CSV: &str = "content-type: text/csv; charset=utf-8\r\n";

fn import(server: &Server, query: &str, text: &str) -> HttpResponse {
    send_request(
        server,
        "POST",
        &format!("/numbers/import?{query}"),
        &format!("{}{CSV}", bearer()),
        text.as_bytes(),
    )
}

fn count(server: &Server) -> usize {
    expect_response(operator_request(server, "GET", "/numbers?limit=200"), 200)
        .as_array()
        .unwrap()
        .len()
}

/// Returns a file with fictional numbers.
fn file(numbers: usize) -> String {
    let lines = (1..=numbers).map(|index| format!("+91400{index:07},shared,6,100\n"));
    format!(
        "virtual_number,mode,pin_length,max_active\n{}",
        lines.collect::<String>()
    )
}

#[test]
fn every_number_of_a_file_is_added_with_its_use() {
    let server = server();
    let report = expect_response(import(&server, "tenant_id=acme", &file(150)), 201);
    assert_eq!(
        report,
        json!({ "tenant_id": TENANT, "dry_run": false, "lines": 150, "added": 150, "refused": [] })
    );
    assert_eq!(count(&server), 150);
    let line = expect_response(
        operator_request(&server, "GET", "/numbers/+914000000150"),
        200,
    );
    assert_eq!(
        (&line["mode"], &line["pin_length"], &line["max_active"]),
        (&json!("shared"), &json!(6), &json!(100))
    );
    let log = operator_request(&server, "GET", "/audit").body;
    let last = log["response"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["act"], &last["object"]),
        (&json!("number.import"), &json!("150 numbers"))
    );
}

#[test]
fn one_invalid_line_prevents_the_whole_import() {
    let server = server();
    expect_response(
        import(&server, "tenant_id=acme", "virtual_number\n+914000000007\n"),
        201,
    );
    let text = "virtual_number,mode\n+914000000001,shared\n4000,shared\n+914000000007,shared\n+914000000001,shared\n";
    let refused = import(&server, "tenant_id=acme", text);
    assert_eq!((refused.status, refused.code()), (422, "import_refused"));
    let lines: Vec<Value> = refused.body["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| json!([line["line"], line["field"], line["code"]]))
        .collect();
    let expected = json!([
        [3, "virtual_number", "not_e164"],
        [4, "virtual_number", "number_exists"],
        [5, "virtual_number", "repeated"]
    ]);
    assert_eq!(Value::from(lines), expected);
    assert!(
        refused.body["refused"][0]["message"]
            .as_str()
            .unwrap()
            .contains("E.164")
    );
    assert_eq!(count(&server), 1);
}

#[test]
fn a_dry_run_reports_the_same_and_adds_nothing() {
    let server = server();
    let report = expect_response(
        import(&server, "tenant_id=acme&dry_run=true", &file(2)),
        200,
    );
    assert_eq!(
        (&report["lines"], &report["added"], &report["dry_run"]),
        (&json!(2), &json!(0), &json!(true))
    );
    let report = expect_response(
        import(
            &server,
            "tenant_id=acme&dry_run=true",
            "virtual_number\n4000\n",
        ),
        200,
    );
    assert_eq!(
        (&report["refused"][0]["line"], &report["refused"][0]["code"]),
        (&json!(2), &json!("not_e164"))
    );
    assert_eq!(count(&server), 0);
}

#[test]
fn a_file_other_than_a_list_of_numbers_is_rejected_as_a_whole() {
    let server = server();
    for (query, text, status, code) in [
        (
            "tenant_id=acme",
            "number\n+914000000001\n",
            400,
            "invalid_csv",
        ),
        ("tenant_id=acme", "", 400, "invalid_csv"),
        ("tenant_id=acme", "virtual_number\n", 400, "invalid_csv"),
        (
            "",
            "virtual_number\n+914000000001\n",
            400,
            "invalid_request",
        ),
        (
            "tenant_id=A%20B",
            "virtual_number\n+914000000001\n",
            400,
            "invalid_request",
        ),
        (
            "tenant_id=acme&dry_run=perhaps",
            "virtual_number\n+914000000001\n",
            400,
            "invalid_request",
        ),
        (
            "tenant_id=acme&nonsense=1",
            "virtual_number\n+914000000001\n",
            400,
            "invalid_request",
        ),
        (
            "tenant_id=nobody",
            "virtual_number\n+914000000001\n",
            422,
            "rule_violated",
        ),
    ] {
        let response = import(&server, query, text);
        assert_eq!(
            (response.status, response.code()),
            (status, code),
            "{query} {text}"
        );
    }
    check_rejected_files(&server);
    assert_eq!(count(&server), 0);
}

/// Checks files of a wrong type or size.
fn check_rejected_files(server: &Server) {
    let json = format!("{}content-type: application/json\r\n", bearer());
    let response = send_request(
        server,
        "POST",
        "/numbers/import?tenant_id=acme",
        &json,
        b"{}",
    );
    assert_eq!(
        (response.status, response.code()),
        (415, "unsupported_media_type")
    );
    let large = import(server, "tenant_id=acme", &"x".repeat(8 * 1024 * 1024 + 1));
    assert_eq!((large.status, large.code()), (413, "body_too_large"));
    let long = import(
        server,
        "tenant_id=acme",
        &format!("virtual_number\n{}", "x\n".repeat(100_001)),
    );
    assert_eq!((long.status, long.code()), (413, "body_too_large"));
}

#[test]
fn a_hundred_thousand_numbers_are_imported_in_one_file() {
    let server = server();
    assert_eq!(
        expect_response(import(&server, "tenant_id=acme", &file(100_000)), 201)["added"],
        100_000
    );
    assert_eq!(
        expect_response(operator_request(&server, "GET", "/tenants/acme"), 200)["numbers"],
        100_000
    );
    let again = import(&server, "tenant_id=acme", &file(100_000));
    assert_eq!(
        (
            again.status,
            again.body["refused"].as_array().unwrap().len()
        ),
        (422, 100_000)
    );
}
