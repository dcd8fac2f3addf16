//! Neither party receives any part of the other's number, and no log line at any level contains either number.

use serde_json::{Value, json};

use crate::support::call_setup::{CallSetup, VN};
use crate::support::party::{Party, exchange_audio};
use crate::support::server::{Server, trunk};
use crate::support::webhook_inbox::WebhookInbox;

const AGENT: &str = "+919912345678";
const CUSTOMER: &str = "+918887654321";

/// Returns `true` if the data contains a number in any common form: with or without `+` and country code, with any
/// spacing, or as packed decimals.
fn leaks(received: &[u8], number: &str) -> bool {
    let national = &number[3..];
    let is_separator = |byte: &u8| b" -./()%20\"<>\r\n".contains(byte) && !byte.is_ascii_digit();
    let dense: Vec<u8> = received
        .iter()
        .copied()
        .filter(|byte| !is_separator(byte))
        .collect();
    let digits: Vec<u8> = national.bytes().map(|byte| byte - b'0').collect();
    let packed: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    let swapped: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[1] << 4 | pair[0])
        .collect();
    let holds =
        |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    holds(&dense, national.as_bytes()) || holds(received, &packed) || holds(received, &swapped)
}

#[test]
fn the_scan_finds_a_number_in_any_usual_form() {
    for form in [
        "+919912345678",
        "919912345678",
        "09912345678",
        "sip:9912345678@x",
        "+91 99123 45678",
        "+91-99-12-34-56-78",
        "(99123) 45678",
    ] {
        assert!(
            leaks(format!("Subject: {form}\r\n").as_bytes(), AGENT),
            "{form}"
        );
    }
    assert!(leaks(&[0, 0x99, 0x12, 0x34, 0x56, 0x78], AGENT));
    assert!(leaks(&[0, 0x99, 0x21, 0x43, 0x65, 0x87], AGENT));
    assert!(!leaks(b"+914000000001 and +918887654321", AGENT));
}

#[test]
fn nothing_of_either_number_reaches_the_other_party_or_the_log() {
    nothing_leaks(false);
}

#[test]
fn nothing_leaks_with_direct_media() {
    nothing_leaks(true);
}

/// Starts a server with an allocation. The numbers of its parties do not occur by chance.
fn start(direct: bool) -> (CallSetup, Value) {
    let mut agent = Party::unconnected(AGENT);
    let media = if direct { "direct" } else { "relay" };
    let media = format!("media = {media:?}\nearly_media = true");
    let server = Server::with(&trunk("carrier", agent.address(), &media));
    agent.set_server(server.sip);
    server.add_number(VN, &[]);
    let inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let body =
        json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER], "record": !direct });
    let allocation = server.allocate(&body);
    let customer = Party::new(CUSTOMER, server.sip);
    (
        CallSetup {
            server,
            inbox,
            agent,
            customer,
        },
        allocation,
    )
}

fn nothing_leaks(direct: bool) {
    let (
        CallSetup {
            server,
            mut agent,
            mut customer,
            ..
        },
        allocation,
    ) = start(direct);
    assert_eq!(customer.call(VN), 200);
    customer.press(if allocation["pin"] == "0000" {
        "1111"
    } else {
        "0000"
    });
    customer.wait_until_quiet();
    customer.press(allocation["pin"].as_str().unwrap());
    agent.receive_invite();
    agent.respond(180);
    agent.respond_early(183);
    agent.say_until_heard(0x33, &mut customer, 0x2a);
    agent.respond(200);
    agent.serve("ACK");
    if direct {
        customer.accept_reinvite();
        agent.accept_reinvite();
        assert_eq!(customer.audio_destination(), Some(agent.audio_address()));
        assert_eq!(agent.audio_destination(), Some(customer.audio_address()));
    }
    exchange_audio(&mut customer, 0x2a, &mut agent, 0x9c);
    customer.send_rtcp();
    agent.send_rtcp();
    customer.press("12");
    agent.receive_keys(2, 97);
    assert_eq!(customer.send_in_dialog("OPTIONS", "", ""), 200);
    let sdp = customer.description("sendrecv");
    assert_eq!(
        customer.send_in_dialog("UPDATE", "Content-Type: application/sdp\r\n", &sdp),
        200
    );
    // RTCP is sent every 5 s, so wait for one packet on each side.
    customer.wait_for_rtcp();
    agent.wait_for_rtcp();
    agent.bye_as_callee();
    customer.serve("BYE");

    check_leaks(&server, &agent, &customer, &allocation);
}

/// Checks the received data and the log.
fn check_leaks(server: &Server, agent: &Party, customer: &Party, allocation: &Value) {
    assert!(
        customer.received.len() > 1000 && agent.received.len() > 1000,
        "something was received"
    );
    assert!(
        !leaks(&customer.received, AGENT),
        "the customer received the agent's number"
    );
    assert!(
        !leaks(&agent.received, CUSTOMER),
        "the agent received the customer's number"
    );
    let log = server.wait_for_log("call ended");
    for number in [AGENT, CUSTOMER, VN] {
        assert!(!leaks(log.as_bytes(), number), "the log has a number");
    }
    let pin = format!("\"{}\"", allocation["pin"].as_str().unwrap());
    assert!(!log.contains(&pin), "the log has the PIN");
}

/// Calls of the long run, and calls per server.
const CALLS: usize = 10_000;
const CALLS_A_SERVER: usize = CALLS / 4;

/// Half of the calls use direct media.
#[test]
#[ignore = "a run of ten minutes: cargo test --release --test it -- --ignored ten_thousand"]
fn nothing_leaks_in_ten_thousand_calls() {
    std::thread::scope(|scope| {
        for direct in [false, true, false, true] {
            scope.spawn(move || many_calls(direct));
        }
    });
}

fn many_calls(direct: bool) {
    let (mut setup, allocation) = start(direct);
    for _ in 0..CALLS_A_SERVER {
        setup.customer = Party::new(CUSTOMER, setup.server.sip);
        setup.connect(&allocation);
        if direct {
            setup.customer.accept_reinvite();
            setup.agent.accept_reinvite();
        }
        setup.both_talk();
        setup.customer.send_rtcp();
        setup.agent.send_rtcp();
        setup.hang_up();
        setup.completed();
        assert!(
            !leaks(&setup.customer.received, AGENT),
            "the customer received the agent's number"
        );
        assert!(
            !leaks(&setup.agent.received, CUSTOMER),
            "the agent received the customer's number"
        );
        setup.agent.received.clear();
    }
    let log = setup.server.log();
    for number in [AGENT, CUSTOMER, VN] {
        assert!(!leaks(log.as_bytes(), number), "the log has a number");
    }
}
