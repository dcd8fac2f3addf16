//! Two servers on one PostgreSQL database satisfy the tenant API's guarantees.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::call_setup::allocation_body;
use crate::support::database_proxy::DatabaseProxy;
use crate::support::http_client::{
    HttpResponse, count_status, create_at_once, distinct_pins, raw_text, request,
};
use crate::support::operator_api::{expect_response, operator_request};
use crate::support::party::Party;
use crate::support::postgres;
use crate::support::server::{Server, TIMEOUT, trunk};
use crate::support::webhook_inbox::WebhookInbox;

const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";

/// Sends `each` create requests to either server at the same time.
fn at_both(servers: &[Server; 2], number: &str, each: usize) -> Vec<HttpResponse> {
    let addresses = servers.each_ref().map(|server| server.http);
    create_at_once(&addresses.repeat(each), &allocation_body(number))
}

#[test]
fn one_of_concurrent_creates_at_two_servers_gets_the_exclusive_number() {
    let servers = Server::two_nodes("");
    servers[0].add_number(EXCLUSIVE, &[]);
    let responses = at_both(&servers, EXCLUSIVE, 50);
    let count = |status| count_status(&responses, status);
    assert_eq!((count(201), count(409)), (1, 99));
}

#[test]
fn concurrent_creates_at_two_servers_get_distinct_pins_up_to_the_limit() {
    let servers = Server::two_nodes("");
    servers[1].add_number(SHARED, &["--mode", "shared", "--max-active", "120"]);
    let responses = at_both(&servers, SHARED, 65);
    let created = count_status(&responses, 201);
    assert_eq!((created, distinct_pins(&responses).len()), (120, 120));
}

#[test]
fn data_written_by_one_server_is_readable_and_changeable_at_the_other() {
    let [first, second] = Server::two_nodes("");
    first.add_number(EXCLUSIVE, &[]);
    let made = first.allocate(&serde_json::from_str(&allocation_body(EXCLUSIVE)).unwrap());
    let path = format!("/greenpin/{}", made["greenpin_id"].as_str().unwrap());
    let read = second.get(&path);
    assert_eq!((&read["pin"], &read["from"]), (&made["pin"], &made["from"]));
    let (status, _) = second.request("PUT", &path, Some(&json!({ "custom_field": "second" })));
    assert_eq!(status, 200);
    assert_eq!(first.get(&path)["custom_field"], "second");
    let (status, _) = first.request("DELETE", &path, None);
    assert_eq!(status, 200);
    let (status, response) = second.request("DELETE", &path, None);
    assert_eq!(
        (status, &response["code"]),
        (409, &json!("already_deleted"))
    );
}

#[test]
fn the_event_log_at_one_server_includes_the_events_of_the_other() {
    let servers = Server::two_nodes("");
    servers[0].add_number(SHARED, &["--mode", "shared", "--max-active", "200"]);
    let follow = || {
        let (mut seen, mut after) = (Vec::<String>::new(), String::new());
        while seen.len() < 100 {
            let query = if after.is_empty() {
                String::new()
            } else {
                format!("&after={after}")
            };
            let page = servers[1].get(&format!("/events?limit=7{query}"));
            let ids = page
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["event_id"].as_str().unwrap());
            seen.extend(ids.map(str::to_owned));
            after = seen.last().cloned().unwrap_or_default();
        }
        seen
    };
    let seen = std::thread::scope(|scope| {
        let creates = scope.spawn(|| at_both(&servers, SHARED, 50));
        let seen = follow();
        assert!(
            creates
                .join()
                .unwrap()
                .iter()
                .all(|made| made.status == 201)
        );
        seen
    });
    let all: Value = servers[0].get("/events?limit=200");
    let all: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(seen, all);
}

