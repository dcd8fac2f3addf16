//! Reading the event log: `greenpin events tail`, and `GET /events?wait=`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};

use serde_json::{Value, json};

use crate::support::http_client::call;
use crate::support::server::Server;

const NUMBER: &str = "+914000000001";

struct TailProcess {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl TailProcess {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut process = server.spawn_command(&[&["events", "tail"], arguments].concat());
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn next_event(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }
}

impl Drop for TailProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn allocate(server: &Server) -> String {
    let body = json!({ "caller_id_number": NUMBER, "from": ["+919900000001"] });
    server.allocate(&body)["greenpin_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn tail_prints_the_last_events_and_then_each_new_one() {
    let server = Server::with("");
    server.add_number(NUMBER, &["--mode", "shared", "--pin-length", "6"]);
    let (_, second) = (allocate(&server), allocate(&server));
    let mut all = TailProcess::start(&server, &["--json", "--last", "1"]);
    assert_eq!(all.next_event()["greenpin_id"], second.as_str());
    let third = allocate(&server);
    let event = all.next_event();
    assert_eq!(
        (&event["greenpin_id"], &event["type"]),
        (&json!(third), &json!("allocation.created"))
    );
    let log = server.get("/events");
    let first_id = log[0]["event_id"].as_str().unwrap();
    let mut after = TailProcess::start(&server, &["--tenant", "acme", "--after", first_id]);
    for (index, id) in [(1, &second), (2, &third)] {
        let line = after.line();
        let words = [
            "acme",
            "allocation.created",
            log[index]["event_id"].as_str().unwrap(),
            id,
            "#1",
        ];
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn tail_of_an_unknown_tenant_fails_and_of_a_wrong_id_is_misuse() {
    let server = Server::with("");
    let failed = server.command(&["events", "tail", "--tenant", "nobody"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("no such tenant"));
    assert_eq!(
        server
            .command(&["events", "tail", "--after", "x"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn a_waiting_request_is_answered_as_soon_as_an_event_exists() {
    let server = Server::with("");
    server.add_number(NUMBER, &["--mode", "shared", "--pin-length", "6"]);
    allocate(&server);
    let first = server.get("/events?wait=30")[0]["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (http, path) = (server.http, format!("/events?after={first}&wait=20"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || call(http, "GET", &path));
        let made = allocate(&server);
        let response = waiting.join().unwrap();
        assert_eq!(response.body["response"][0]["greenpin_id"], made.as_str());
    });
    let last = server.get("/events")[1]["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        server.get(&format!("/events?after={last}&wait=1")),
        json!([])
    );
    for wait in ["31", "-1", "x"] {
        assert_eq!(
            call(server.http, "GET", &format!("/events?wait={wait}")).status,
            400,
            "{wait}"
        );
    }
}
