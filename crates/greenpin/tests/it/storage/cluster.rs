//! Two servers on one PostgreSQL database satisfy the tenant API's guarantees.

use serde_json::{Value, json};

use crate::support::call_setup::allocation_body;
use crate::support::http_client::{HttpResponse, count_status, create_at_once, distinct_pins};
use crate::support::party::Party;
use crate::support::server::{Server, trunk};
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
    _customer: Party,
}

impl ClusterCall {
    fn begin() -> Self {
        let (agent, customer) = ("+919900000001", "+918800000001");
        let mut agent = Party::unconnected(agent);
        let trunk = trunk("carrier", agent.address(), "");
        let servers = Server::two_nodes(&trunk);
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
            _customer: customer,
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