#[test]
fn a_server_with_another_master_key_does_not_start_on_the_database() {
    let [first, _second] = Server::two_nodes("");
    let other = Server::with("");
    let key = other.database().with_file_name("master.key");
    let listed = first.command_with(
        &["tenant", "list"],
        &[("GREENPIN_STORE__ENCRYPTION_KEY_FILE", &key)],
    );
    assert_eq!(listed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(said.contains("master key"), "{said}");
}

/// Two nodes, and two parties with a call through the first one.
struct ClusterCall {
    servers: [Server; 2],
    inbox: WebhookInbox,
    agent: Party,
    customer: Party,
}

impl ClusterCall {
    fn begin() -> Self {
        Self::begin_on(&postgres::new_database())
    }

    fn begin_on(database_url: &str) -> Self {
        let (agent, customer) = ("+919900000001", "+918800000001");
        let mut agent = Party::unconnected(agent);
        let trunk = trunk("carrier", agent.address(), "");
        let servers = Server::two_nodes_on(database_url, &trunk);
        agent.set_server(servers[0].sip);
        let mut customer = Party::new(customer, servers[0].sip);
        servers[0].add_number(EXCLUSIVE, &[]);
        let inbox = WebhookInbox::open();
        servers[1].send_events_to(&inbox.url);
        let allocation =
            servers[0].allocate(&serde_json::from_str(&allocation_body(EXCLUSIVE)).unwrap());
        assert_eq!(customer.call(EXCLUSIVE), 200);
        customer.press(allocation["pin"].as_str().unwrap());
        agent.receive_invite();
        agent.respond(200);
        agent.serve("ACK");
        Self {
            servers,
            inbox,
            agent,
            customer,
        }
    }

    /// Returns the completion event of the call from the other node, and checks for a single one.
    fn completed_once(&mut self) -> Value {
        let record = self.inbox.wait_for_event("call.completed");
        assert_eq!(record["data"]["hangup_by"], "system");
        let calls = self.servers[1].get("/calls");
        assert_eq!(
            (calls.as_array().unwrap().len(), calls[0]["node"].as_str()),
            (1, Some("one"))
        );
        assert!(calls[0]["end_time"].is_string(), "{calls}");
        record
    }

    fn completed_events(&self) -> usize {
        let events = self.servers[1].get("/events?limit=200");
        events
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["type"] == "call.completed")
            .count()
    }
}

#[test]
fn the_calls_of_a_killed_server_are_closed_by_the_other() {
    let mut talk = ClusterCall::begin();
    talk.servers[0].kill();
    talk.completed_once();
    talk.servers[0].start_again();
    assert_eq!(
        talk.completed_events(),
        1,
        "its own next start finds nothing to close"
    );
}

#[test]
fn an_evicted_server_ends_its_calls_after_it_resumes() {
    let mut talk = ClusterCall::begin();
    talk.servers[0].pause();
    talk.completed_once();
    talk.servers[0].resume();
    talk.agent.serve("BYE");
    talk.servers[0].wait_for_log("other nodes have evicted this node");
    assert_eq!(talk.completed_events(), 1);
}

/// Returns a node as a server lists it.
fn node(server: &Server, name: &str) -> Value {
    let nodes = expect_response(operator_request(server, "GET", "/nodes"), 200);
    let nodes = nodes.as_array().unwrap();
    let found = nodes.iter().find(|node| node["name"] == name);
    found.cloned().unwrap_or(Value::Null)
}

/// Waits until a server lists a node in a state.
fn wait_for_node(server: &Server, name: &str, is_reached: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let node = node(server, name);
        if is_reached(&node) {
            return node;
        }
        assert!(Instant::now() < deadline, "{node}\n{}", server.log());
    }
}

fn wait_for_readiness(server: &Server, status: u16) {
    let deadline = Instant::now() + TIMEOUT;
    while server.readiness() != Some(status) {
        assert!(Instant::now() < deadline, "{}", server.log());
    }
}

