//! Numbers: add, list, change, move, quarantine, remove.

use serde_json::{Value, json};

use crate::support::http_client::create;
use crate::support::operator_api::{
    bearer, expect_response, operator_request, send, send_request, server,
};
use crate::support::server::{Server, TENANT};

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const NOBODYS: &str = "+914000000009";

fn server_with_pool() -> Server {
    let server = server();
    let shared = json!({ "tenant_id": TENANT, "virtual_number": SHARED, "mode": "shared", "pin_length": 6, "max_active": 3 });
    expect_response(send(&server, "POST", "/numbers", &shared), 201);
    expect_response(
        send(
            &server,
            "POST",
            "/numbers",
            &json!({ "tenant_id": TENANT, "virtual_number": EXCLUSIVE }),
        ),
        201,
    );
    expect_response(
        send(
            &server,
            "POST",
            "/tenants",
            &json!({ "tenant_id": "other" }),
        ),
        201,
    );
    server
}

fn path(number: &str) -> String {
    format!("/numbers/{number}")
}

fn read_number(server: &Server, number: &str) -> Value {
    expect_response(operator_request(server, "GET", &path(number)), 200)
}

fn allocate(server: &Server, number: &str) -> Value {
    server.allocate(
        &json!({ "caller_id_number": number, "from": ["+919900000001"], "to": ["+918800000001"] }),
    )
}

fn delete_allocation(server: &Server, allocation: &Value) {
    let id = allocation["greenpin_id"].as_str().unwrap();
    assert_eq!(
        server.request("DELETE", &format!("/greenpin/{id}"), None).0,
        200
    );
}

#[test]
fn a_new_number_accepts_allocations() {
    let server = server_with_pool();
    let number = read_number(&server, SHARED);
    let expected = json!({
        "virtual_number": SHARED, "tenant_id": TENANT, "mode": "shared", "pin_length": 6, "max_active": 3, "active": 0,
        "quarantined": false, "quarantined_at": null, "created_at": number["created_at"],
    });
    assert_eq!(number, expected);
    let number = read_number(&server, EXCLUSIVE);
    assert_eq!(
        (
            &number["mode"],
            &number["pin_length"],
            &number["max_active"]
        ),
        (&json!("exclusive"), &json!(4), &json!(1))
    );
    allocate(&server, EXCLUSIVE);
    assert_eq!(allocate(&server, SHARED)["pin"].as_str().unwrap().len(), 6);
    assert_eq!(
        (
            &read_number(&server, EXCLUSIVE)["active"],
            &read_number(&server, SHARED)["active"]
        ),
        (&json!(1), &json!(1))
    );
}

#[test]
fn an_invalid_number_is_rejected_with_its_rule() {
    let server = server_with_pool();
    let with = |more: Value| {
        let mut body = json!({ "tenant_id": TENANT, "virtual_number": NOBODYS });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        send(&server, "POST", "/numbers", &body)
    };
    for (more, status, field, code) in [
        (
            json!({ "virtual_number": "914000000009" }),
            400,
            "virtual_number",
            "not_e164",
        ),
        (
            json!({ "virtual_number": null }),
            400,
            "virtual_number",
            "required",
        ),
        (
            json!({ "tenant_id": "A B" }),
            400,
            "tenant_id",
            "invalid_value",
        ),
        (json!({ "tenant_id": null }), 400, "tenant_id", "required"),
        (json!({ "mode": "both" }), 400, "mode", "invalid_value"),
        (json!({ "moed": "shared" }), 400, "moed", "unknown_field"),
    ]
    .into_iter()
    .chain(numbers_against_a_rule())
    {
        let response = with(more.clone());
        assert_eq!(
            (response.status, response.faults()),
            (status, vec![(field, code)]),
            "{more}"
        );
    }
    let taken = with(json!({ "virtual_number": EXCLUSIVE, "tenant_id": "other" }));
    assert_eq!((taken.status, taken.code()), (409, "number_exists"));
    assert_eq!(
        send_request(&server, "POST", "/numbers", &bearer(), b"{}").status,
        415
    );
    assert_eq!(operator_request(&server, "GET", &path(NOBODYS)).status, 404);
    assert_eq!(
        operator_request(&server, "GET", "/numbers/nonsense").status,
        404
    );
}

