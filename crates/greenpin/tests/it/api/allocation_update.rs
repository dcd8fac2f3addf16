//! Changes of allocations, contract section 1.3.

use greenpin::store::{GreenpinId, StoreError, TenantId, Timestamp};
use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER};
use crate::support::http_client::{basic, call, raw, request, send};
use crate::support::server::{SID, Server, TOKEN, unix_seconds};

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const OPEN: &str = "+914000000003";
const OTHER_AGENT: &str = "+919900000002";
const OTHER_CUSTOMER: &str = "+918800000002";
const UNKNOWN: &str = "gp_00000000000000000000000000";

fn server() -> Server {
    let server = Server::with("");
    server.add_number(EXCLUSIVE, &[]);
    server.add_number(SHARED, &["--mode", "shared"]);
    server.add_number(OPEN, &["--mode", "shared", "--pin-length", "6"]);
    server
}

fn allocate(server: &Server, number: &str) -> Value {
    server.allocate(
        &json!({ "caller_id_number": number, "from": [AGENT], "to": [CUSTOMER], "duration": 3600 }),
    )
}

fn path(allocation: &Value) -> String {
    format!("/greenpin/{}", allocation["greenpin_id"].as_str().unwrap())
}

/// Returns the tenant's events after the first `skip`.
fn events(server: &Server, skip: usize) -> Vec<Value> {
    server
        .get("/events")
        .as_array()
        .unwrap()
        .iter()
        .skip(skip)
        .cloned()
        .collect()
}

#[test]
fn an_update_changes_the_given_fields_and_returns_the_whole_object() {
    let server = server();
    let before = allocate(&server, EXCLUSIVE);
    let change = json!({
        "from": OTHER_AGENT, "to": [AGENT, CUSTOMER], "duration": 7200, "max_pin_attempts": 5, "record": true,
        "custom_field": "order_id=7",
    });
    let response = send(server.http, "PUT", &path(&before), &change);
    assert_eq!(response.status, 200);
    let after = &response.body["response"];
    assert_eq!(*after, server.get(&path(&before)));
    for name in [
        "greenpin_id",
        "virtual_number",
        "pin",
        "created_at",
        "status",
        "dial_uri",
    ] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert_eq!(
        (&after["from"], &after["to"]),
        (&json!([OTHER_AGENT]), &json!([AGENT, CUSTOMER]))
    );
    assert_eq!(
        (&after["max_pin_attempts"], &after["record"]),
        (&json!(5), &json!(true))
    );
    let lasts = unix_seconds(&after["expires_at"]) - unix_seconds(&before["expires_at"]);
    assert!(
        (3600..3660).contains(&lasts),
        "the duration counts from now: {lasts}"
    );
    let event = &events(&server, 1)[0];
    assert_eq!(
        (&event["type"], &event["sequence"]),
        (&json!("allocation.updated"), &json!(2))
    );
    let names = [
        "from",
        "to",
        "duration",
        "max_pin_attempts",
        "record",
        "custom_field",
    ];
    assert_eq!(event["data"]["changed"], json!(names));
    assert_eq!(
        (&event["custom_field"], &event["data"]["to"]),
        (&json!("order_id=7"), &after["to"])
    );
    assert!(event["data"].get("pin").is_none());
}

#[test]
fn null_clears_the_custom_field_and_counts_as_omitted_elsewhere() {
    let server = server();
    let before = allocate(&server, EXCLUSIVE);
    send(
        server.http,
        "PUT",
        &path(&before),
        &json!({ "custom_field": "x" }),
    );
    let nothing = json!({
        "from": null, "to": null, "duration": null, "max_pin_attempts": null, "record": null,
    });
    for (change, custom_field) in [
        (nothing, json!("x")),
        (json!({ "custom_field": null }), Value::Null),
    ] {
        let response = send(server.http, "PUT", &path(&before), &change);
        assert_eq!(
            (response.status, &response.body["response"]["custom_field"]),
            (200, &custom_field)
        );
        for name in ["from", "to", "expires_at", "max_pin_attempts", "record"] {
            assert_eq!(response.body["response"][name], before[name], "{name}");
        }
    }
    assert_eq!(
        send(server.http, "PUT", &path(&before), &json!({})).status,
        200
    );
    let told: Vec<_> = events(&server, 1)
        .iter()
        .map(|event| event["data"]["changed"].clone())
        .collect();
    assert_eq!(told, [json!(["custom_field"]), json!(["custom_field"])]);
}

