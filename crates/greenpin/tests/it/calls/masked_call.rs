//! Masked calls with two parties and a real server, including each failure path.

use std::io::Cursor;

use serde_json::{Value, json};

use crate::support::call_setup::{
    AGENT, AGENT_SAYS, CUSTOMER, CUSTOMER_SAYS, CallSetup, SECOND_AGENT, VN, pin_of,
};
use crate::support::http_client::call;
use crate::support::party::{Party, header};
use crate::support::server::Server;

impl CallSetup {
    fn read_allocation(&self, allocation: &Value) -> Value {
        self.server.get(&format!(
            "/greenpin/{}",
            allocation["greenpin_id"].as_str().unwrap()
        ))
    }

    /// Expires an allocation at once, as if its duration had passed.
    fn expire(&self, allocation: &Value) {
        let database = rusqlite::Connection::open(self.server.database()).unwrap();
        database
            .busy_timeout(crate::support::server::TIMEOUT)
            .unwrap();
        let id = allocation["greenpin_id"].as_str().unwrap();
        for statement in [
            "UPDATE allocations SET expires_at = created_at WHERE greenpin_id = $1",
            "UPDATE pins SET active_until = 0 WHERE greenpin_id = $1",
            "UPDATE numbers SET held_until = 0 WHERE held_by = $1",
        ] {
            database.execute(statement, [id]).unwrap();
        }
    }
}

fn wrong(allocation: &Value) -> &'static str {
    if pin_of(allocation) == "0000" {
        "1111"
    } else {
        "0000"
    }
}

#[test]
fn a_correct_pin_connects_both_parties_and_emits_all_events() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({ "record": true, "custom_field": "order_id=12345" }));
    setup.call_with(pin_of(&allocation));
    let invite = setup.agent_answers();
    assert!(invite.starts_with(&format!("INVITE sip:{AGENT}@")));
    for name in ["From", "P-Asserted-Identity", "Contact"] {
        assert!(header(&invite, name).contains(VN), "{name}");
    }
    setup.both_talk();
    setup.customer.press("5#");
    assert_eq!(setup.agent.receive_keys(2, 97), "5#");
    // This key is in no PIN. A PIN key received by two methods within a short time would count once.
    setup.customer.press_by_info("*");
    assert_eq!(setup.agent.receive_keys(1, 97), "*");
    setup.hang_up();

    let record = setup.completed();
    for (field, value) in [
        ("call_type", json!("completed")),
        ("dial_call_status", json!("completed")),
        ("hangup_by", json!("caller")),
        ("direction", json!("incoming")),
        ("virtual_number", json!(VN)),
        ("from", json!(CUSTOMER)),
        ("to", json!(AGENT)),
        ("pin_attempts", json!(1)),
    ] {
        assert_eq!(record[field], value, "{field} in {record}");
    }
    check_events(&setup);
    let shown = setup.read_allocation(&allocation);
    assert_eq!(
        (&shown["call_count"], &shown["attempt_count"]),
        (&json!(1), &json!(1))
    );
    check_recording(&setup.server.recording(record["call_sid"].as_str().unwrap()));
}

/// Checks the types, the order and the custom field of the events.
fn check_events(setup: &CallSetup) {
    let types: Vec<_> = setup
        .inbox
        .received
        .iter()
        .map(|webhook| webhook.event()["type"].as_str().unwrap().to_owned())
        .collect();
    let story = [
        "allocation.created",
        "call.initiated",
        "call.pin_accepted",
        "call.ringing",
        "call.answered",
    ];
    assert_eq!(types[..5], story);
    let sequences: Vec<_> = setup
        .inbox
        .received
        .iter()
        .map(|webhook| webhook.event()["sequence"].as_u64().unwrap())
        .collect();
    assert!(
        sequences.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{sequences:?}"
    );
    assert!(
        setup
            .inbox
            .received
            .iter()
            .all(|webhook| webhook.event()["custom_field"] == "order_id=12345")
    );
}

