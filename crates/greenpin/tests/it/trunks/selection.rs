//! Selection among several trunks, and trunks with authentication.

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::http_client::{raw_text, request};
use crate::support::operator_api::{OPERATOR, expect_response, operator_request};
use crate::support::party::{Party, exchange_audio, header};
use crate::support::server::{Server, trunk};
use crate::support::webhook_inbox::WebhookInbox;

const OTHER_VN: &str = "+914000000002";
const OTHER_CUSTOMER: &str = "+918800000002";

/// Server with two trunks: the preferred one and the fallback.
struct TwoTrunkSetup {
    server: Server,
    inbox: WebhookInbox,
    first: Party,
    second: Party,
    customer: Party,
}

impl TwoTrunkSetup {
    fn start(of_first: &str) -> Self {
        let nowhere = "127.0.0.1:9".parse().unwrap();
        let [mut first, mut second] = [AGENT, AGENT].map(|number| Party::new(number, nowhere));
        // The fallback trunk is listed first, so it matches incoming calls from this network.
        let trunks = trunk("second", second.address(), "priority = 20")
            + &trunk("first", first.address(), of_first);
        let server = Server::with_operator(OPERATOR, &trunks);
        first.set_server(server.sip);
        second.set_server(server.sip);
        let customer = Party::new(CUSTOMER, server.sip);
        server.add_number(VN, &[]);
        let inbox = WebhookInbox::open();
        server.send_events_to(&inbox.url);
        Self {
            server,
            inbox,
            first,
            second,
            customer,
        }
    }

    /// Calls as the customer and enters the PIN; returns the INVITE to the first trunk.
    fn call(&mut self) -> String {
        let body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
        let allocation = self.server.allocate(&body);
        assert_eq!(self.customer.call(VN), 200);
        self.customer.press(allocation["pin"].as_str().unwrap());
        self.first.receive_invite()
    }
}

#[test]
fn the_next_trunk_is_tried_if_a_trunk_is_full() {
    let mut setup = TwoTrunkSetup::start("");
    setup.call();
    setup.first.respond(503);
    setup.first.serve("ACK");
    setup.second.receive_invite();
    setup.second.respond(200);
    setup.second.serve("ACK");
    setup.inbox.wait_for_event("call.answered");
    exchange_audio(&mut setup.customer, 0x2a, &mut setup.second, 0x9c);
    setup.customer.bye();
    setup.second.serve("BYE");
    assert_eq!(
        setup.inbox.wait_for_event("call.completed")["data"]["call_type"],
        "completed"
    );
}

#[test]
fn the_next_trunk_is_tried_if_a_trunk_sends_no_response_or_a_status_for_it() {
    for status in [None, Some(480), Some(500), Some(502), Some(504)] {
        let mut setup = TwoTrunkSetup::start("response_timeout = 1");
        setup.call();
        if let Some(status) = status {
            setup.first.respond(183);
            setup.first.respond(status);
        }
        setup.second.receive_invite();
        setup.second.respond(200);
        setup.second.serve("ACK");
        setup.inbox.wait_for_event("call.answered");
    }
}

