//! Events survive repeated kills of a working server.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::http_client::{call, create};
use crate::support::server::{Server, TIMEOUT};
use crate::support::webhook_inbox::{ReceivedWebhook, WebhookInbox};

const NUMBER: &str = "+914000000001";
const KILLS: usize = 50;
const CLIENTS: usize = 4;

/// Number of acknowledged events of each allocation.
type Acknowledged = HashMap<String, i64>;

/// Client: creates an allocation, rotates its PIN, deletes it, and repeats until the server ends.
fn run_client(
    http: SocketAddr,
    over: &AtomicBool,
    count: &AtomicUsize,
    acknowledged: &Mutex<Acknowledged>,
) {
    let body = json!({ "caller_id_number": NUMBER, "from": ["+919900000001"] }).to_string();
    let note = |id: &str, sequence: i64| {
        acknowledged.lock().unwrap().insert(id.to_owned(), sequence);
        count.fetch_add(1, Ordering::Relaxed);
    };
    while !over.load(Ordering::Relaxed) {
        // A broken connection has no response, so the server has guaranteed nothing.
        let Ok(made) = catch_unwind(|| create(http, &body)) else {
            return;
        };
        let Some(id) = made.body["response"]["greenpin_id"]
            .as_str()
            .filter(|_| made.status == 201)
        else {
            continue;
        };
        note(id, 1);
        for (sequence, method, path) in [(2, "POST", "/rotate-pin"), (3, "DELETE", "")] {
            let Ok(done) = catch_unwind(|| call(http, method, &format!("/greenpin/{id}{path}")))
            else {
                return;
            };
            if done.status != 200 {
                break;
            }
            note(id, sequence);
        }
    }
}

/// Runs the clients until a number of requests has succeeded, then kills the server.
fn run_clients_and_kill(server: &mut Server, requests: usize, acknowledged: &Mutex<Acknowledged>) {
    let (count, over, http) = (AtomicUsize::new(0), AtomicBool::new(false), server.http);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| run_client(http, &over, &count, acknowledged));
        }
        let deadline = Instant::now() + TIMEOUT;
        while count.load(Ordering::Relaxed) < requests {
            assert!(Instant::now() < deadline, "too few requests succeeded");
            std::thread::yield_now();
        }
        server.kill();
        over.store(true, Ordering::Relaxed);
    });
}

/// Returns the whole event log by event id.
fn read_log(server: &Server) -> HashMap<String, Value> {
    let (mut log, mut after) = (HashMap::new(), String::new());
    loop {
        let page = server.get(&format!("/events?limit=200{after}"));
        let page = page.as_array().unwrap();
        let Some(last) = page.last() else { return log };
        after = format!("&after={}", last["event_id"].as_str().unwrap());
        log.extend(page.iter().map(|event| {
            (
                event["event_id"].as_str().unwrap().to_owned(),
                event.clone(),
            )
        }));
    }
}

/// Returns the sequence numbers of each allocation's events, in order of their first arrival.
fn first_arrivals(webhooks: &[ReceivedWebhook]) -> HashMap<String, Vec<i64>> {
    let (mut seen, mut arrivals) = (HashSet::new(), HashMap::<String, Vec<i64>>::new());
    for event in webhooks.iter().map(ReceivedWebhook::event) {
        if seen.insert(event["event_id"].to_string()) {
            let of = arrivals
                .entry(event["greenpin_id"].as_str().unwrap().to_owned())
                .or_default();
            of.push(event["sequence"].as_i64().unwrap());
        }
    }
    arrivals
}

#[test]
fn after_fifty_kills_every_acknowledged_event_arrives_in_order_with_one_id_and_no_other_arrives() {
    let mut server = Server::with("");
    server.add_number(
        NUMBER,
        &[
            "--mode",
            "shared",
            "--pin-length",
            "8",
            "--max-active",
            "1000000",
        ],
    );
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let acknowledged = Mutex::new(Acknowledged::new());
    for kill in 0..KILLS {
        // Kills come after 1 to 40 responses, so they vary by more than the clients' timing.
        run_clients_and_kill(&mut server, 1 + kill * 17 % 40, &acknowledged);
        server.start_again();
    }
    let (acknowledged, log) = (acknowledged.into_inner().unwrap(), read_log(&server));
    let mut missing: HashSet<&String> = log.keys().collect();
    while !missing.is_empty() {
        missing.remove(&inbox.next_webhook().headers["webhook-id"]);
    }
    for webhook in &inbox.received {
        let id = &webhook.headers["webhook-id"];
        assert_eq!(
            log.get(id),
            Some(&webhook.event()),
            "{id} differs from the log"
        );
    }
    let arrivals = first_arrivals(&inbox.received);
    for (id, sequences) in &arrivals {
        assert!(
            sequences.iter().copied().eq(1..=sequences.len() as i64),
            "{id}: {sequences:?}"
        );
    }
    assert!(acknowledged.len() >= KILLS);
    for (id, sequence) in &acknowledged {
        assert!(
            arrivals
                .get(id)
                .is_some_and(|seen| seen.len() as i64 >= *sequence),
            "{id} lacks events"
        );
    }
}