/// Returns changes of a valid number that violate a rule.
fn numbers_against_a_rule() -> Vec<(Value, u16, &'static str, &'static str)> {
    vec![
        (
            json!({ "tenant_id": "nobody" }),
            422,
            "tenant_id",
            "no_such_tenant",
        ),
        (
            json!({ "pin_length": 6 }),
            422,
            "pin_length",
            "out_of_range",
        ),
        (
            json!({ "pin_length": 9, "mode": "shared" }),
            422,
            "pin_length",
            "out_of_range",
        ),
        (
            json!({ "max_active": 2 }),
            422,
            "max_active",
            "out_of_range",
        ),
        (
            json!({ "max_active": 5001, "mode": "shared" }),
            422,
            "max_active",
            "out_of_range",
        ),
    ]
}

#[test]
fn numbers_are_listed_by_tenant_mode_and_quarantine_a_page_at_a_time() {
    let server = server_with_pool();
    expect_response(
        send(
            &server,
            "POST",
            "/numbers",
            &json!({ "tenant_id": "other", "virtual_number": NOBODYS }),
        ),
        201,
    );
    expect_response(
        operator_request(&server, "POST", &format!("{}/quarantine", path(NOBODYS))),
        200,
    );
    let listed = |query: &str| {
        let response = operator_request(&server, "GET", &format!("/numbers?{query}"));
        let mut numbers: Vec<String> = expect_response(response, 200)
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number["virtual_number"].as_str().unwrap().to_owned())
            .collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(listed(""), [EXCLUSIVE, SHARED, NOBODYS]);
    assert_eq!(listed("tenant_id=acme"), [EXCLUSIVE, SHARED]);
    assert_eq!(listed("mode=shared"), [SHARED]);
    assert_eq!(listed("quarantined=true"), [NOBODYS]);
    assert_eq!(
        listed("quarantined=false&mode=exclusive&tenant_id=acme"),
        [EXCLUSIVE]
    );
    assert_eq!(list_page_by_page(&server).len(), 3);
    for wrong in [
        "mode=both",
        "quarantined=yes",
        "tenant_id=A%20B",
        "limit=0",
        "nonsense=1",
    ] {
        assert_eq!(
            operator_request(&server, "GET", &format!("/numbers?{wrong}")).status,
            400,
            "{wrong}"
        );
    }
}