#[test]
fn a_malformed_update_is_400_and_one_that_violates_a_rule_is_422() {
    let server = server();
    let before = allocate(&server, EXCLUSIVE);
    for (change, status, field, code) in [
        (json!({ "pin": "4821" }), 400, "pin", "unknown_field"),
        (
            json!({ "caller_id_number": SHARED }),
            400,
            "caller_id_number",
            "unknown_field",
        ),
        (
            json!({ "virtual_number": null }),
            400,
            "virtual_number",
            "unknown_field",
        ),
        (
            json!({ "max_pin_attempt": 3 }),
            400,
            "max_pin_attempt",
            "unknown_field",
        ),
        (json!({ "from": 7 }), 400, "from", "wrong_type"),
        (json!({ "to": ["0123"] }), 400, "to[0]", "not_e164"),
        (
            json!({ "custom_field": "x".repeat(257) }),
            400,
            "custom_field",
            "too_long",
        ),
        (json!({ "from": [] }), 400, "from", "required"),
        (json!({ "duration": 299 }), 422, "duration", "out_of_range"),
        (
            json!({ "max_pin_attempts": 11 }),
            422,
            "max_pin_attempts",
            "out_of_range",
        ),
        (
            json!({ "from": [OTHER_AGENT, CUSTOMER] }),
            422,
            "from[1]",
            "on_both_sides",
        ),
        (json!({ "to": [AGENT] }), 422, "to[0]", "on_both_sides"),
        (
            json!({ "from": [OTHER_AGENT], "to": [OTHER_AGENT] }),
            422,
            "to[0]",
            "on_both_sides",
        ),
    ] {
        let response = send(server.http, "PUT", &path(&before), &change);
        assert_eq!(
            (response.status, response.faults()),
            (status, vec![(field, code)]),
            "{change}"
        );
    }
    check_whole_update(&server, &before);
}

/// Checks rules about the update as a whole.
fn check_whole_update(server: &Server, allocation: &Value) {
    let swapped = json!({ "from": [CUSTOMER], "to": [AGENT] });
    assert_eq!(
        send(server.http, "PUT", &path(allocation), &swapped).status,
        200,
        "the rule applies to the result"
    );
    assert_eq!(
        send(server.http, "PUT", &path(allocation), &json!([])).code(),
        "invalid_request"
    );
    let plain = request(
        "PUT",
        &format!("/v1/tenants/acme{}", path(allocation)),
        &basic(SID, TOKEN),
        b"{}",
    );
    assert_eq!(raw(server.http, &plain).status, 415);
}

#[test]
fn to_cannot_be_emptied_on_a_shared_number_with_short_pins() {
    let server = server();
    let short = allocate(&server, SHARED);
    let emptied = send(server.http, "PUT", &path(&short), &json!({ "to": [] }));
    assert_eq!((emptied.status, emptied.code()), (422, "to_required"));
    for number in [EXCLUSIVE, OPEN] {
        let open = allocate(&server, number);
        let emptied = send(server.http, "PUT", &path(&open), &json!({ "to": [] }));
        assert_eq!(
            (emptied.status, &emptied.body["response"]["to"]),
            (200, &json!([]))
        );
    }
}

#[test]
fn a_missing_or_inactive_allocation_does_not_change() {
    let server = server();
    let change = json!({ "to": [OTHER_CUSTOMER] });
    for id in [UNKNOWN, "nonsense"] {
        assert_eq!(
            send(server.http, "PUT", &format!("/greenpin/{id}"), &change).status,
            404
        );
    }
    let gone = allocate(&server, EXCLUSIVE);
    call(server.http, "DELETE", &path(&gone));
    let response = send(server.http, "PUT", &path(&gone), &change);
    assert_eq!(
        (response.status, response.code()),
        (409, "allocation_not_active")
    );
    assert_eq!(server.get(&path(&gone))["to"], gone["to"]);
}