#[test]
fn an_encrypted_recording_is_readable_only_through_the_api() {
    let mut setup = CallSetup::start_with(
        "",
        "[recordings]\nurl = \"file:{folder}/recordings\"\nencrypt = true\n",
    );
    let allocation = setup.allocate(&json!({ "record": true }));
    setup.connect(&allocation);
    setup.both_talk();
    setup.hang_up();
    let call_sid = setup.completed()["call_sid"].as_str().unwrap().to_owned();
    let wav = setup.server.recording(&call_sid);
    check_recording(&wav);
    let stored = setup
        .server
        .database()
        .with_file_name("recordings")
        .join(format!("{call_sid}.wav"));
    let sealed = std::fs::read(&stored).unwrap();
    for plain in [
        &b"RIFF"[..],
        &wav[wav.len() / 2..][..16],
        &wav[wav.len() - 16..],
    ] {
        assert!(!sealed.windows(plain.len()).any(|octets| octets == plain));
    }
    std::fs::write(&stored, &sealed[..sealed.len() - 1]).unwrap();
    let cut_off = call(
        setup.server.http,
        "GET",
        &format!("/calls/{call_sid}/recording"),
    );
    assert_eq!((cut_off.status, cut_off.code()), (500, "internal"));
    setup
        .server
        .wait_for_log("damaged, or was encrypted with another master key");
}

/// Checks for the customer on the left channel only and the agent on the right channel only.
fn check_recording(wav: &[u8]) {
    let reader = hound::WavReader::new(Cursor::new(wav)).unwrap();
    assert_eq!(
        (reader.spec().channels, reader.spec().sample_rate),
        (2, 8000)
    );
    let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
    let said = |octet: u8| {
        let mut sample = [0];
        media::Codec::Pcma.decode(&[octet], &mut sample);
        sample[0]
    };
    let holds = |offset: usize, octet: u8| {
        samples
            .iter()
            .skip(offset)
            .step_by(2)
            .any(|sample| *sample == said(octet))
    };
    let length = samples.len() / 2;
    assert!(holds(0, CUSTOMER_SAYS), "customer, {length} samples");
    assert!(holds(1, AGENT_SAYS), "agent, {length} samples");
    assert!(!holds(0, AGENT_SAYS) && !holds(1, CUSTOMER_SAYS));
}

#[test]
fn the_last_attempt_can_succeed_and_the_wrong_ones_stay_counted() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    assert_eq!(setup.customer.call(VN), 200);
    for _ in 0..2 {
        setup.customer.press(wrong(&allocation));
        setup.inbox.wait_for_event("call.pin_failed");
        setup.customer.wait_until_quiet();
    }
    setup.customer.press(pin_of(&allocation));
    setup.agent.receive_invite();
    setup.agent.respond(486);
    setup.agent.serve("ACK");
    let record = setup.completed();
    assert_eq!(
        (&record["pin_attempts"], &record["dial_call_status"]),
        (&json!(3), &json!("busy"))
    );
    setup.customer.serve("BYE");
    assert_eq!(setup.read_allocation(&allocation)["failed_pin_attempts"], 2);
}

#[test]
fn at_the_limit_the_allocation_is_locked_and_rejects_the_correct_pin() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({ "max_pin_attempts": 1 }));
    setup.call_with(wrong(&allocation));
    setup.inbox.wait_for_event("allocation.locked");
    setup.customer.serve("BYE");
    assert_eq!(setup.completed()["call_type"], "call-attempt");
    assert_eq!(setup.read_allocation(&allocation)["locked"], true);
    let mut customer = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(customer.call(VN), 200);
    customer.press(pin_of(&allocation));
    customer.serve("BYE");
    assert_eq!(setup.completed()["dial_call_status"], Value::Null);
}

#[test]
fn an_allocation_that_expires_after_the_prompt_refuses_like_a_wrong_pin() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({ "max_pin_attempts": 1 }));
    assert_eq!(setup.customer.call(VN), 200);
    setup.inbox.wait_for_event("call.initiated");
    setup.expire(&allocation);
    setup.customer.press(pin_of(&allocation));
    setup.customer.serve("BYE");
    assert_eq!(setup.completed()["call_type"], "call-attempt");
    assert_eq!(setup.read_allocation(&allocation)["status"], "expired");
}