#[test]
fn the_record_names_each_trunk_that_was_tried_and_the_operator_sees_the_call_ids() {
    let mut setup = TwoTrunkSetup::start("");
    let invite = setup.call();
    setup.first.respond(503);
    setup.first.serve("ACK");
    let second = setup.second.receive_invite();
    setup.second.respond(486);
    setup.second.serve("ACK");
    let completed = setup.inbox.wait_for_event("call.completed");
    let sid = completed["data"]["call_sid"].as_str().unwrap();
    let record = setup.server.get(&format!("/calls/{sid}"));
    assert_eq!(record["cause"], "busy");
    assert_eq!(
        record["why"],
        "The dialled party was busy (SIP 486 from trunk second), the last of 2 attempts."
    );
    let attempts = record["attempts"].as_array().unwrap();
    let shown: Vec<_> = attempts
        .iter()
        .map(|attempt| ["number", "trunk", "sip_status", "cause"].map(|key| attempt[key].clone()))
        .collect();
    assert_eq!(
        json!(shown),
        json!([
            [AGENT, "first", 503, "unreachable"],
            [AGENT, "second", 486, "busy"]
        ])
    );
    let (_, metrics) = raw_text(setup.server.http, &request("GET", "/metrics", "", b""));
    for line in [
        "greenpin_trunk_attempts_total{trunk=\"first\",outcome=\"5xx\"} 1",
        "greenpin_trunk_attempts_total{trunk=\"second\",outcome=\"4xx\"} 1",
        "greenpin_trunk_legs{trunk=\"second\",direction=\"outgoing\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let response = operator_request(&setup.server, "GET", &format!("/calls/{sid}"));
    let text = response.body.to_string();
    assert!(!text.contains(AGENT) && !text.contains(CUSTOMER), "{text}");
    let legs = expect_response(response, 200);
    let ids = [&legs["attempts"][0], &legs["attempts"][1]].map(|leg| leg["call_id"].clone());
    for id in &ids {
        let found = setup
            .server
            .get(&format!("/search?q={}", id.as_str().unwrap()));
        assert_eq!(
            (&found["kind"], &found["calls"][0]["call_sid"]),
            (&json!("sip_call_id"), &json!(sid))
        );
    }
    let sent = [&invite, &second].map(|invite| json!(header(invite, "Call-ID")));
    assert_eq!(ids, sent);
    assert!(legs["call_id"].as_str().is_some_and(|id| !id.is_empty()));
}

#[test]
fn a_late_answer_of_an_abandoned_trunk_is_ended() {
    let mut setup = TwoTrunkSetup::start("response_timeout = 1");
    setup.call();
    setup.second.receive_invite();
    setup.second.respond(200);
    setup.second.serve("ACK");
    setup.first.respond(200);
    setup.first.serve("ACK");
    setup.first.serve("BYE");
    exchange_audio(&mut setup.customer, 0x2a, &mut setup.second, 0x9c);
}

#[test]
fn a_single_trunk_is_waited_for_beyond_the_response_timeout() {
    let mut setup = TwoTrunkSetup::start("response_timeout = 1\ndeny_destinations = [\"+\"]");
    let allocation = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
    let allocation = setup.server.allocate(&allocation);
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.press(allocation["pin"].as_str().unwrap());
    let first = setup.second.receive_invite();
    // The retransmission two seconds later comes after the timeout of the trunk.
    let repeated = setup.second.receive_invite();
    assert_eq!(header(&first, "Call-ID"), header(&repeated, "Call-ID"));
    setup.second.respond(200);
    setup.second.serve("ACK");
    setup.inbox.wait_for_event("call.answered");
}

#[test]
fn a_trunk_is_used_only_for_its_virtual_numbers_and_tenants() {
    for rule in ["virtual_numbers = [\"+9141\"]", "tenants = [\"other\"]"] {
        let mut setup = TwoTrunkSetup::start(rule);
        let body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
        let allocation = setup.server.allocate(&body);
        assert_eq!(setup.customer.call(VN), 200);
        setup.customer.press(allocation["pin"].as_str().unwrap());
        setup.second.receive_invite();
        assert!(setup.first.received.is_empty());
    }
}

#[test]
fn the_shown_number_has_the_form_that_the_trunk_asks_for() {
    let mut setup = TwoTrunkSetup::start(
        "from_user = \"account\"\nfrom_domain = \"sip.example.com\"\n\
         identity_header = \"remote-party-id\"\nuser_phone = true",
    );
    let invite = setup.call();
    let from = header(&invite, "From");
    assert!(
        from.starts_with("<sip:account@sip.example.com;user=phone>;tag="),
        "{from}"
    );
    let identity =
        format!("<sip:{VN}@sip.example.com;user=phone>;party=calling;screen=yes;privacy=off");
    assert_eq!(header(&invite, "Remote-Party-ID"), identity);
    assert!(!invite.contains("P-Asserted-Identity"), "{invite}");
    assert!(header(&invite, "To").ends_with(";user=phone>"));
    assert!(header(&invite, "Contact").contains(VN));
}

#[test]
fn statuses_without_failover_end_the_attempt() {
    let mut setup = TwoTrunkSetup::start("failover_on = [408]");
    setup.call();
    setup.first.respond(503);
    setup.first.serve("ACK");
    let completed = setup.inbox.wait_for_event("call.completed");
    assert_eq!(completed["data"]["dial_call_status"], "failed");
    assert!(setup.second.received.is_empty());
}

#[test]
fn a_busy_party_is_not_retried_over_another_trunk() {
    for (alerted, status, said) in [(false, 486, "busy"), (true, 503, "failed")] {
        let mut setup = TwoTrunkSetup::start("");
        setup.call();
        if alerted {
            setup.first.respond(180);
        }
        setup.first.respond(status);
        setup.first.serve("ACK");
        let completed = setup.inbox.wait_for_event("call.completed");
        assert_eq!(completed["data"]["dial_call_status"], said);
        assert!(setup.second.received.is_empty());
    }
}

#[test]
fn credentials_are_sent_to_a_challenging_trunk_but_not_to_a_called_party() {
    let challenge = "Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"\r\n";
    let mut setup = TwoTrunkSetup::start(
        "username = \"trunk-user\"\npassword = \"a fictional password\"\nrealm = \"carrier\"",
    );
    setup.call();
    setup.first.refuse_with(407, challenge);
    setup.first.serve("ACK");
    let again = setup.first.receive_invite();
    assert!(
        again.contains("Proxy-Authorization: Digest username=\"trunk-user\""),
        "{again}"
    );
    // The party behind the trunk sends a challenge, too.
    setup
        .first
        .refuse_with(407, &challenge.replace("carrier", "elsewhere"));
    setup.first.serve("ACK");
    assert_eq!(
        setup.inbox.wait_for_event("call.completed")["data"]["call_type"],
        "incomplete"
    );
    let told = String::from_utf8_lossy(&setup.first.received).into_owned();
    assert!(!told.contains("realm=\"elsewhere\"") && !told.contains("fictional password"));
    assert!(!setup.server.log().contains("fictional password"));
}

#[test]
fn numbers_are_sent_to_a_trunk_in_its_format_with_its_prefix() {
    let mut setup =
        TwoTrunkSetup::start("country = \"IN\"\nnumber_format = \"national\"\nprefix = \"9\"");
    let body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
    let allocation = setup.server.allocate(&body);
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.press(allocation["pin"].as_str().unwrap());
    let invite = setup.first.receive_invite();
    assert!(invite.starts_with("INVITE sip:909900000001@"), "{invite}");
    for name in ["From", "P-Asserted-Identity", "Contact"] {
        assert!(
            header(&invite, name).contains(":04000000001@"),
            "{name}: {}",
            header(&invite, name)
        );
    }
    setup.first.respond(486);
    setup.first.serve("ACK");
}

#[test]
fn a_trunk_at_its_limit_rejects_incoming_calls_and_is_skipped_for_outgoing_ones() {
    // The first trunk has its only leg in use. The second trunk has the incoming leg, and room for one more.
    let mut setup = TwoTrunkSetup::start("max_calls = 1");
    setup.call();
    setup.first.respond(200);
    setup.first.serve("ACK");
    setup.inbox.wait_for_event("call.answered");
    setup.server.add_number(OTHER_VN, &[]);
    let body = json!({ "caller_id_number": OTHER_VN, "from": [AGENT], "to": [OTHER_CUSTOMER] });
    let allocation = setup.server.allocate(&body);
    let mut other = Party::new(OTHER_CUSTOMER, setup.server.sip);
    assert_eq!(other.call(OTHER_VN), 200);
    other.press(allocation["pin"].as_str().unwrap());
    setup.second.receive_invite();
    setup.second.respond(486);
    setup.second.serve("ACK");
    setup.customer.bye();
    setup.first.serve("BYE");
}

#[test]
fn a_trunk_above_its_call_limit_is_rejected_with_retry_after() {
    let agent = Party::unconnected(AGENT);
    let trunk = trunk("carrier", agent.address(), "max_calls = 1");
    let server = Server::with(&trunk);
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let [mut first, mut second] =
        [CUSTOMER, OTHER_CUSTOMER].map(|number| Party::new(number, server.sip));
    assert_eq!(first.call(VN), 200);
    assert_eq!(second.call(VN), 503);
    first.bye();
    server.get_until("/calls?status=ended", |calls| {
        calls.as_array().is_some_and(|calls| calls.len() == 1)
    });
    let mut third = Party::new(OTHER_CUSTOMER, server.sip);
    assert_eq!(third.call(VN), 200, "room again");
}
