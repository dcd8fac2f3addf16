//! Trunks, calls and draining of a node.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::http_client::{create, raw, request};
use crate::support::operator_api::{OPERATOR, expect_response, operator_request};
use crate::support::party::{Party, exchange_audio};
use crate::support::server::{Server, TENANT, TIMEOUT, trunk};

struct NodeSetup {
    server: Server,
    agent: Party,
    customer: Party,
    pin: String,
}

impl NodeSetup {
    fn start() -> Self {
        let mut agent = Party::unconnected(AGENT);
        let trunk = trunk("carrier", agent.address(), "country = \"IN\"");
        let server = Server::with_operator(OPERATOR, &trunk);
        agent.set_server(server.sip);
        server.add_number(VN, &[]);
        let allocation =
            server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
        let pin = allocation["pin"].as_str().unwrap().to_owned();
        Self {
            customer: Party::new(CUSTOMER, server.sip),
            server,
            agent,
            pin,
        }
    }

    fn connect(&mut self) {
        assert_eq!(self.customer.call(VN), 200);
        self.customer.press(&self.pin);
        self.agent.receive_invite();
        self.agent.respond(200);
        self.agent.serve("ACK");
    }

    fn calls(&self) -> Vec<Value> {
        expect_response(operator_request(&self.server, "GET", "/calls"), 200)
            .as_array()
            .unwrap()
            .clone()
    }

    /// Waits until the only call is in a state, and returns it.
    fn call_that_is(&self, state: &str) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let [call] = self.calls().as_slice()
                && call["state"] == state
            {
                return call.clone();
            }
            assert!(
                Instant::now() < deadline,
                "no call is {state}: {:?}",
                self.calls()
            );
        }
    }

    fn ready(&self) -> u16 {
        raw(self.server.http, &request("GET", "/readyz", "", b"")).status
    }
}

#[test]
fn a_drained_node_rejects_new_work_and_keeps_its_calls_until_it_is_undrained() {
    let mut setup = NodeSetup::start();
    setup.connect();
    setup.call_that_is("bridged");
    assert_eq!(
        expect_response(operator_request(&setup.server, "POST", "/drain"), 200)["draining"],
        true
    );
    assert_eq!(setup.ready(), 503);
    let body = json!({ "caller_id_number": VN, "from": [AGENT] }).to_string();
    let refused = create(setup.server.http, &body);
    assert_eq!((refused.status, refused.code()), (503, "draining"));
    assert_eq!(Party::new("+918800000002", setup.server.sip).call(VN), 503);
    exchange_audio(&mut setup.customer, 0x2a, &mut setup.agent, 0x9c);
    assert_eq!(
        expect_response(operator_request(&setup.server, "POST", "/undrain"), 200)["draining"],
        false
    );
    assert_eq!(
        (setup.ready(), create(setup.server.http, &body).status),
        (200, 409)
    );
    assert_eq!(Party::new("+918800000002", setup.server.sip).call(VN), 200);
    let acts = operator_request(&setup.server, "GET", "/audit")
        .body
        .to_string();
    assert!(acts.contains("node.drain") && acts.contains("node.undrain"));
}

#[test]
fn the_node_reports_its_name_version_and_calls() {
    let mut setup = NodeSetup::start();
    let node = |setup: &NodeSetup| {
        expect_response(operator_request(&setup.server, "GET", "/nodes"), 200)[0].clone()
    };
    let idle = node(&setup);
    assert_eq!(
        (&idle["name"], &idle["calls"], &idle["draining"]),
        (&json!("local"), &json!(0), &json!(false))
    );
    assert_eq!(idle["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        idle["started_at"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
    setup.connect();
    assert_eq!(node(&setup)["calls"], 1);
}

#[test]
fn active_calls_are_listed_without_numbers_and_can_be_ended() {
    let mut setup = NodeSetup::start();
    assert_eq!(setup.calls(), Vec::<Value>::new());
    setup.connect();
    let call = setup.call_that_is("bridged");
    let names: Vec<_> = call
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["call_sid", "tenant_id", "state", "since"]);
    assert_eq!(call["tenant_id"], TENANT);
    let path = format!("/calls/{}", call["call_sid"].as_str().unwrap());
    assert_eq!(
        expect_response(operator_request(&setup.server, "DELETE", &path), 200)["state"],
        "ending"
    );
    setup.customer.serve("BYE");
    setup.agent.serve("BYE");
    let deadline = Instant::now() + TIMEOUT;
    while !setup.calls().is_empty() {
        assert!(Instant::now() < deadline, "the call never ended");
    }
    for gone in [
        path.as_str(),
        "/calls/call_00000000000000000000000000",
        "/calls/nonsense",
    ] {
        assert_eq!(
            operator_request(&setup.server, "DELETE", gone).status,
            404,
            "{gone}"
        );
    }
    let record = setup.server.get(path.trim_start_matches("/admin"));
    assert_eq!(
        (&record["call_type"], &record["hangup_by"]),
        (&json!("completed"), &json!("system"))
    );
}

#[test]
fn trunks_are_shown_as_they_are_configured() {
    let setup = NodeSetup::start();
    let trunks = expect_response(operator_request(&setup.server, "GET", "/trunks"), 200);
    let expected = json!([{
        "name": "carrier", "peer": format!("sip:{};transport=udp", setup.agent.address()),
        "outbound_proxy": null, "accept_from": ["127.0.0.1/32"], "tls_peer_name": null, "public_address": null, "media_public_address": null, "media_ports": null, "media_from": [], "accept_username": null, "keep_alive": 0, "response_timeout": 4, "failover_on": [408, 480, 500, 502, 503, 504], "register": false, "country": "IN", "show_withheld": false, "allow_destinations": [], "deny_destinations": [], "virtual_numbers": [], "tenants": [], "from_user": null, "from_domain": null, "identity_header": "p-asserted-identity", "user_phone": false, "symmetric_rtp": false, "nat": false, "media": "relay", "early_media": false, "srtp": "off",
        "username": null, "priority": 10, "weight": 1,
        "number_format": "e164", "prefix": "", "codecs": [], "caller_from": "p-asserted-identity", "called_from": "request-uri",
        "max_calls": null, "max_calls_per_second": null,
        "state": "up", "registered": null,
    }]);
    assert_eq!(trunks, expected);
}

#[test]
fn calls_to_a_suspended_tenant_hear_that_the_number_is_not_in_use() {
    let mut setup = NodeSetup::start();
    setup.connect();
    expect_response(
        operator_request(&setup.server, "POST", "/tenants/acme/suspend"),
        200,
    );
    exchange_audio(&mut setup.customer, 0x2a, &mut setup.agent, 0x9c);
    let mut second = Party::new("+918800000002", setup.server.sip);
    assert_eq!(
        second.call(VN),
        200,
        "answered, to hear that the number is not in use"
    );
    second.press(&setup.pin);
    second.serve("BYE");
    expect_response(
        operator_request(&setup.server, "POST", "/tenants/acme/resume"),
        200,
    );
    let calls = setup
        .server
        .request("GET", "/events?limit=200", None)
        .1
        .to_string();
    assert!(!calls.contains("pin_failed"), "no PIN was asked for");
}