/// Lists all numbers, one per page, without duplicates.
fn list_page_by_page(server: &Server) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = operator_request(server, "GET", &format!("/numbers?limit=1{cursor}")).body;
        seen.extend(
            page["response"]
                .as_array()
                .unwrap()
                .iter()
                .map(|number| number["virtual_number"].to_string()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('+', "%2B")),
            None => break,
        }
    }
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn the_mode_of_a_number_changes_only_without_active_allocations() {
    let server = server_with_pool();
    let change = |number: &str, body: Value| send(&server, "PATCH", &path(number), &body);
    let first = allocate(&server, EXCLUSIVE);
    let busy = change(EXCLUSIVE, json!({ "mode": "shared" }));
    assert_eq!((busy.status, busy.code()), (409, "number_in_use"));
    assert_eq!(
        expect_response(change(EXCLUSIVE, json!({ "mode": "exclusive" })), 200)["mode"],
        "exclusive",
        "no change"
    );
    delete_allocation(&server, &first);
    let changed = expect_response(
        change(EXCLUSIVE, json!({ "mode": "shared", "max_active": 2 })),
        200,
    );
    assert_eq!(
        (&changed["mode"], &changed["max_active"], &changed["active"]),
        (&json!("shared"), &json!(2), &json!(0))
    );
    let both = [allocate(&server, EXCLUSIVE), allocate(&server, EXCLUSIVE)];
    assert_eq!(
        change(EXCLUSIVE, json!({ "max_active": 1 })).code(),
        "number_in_use"
    );
    assert_eq!(
        change(EXCLUSIVE, json!({ "pin_length": 6 })).code(),
        "number_in_use"
    );
    assert_eq!(
        expect_response(change(EXCLUSIVE, json!({ "max_active": 3 })), 200)["max_active"],
        3
    );
    allocate(&server, EXCLUSIVE);
    check_rejected_changes(&server);
    both.iter()
        .for_each(|number| delete_allocation(&server, number));
    let changed = expect_response(change(SHARED, json!({ "mode": "exclusive" })), 200);
    assert_eq!(
        (&changed["pin_length"], &changed["max_active"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(allocate(&server, SHARED)["pin"].as_str().unwrap().len(), 4);
    assert_eq!(
        create(
            server.http,
            &json!({ "caller_id_number": SHARED, "from": "+919900000001" }).to_string()
        )
        .status,
        409
    );
}

/// Checks changes that are rejected.
fn check_rejected_changes(server: &Server) {
    let change = |number: &str, body: Value| send(server, "PATCH", &path(number), &body);
    for (body, status) in [
        (json!({ "max_active": 5001 }), 422),
        (json!({ "max_active": 0 }), 422),
        (json!({ "pin_length": 3 }), 422),
        (json!({ "mode": "both" }), 400),
        (json!({ "virtual_number": NOBODYS }), 400),
    ] {
        assert_eq!(change(EXCLUSIVE, body.clone()).status, status, "{body}");
    }
    assert_eq!(change(NOBODYS, json!({ "mode": "shared" })).status, 404);
    assert_eq!(
        send_request(server, "PATCH", &path(SHARED), &bearer(), b"{}").status,
        415
    );
}

#[test]
fn a_number_without_active_allocations_can_move_to_another_tenant() {
    let server = server_with_pool();
    let to = |number: &str, tenant: &str| {
        send(
            &server,
            "POST",
            &format!("{}/move", path(number)),
            &json!({ "tenant_id": tenant }),
        )
    };
    let allocation = allocate(&server, SHARED);
    assert_eq!(to(SHARED, "other").code(), "number_in_use");
    delete_allocation(&server, &allocation);
    assert_eq!(
        expect_response(to(SHARED, "other"), 200)["tenant_id"],
        "other"
    );
    let body =
        json!({ "caller_id_number": SHARED, "from": "+919900000001", "to": "+918800000001" });
    let refused = create(server.http, &body.to_string());
    assert_eq!(
        (refused.status, refused.code()),
        (403, "number_not_in_pool")
    );
    assert_eq!(to(NOBODYS, "other").status, 404);
    assert_eq!(
        to(EXCLUSIVE, "nobody").faults(),
        [("tenant_id", "no_such_tenant")]
    );
    assert_eq!(to(EXCLUSIVE, "A B").status, 400);
    assert_eq!(
        expect_response(to(SHARED, TENANT), 200)["tenant_id"],
        TENANT
    );
    allocate(&server, SHARED);
}

#[test]
fn a_quarantined_number_rejects_new_allocations_and_keeps_existing_ones() {
    let server = server_with_pool();
    let kept = allocate(&server, SHARED);
    let act = |number: &str, act: &str| {
        operator_request(&server, "POST", &format!("{}/{act}", path(number)))
    };
    for _ in 0..2 {
        let quarantined = expect_response(act(SHARED, "quarantine"), 200);
        assert!(quarantined["quarantined"] == true && quarantined["quarantined_at"].is_string());
    }
    let body =
        json!({ "caller_id_number": SHARED, "from": "+919900000001", "to": "+918800000001" });
    let refused = create(server.http, &body.to_string());
    assert_eq!(
        (refused.status, refused.code()),
        (409, "number_quarantined")
    );
    assert_eq!(
        server.get(&format!(
            "/greenpin/{}",
            kept["greenpin_id"].as_str().unwrap()
        ))["status"],
        "active"
    );
    assert_eq!(read_number(&server, SHARED)["active"], 1);
    for _ in 0..2 {
        assert_eq!(
            expect_response(act(SHARED, "release"), 200)["quarantined"],
            false
        );
    }
    allocate(&server, SHARED);
    for name in ["quarantine", "release"] {
        assert_eq!(act(NOBODYS, name).status, 404);
    }
}

#[test]
fn a_number_without_active_allocations_can_be_removed() {
    let server = server_with_pool();
    let allocation = allocate(&server, SHARED);
    let refused = operator_request(&server, "DELETE", &path(SHARED));
    assert_eq!((refused.status, refused.code()), (409, "number_in_use"));
    delete_allocation(&server, &allocation);
    assert_eq!(
        expect_response(operator_request(&server, "DELETE", &path(SHARED)), 200)["status"],
        "removed"
    );
    for method in ["DELETE", "GET"] {
        assert_eq!(operator_request(&server, method, &path(SHARED)).status, 404);
    }
    assert_eq!(
        server.get(&format!(
            "/greenpin/{}",
            allocation["greenpin_id"].as_str().unwrap()
        ))["status"],
        "deleted"
    );
    let again = json!({ "tenant_id": "other", "virtual_number": SHARED });
    assert_eq!(
        expect_response(send(&server, "POST", "/numbers", &again), 201)["tenant_id"],
        "other"
    );
}