#[test]
fn a_bulk_update_returns_one_independent_result_per_item_in_order() {
    let server = server();
    let (exclusive, shared, deleted) = (
        allocate(&server, EXCLUSIVE),
        allocate(&server, SHARED),
        allocate(&server, OPEN),
    );
    call(server.http, "DELETE", &path(&deleted));
    let [first, second, third] =
        [&exclusive, &shared, &deleted].map(|made| made["greenpin_id"].clone());
    let items = json!([
        { "greenpin_id": first, "custom_field": "a" },
        { "greenpin_id": second, "to": [] },
        { "greenpin_id": third, "record": true },
        { "greenpin_id": UNKNOWN, "record": true },
        { "greenpin_id": second, "pin": "1", "duration": "x" },
        { "custom_field": "b" },
        7,
        { "greenpin_id": "nonsense" },
        { "greenpin_id": second, "record": true },
        { "greenpin_id": first, "custom_field": "c", "max_pin_attempts": 9 },
    ]);
    let response = send(server.http, "PUT", "/greenpin", &items);
    assert_eq!(response.status, 200);
    let responses = response.body["response"].as_array().unwrap();
    let line = |response: &Value| {
        let code = response["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (
            response["greenpin_id"].clone(),
            response["status"].as_str().unwrap().to_owned(),
            code,
        )
    };
    let expected = [
        (first.clone(), "updated", ""),
        (second.clone(), "error", "to_required"),
        (third, "error", "allocation_not_active"),
        (json!(UNKNOWN), "error", "not_found"),
        (second.clone(), "error", "invalid_request"),
        (Value::Null, "error", "invalid_request"),
        (Value::Null, "error", "invalid_request"),
        (json!("nonsense"), "error", "not_found"),
        (second, "updated", ""),
        (first, "updated", ""),
    ];
    let expected = expected.map(|(id, status, code)| (id, status.to_owned(), code.to_owned()));
    assert_eq!(responses.iter().map(line).collect::<Vec<_>>(), expected);
    check_item_problem(&responses[4]["error"]);
    assert_eq!(
        server.get(&path(&exclusive))["custom_field"],
        "c",
        "a repeated id is changed twice"
    );
    assert_eq!(server.get(&path(&shared))["record"], true);
    check_changed_fields(&server);
}

/// Checks the problem of a rejected item.
fn check_item_problem(error: &Value) {
    assert_eq!(
        (
            error["status"].as_u64(),
            error["errors"].as_array().unwrap().len()
        ),
        (Some(400), 2)
    );
    assert!(
        ["title", "detail", "type"]
            .iter()
            .all(|name| error[name].is_string())
    );
    assert!(error.get("request_id").is_none());
}

/// Checks the changed fields in the events of the bulk update.
fn check_changed_fields(server: &Server) {
    let told = events(server, 4)
        .iter()
        .map(|event| event["data"]["changed"].clone())
        .collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            json!(["custom_field"]),
            json!(["record"]),
            json!(["max_pin_attempts", "custom_field"])
        ]
    );
}

#[test]
fn a_bulk_update_takes_one_to_a_hundred_items() {
    let server = server();
    let allocation = allocate(&server, EXCLUSIVE);
    let items = |count: usize| {
        json!(vec![
            json!({ "greenpin_id": allocation["greenpin_id"], "record": true });
            count
        ])
    };
    let response = send(server.http, "PUT", "/greenpin", &items(100));
    assert_eq!(
        (
            response.status,
            response.body["response"].as_array().unwrap().len()
        ),
        (200, 100)
    );
    for (body, status, code) in [
        (items(101), 413, "too_many_items"),
        (items(0), 422, "too_few"),
        (json!({}), 400, "invalid_request"),
        (json!("x"), 400, "invalid_request"),
        (json!(["x".repeat(66_000)]), 413, "body_too_large"),
    ] {
        let response = send(server.http, "PUT", "/greenpin", &body);
        assert_eq!((response.status, response.code()), (status, code));
    }
    let plain = request(
        "PUT",
        "/v1/tenants/acme/greenpin",
        &basic(SID, TOKEN),
        b"[]",
    );
    assert_eq!(raw(server.http, &plain).status, 415);
}

