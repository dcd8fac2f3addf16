//! Guarantees under concurrent requests and after a kill of the process.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::support::call_setup::allocation_body;
use crate::support::http_client::{
    HttpResponse, count_status, create, create_at_once, distinct_pins,
};
use crate::support::server::{Server, TIMEOUT};

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";

fn all_at_once(server: &Server, number: &str, count: usize) -> Vec<HttpResponse> {
    create_at_once(&vec![server.http; count], &allocation_body(number))
}

#[test]
fn one_of_two_hundred_creates_gets_the_exclusive_number() {
    let server = Server::with("");
    server.add_number(EXCLUSIVE, &[]);
    let responses = all_at_once(&server, EXCLUSIVE, 200);
    let count = |status| count_status(&responses, status);
    assert_eq!((count(201), count(409)), (1, 199));
    let lost = responses.iter().filter(|response| response.status == 409);
    lost.for_each(|response| assert_eq!(response.code(), "virtual_number_busy"));
}

#[test]
fn two_hundred_creates_on_a_shared_number_get_two_hundred_pins() {
    let server = Server::with("");
    server.add_number(SHARED, &["--mode", "shared"]);
    let responses = all_at_once(&server, SHARED, 210);
    let created = count_status(&responses, 201);
    assert_eq!((created, distinct_pins(&responses).len()), (200, 200));
}

#[test]
fn every_acknowledged_create_survives_a_kill_and_no_number_stays_reserved() {
    let mut server = Server::with("");
    server.add_number(EXCLUSIVE, &[]);
    server.add_number(
        SHARED,
        &[
            "--mode",
            "shared",
            "--pin-length",
            "6",
            "--max-active",
            "100000",
        ],
    );
    let answered = burst_and_kill(&mut server);
    server.start_again();
    let mut pins = HashSet::new();
    for made in &answered {
        let kept = server.get(&format!(
            "/greenpin/{}",
            made["greenpin_id"].as_str().unwrap()
        ));
        assert_eq!(kept["pin"], made["pin"]);
        let on = (kept["virtual_number"].to_string(), kept["pin"].to_string());
        assert!(pins.insert(on), "a PIN is there twice");
    }
    let holders = format!(
        "/greenpin?status=active&virtual_number=%2B{}",
        &EXCLUSIVE[1..]
    );
    let holders = server.get(&holders);
    let holders = holders.as_array().unwrap();
    assert!(holders.len() <= 1);
    for holder in holders {
        let path = format!("/greenpin/{}", holder["greenpin_id"].as_str().unwrap());
        assert_eq!(server.request("DELETE", &path, None).0, 200);
    }
    assert_eq!(create(server.http, &allocation_body(EXCLUSIVE)).status, 201);
    assert_eq!(create(server.http, &allocation_body(SHARED)).status, 201);
}

/// Sends concurrent create requests and kills the server. Returns the responses with 201.
fn burst_and_kill(server: &mut Server) -> Vec<Value> {
    const BEFORE_THE_KILL: usize = 300;
    let answered = Mutex::new(Vec::new());
    let (count, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let http = server.http;
    std::thread::scope(|scope| {
        for index in 0..16 {
            let (answered, count, over) = (&answered, &count, &over);
            scope.spawn(move || {
                let body = allocation_body(if index == 0 { EXCLUSIVE } else { SHARED });
                while !over.load(Ordering::Relaxed) {
                    // A broken connection has no response, so the server has guaranteed nothing.
                    let Ok(response) = std::panic::catch_unwind(|| create(http, &body)) else {
                        return;
                    };
                    if response.status == 201 {
                        answered
                            .lock()
                            .unwrap()
                            .push(response.body["response"].clone());
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let deadline = Instant::now() + TIMEOUT;
        while count.load(Ordering::Relaxed) < BEFORE_THE_KILL {
            assert!(Instant::now() < deadline, "the burst did not come about");
            std::thread::yield_now();
        }
        server.kill();
        over.store(true, Ordering::Relaxed);
    });
    answered.into_inner().unwrap()
}
