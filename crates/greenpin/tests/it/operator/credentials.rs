//! Credentials: several at a time, rotation without an interruption, immediate revocation.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::operator_api::{
    expect_response, operator_request, send, server, tenants_status,
};
use crate::support::server::{SID, Server, TENANT, TIMEOUT, TOKEN};

const PATH: &str = "/tenants/acme/credentials";

fn find_credential(server: &Server, sid: &str) -> Value {
    let all = expect_response(operator_request(server, "GET", PATH), 200);
    all.as_array()
        .unwrap()
        .iter()
        .find(|credential| credential["account_sid"] == sid)
        .unwrap()
        .clone()
}

fn credential_pair(made: &Value) -> (String, String) {
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("account_sid"), text("token"))
}

#[test]
fn an_additional_credential_is_valid_until_it_is_revoked() {
    let server = server();
    let made = expect_response(
        send(
            &server,
            "POST",
            PATH,
            &json!({ "label": "of the second shop" }),
        ),
        201,
    );
    let (sid, token) = credential_pair(&made);
    assert_eq!(tenants_status(&server, TENANT, &sid, &token).0, 200);
    let shown = find_credential(&server, &sid);
    assert!(
        shown["label"] == "of the second shop"
            && shown["live"] == true
            && shown["revoked_at"].is_null()
    );
    assert!(
        !expect_response(operator_request(&server, "GET", PATH), 200)
            .to_string()
            .contains(&token)
    );
    expect_response(
        operator_request(&server, "DELETE", &format!("{PATH}/{sid}")),
        200,
    );
    assert_eq!(
        tenants_status(&server, TENANT, &sid, &token).0,
        401,
        "at once, though it was just remembered"
    );
    assert_eq!(
        tenants_status(&server, TENANT, SID, TOKEN).0,
        200,
        "the other one goes on"
    );
    assert!(
        find_credential(&server, &sid)["live"] == false
            && find_credential(&server, &sid)["revoked_at"].is_string()
    );
    let again = operator_request(&server, "DELETE", &format!("{PATH}/{sid}"));
    assert_eq!((again.status, again.code()), (409, "already_revoked"));
    let (chosen, _) = credential_pair(&expect_response(
        send(&server, "POST", PATH, &json!({ "account_sid": "AC-x" })),
        201,
    ));
    assert_eq!(chosen, "AC-x");
    assert_eq!(
        expect_response(operator_request(&server, "POST", PATH), 201)["token"]
            .as_str()
            .unwrap()
            .len(),
        43
    );
}

#[test]
fn a_rotation_leaves_no_time_without_a_valid_credential() {
    let server = server();
    let made = expect_response(
        operator_request(&server, "POST", &format!("{PATH}/{SID}/rotate")),
        201,
    );
    assert_eq!(
        (&made["replaces"], &made["replaced_until"]),
        (&json!(SID), &Value::Null)
    );
    let (sid, token) = credential_pair(&made);
    assert_eq!(tenants_status(&server, TENANT, &sid, &token).0, 200);
    assert_eq!(
        tenants_status(&server, TENANT, SID, TOKEN).0,
        200,
        "the old one lives until it is revoked"
    );
    let overlap = json!({ "overlap": 3600, "label": "second" });
    let made = expect_response(
        send(&server, "POST", &format!("{PATH}/{SID}/rotate"), &overlap),
        201,
    );
    assert!(made["replaced_until"].is_string());
    assert_eq!(
        tenants_status(&server, TENANT, SID, TOKEN).0,
        200,
        "the old one lives for the overlap"
    );
    assert_eq!(
        find_credential(&server, SID)["revoked_at"],
        made["replaced_until"]
    );
    let made = expect_response(
        send(
            &server,
            "POST",
            &format!("{PATH}/{SID}/rotate"),
            &json!({ "overlap": 0 }),
        ),
        201,
    );
    assert_eq!(
        tenants_status(&server, TENANT, SID, TOKEN).0,
        401,
        "no overlap: the old one is dead at once"
    );
    let (sid, token) = credential_pair(&made);
    assert_eq!(tenants_status(&server, TENANT, &sid, &token).0, 200);
    let dead = operator_request(&server, "POST", &format!("{PATH}/{SID}/rotate"));
    assert_eq!((dead.status, dead.code()), (409, "already_revoked"));
}

