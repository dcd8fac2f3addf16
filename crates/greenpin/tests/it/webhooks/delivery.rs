//! Webhooks received by an endpoint, contract section 3.2.

use serde_json::json;

use crate::support::http_client::{call, send};
use crate::support::server::Server;
use crate::support::webhook_inbox::{WebhookInbox, is_signed};

const NUMBER: &str = "+914000000001";

#[test]
fn an_allocations_events_arrive_signed_and_in_order() {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    let mut inbox = WebhookInbox::open();
    let secret = server.send_events_to(&inbox.url);
    let body = json!({ "caller_id_number": NUMBER, "from": ["+919900000001"], "custom_field": "order_id=1" });
    let made = server.allocate(&body);
    let id = made["greenpin_id"].as_str().unwrap();
    assert_eq!(
        server.request("DELETE", &format!("/greenpin/{id}"), None).0,
        200
    );
    let deleted = inbox.wait_for_event("allocation.deleted");
    assert_eq!(deleted["sequence"], 2);
    let [created, deleted] = inbox.received.as_slice() else {
        panic!("two events were to come")
    };
    for webhook in [created, deleted] {
        let event = webhook.event();
        assert!(is_signed(webhook, &secret));
        assert!(
            !is_signed(webhook, "whsec_AAAA"),
            "the check would notice a wrong secret"
        );
        assert_eq!(
            webhook.headers["webhook-id"],
            event["event_id"].as_str().unwrap()
        );
        assert_eq!(
            (&event["greenpin_id"], &event["custom_field"]),
            (&json!(id), &json!("order_id=1"))
        );
        assert!(event["data"].get("pin").is_none());
    }
    assert_eq!(created.event()["type"], "allocation.created");
    let log = server.get("/events");
    let logged: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event_id"].clone())
        .collect();
    assert_eq!(
        logged,
        [
            created.event()["event_id"].clone(),
            deleted.event()["event_id"].clone()
        ]
    );
}

#[test]
fn a_redelivered_event_is_unchanged() {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    let mut inbox = WebhookInbox::open();
    let secret = server.send_events_to(&inbox.url);
    server.allocate(&json!({ "caller_id_number": NUMBER, "from": ["+919900000001"] }));
    let id = inbox.wait_for_event("allocation.created")["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for _ in 0..2 {
        let response = call(server.http, "POST", &format!("/events/{id}/redeliver"));
        assert_eq!(
            (response.status, &response.body["response"]),
            (200, &json!({ "event_id": id, "deliveries": 1 }))
        );
        inbox.wait_for_event("allocation.created");
    }
    let [first, again, third] = inbox.received.as_slice() else {
        panic!("one event was to come three times")
    };
    for webhook in [again, third] {
        assert_eq!(
            (&webhook.body, &webhook.headers["webhook-id"]),
            (&first.body, &id)
        );
        assert!(is_signed(webhook, &secret));
    }
}

#[test]
fn an_event_is_redelivered_only_to_subscribers_of_its_type() {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    server.allocate(&json!({ "caller_id_number": NUMBER, "from": ["+919900000001"] }));
    let log = server.get("/events");
    let path = format!("/events/{}/redeliver", log[0]["event_id"].as_str().unwrap());
    let deliveries = || call(server.http, "POST", &path).body["response"]["deliveries"].clone();
    assert_eq!(deliveries(), 0);
    server.update_settings(&json!({ "webhooks": [
        { "url": "http://127.0.0.1:9/a", "types": ["call.completed"] }, { "url": "http://127.0.0.1:9/b" },
        { "url": "http://127.0.0.1:9/c", "types": ["allocation.created"], "paused": true },
    ] }));
    assert_eq!(deliveries(), 2);
    assert_eq!(
        deliveries(),
        2,
        "what still waits is due again, and not twice"
    );
    for id in ["evt_00000000000000000000000000", "nonsense"] {
        let unknown = call(server.http, "POST", &format!("/events/{id}/redeliver"));
        assert_eq!((unknown.status, unknown.code()), (404, "not_found"));
    }
    assert_eq!(
        send(server.http, "POST", &path, &json!({ "all": true })).status,
        400
    );
    assert_eq!(call(server.http, "GET", &path).status, 405);
}
