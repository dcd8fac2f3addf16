//! Tenants: create, list, suspend, resume.

use serde_json::{Value, json};

use crate::support::operator_api::{
    OPERATOR, bearer, expect_response, operator_request, send, send_request, server, tenants_status,
};
use crate::support::server::{SID, TENANT, TOKEN};

#[test]
fn a_new_tenants_token_is_valid_and_returned_only_once() {
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
    let (sid, token) = (
        made["account_sid"].as_str().unwrap(),
        made["token"].as_str().unwrap(),
    );
    assert!(
        sid.starts_with("AC") && token.len() >= 43,
        "both were drawn"
    );
    assert_eq!(tenants_status(&server, "other", sid, token).0, 200);
    assert_eq!(
        tenants_status(&server, TENANT, sid, token),
        (403, "foreign_tenant".into())
    );
    let shown = operator_request(&server, "GET", "/tenants/other");
    assert!(!shown.body.to_string().contains(token));
    let shown = expect_response(shown, 200);
    for (name, value) in [
        ("tenant_id", json!("other")),
        ("status", json!("active")),
        ("timezone", json!("Asia/Kolkata")),
        ("numbers", json!(0)),
        ("credentials", json!(1)),
        ("active_allocations", json!(0)),
        ("suspended_at", Value::Null),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    let chosen = json!({ "tenant_id": "third", "account_sid": "AC.third", "timezone": "UTC" });
    let made = expect_response(send(&server, "POST", "/tenants", &chosen), 201);
    assert_eq!(made["account_sid"], "AC.third");
    assert_eq!(
        expect_response(operator_request(&server, "GET", "/tenants/third"), 200)["timezone"],
        "UTC"
    );
}

#[test]
fn an_invalid_tenant_is_rejected_with_every_fault() {
    let server = server();
    let body = json!({ "tenant_id": "Not A Name", "account_sid": "a b", "timezone": "Mars/Phobos", "tokn": 1 });
    let response = send(&server, "POST", "/tenants", &body);
    assert_eq!((response.status, response.code()), (400, "invalid_request"));
    let fields: Vec<_> = response
        .faults()
        .into_iter()
        .map(|(field, _)| field.to_owned())
        .collect();
    assert_eq!(fields, ["tenant_id", "account_sid", "timezone", "tokn"]);
    let response = send(&server, "POST", "/tenants", &json!({}));
    assert_eq!(response.faults(), [("tenant_id", "required")]);
    for (body, code) in [
        (json!({ "tenant_id": TENANT }), "tenant_exists"),
        (
            json!({ "tenant_id": "new", "account_sid": SID }),
            "account_sid_taken",
        ),
    ] {
        let response = send(&server, "POST", "/tenants", &body);
        assert_eq!((response.status, response.code()), (409, code));
    }
    assert_eq!(
        operator_request(&server, "GET", "/tenants/new").status,
        404,
        "nothing is half made"
    );
    let no_json = send_request(&server, "POST", "/tenants", &bearer(), b"{}");
    assert_eq!(
        (no_json.status, no_json.code()),
        (415, "unsupported_media_type")
    );
    let long = json!({ "tenant_id": "x".repeat(70_000) });
    assert_eq!(send(&server, "POST", "/tenants", &long).status, 413);
    let json = format!("{}{}", bearer(), crate::support::operator_api::JSON);
    assert_eq!(
        send_request(&server, "POST", "/tenants", &json, b"{").code(),
        "invalid_json"
    );
}

#[test]
fn tenants_are_listed_by_name_a_page_at_a_time() {
    let server = server();
    for name in ["c", "b", "a"] {
        expect_response(
            send(&server, "POST", "/tenants", &json!({ "tenant_id": name })),
            201,
        );
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = operator_request(&server, "GET", &format!("/tenants?limit=3{cursor}")).body;
        names.extend(
            page["response"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tenant| tenant["tenant_id"].clone()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["a", TENANT, "b", "c"]);
    for wrong in [
        "limit=0",
        "limit=x",
        "cursor=A%20B",
        "status=active",
        "limit=1&limit=1",
    ] {
        assert_eq!(
            operator_request(&server, "GET", &format!("/tenants?{wrong}")).status,
            400,
            "{wrong}"
        );
    }
    assert_eq!(
        operator_request(&server, "GET", "/tenants/nobody").status,
        404
    );
    assert_eq!(
        operator_request(&server, "GET", "/tenants/Not%20A%20Name").status,
        404
    );
}

#[test]
fn a_suspended_tenant_is_rejected_at_once_until_it_is_resumed() {
    let server = server();
    assert_eq!(tenants_status(&server, TENANT, SID, TOKEN).0, 200);
    for _ in 0..2 {
        let suspended = expect_response(
            operator_request(&server, "POST", "/tenants/acme/suspend"),
            200,
        );
        assert!(suspended["status"] == "suspended" && suspended["suspended_at"].is_string());
        assert_eq!(
            tenants_status(&server, TENANT, SID, TOKEN),
            (403, "tenant_suspended".into())
        );
    }
    assert_eq!(
        tenants_status(&server, TENANT, SID, "wrong").0,
        401,
        "who may not know it is not told"
    );
    for _ in 0..2 {
        assert_eq!(
            expect_response(
                operator_request(&server, "POST", "/tenants/acme/resume"),
                200
            )["status"],
            "active"
        );
        assert_eq!(tenants_status(&server, TENANT, SID, TOKEN).0, 200);
    }
    for act in ["suspend", "resume"] {
        assert_eq!(
            operator_request(&server, "POST", &format!("/tenants/nobody/{act}")).status,
            404
        );
    }
    assert!(!server.log().contains(OPERATOR));
}
