//! Changing allocations, contract section 1.3.

use serde_json::{Value, json};

use super::http::{basic, call, raw, request, send};
use super::server::{SID, Server, TOKEN};

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const OPEN: &str = "+914000000003";
const AGENT: &str = "+919900000001";
const OTHER_AGENT: &str = "+919900000002";
const CUSTOMER: &str = "+918800000001";
const OTHER_CUSTOMER: &str = "+918800000002";
const UNKNOWN: &str = "gp_00000000000000000000000000";

fn server() -> Server {
    let server = Server::with("");
    server.add_number(EXCLUSIVE, &[]);
    server.add_number(SHARED, &["--mode", "shared"]);
    server.add_number(OPEN, &["--mode", "shared", "--pin-length", "6"]);
    server
}

fn made(server: &Server, number: &str) -> Value {
    server
        .allocate(&json!({ "caller_id_number": number, "from": [AGENT], "to": [CUSTOMER], "duration": 3600 }))
}

fn path(allocation: &Value) -> String {
    format!("/greenpin/{}", allocation["greenpin_id"].as_str().unwrap())
}

fn seconds(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
}

/// The events of the tenant, from one on.
fn events(server: &Server, skip: usize) -> Vec<Value> {
    server.get("/events").as_array().unwrap().iter().skip(skip).cloned().collect()
}

#[test]
fn an_update_changes_what_is_given_and_answers_with_the_whole_object() {
    let server = server();
    let before = made(&server, EXCLUSIVE);
    let change = json!({
        "from": OTHER_AGENT, "to": [AGENT, CUSTOMER], "duration": 7200, "max_pin_attempts": 5, "record": true,
        "custom_field": "order_id=7",
    });
    let answer = send(server.http, "PUT", &path(&before), &change);
    assert_eq!(answer.status, 200);
    let after = &answer.body["response"];
    assert_eq!(*after, server.get(&path(&before)));
    for name in ["greenpin_id", "virtual_number", "pin", "created_at", "status", "dial_uri"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert_eq!((&after["from"], &after["to"]), (&json!([OTHER_AGENT]), &json!([AGENT, CUSTOMER])));
    assert_eq!((&after["max_pin_attempts"], &after["record"]), (&json!(5), &json!(true)));
    let lasts = seconds(&after["expires_at"]) - seconds(&before["expires_at"]);
    assert!((3600..3660).contains(&lasts), "the duration counts from now: {lasts}");
    let event = &events(&server, 1)[0];
    assert_eq!((&event["type"], &event["sequence"]), (&json!("allocation.updated"), &json!(2)));
    let names = ["from", "to", "duration", "max_pin_attempts", "record", "custom_field"];
    assert_eq!(event["data"]["changed"], json!(names));
    assert_eq!((&event["custom_field"], &event["data"]["to"]), (&json!("order_id=7"), &after["to"]));
    assert!(event["data"].get("pin").is_none());
}

#[test]
fn null_takes_the_custom_field_away_and_is_not_given_elsewhere() {
    let server = server();
    let before = made(&server, EXCLUSIVE);
    send(server.http, "PUT", &path(&before), &json!({ "custom_field": "x" }));
    let nothing = json!({
        "from": null, "to": null, "duration": null, "max_pin_attempts": null, "record": null,
    });
    for (change, custom_field) in [(nothing, json!("x")), (json!({ "custom_field": null }), Value::Null)] {
        let answer = send(server.http, "PUT", &path(&before), &change);
        assert_eq!((answer.status, &answer.body["response"]["custom_field"]), (200, &custom_field));
        for name in ["from", "to", "expires_at", "max_pin_attempts", "record"] {
            assert_eq!(answer.body["response"][name], before[name], "{name}");
        }
    }
    assert_eq!(send(server.http, "PUT", &path(&before), &json!({})).status, 200);
    let told: Vec<_> = events(&server, 1).iter().map(|event| event["data"]["changed"].clone()).collect();
    assert_eq!(told, [json!(["custom_field"]), json!(["custom_field"])]);
}

#[test]
fn an_update_that_is_malformed_is_400_and_one_against_a_rule_is_422() {
    let server = server();
    let before = made(&server, EXCLUSIVE);
    for (change, status, field, code) in [
        (json!({ "pin": "4821" }), 400, "pin", "unknown_field"),
        (json!({ "caller_id_number": SHARED }), 400, "caller_id_number", "unknown_field"),
        (json!({ "virtual_number": null }), 400, "virtual_number", "unknown_field"),
        (json!({ "max_pin_attempt": 3 }), 400, "max_pin_attempt", "unknown_field"),
        (json!({ "from": 7 }), 400, "from", "wrong_type"),
        (json!({ "to": ["0123"] }), 400, "to[0]", "not_e164"),
        (json!({ "custom_field": "x".repeat(257) }), 400, "custom_field", "too_long"),
        (json!({ "from": [] }), 422, "from", "too_few"),
        (json!({ "duration": 299 }), 422, "duration", "out_of_range"),
        (json!({ "max_pin_attempts": 11 }), 422, "max_pin_attempts", "out_of_range"),
        (json!({ "from": [OTHER_AGENT, CUSTOMER] }), 422, "from[1]", "on_both_sides"),
        (json!({ "to": [AGENT] }), 422, "to[0]", "on_both_sides"),
        (json!({ "from": [OTHER_AGENT], "to": [OTHER_AGENT] }), 422, "to[0]", "on_both_sides"),
    ] {
        let answer = send(server.http, "PUT", &path(&before), &change);
        assert_eq!((answer.status, answer.faults()), (status, vec![(field, code)]), "{change}");
    }
    let swapped = json!({ "from": [CUSTOMER], "to": [AGENT] });
    assert_eq!(send(server.http, "PUT", &path(&before), &swapped).status, 200, "what results is judged");
    assert_eq!(send(server.http, "PUT", &path(&before), &json!([])).code(), "invalid_request");
    let plain = request("PUT", &format!("/v1/tenants/acme{}", path(&before)), &basic(SID, TOKEN), b"{}");
    assert_eq!(raw(server.http, &plain).status, 415);
}

#[test]
fn to_stays_named_where_short_shared_pins_need_it() {
    let server = server();
    let short = made(&server, SHARED);
    let emptied = send(server.http, "PUT", &path(&short), &json!({ "to": [] }));
    assert_eq!((emptied.status, emptied.code()), (422, "to_required"));
    for number in [EXCLUSIVE, OPEN] {
        let open = made(&server, number);
        let emptied = send(server.http, "PUT", &path(&open), &json!({ "to": [] }));
        assert_eq!((emptied.status, &emptied.body["response"]["to"]), (200, &json!([])));
    }
}

#[test]
fn what_is_not_there_or_not_active_does_not_change() {
    let server = server();
    let change = json!({ "to": [OTHER_CUSTOMER] });
    for id in [UNKNOWN, "nonsense"] {
        assert_eq!(send(server.http, "PUT", &format!("/greenpin/{id}"), &change).status, 404);
    }
    let gone = made(&server, EXCLUSIVE);
    call(server.http, "DELETE", &path(&gone));
    let answer = send(server.http, "PUT", &path(&gone), &change);
    assert_eq!((answer.status, answer.code()), (409, "allocation_not_active"));
    assert_eq!(server.get(&path(&gone))["to"], gone["to"]);
}
