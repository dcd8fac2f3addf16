//! `POST /greenpin/resolve`, contract section 1.3.

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER};
use crate::support::http_client::{basic, raw, request, send};
use crate::support::server::{SID, Server, TOKEN};

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const FOREIGN: &str = "+914000000009";
const STRANGER: &str = "+917700000001";

fn server() -> Server {
    let server = Server::with("");
    server.add_number(EXCLUSIVE, &[]);
    server.add_number(SHARED, &["--mode", "shared"]);
    server
}

fn resolve(server: &Server, number: &str, caller: Option<&str>, digits: Option<&str>) -> Value {
    let question = json!({ "virtual_number": number, "caller": caller, "digits": digits });
    let response = send(server.http, "POST", "/greenpin/resolve", &question);
    assert_eq!(response.status, 200, "{:?}", response.body);
    response.body["response"].clone()
}

#[test]
fn resolve_returns_the_outcome_of_a_call() {
    let server = server();
    let outcome = |response: &Value| {
        let word = |name: &str| response[name].as_str().unwrap().to_owned();
        (word("outcome"), word("reason"))
    };
    let pair = |outcome: &str, reason: &str| (outcome.to_owned(), reason.to_owned());
    let unused = resolve(&server, EXCLUSIVE, Some(CUSTOMER), Some("4821"));
    assert_eq!(outcome(&unused), pair("not_in_use", "no_active_allocation"));
    let body =
        json!({ "caller_id_number": EXCLUSIVE, "from": [AGENT], "duration": 600, "record": true });
    let held = server.allocate(&body);
    let (id, pin) = (&held["greenpin_id"], held["pin"].as_str().unwrap());
    let asked = resolve(&server, EXCLUSIVE, None, None);
    assert_eq!(outcome(&asked), pair("collect_pin", "pin_required"));
    assert_eq!(
        (&asked["greenpin_id"], &asked["pin_length"], &asked["dial"]),
        (id, &json!(4), &json!([]))
    );
    let right = resolve(&server, EXCLUSIVE, None, Some(pin));
    assert_eq!(outcome(&right), pair("connect", "right_pin"));
    let expected = (id, &json!([AGENT]), &json!(true));
    assert_eq!(
        (&right["greenpin_id"], &right["dial"], &right["record"]),
        expected
    );
    assert_eq!(
        resolve(&server, EXCLUSIVE, None, Some(&format!("{pin}9"))),
        right,
        "the block is full"
    );
    let nobody = resolve(&server, EXCLUSIVE, Some(AGENT), Some(pin));
    assert_eq!(
        (outcome(&nobody), &nobody["greenpin_id"]),
        (pair("refuse", "no_one_to_connect"), id)
    );
    let short = resolve(&server, EXCLUSIVE, Some(CUSTOMER), Some(&pin[..3]));
    assert_eq!(
        (outcome(&short), &short["greenpin_id"]),
        (pair("refuse", "wrong_pin"), id)
    );
    let body =
        json!({ "caller_id_number": SHARED, "from": [AGENT], "to": [CUSTOMER], "duration": 600 });
    let listed = server.allocate(&body);
    let foreign = resolve(&server, SHARED, Some(STRANGER), listed["pin"].as_str());
    let expected = (pair("refuse", "caller_not_listed"), &listed["greenpin_id"]);
    assert_eq!((outcome(&foreign), &foreign["greenpin_id"]), expected);
    let read = server.get(&format!("/greenpin/{}", id.as_str().unwrap()));
    assert_eq!(
        (&read["failed_pin_attempts"], &read["attempt_count"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        server.get("/events").as_array().unwrap().len(),
        2,
        "nothing is told of to anybody"
    );
}

#[test]
fn a_number_of_another_pool_is_unknown() {
    let server = server();
    server.add_tenant("other", "AC2", &"t".repeat(32));
    assert!(
        server
            .command(&["number", "add", "--tenant", "other", FOREIGN])
            .status
            .success()
    );
    for number in [FOREIGN, "+914000000098"] {
        let response = resolve(&server, number, None, Some("1234"));
        let expected = json!({
            "outcome": "unknown_number", "reason": "number_not_in_pool", "greenpin_id": null, "dial": [],
            "record": false, "pin_length": null,
        });
        assert_eq!(response, expected);
    }
}

#[test]
fn a_malformed_resolve_request_is_400_with_its_fields() {
    let server = server();
    for (question, field, code) in [
        (json!({}), "virtual_number", "required"),
        (
            json!({ "virtual_number": "4000" }),
            "virtual_number",
            "not_e164",
        ),
        (
            json!({ "virtual_number": EXCLUSIVE, "caller": 7 }),
            "caller",
            "wrong_type",
        ),
        (
            json!({ "virtual_number": EXCLUSIVE, "caller": "anonymous" }),
            "caller",
            "not_e164",
        ),
        (
            json!({ "virtual_number": EXCLUSIVE, "digits": 4821 }),
            "digits",
            "wrong_type",
        ),
        (
            json!({ "virtual_number": EXCLUSIVE, "digits": "12#4" }),
            "digits",
            "invalid_value",
        ),
        (
            json!({ "virtual_number": EXCLUSIVE, "digits": "123456789" }),
            "digits",
            "invalid_value",
        ),
        (
            json!({ "virtual_number": EXCLUSIVE, "pin": "4821" }),
            "pin",
            "unknown_field",
        ),
    ] {
        let response = send(server.http, "POST", "/greenpin/resolve", &question);
        assert_eq!(
            (response.status, response.faults()),
            (400, vec![(field, code)])
        );
        assert!(!response.body.to_string().contains("123456789"));
    }
    let plain = request(
        "POST",
        "/v1/tenants/acme/greenpin/resolve",
        &basic(SID, TOKEN),
        b"{}",
    );
    assert_eq!(raw(server.http, &plain).status, 415);
}