#[test]
fn a_connected_call_continues_after_its_allocation_is_deleted() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    let path = format!("/greenpin/{}", allocation["greenpin_id"].as_str().unwrap());
    assert_eq!(setup.server.request("DELETE", &path, None).0, 200);
    setup.inbox.wait_for_event("allocation.deleted");
    setup.allocate(&json!({}));
    setup.both_talk();
    setup.hang_up();
    assert_eq!(setup.completed()["call_type"], "completed");
}

#[test]
fn an_agent_who_calls_back_is_connected_to_the_customer() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    let mut caller = Party::new(AGENT, setup.server.sip);
    assert_eq!(caller.call(VN), 200);
    caller.press(pin_of(&allocation));
    let invite = setup.agent.receive_invite();
    assert!(
        invite.starts_with(&format!("INVITE sip:{CUSTOMER}@")),
        "{invite}"
    );
    caller.bye();
}

#[test]
fn an_agent_who_calls_back_reaches_no_party_if_the_allocation_names_no_customer() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({ "to": [] }));
    let mut caller = Party::new(AGENT, setup.server.sip);
    assert_eq!(caller.call(VN), 200);
    caller.press(pin_of(&allocation));
    caller.serve("BYE");
    let record = setup.completed();
    assert_eq!(
        (&record["call_type"], &record["dial_call_status"]),
        (&json!("call-attempt"), &Value::Null)
    );
}

#[test]
fn the_second_agent_is_called_if_the_first_does_not_answer() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({ "from": [AGENT, SECOND_AGENT] }));
    setup.server.update_settings(&json!({ "ring_timeout": 5 }));
    setup.call_with(pin_of(&allocation));
    setup.agent.receive_invite();
    setup.agent.respond(180);
    // No party answers, so the ring timeout cancels the call.
    let invite = setup.agent.last.clone();
    let cancel = setup.agent.serve("CANCEL");
    assert!(cancel.contains("\r\nReason: Q.850;cause=19;"), "{cancel}");
    setup.agent.last = invite;
    setup.agent.respond(487);
    setup.agent.serve("ACK");
    let second = setup.agent.receive_invite();
    assert!(
        second.starts_with(&format!("INVITE sip:{SECOND_AGENT}@")),
        "{second}"
    );
    setup.agent.respond(200);
    setup.agent.serve("ACK");
    setup.hang_up();
    assert_eq!(setup.completed()["to"], SECOND_AGENT);
}

#[test]
fn the_losers_of_a_parallel_hunt_learn_that_another_phone_answered() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({ "from": [AGENT, SECOND_AGENT] }));
    setup
        .server
        .update_settings(&json!({ "dial_strategy": "parallel" }));
    setup.call_with(pin_of(&allocation));
    setup.agent.receive_invite();
    let loser = setup.agent.last.clone();
    setup.agent.respond(180);
    setup.agent.receive_invite();
    setup.agent.respond(200);
    let winner = setup.agent.last.clone();
    setup.agent.serve("ACK");
    let cancel = setup.agent.serve("CANCEL");
    let reason = "\r\nReason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n";
    assert!(cancel.contains(reason), "{cancel}");
    setup.agent.last = loser;
    setup.agent.respond(487);
    setup.agent.serve("ACK");
    setup.agent.last = winner;
    setup.customer.bye();
    let bye = setup.agent.serve("BYE");
    assert!(bye.contains("\r\nReason: Q.850;cause=16;"), "{bye}");
    setup.completed();
}

#[test]
fn the_customer_hears_a_prompt_and_is_hung_up_on_if_no_agent_answers() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.call_with(pin_of(&allocation));
    setup.agent.receive_invite();
    setup.agent.respond(486);
    setup.agent.serve("ACK");
    setup.customer.serve("BYE");
    let record = setup.completed();
    assert_eq!(
        (&record["call_type"], &record["dial_call_status"]),
        (&json!("incomplete"), &json!("busy"))
    );
    assert_eq!(record["hangup_by"], "system");
}

#[test]
fn a_customer_who_leaves_while_it_rings_stops_the_ringing() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.call_with(pin_of(&allocation));
    setup.agent.receive_invite();
    setup.agent.respond(180);
    setup.inbox.wait_for_event("call.ringing");
    let invite = setup.agent.last.clone();
    setup.customer.bye();
    setup.agent.serve("CANCEL");
    setup.agent.last = invite;
    setup.agent.respond(487);
    setup.agent.serve("ACK");
    let record = setup.completed();
    assert_eq!(
        (&record["call_type"], &record["dial_call_status"]),
        (&json!("client-hangup"), &json!("canceled"))
    );
}

