//! Several trunks, and trunks that ask who we are.

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::party::{Party, both_hear_each_other, header};
use crate::support::server::{Server, trunk};
use crate::support::webhook_inbox::Hook;

const OTHER_VN: &str = "+914000000002";
const OTHER_CUSTOMER: &str = "+918800000002";

/// A server with two trunks: where calls go first, and where they go when that fails.
struct Stage {
    server: Server,
    hook: Hook,
    first: Party,
    second: Party,
    customer: Party,
}

impl Stage {
    fn set(of_first: &str) -> Self {
        let nowhere = "127.0.0.1:9".parse().unwrap();
        let [mut first, mut second] = [AGENT, AGENT].map(|number| Party::new(number, nowhere));
        // The one that brings the call, for its network comes first, is the one to fall back on.
        let trunks = trunk("second", second.address(), "priority = 20")
            + &trunk("first", first.address(), of_first);
        let server = Server::with(&trunks);
        first.set_server(server.sip);
        second.set_server(server.sip);
        let customer = Party::new(CUSTOMER, server.sip);
        server.add_number(VN, &[]);
        let hook = Hook::open();
        server.send_events_to(&hook.url);
        Self {
            server,
            hook,
            first,
            second,
            customer,
        }
    }

    /// A customer who has keyed in the PIN.
    fn call(&mut self) {
        let body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
        let allocation = self.server.allocate(&body);
        assert_eq!(self.customer.call(VN), 200);
        self.customer.press(allocation["pin"].as_str().unwrap());
        self.first.invited();
    }
}

#[test]
fn a_trunk_that_has_no_room_is_followed_by_the_next_one() {
    let mut stage = Stage::set("");
    stage.call();
    stage.first.respond(503);
    stage.first.served("ACK");
    stage.second.invited();
    stage.second.respond(200);
    stage.second.served("ACK");
    stage.hook.event("call.answered");
    both_hear_each_other(&mut stage.customer, 0x2a, &mut stage.second, 0x9c);
    stage.customer.bye();
    stage.second.served("BYE");
    assert_eq!(
        stage.hook.event("call.completed")["data"]["call_type"],
        "completed"
    );
}

#[test]
fn a_party_that_is_busy_is_not_called_again_by_another_trunk() {
    for (alerted, status, said) in [(false, 486, "busy"), (true, 503, "failed")] {
        let mut stage = Stage::set("");
        stage.call();
        if alerted {
            stage.first.respond(180);
        }
        stage.first.respond(status);
        stage.first.served("ACK");
        let completed = stage.hook.event("call.completed");
        assert_eq!(completed["data"]["dial_call_status"], said);
        assert!(stage.second.received.is_empty());
    }
}

#[test]
fn a_trunk_that_asks_is_told_who_we_are_and_a_called_party_is_not() {
    let challenge = "Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"\r\n";
    let mut stage = Stage::set(
        "username = \"trunk-user\"\npassword = \"a fictional password\"\nrealm = \"carrier\"",
    );
    stage.call();
    stage.first.refuse_with(407, challenge);
    stage.first.served("ACK");
    let again = stage.first.invited();
    assert!(
        again.contains("Proxy-Authorization: Digest username=\"trunk-user\""),
        "{again}"
    );
    // The party behind the trunk asks, too.
    stage
        .first
        .refuse_with(407, &challenge.replace("carrier", "elsewhere"));
    stage.first.served("ACK");
    assert_eq!(
        stage.hook.event("call.completed")["data"]["call_type"],
        "incomplete"
    );
    let told = String::from_utf8_lossy(&stage.first.received).into_owned();
    assert!(!told.contains("realm=\"elsewhere\"") && !told.contains("fictional password"));
    assert!(!stage.server.log().contains("fictional password"));
}

#[test]
fn a_trunk_is_given_numbers_in_its_own_form_with_its_prefix() {
    let mut stage = Stage::set("country = \"IN\"\nnumber_format = \"national\"\nprefix = \"9\"");
    let body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] });
    let allocation = stage.server.allocate(&body);
    assert_eq!(stage.customer.call(VN), 200);
    stage.customer.press(allocation["pin"].as_str().unwrap());
    let invite = stage.first.invited();
    assert!(invite.starts_with("INVITE sip:909900000001@"), "{invite}");
    for name in ["From", "P-Asserted-Identity", "Contact"] {
        assert!(
            header(&invite, name).contains(":04000000001@"),
            "{name}: {}",
            header(&invite, name)
        );
    }
    stage.first.respond(486);
    stage.first.served("ACK");
}

#[test]
fn a_trunk_at_its_limit_is_refused_one_more_call_and_passed_over_for_one_that_would_go_out() {
    // The first takes one leg, and has it; the second brings the call, and has room for one more that goes out.
    let mut stage = Stage::set("max_calls = 1");
    stage.call();
    stage.first.respond(200);
    stage.first.served("ACK");
    stage.hook.event("call.answered");
    stage.server.add_number(OTHER_VN, &[]);
    let body = json!({ "caller_id_number": OTHER_VN, "from": [AGENT], "to": [OTHER_CUSTOMER] });
    let allocation = stage.server.allocate(&body);
    let mut other = Party::new(OTHER_CUSTOMER, stage.server.sip);
    assert_eq!(other.call(OTHER_VN), 200);
    other.press(allocation["pin"].as_str().unwrap());
    stage.second.invited();
    stage.second.respond(486);
    stage.second.served("ACK");
    stage.customer.bye();
    stage.first.served("BYE");
}

#[test]
fn a_trunk_that_brings_more_than_its_limit_is_told_to_come_back() {
    let agent = Party::new(AGENT, "127.0.0.1:9".parse().unwrap());
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