#[test]
fn any_node_lists_all_nodes_and_drains_any() {
    let talk = ClusterCall::begin();
    let [first, second] = &talk.servers;
    let listed = wait_for_node(second, "one", |node| node["calls"] == 1);
    assert_eq!(
        (&listed["version"], &listed["lease"], &listed["draining"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(3), &json!(false))
    );
    let drain = |path: &str| operator_request(second, "POST", path);
    expect_response(drain("/nodes/one/drain"), 200);
    wait_for_readiness(first, 503);
    wait_for_node(second, "one", |node| node["draining"] == true);
    assert_eq!(second.readiness(), Some(200));
    let mut stranger = Party::new("+918800000009", first.sip);
    assert_eq!(stranger.call(EXCLUSIVE), 503);
    expect_response(drain("/nodes/one/undrain"), 200);
    wait_for_readiness(first, 200);
    assert_eq!(drain("/nodes/three/drain").status, 404);

    let drained = second.command(&["node", "drain", "one", "--json"]);
    assert!(drained.status.success(), "{drained:?}");
    wait_for_node(second, "one", |node| node["draining"] == true);
    let list = second.command(&["node", "list"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("one") && list.contains("draining"), "{list}");
    let unknown = second.command(&["node", "drain", "three"]);
    assert_eq!(unknown.status.code(), Some(1));
    let audit = expect_response(operator_request(second, "GET", "/audit"), 200).to_string();
    assert!(audit.contains("node.drain") && audit.contains("command line"));
}

/// Reads a webhook without answering it. Returns the stream and the body.
fn unanswered_webhook(receiver: &TcpListener) -> (TcpStream, Value) {
    let (stream, _) = receiver.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (stream, serde_json::from_slice(&body).unwrap())
}

#[test]
fn an_outage_between_a_webhook_and_its_record_holds_up_no_later_one() {
    let database = postgres::new_database();
    let proxy = DatabaseProxy::new(&database);
    let servers = Server::two_nodes_on(&proxy.url(&database), "");
    servers[0].add_number(EXCLUSIVE, &[]);
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", receiver.local_addr().unwrap());
    servers[0].send_events_to(&url);
    let body = serde_json::from_str(&allocation_body(EXCLUSIVE)).unwrap();
    let made = servers[0].allocate(&body);
    let (mut stream, event) = unanswered_webhook(&receiver);
    assert_eq!(event["type"], "allocation.created");
    proxy.cut();
    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let is_late = |server: &Server| server.log().contains("delivery failed; trying again");
    while !servers.iter().any(is_late) {
        assert!(Instant::now() < deadline);
    }
    proxy.restore();
    servers
        .iter()
        .for_each(|server| wait_for_readiness(server, 200));
    let path = format!("/greenpin/{}", made["greenpin_id"].as_str().unwrap());
    assert_eq!(servers[0].request("DELETE", &path, None).0, 200);
    let (_, event) = unanswered_webhook(&receiver);
    assert_eq!(event["type"], "allocation.deleted");
}

/// Waits until no delivery is open.
fn wait_until_delivered(server: &Server) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let (_, metrics) = raw_text(server.http, &request("GET", "/metrics", "", b""));
        if metrics.contains("\ngreenpin_webhook_backlog 0\n") {
            return;
        }
        assert!(Instant::now() < deadline, "{metrics}");
    }
}

#[test]
fn an_outage_of_the_database_beyond_a_lease_ends_no_call() {
    let database = postgres::new_database();
    let proxy = DatabaseProxy::new(&database);
    let mut talk = ClusterCall::begin_on(&proxy.url(&database));
    wait_for_node(&talk.servers[1], "one", |node| node["calls"] == 1);
    // A claim whose answer is lost would hold back the later webhooks for its lease.
    talk.inbox.wait_for_event("call.answered");
    wait_until_delivered(&talk.servers[0]);
    proxy.cut();
    // A heartbeat is due five times in a lease, and tried again at the same interval after a failure.
    for server in &talk.servers {
        let deadline = Instant::now() + TIMEOUT;
        while server.log().matches("writing the heartbeat failed").count() < 8 {
            assert!(Instant::now() < deadline, "{}", server.log());
        }
    }
    proxy.restore();
    for (server, other) in talk.servers.iter().zip(["two", "one"]) {
        wait_for_readiness(server, 200);
        let back = node(server, other)["last_heartbeat"].clone();
        let second_of = |time: &Value| {
            let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
            time.as_second()
        };
        // Beyond a further lease, so that a silence from before the outage would have been noticed.
        let after = second_of(&back) + 5;
        wait_for_node(server, other, |node| {
            second_of(&node["last_heartbeat"]) >= after
        });
    }
    for server in &talk.servers {
        let log = server.log();
        assert!(
            !log.contains("missed its lease") && !log.contains("evicted"),
            "{log}"
        );
    }
    talk.customer.bye();
    talk.agent.serve("BYE");
    let completed = talk.inbox.wait_for_event("call.completed");
    assert_eq!(completed["data"]["hangup_by"], "caller");
}
