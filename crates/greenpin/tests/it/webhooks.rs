//! What a tenant's endpoint receives, contract section 3.2.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::hook::{Hook, Webhook};
use super::server::Server;

const NUMBER: &str = "+914000000001";

/// Whether a webhook carries the signature of Standard Webhooks that its secret makes.
fn is_signed(webhook: &Webhook, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let header = |name: &str| webhook.headers[name].as_str();
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), webhook.body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(tag.as_ref()));
    header("webhook-signature").split(' ').any(|signature| signature == expected)
}

#[test]
fn an_allocations_events_arrive_signed_and_in_order() {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    let mut hook = Hook::open();
    let secret = server.send_events_to(&hook.url);
    let body = json!({ "caller_id_number": NUMBER, "from": ["+919900000001"], "custom_field": "order_id=1" });
    let made = server.allocate(&body);
    let id = made["greenpin_id"].as_str().unwrap();
    assert_eq!(server.request("DELETE", &format!("/greenpin/{id}"), None).0, 200);
    let deleted = hook.event("allocation.deleted");
    assert_eq!(deleted["sequence"], 2);
    let [created, deleted] = hook.seen.as_slice() else { panic!("two events were to come") };
    for webhook in [created, deleted] {
        let event = webhook.event();
        assert!(is_signed(webhook, &secret));
        assert!(!is_signed(webhook, "whsec_AAAA"), "the check would notice a wrong secret");
        assert_eq!(webhook.headers["webhook-id"], event["event_id"].as_str().unwrap());
        assert_eq!((&event["greenpin_id"], &event["custom_field"]), (&json!(id), &json!("order_id=1")));
        assert!(event["data"].get("pin").is_none());
    }
    assert_eq!(created.event()["type"], "allocation.created");
    let log = server.get("/events");
    let logged: Vec<_> = log.as_array().unwrap().iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(logged, [created.event()["event_id"].clone(), deleted.event()["event_id"].clone()]);
}
