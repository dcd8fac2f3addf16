//! `GET /numbers`, contract section 1.3.

use serde_json::{Value, json};

use crate::support::http_client::call;
use crate::support::server::Server;

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";

#[test]
fn the_pool_lists_each_numbers_usage_and_capacity() {
    let server = Server::with("");
    assert_eq!(server.get("/numbers"), json!([]));
    server.add_number(EXCLUSIVE, &[]);
    server.add_number(
        SHARED,
        &["--mode", "shared", "--pin-length", "6", "--max-active", "5"],
    );
    for number in [EXCLUSIVE, SHARED, SHARED] {
        server.allocate(
            &json!({ "caller_id_number": number, "from": "+919900000001", "duration": 600 }),
        );
    }
    let expected = json!([
        {
            "virtual_number": EXCLUSIVE, "mode": "exclusive", "pin_length": 4, "active_allocations": 1,
            "max_active": 1, "guess_probability": 0.0003, "guess_odds_per_year": 0.0,
        },
        {
            "virtual_number": SHARED, "mode": "shared", "pin_length": 6, "active_allocations": 2,
            "max_active": 5, "guess_probability": 0.000006, "guess_odds_per_year": 0.034472,
        },
    ]);
    assert_eq!(server.get("/numbers"), expected);
    assert_eq!(call(server.http, "POST", "/numbers").status, 405);
}

#[test]
fn a_limit_of_the_guess_odds_rejects_creates_until_it_is_removed() {
    let server = Server::with("");
    server.add_number(SHARED, &["--mode", "shared", "--pin-length", "6"]);
    let body = json!({ "caller_id_number": SHARED, "from": "+919900000001", "duration": 600 });
    server.allocate(&body);
    for (odds, status, code) in [
        (json!("0.01"), 400, "wrong_type"),
        (json!(0), 422, "out_of_range"),
        (json!(1.5), 422, "out_of_range"),
    ] {
        let (found, response) =
            server.request("PUT", "/settings", Some(&json!({ "max_guess_odds": odds })));
        assert_eq!(found, status, "{response}");
        let fault = &response["errors"][0];
        assert_eq!(
            (&fault["field"], &fault["code"]),
            (&json!("max_guess_odds"), &json!(code))
        );
    }
    let settings = server.update_settings(&json!({ "max_guess_odds": 0.01 }));
    assert_eq!(settings["max_guess_odds"], 0.01);
    let (status, response) = server.request("POST", "/greenpin", Some(&body));
    assert_eq!(status, 422, "{response}");
    assert_eq!(response["code"], "guess_odds_too_high");
    let detail = response["detail"].as_str().unwrap();
    assert!(detail.contains("probability of 0.0345"), "{detail}");
    assert!(detail.contains("PINs of 7 digits"), "{detail}");
    // Listed callers have no part in the odds.
    server.update_settings(&json!({ "caller_policy": "listed" }));
    server.allocate(&body);
    assert_eq!(server.get("/numbers")[0]["guess_odds_per_year"], 0.0);
    server.update_settings(&json!({ "caller_policy": "any", "max_guess_odds": null }));
    server.allocate(&body);
    assert_eq!(server.get("/settings")["max_guess_odds"], Value::Null);
}

#[test]
fn an_event_is_emitted_if_a_shared_number_fills_up() {
    let server = Server::with("");
    server.add_number(
        SHARED,
        &["--mode", "shared", "--pin-length", "6", "--max-active", "5"],
    );
    for _ in 0..5 {
        server.allocate(
            &json!({ "caller_id_number": SHARED, "from": "+919900000001", "duration": 600 }),
        );
    }
    let events = server.get("/events");
    let low: Vec<&Value> = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "number.capacity_low")
        .collect();
    assert_eq!(low.len(), 1);
    assert_eq!(
        (&low[0]["greenpin_id"], &low[0]["sequence"]),
        (&Value::Null, &json!(0))
    );
    let data = json!({ "virtual_number": SHARED, "active_allocations": 4, "max_active": 5 });
    assert_eq!(low[0]["data"], data);
}
