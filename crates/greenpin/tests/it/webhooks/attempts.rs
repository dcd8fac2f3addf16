//! Webhook deliveries to failing receivers.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::failing_receiver::{FailingReceiver, FailureMode, http_response};
use crate::support::http_client::call;
use crate::support::server::{Server, unix_seconds};
use crate::support::webhook_inbox::WebhookInbox;

const NUMBER: &str = "+914000000001";

/// Creates an event for a URL and returns its id.
fn event_to(server: &Server, url: &str) -> String {
    server.update_settings(&json!({ "webhooks": [{ "url": url }] }));
    server.add_number(NUMBER, &[]);
    server.allocate(&json!({ "caller_id_number": NUMBER, "from": ["+919900000001"] }));
    server.get("/events")[0]["event_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Waits until the only delivery of an event matches.
fn delivery(server: &Server, event: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/events/{event}/deliveries");
    let shown = server.get_until(&path, |shown| wanted(&shown[0]));
    let [only] = shown.as_array().unwrap().as_slice() else {
        panic!("one delivery: {shown}")
    };
    only.clone()
}

/// Returns the first attempt at a receiver.
fn first_attempt(mode: FailureMode) -> Value {
    let receiver = FailingReceiver::open(mode);
    first_attempt_at(&receiver.url)
}

fn first_attempt_at(url: &str) -> Value {
    let server = Server::with("");
    let event = event_to(&server, url);
    let tried = delivery(&server, &event, |delivery| {
        delivery["attempts"][0].is_object()
    });
    tried["attempts"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone()
}

fn came_to(attempt: &Value) -> (&Value, &Value, &str) {
    (
        &attempt["status"],
        &attempt["error"],
        attempt["answer"].as_str().unwrap(),
    )
}

#[test]
fn a_failed_delivery_stores_status_latency_and_512_bytes_and_is_retried() {
    let body = format!("{}{}", "é".repeat(200), "x".repeat(2000));
    let receiver = FailingReceiver::open(FailureMode::Respond(http_response("503 Busy", &body)));
    let server = Server::with("");
    let event = event_to(&server, &receiver.url);
    let twice = delivery(&server, &event, |delivery| {
        delivery["attempts"].as_array().unwrap().len() == 2
    });
    assert_eq!(
        (&twice["state"], &twice["attempt_count"]),
        (&json!("pending"), &json!(2))
    );
    assert_eq!(
        (&twice["url"], &twice["finished_at"]),
        (&json!(receiver.url), &Value::Null)
    );
    assert!(twice["next_attempt_at"].is_string());
    for attempt in twice["attempts"].as_array().unwrap() {
        let kept = attempt["answer"].as_str().unwrap();
        assert_eq!(
            (came_to(attempt).0, came_to(attempt).1),
            (&json!(503), &Value::Null)
        );
        assert_eq!((kept.len(), body.starts_with(kept)), (512, true));
        assert!(attempt["latency_ms"].is_u64() && attempt["attempted_at"].is_string());
    }
}

#[test]
fn an_accepted_event_is_delivered_and_its_attempt_is_stored() {
    let receiver = FailingReceiver::open(FailureMode::Respond(http_response("200 OK", "thanks")));
    let server = Server::with("");
    let event = event_to(&server, &receiver.url);
    let taken = delivery(&server, &event, |delivery| delivery["state"] == "delivered");
    assert_eq!(
        came_to(&taken["attempts"][0]),
        (&json!(200), &Value::Null, "thanks")
    );
    assert!(taken["finished_at"].is_string() && taken["next_attempt_at"].is_null());
    for id in ["evt_00000000000000000000000000", "nonsense"] {
        assert_eq!(
            call(server.http, "GET", &format!("/events/{id}/deliveries")).status,
            404
        );
    }
}

#[test]
fn a_receiver_that_closes_early_counts_as_no_response() {
    let attempt = first_attempt(FailureMode::Respond("HTTP/1.1 20".into()));
    assert_eq!(
        came_to(&attempt),
        (&Value::Null, &json!("broken_answer"), "")
    );
}

#[test]
fn a_closed_port_is_reported_as_no_connection() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let attempt = first_attempt_at(&format!("http://{free}/"));
    assert_eq!(
        came_to(&attempt),
        (&Value::Null, &json!("no_connection"), "")
    );
}

#[test]
fn a_receiver_without_http_counts_as_no_response() {
    let attempt = first_attempt(FailureMode::Respond("220 mail.example ESMTP\r\n".into()));
    assert_eq!(
        came_to(&attempt),
        (&Value::Null, &json!("broken_answer"), "")
    );
}

#[test]
fn a_response_with_a_wrong_content_length_counts_as_a_response() {
    let lie = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nshort";
    for mode in [
        FailureMode::Respond(lie.into()),
        FailureMode::Hang(lie.into()),
    ] {
        assert_eq!(
            came_to(&first_attempt(mode)),
            (&json!(200), &Value::Null, "short")
        );
    }
}

#[test]
fn endless_interim_responses_end_the_attempt() {
    // Without the bound the attempt would end with `timeout`.
    for (interim, repeated) in [("100 Continue", 2000), ("103 Early Hints", 1)] {
        let text = format!("HTTP/1.1 {interim}\r\n\r\n").repeat(repeated);
        let attempt = first_attempt(FailureMode::Repeat(text));
        assert_eq!(
            came_to(&attempt),
            (&Value::Null, &json!("broken_answer"), "")
        );
    }
    let few = "HTTP/1.1 102 Processing\r\n\r\n".repeat(8);
    let accepted = few + &http_response("200 OK", "taken");
    let attempt = first_attempt(FailureMode::Respond(accepted));
    assert_eq!(came_to(&attempt), (&json!(200), &Value::Null, "taken"));
}

#[test]
fn a_kept_connection_that_the_receiver_closes_is_no_failed_attempt() {
    let receiver = FailingReceiver::open(FailureMode::CloseSecond(http_response("200 OK", "")));
    let server = Server::with("");
    event_to(&server, &receiver.url);
    let allocation = server.get("/greenpin")[0]["greenpin_id"].clone();
    let rotate = format!("/greenpin/{}/rotate-pin", allocation.as_str().unwrap());
    for count in 1..=3 {
        let events = server.get_until("/events", |events| {
            events
                .as_array()
                .is_some_and(|events| events.len() == count)
        });
        let newest = events.as_array().unwrap().last().unwrap();
        let id = newest["event_id"].as_str().unwrap();
        let delivery = delivery(&server, id, |delivery| delivery["state"] == "delivered");
        assert_eq!(delivery["attempt_count"], 1, "{delivery}");
        assert_eq!(server.request("POST", &rotate, None).0, 200);
    }
}

#[test]
fn the_pause_that_a_receiver_asks_for_is_respected() {
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let receiver = FailingReceiver::open(FailureMode::Respond(busy.into()));
    let server = Server::with("");
    let event = event_to(&server, &receiver.url);
    let delivery = delivery(&server, &event, |delivery| {
        delivery["attempts"][0].is_object()
    });
    let [next, created] =
        ["next_attempt_at", "created_at"].map(|time| unix_seconds(&delivery[time]));
    assert!(next - created >= 3600, "{delivery}");
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_and_its_events_wait() {
    let gone = http_response("410 Gone", "");
    let receiver = FailingReceiver::open(FailureMode::Respond(gone));
    let server = Server::with("");
    let event = event_to(&server, &receiver.url);
    let settings = server.get_until("/settings", |settings| {
        !settings["webhooks"][0]["disabled_at"].is_null()
    });
    assert_eq!(receiver.unexpected_requests(), 1, "{settings}");
    let delivery = delivery(&server, &event, |delivery| {
        delivery["attempts"][0].is_object()
    });
    assert_eq!(delivery["state"], "pending", "{delivery}");
    let events = server.get("/events");
    let events = events.as_array().unwrap().iter();
    assert_eq!(
        events
            .filter(|event| event["type"] == "endpoint.disabled")
            .count(),
        1
    );
}

#[test]
fn a_redirect_is_not_followed() {
    let target = FailingReceiver::open(FailureMode::Respond(http_response("200 OK", "")));
    let head = format!(
        "HTTP/1.1 307 Over There\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        target.url
    );
    let attempt = first_attempt(FailureMode::Respond(head));
    assert_eq!(came_to(&attempt), (&json!(307), &Value::Null, ""));
    assert_eq!(target.unexpected_requests(), 0);
}

#[test]
fn an_endless_response_blocks_no_other_delivery() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1 << 22));
    let attempt = first_attempt(FailureMode::Drip(endless, Duration::from_millis(1)));
    assert_eq!(came_to(&attempt).0, &json!(200));
    let kept = came_to(&attempt).2;
    assert!(
        kept.len() <= 512 && kept.bytes().all(|byte| byte == b'x'),
        "{kept}"
    );
}

#[test]
fn a_hanging_receiver_delays_no_other_and_times_out_after_fifteen_seconds() {
    let hanging = FailingReceiver::open(FailureMode::Hang(String::new()));
    let mut inbox = WebhookInbox::open();
    let server = Server::with("");
    server.update_settings(&json!({ "webhooks": [{ "url": hanging.url }, { "url": inbox.url }] }));
    server.add_number(NUMBER, &["--mode", "shared", "--pin-length", "6"]);
    for _ in 0..100 {
        server.allocate(&json!({ "caller_id_number": NUMBER, "from": ["+919900000001"] }));
    }
    (0..100).for_each(|_| {
        inbox.wait_for_event("allocation.created");
    });
    let under_way = hanging.unexpected_requests();
    assert!(
        (1..=4).contains(&under_way),
        "{under_way} at once to one that has never answered"
    );
    let event = server.get("/events?limit=1")[0]["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    server.get_until(&format!("/events/{event}/deliveries"), |shown| {
        let of = shown
            .as_array()
            .unwrap()
            .iter()
            .find(|delivery| delivery["url"] == hanging.url.as_str())
            .unwrap();
        of["attempts"][0]["error"] == "timeout"
    });
}