#[test]
fn an_agent_who_answers_after_the_customer_left_is_hung_up_on() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.call_with(pin_of(&allocation));
    setup.agent.receive_invite();
    setup.agent.respond(180);
    setup.inbox.wait_for_event("call.ringing");
    let invite = setup.agent.last.clone();
    setup.customer.bye();
    // The 200 crosses the CANCEL.
    setup.agent.last = invite;
    setup.agent.respond(200);
    setup.agent.serve("BYE");
}

#[test]
fn an_agent_who_hangs_up_ends_the_call() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.agent.bye_as_callee();
    setup.customer.serve("BYE");
    assert_eq!(setup.completed()["hangup_by"], "callee");
}

#[test]
fn a_press_sent_three_times_is_one_digit() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.press_repeating(pin_of(&allocation), 3);
    setup.agent.receive_invite();
    setup.customer.bye();
}

#[test]
fn a_star_starts_over_and_keys_come_by_info_too() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    assert_eq!(setup.customer.call(VN), 200);
    setup
        .customer
        .press_by_info(&format!("99*{}", pin_of(&allocation)));
    setup.agent.receive_invite();
    setup.customer.bye();
}

#[test]
fn a_hash_ends_a_pin_early_and_counts_as_a_wrong_attempt() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({ "max_pin_attempts": 1 }));
    setup.call_with(&format!("{}#", &pin_of(&allocation)[..3]));
    setup.inbox.wait_for_event("allocation.locked");
    setup.customer.serve("BYE");
}

#[test]
fn a_call_to_an_unallocated_number_is_answered_and_to_an_unknown_number_is_not() {
    let mut setup = CallSetup::start();
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.serve("BYE");
    let mut customer = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(customer.call("+914000000099"), 404);
}

#[test]
fn an_unlisted_source_gets_the_same_status_for_every_number() {
    let server = Server::with(
        "[[trunks]]\nname = \"elsewhere\"\npeer = \"sip:127.0.0.1:9\"\naccept_from = [\"192.0.2.0/24\"]\n",
    );
    server.add_number(VN, &[]);
    for number in [VN, "+914000000099", "nonsense"] {
        assert_eq!(Party::new(CUSTOMER, server.sip).call(number), 403);
    }
}

#[test]
fn a_customer_on_hold_does_not_hear_and_comes_back() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    let sdp = setup.customer.description("sendonly");
    assert_eq!(
        setup
            .customer
            .send_in_dialog("INVITE", "Content-Type: application/sdp\r\n", &sdp),
        200
    );
    assert!(setup.customer.last.contains("a=recvonly"));
    setup.customer.acknowledge();
    let sdp = setup.customer.description("sendrecv");
    assert_eq!(
        setup
            .customer
            .send_in_dialog("UPDATE", "Content-Type: application/sdp\r\n", &sdp),
        200
    );
    setup.both_talk();
    setup.hang_up();
}

#[test]
fn a_call_interrupted_by_a_crash_gets_its_record_and_terminal_event() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.server.kill();
    setup.server.start_again();
    let record = setup.completed();
    assert_eq!(record["hangup_by"], "system");
    let id = allocation["greenpin_id"].as_str().unwrap();
    let calls = setup.server.get(&format!("/greenpin/{id}/calls"));
    assert_eq!(calls.as_array().unwrap().len(), 1, "{calls}");
}

#[test]
fn invalid_data_on_the_sip_port_affects_no_call() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let huge = format!(
        "INVITE sip:{VN}@x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nX: {}\r\n\r\n",
        "a".repeat(60_000)
    );
    for garbage in [
        &b""[..],
        b"\0\0\0\0",
        b"INVITE",
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        huge.as_bytes(),
    ] {
        socket.send_to(garbage, setup.server.sip).unwrap();
    }
    let mut stream = std::net::TcpStream::connect(setup.server.sip).unwrap();
    std::io::Write::write_all(&mut stream, &vec![b'x'; 200_000]).unwrap_or_default();
    setup.both_talk();
    setup.hang_up();
    assert_eq!(setup.completed()["call_type"], "completed");
}
