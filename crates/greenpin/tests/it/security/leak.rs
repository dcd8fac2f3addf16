//! No leak: neither party receives anything of the other's number, and no log line at any level has either.

use serde_json::{Value, json};

use crate::support::call_setup::{Stage, VN};
use crate::support::party::{Party, both_hear_each_other};
use crate::support::server::{Server, trunk};
use crate::support::webhook_inbox::Hook;

const AGENT: &str = "+919912345678";
const CUSTOMER: &str = "+918887654321";

/// Whether a text or stream has a number in any usual form: with or without `+` and country, in any spacing, in
/// packed decimals.
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
fn nothing_leaks_where_the_two_gateways_talk_to_each_other() {
    nothing_leaks(true);
}

/// A stage whose parties have numbers that are not found by chance, and an allocation for them.
fn set(direct: bool) -> (Stage, Value) {
    let mut agent = Party::new(AGENT, "127.0.0.1:9".parse().unwrap());
    let media = if direct { "media = \"direct\"\n" } else { "" };
    let server = Server::with(&trunk("carrier", agent.address(), media));
    agent.set_server(server.sip);
    server.add_number(VN, &[]);
    let hook = Hook::open();
    server.send_events_to(&hook.url);
    let body =
        json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER], "record": !direct });
    let allocation = server.allocate(&body);
    let customer = Party::new(CUSTOMER, server.sip);
    (
        Stage {
            server,
            hook,
            agent,
            customer,
        },
        allocation,
    )
}

fn nothing_leaks(direct: bool) {
    let (
        Stage {
            server,
            mut agent,
            mut customer,
            ..
        },
        allocation,
    ) = set(direct);
    assert_eq!(customer.call(VN), 200);
    customer.press(if allocation["pin"] == "0000" {
        "1111"
    } else {
        "0000"
    });
    customer.until_quiet();
    customer.press(allocation["pin"].as_str().unwrap());
    agent.invited();
    for status in [180, 183, 200] {
        agent.respond(status);
    }
    agent.served("ACK");
    if direct {
        customer.redirected();
        agent.redirected();
        assert_eq!(customer.sends_to(), Some(agent.audio_address()));
        assert_eq!(agent.sends_to(), Some(customer.audio_address()));
    }
    both_hear_each_other(&mut customer, 0x2a, &mut agent, 0x9c);
    customer.send_rtcp();
    agent.send_rtcp();
    customer.press("12");
    agent.keys_heard(2, 97);
    assert_eq!(customer.within("OPTIONS", "", ""), 200);
    let sdp = customer.description("sendrecv");
    assert_eq!(
        customer.within("UPDATE", "Content-Type: application/sdp\r\n", &sdp),
        200
    );
    // RTCP goes out every 5 s: wait for one on each side.
    customer.hear_rtcp();
    agent.hear_rtcp();
    agent.bye_as_callee();
    customer.served("BYE");

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
    let log = server.log_with("call ended");
    for number in [AGENT, CUSTOMER, VN] {
        assert!(!leaks(log.as_bytes(), number), "the log has a number");
    }
    let pin = format!("\"{}\"", allocation["pin"].as_str().unwrap());
    assert!(!log.contains(&pin), "the log has the PIN");
}

/// Calls of the long run, and of each of its servers.
const CALLS: usize = 10_000;
const CALLS_A_SERVER: usize = CALLS / 4;

/// Half of them with the two gateways talking to each other.
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
    let (mut stage, allocation) = set(direct);
    for _ in 0..CALLS_A_SERVER {
        stage.customer = Party::new(CUSTOMER, stage.server.sip);
        stage.connect(&allocation);
        if direct {
            stage.customer.redirected();
            stage.agent.redirected();
        }
        stage.both_talk();
        stage.customer.send_rtcp();
        stage.agent.send_rtcp();
        stage.hang_up();
        stage.completed();
        assert!(
            !leaks(&stage.customer.received, AGENT),
            "the customer received the agent's number"
        );
        assert!(
            !leaks(&stage.agent.received, CUSTOMER),
            "the agent received the customer's number"
        );
        stage.agent.received.clear();
    }
    let log = stage.server.log();
    for number in [AGENT, CUSTOMER, VN] {
        assert!(!leaks(log.as_bytes(), number), "the log has a number");
    }
}
