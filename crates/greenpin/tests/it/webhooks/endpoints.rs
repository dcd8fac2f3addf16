//! Endpoints: secret rotation, the flat format, pauses, dead deliveries and redelivery.

use serde_json::{Value, json};

use crate::support::failing_receiver::{FailingReceiver, FailureMode, http_response};
use crate::support::http_client::{call, send};
use crate::support::server::{SID, Server, TENANT, TOKEN};
use crate::support::webhook_inbox::WebhookInbox;
use crate::support::webhook_inbox::is_signed;

const NUMBER: &str = "+914000000001";

fn allocate(server: &Server) -> Value {
    server.allocate(
        &json!({ "caller_id_number": NUMBER, "from": ["+919900000001"], "custom_field": "order" }),
    )
}

fn server() -> Server {
    let server = Server::with("");
    server.add_number(NUMBER, &["--mode", "shared", "--pin-length", "6"]);
    server
}

fn endpoint_id(server: &Server) -> String {
    server.get("/settings")["webhooks"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn during_a_rotation_both_secrets_verify_and_after_it_the_new_one_alone() {
    let server = server();
    let mut inbox = WebhookInbox::open();
    let old = server.send_events_to(&inbox.url);
    let path = format!("/webhooks/{}/rotate-secret", endpoint_id(&server));
    let rotate = |body: Value| {
        let response = send(server.http, "POST", &path, &body);
        assert_eq!(response.status, 200, "{}", response.body);
        response.body["response"]["secret"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let new = rotate(json!({ "overlap": 3600 }));
    assert!(server.get("/settings")["webhooks"][0]["previous_secret_expires_at"].is_string());
    allocate(&server);
    inbox.wait_for_event("allocation.created");
    let both = inbox.received.last().unwrap();
    assert!(is_signed(both, &old) && is_signed(both, &new));
    let last = rotate(json!({ "overlap": 0 }));
    allocate(&server);
    inbox.wait_for_event("allocation.created");
    let webhook = inbox.received.last().unwrap();
    assert!(is_signed(webhook, &last) && !is_signed(webhook, &new) && !is_signed(webhook, &old));
    assert_eq!(
        server.get("/settings")["webhooks"][0]["previous_secret_expires_at"],
        Value::Null
    );
    for (body, status) in [
        (json!({ "overlap": -1 }), 422),
        (json!({ "overlap": "x" }), 400),
        (json!({ "days": 1 }), 400),
    ] {
        assert_eq!(
            send(server.http, "POST", &path, &body).status,
            status,
            "{body}"
        );
    }
    let unknown = call(
        server.http,
        "POST",
        "/webhooks/ep_00000000000000000000000000/rotate-secret",
    );
    assert_eq!((unknown.status, unknown.code()), (404, "not_found"));
}

#[test]
fn a_rotation_requested_twice_with_one_key_happens_once() {
    let server = server();
    server.send_events_to("http://127.0.0.1:9/");
    let url = format!(
        "http://{}/v1/tenants/{TENANT}/webhooks/{}/rotate-secret",
        server.http,
        endpoint_id(&server)
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let rotate = || {
        let request = reqwest::Client::new()
            .post(&url)
            .basic_auth(SID, Some(TOKEN));
        runtime.block_on(async {
            let response = request
                .header("idempotency-key", "rotation-1")
                .send()
                .await
                .unwrap();
            response.json::<Value>().await.unwrap()["response"]["secret"].clone()
        })
    };
    let first = rotate();
    assert!(first.is_string());
    assert_eq!(rotate(), first);
}

#[test]
fn an_endpoint_with_the_flat_format_gets_signed_events_with_all_fields_on_one_level() {
    let server = server();
    let mut inbox = WebhookInbox::open();
    let set =
        server.update_settings(&json!({ "webhooks": [{ "url": inbox.url, "format": "flat" }] }));
    assert_eq!(set["webhooks"][0]["format"], "flat");
    let secret = set["webhooks"][0]["secret"].as_str().unwrap();
    let made = allocate(&server);
    let flat = inbox.wait_for_event("allocation.created");
    assert!(is_signed(inbox.received.last().unwrap(), secret));
    let logged = server.get("/events")[0].clone();
    let mut expected = logged.as_object().unwrap().clone();
    let data = expected.remove("data").unwrap();
    expected.extend(data.as_object().unwrap().clone());
    assert_eq!(flat, Value::Object(expected));
    assert_eq!(
        (&flat["greenpin_id"], &flat["custom_field"]),
        (&made["greenpin_id"], &json!("order"))
    );
    assert_eq!(
        inbox.received.last().unwrap().headers["webhook-id"],
        logged["event_id"].as_str().unwrap()
    );
    let wrong = send(
        server.http,
        "PUT",
        "/settings",
        &json!({ "webhooks": [{ "url": inbox.url, "format": "xml" }] }),
    );
    assert_eq!(
        (wrong.status, &wrong.body["errors"][0]["field"]),
        (400, &json!("webhooks[0].format"))
    );
}

#[test]
fn events_of_a_paused_endpoint_arrive_in_order_after_the_pause() {
    let server = server();
    let mut inbox = WebhookInbox::open();
    server.update_settings(&json!({ "webhooks": [{ "url": inbox.url, "paused": true }] }));
    let id = allocate(&server)["greenpin_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        call(server.http, "POST", &format!("/greenpin/{id}/rotate-pin")).status,
        200
    );
    assert_eq!(
        call(server.http, "DELETE", &format!("/greenpin/{id}")).status,
        200
    );
    let shown = server.get("/settings")["webhooks"].clone();
    let mut going_on = shown[0].clone();
    going_on["paused"] = false.into();
    assert!(inbox.received.is_empty());
    server.update_settings(&json!({ "webhooks": [going_on] }));
    inbox.wait_for_event("allocation.deleted");
    let sequences: Vec<_> = inbox
        .received
        .iter()
        .map(|webhook| webhook.event()["sequence"].clone())
        .collect();
    assert_eq!(sequences, [1, 2, 3]);
}

#[test]
fn events_of_a_period_are_redelivered_and_invalid_requests_are_rejected() {
    let server = server();
    (0..3).for_each(|_| drop(allocate(&server)));
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let replay = |body: Value| send(server.http, "POST", "/events/redeliver", &body);
    let (after, before) = ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00+05:30");
    let done = replay(json!({ "after": after, "before": before, "types": ["allocation.created"] }));
    let expected = json!({ "events": 3, "deliveries": 3, "next_cursor": null });
    assert_eq!((done.status, &done.body["response"]), (200, &expected));
    let mut came: Vec<_> = (0..3)
        .map(|_| inbox.wait_for_event("allocation.created")["event_id"].to_string())
        .collect();
    came.sort();
    let log = server.get("/events");
    let logged: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|webhook| webhook["event_id"].to_string())
        .collect();
    assert_eq!(came, logged);
    check_rejected_replays(&server, after, before);
    check_event_filters(&server);
}

/// Checks requests that are rejected.
fn check_rejected_replays(server: &Server, after: &str, before: &str) {
    for (body, status, field) in [
        (json!({ "before": before }), 400, "after"),
        (
            json!({ "after": "yesterday", "before": before }),
            400,
            "after",
        ),
        (
            json!({ "after": after, "before": before, "type": "x" }),
            400,
            "type",
        ),
        (
            json!({ "after": after, "before": before, "types": ["x"] }),
            400,
            "types[0]",
        ),
        (
            json!({ "after": after, "before": before, "state": "alive" }),
            400,
            "state",
        ),
        (
            json!({ "after": after, "before": before, "cursor": "x" }),
            400,
            "cursor",
        ),
        (
            json!({ "after": after, "before": before, "endpoint_id": "ep_00000000000000000000000000" }),
            422,
            "endpoint_id",
        ),
    ] {
        let response = send(server.http, "POST", "/events/redeliver", &body);
        assert_eq!(
            (response.status, &response.body["errors"][0]["field"]),
            (status, &json!(field))
        );
    }
}

/// Checks the filters of the event log.
fn check_event_filters(server: &Server) {
    for query in [
        "state=alive",
        "endpoint_id=x",
        "state=dead&endpoint_id=x",
        "x=1",
    ] {
        assert_eq!(
            call(server.http, "GET", &format!("/events?{query}")).status,
            400,
            "{query}"
        );
    }
    assert_eq!(server.get("/events?state=dead"), json!([]));
    let of = |id: &str| {
        server
            .get(&format!("/events?endpoint_id={id}"))
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        (
            of(&endpoint_id(server)),
            of("ep_00000000000000000000000000")
        ),
        (3, 0)
    );
}

#[test]
fn enabling_an_enabled_endpoint_succeeds() {
    let server = server();
    let receiver = FailingReceiver::open(FailureMode::Respond(http_response("500 Oh", "")));
    server.send_events_to(&receiver.url);
    allocate(&server);
    server.get_until("/settings", |settings| {
        settings["webhooks"][0]["failing_since"].is_string()
    });
    let path = format!("/webhooks/{}/enable", endpoint_id(&server));
    let enabled = call(server.http, "POST", &path);
    assert_eq!(
        (enabled.status, &enabled.body["response"]["disabled"]),
        (200, &json!(false))
    );
    assert_eq!(
        call(server.http, "POST", "/webhooks/nonsense/enable").status,
        404
    );
}