#[test]
fn a_rotation_draws_a_different_pin_and_its_event_does_not_contain_it() {
    let server = server();
    for number in [EXCLUSIVE, SHARED, OPEN] {
        let before = allocate(&server, number);
        let response = call(
            server.http,
            "POST",
            &format!("{}/rotate-pin", path(&before)),
        );
        assert_eq!(response.status, 200);
        let after = &response.body["response"];
        let (old, new) = (
            before["pin"].as_str().unwrap(),
            after["pin"].as_str().unwrap(),
        );
        assert!(old != new && old.len() == new.len());
        assert_eq!(after["dial_uri"], format!("tel:{number},,{new}"));
        assert_eq!(*after, server.get(&path(&before)));
        let event = events(&server, 0).pop().unwrap();
        assert_eq!(
            (&event["type"], &event["greenpin_id"]),
            (&json!("allocation.pin_rotated"), &before["greenpin_id"])
        );
        assert_eq!(event["data"], json!({ "virtual_number": number }));
    }
}

#[test]
fn unlock_and_rotate_take_no_body_and_need_an_active_allocation() {
    let server = server();
    let allocation = allocate(&server, EXCLUSIVE);
    for act in ["unlock", "rotate-pin"] {
        let path_of = |id: &str| format!("/greenpin/{id}/{act}");
        let here = path_of(allocation["greenpin_id"].as_str().unwrap());
        assert_eq!(call(server.http, "POST", &here).status, 200);
        assert_eq!(send(server.http, "POST", &here, &json!({})).status, 200);
        for (body, code) in [
            (json!({ "pin": "1234" }), "invalid_request"),
            (json!([]), "invalid_request"),
        ] {
            let response = send(server.http, "POST", &here, &body);
            assert_eq!((response.status, response.code()), (400, code));
        }
        let broken = request(
            "POST",
            &format!("/v1/tenants/acme{here}"),
            &basic(SID, TOKEN),
            b"{",
        );
        assert_eq!(raw(server.http, &broken).code(), "invalid_json");
        for id in [UNKNOWN, "nonsense"] {
            assert_eq!(call(server.http, "POST", &path_of(id)).status, 404);
        }
        assert_eq!(call(server.http, "GET", &here).status, 405);
    }
    assert!(
        !events(&server, 0)
            .iter()
            .any(|event| event["type"] == "allocation.unlocked")
    );
    call(server.http, "DELETE", &path(&allocation));
    for act in ["unlock", "rotate-pin"] {
        let response = call(server.http, "POST", &format!("{}/{act}", path(&allocation)));
        assert_eq!(
            (response.status, response.code()),
            (409, "allocation_not_active")
        );
    }
}

#[test]
fn a_rotation_fails_on_a_number_without_a_free_pin() {
    let server = Server::with("");
    server.add_number(EXCLUSIVE, &[]);
    server.update_settings(&json!({ "pin_cooloff": 2_592_000 }));
    let allocation = allocate(&server, EXCLUSIVE);
    let id = GreenpinId::parse(allocation["greenpin_id"].as_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(rotate_until_none_is_left(&server, &id));
    let before = server.get(&path(&allocation));
    let response = call(
        server.http,
        "POST",
        &format!("{}/rotate-pin", path(&allocation)),
    );
    assert_eq!(
        (response.status, response.code()),
        (409, "pin_space_exhausted")
    );
    assert_eq!(server.get(&path(&allocation)), before);
}

/// Rotates PINs from another process, as fast as the store commits. One request at a time would take a minute.
async fn rotate_until_none_is_left(server: &Server, id: &GreenpinId) {
    let tenant = server.store().tenant(TenantId::parse("acme").unwrap());
    let mut rotations = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        let (tenant, id) = (tenant.clone(), id.clone());
        rotations.spawn(async move {
            while tenant.rotate_pin(&id, Timestamp::now()).await
                == Err(StoreError::Overloaded.into())
            {
                tokio::task::yield_now().await;
            }
        });
    }
    rotations.join_all().await;
}