#[test]
fn invalid_changes_of_credentials_are_rejected() {
    let server = server();
    let rotate = format!("{PATH}/{SID}/rotate");
    for (path, body, error) in [
        (PATH, json!({ "account_sid": SID }), "409 account_sid_taken"),
        (PATH, json!({ "account_sid": "a b" }), "400 invalid_request"),
        (
            PATH,
            json!({ "label": "x".repeat(101) }),
            "400 invalid_request",
        ),
        (PATH, json!({ "lable": "x" }), "400 invalid_request"),
        ("/tenants/nobody/credentials", json!({}), "404 not_found"),
        (&rotate, json!({ "overlap": -1 }), "422 rule_violated"),
        (&rotate, json!({ "overlap": "x" }), "400 invalid_request"),
        (
            &rotate,
            json!({ "account_sid": SID }),
            "409 account_sid_taken",
        ),
        (
            "/tenants/acme/credentials/AC9/rotate",
            json!({}),
            "404 not_found",
        ),
        (
            "/tenants/nobody/credentials/AC0001/rotate",
            json!({}),
            "404 not_found",
        ),
    ] {
        let response = send(&server, "POST", path, &body);
        let received = format!("{} {}", response.status, response.code());
        assert_eq!(received, error, "{path} {body}");
    }
    check_unknown_credentials(&server);
}

/// Checks unknown credentials and tenants, and a body without a content type.
fn check_unknown_credentials(server: &Server) {
    for path in [
        "/tenants/acme/credentials/AC9",
        "/tenants/nobody/credentials/AC0001",
    ] {
        assert_eq!(
            operator_request(server, "DELETE", path).status,
            404,
            "{path}"
        );
    }
    assert_eq!(
        operator_request(server, "GET", "/tenants/nobody/credentials").status,
        404
    );
    assert!(
        find_credential(server, SID)["revoked_at"].is_null(),
        "a rotation that failed revokes nothing"
    );
    assert_eq!(
        crate::support::operator_api::send_request(
            server,
            "POST",
            PATH,
            &crate::support::operator_api::bearer(),
            b"{}"
        )
        .status,
        415
    );
}

#[test]
fn the_last_use_of_a_credential_is_recorded_to_the_minute() {
    let server = server();
    assert!(find_credential(&server, SID)["last_used_at"].is_null());
    assert_eq!(tenants_status(&server, TENANT, SID, TOKEN).0, 200);
    let deadline = Instant::now() + TIMEOUT;
    let used_at = loop {
        if let Some(used_at) = find_credential(&server, SID)["last_used_at"].as_str() {
            break used_at.to_owned();
        }
        assert!(Instant::now() < deadline, "the use was never noted");
    };
    assert!(used_at.ends_with(":00+00:00"), "{used_at}");
    assert_eq!(tenants_status(&server, TENANT, SID, "wrong").0, 401);
}

#[test]
fn credentials_revoked_and_tenants_suspended_by_another_process_are_rejected_within_a_second() {
    let server = server();
    let (sid, token) = credential_pair(&expect_response(
        operator_request(&server, "POST", PATH),
        201,
    ));
    let until = |sid: &str, token: &str, status: u16| {
        let deadline = Instant::now() + TIMEOUT;
        while tenants_status(&server, TENANT, sid, token).0 != status {
            assert!(Instant::now() < deadline, "never {status}");
        }
    };
    until(&sid, &token, 200);
    assert!(
        server
            .command(&["tenant", "credential", "revoke", TENANT, &sid])
            .status
            .success()
    );
    until(&sid, &token, 401);
    until(SID, TOKEN, 200);
    assert!(
        server
            .command(&["tenant", "suspend", TENANT])
            .status
            .success()
    );
    until(SID, TOKEN, 403);
    assert!(
        server
            .command(&["tenant", "resume", TENANT])
            .status
            .success()
    );
    until(SID, TOKEN, 200);
}
