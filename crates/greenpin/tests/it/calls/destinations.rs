//! Numbers that may be dialled: rules of the tenant and of the trunks, before an allocation and before each leg.

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, CallSetup, SECOND_AGENT, VN, pin_of};
use crate::support::http_client::{raw_text, request};
use crate::support::operator_api::send;
use crate::support::party::Party;
use crate::support::server::TENANT;

const SATELLITE: &str = "+881600000001";

/// Sets rules as the operator; returns the status and the body.
fn set_rules(setup: &CallSetup, rules: &Value) -> (u16, Value) {
    let path = format!("/tenants/{TENANT}/destinations");
    let response = send(&setup.server, "PUT", &path, rules);
    (response.status, response.body)
}

/// Requests an allocation; returns the status, the code and the fields at fault.
fn allocate(setup: &CallSetup, from: &[&str], to: &[&str]) -> (u16, Value, Vec<Value>) {
    let body = json!({ "caller_id_number": VN, "from": from, "to": to });
    let (status, body) = setup.server.request("POST", "/greenpin", Some(&body));
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    let fields = errors.iter().map(|error| error["field"].clone()).collect();
    (status, body["code"].clone(), fields)
}

#[test]
fn an_allocation_with_a_denied_number_is_rejected_and_names_the_field() {
    let setup = CallSetup::start_with_operator("");
    let denied = |fields: &[&str]| {
        let fields = fields.iter().map(|field| json!(field)).collect();
        (422, json!("destination_not_allowed"), fields)
    };
    let (from, to) = ([AGENT, SATELLITE], [CUSTOMER, "+19005550100"]);
    assert_eq!(allocate(&setup, &from, &to), denied(&["from[1]", "to[1]"]));

    let rules = json!({ "allow": ["+", "+8816"], "deny": ["+9199"] });
    let (status, body) = set_rules(&setup, &rules);
    assert_eq!((status, &body["response"]["allow"]), (200, &rules["allow"]));
    let shown = setup.server.get("/settings");
    assert_eq!(shown["destinations"]["deny"], rules["deny"]);
    assert_eq!(
        allocate(&setup, &[SATELLITE, AGENT], &[]),
        denied(&["from[1]"])
    );
    assert_eq!(allocate(&setup, &[SATELLITE], &[CUSTOMER]).0, 201);
}

#[test]
fn a_tenant_cannot_change_its_rules_and_wrong_rules_are_rejected() {
    let setup = CallSetup::start_with_operator("");
    let body = json!({ "destinations": { "allow": ["+"] } });
    let (status, body) = setup.server.request("PUT", "/settings", Some(&body));
    assert_eq!((status, &body["code"]), (400, &json!("invalid_request")));
    for (rules, status, field) in [
        (json!({ "allow": ["91"] }), 400, "allow[0]"),
        (json!({ "allow": "+91" }), 400, "allow"),
        (json!({ "deny": ["+91", "+91"] }), 422, "deny[1]"),
        (json!({ "allow": ["+91"], "deny": ["+91"] }), 422, "deny"),
        (
            json!({ "max_calls_per_country_hour": 0 }),
            422,
            "max_calls_per_country_hour",
        ),
        (
            json!({ "max_calls_per_country_hour": 4_294_967_296_u64 }),
            422,
            "max_calls_per_country_hour",
        ),
        (json!({ "alow": ["+91"] }), 400, "alow"),
    ] {
        let (found, body) = set_rules(&setup, &rules);
        assert_eq!(
            (found, &body["errors"][0]["field"]),
            (status, &json!(field)),
            "{body}"
        );
    }
    let unknown = send(
        &setup.server,
        "PUT",
        "/tenants/nobody/destinations",
        &json!({}),
    );
    assert_eq!(unknown.status, 404);
}

#[test]
fn a_number_denied_after_the_allocation_is_skipped() {
    let mut setup = CallSetup::start_with_operator("");
    let allocation = setup.allocate(&json!({ "from": [SECOND_AGENT, AGENT] }));
    assert_eq!(set_rules(&setup, &json!({ "deny": [SECOND_AGENT] })).0, 200);
    setup.call_with(pin_of(&allocation));
    assert!(setup.agent_answers().contains(AGENT));
    setup.inbox.wait_for_event("call.answered");
    setup.hang_up();
    assert_eq!(setup.completed()["to"], AGENT);
}

#[test]
fn a_number_that_no_trunk_takes_is_not_dialled() {
    let mut setup = CallSetup::start_with_operator("deny_destinations = [\"+91990\"]");
    let allocation = setup.allocate(&json!({}));
    setup.call_with(pin_of(&allocation));
    let completed = setup.completed();
    assert_eq!(completed["dial_call_status"], "failed");
    assert!(setup.agent.received.is_empty());
    let (_, metrics) = raw_text(setup.server.http, &request("GET", "/metrics", "", b""));
    assert!(metrics.contains("greenpin_destinations_refused_total{reason=\"trunks\"} 1"));
}

#[test]
fn the_hourly_limit_of_a_country_ends_dialling() {
    let mut setup = CallSetup::start_with_operator("");
    assert_eq!(
        set_rules(&setup, &json!({ "max_calls_per_country_hour": 1 })).0,
        200
    );
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.hang_up();
    assert_eq!(setup.completed()["call_type"], "completed");
    let mut again = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(again.call(VN), 200);
    again.press(pin_of(&allocation));
    assert_eq!(setup.completed()["dial_call_status"], "failed");
}

#[test]
fn the_command_shows_and_changes_the_rules() {
    let setup = CallSetup::start_with_operator("");
    let run = |arguments: &[&str]| {
        let output = setup
            .server
            .command(&[&["tenant", "destinations", TENANT, "--json"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let none = json!({ "allow": [], "deny": [], "max_calls_per_country_hour": null });
    assert_eq!(run(&[]), none);
    let changed = run(&["--allow", "+91,+44", "--max-calls-per-country-hour", "5"]);
    assert_eq!(changed["allow"], json!(["+91", "+44"]));
    assert_eq!(
        run(&["--allow", "", "--max-calls-per-country-hour", "0"]),
        none
    );
    let both = [
        "tenant",
        "destinations",
        TENANT,
        "--allow",
        "+91",
        "--deny",
        "+91",
    ];
    assert_eq!(setup.server.command(&both).status.code(), Some(1));
}
