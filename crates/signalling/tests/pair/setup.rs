//! Call setup and teardown, over reliable and lossy links.

use super::*;

#[test]
fn a_call_is_set_up_and_ended_by_the_caller() {
    for mut pair in links() {
        let (caller, _) = pair.connect();
        pair.ends[0].hang_up(caller, pair.now);
        pair.collect();
        // On a lossy link the BYE may never arrive. The caller's leg is gone by then; the callee's
        // media timeout ends the call in production.
        while pair.step() {}
        let hung_up = pair
            .events
            .iter()
            .any(|(_, event)| matches!(event, Event::HungUp { orderly: true, .. }));
        if !hung_up {
            assert!(pair.loss > 0);
            let leg = LegId(1);
            pair.ends[1].hang_up(leg, pair.now);
        }
        pair.events.clear();
        pair.collect();
        pair.run_to_idle();
    }
}

#[test]
fn a_call_is_ended_by_the_callee() {
    let mut pair = Pair::lossless();
    let (_, callee) = pair.connect();
    pair.ends[1].hang_up(callee, pair.now);
    pair.collect();
    assert!(pair.hung_up(End::Caller));
    pair.run_to_idle();
}

#[test]
fn an_incoming_call_has_the_numbers_and_the_audio() {
    let mut pair = Pair::lossless();
    pair.dial();
    let call = pair.incoming_call();
    assert_eq!(
        (
            call.called.text.as_str(),
            call.caller.numbers[0].text.as_str()
        ),
        ("+914000000001", "+918800000001")
    );
    assert_eq!(call.remote.unwrap().codec, Codec::Pcmu);
    assert!(
        !format!("{call:?}").contains("00000001"),
        "numbers must not be logged"
    );
    pair.ends[1].reject(call.leg, 404, None, pair.now);
    pair.collect();
    assert_eq!(pair.failed(End::Caller), 404);
    pair.run_to_idle();
}

#[test]
fn a_rejected_call_fails_with_its_status_over_any_link() {
    for mut pair in links() {
        pair.dial();
        let call = pair.incoming_call();
        pair.ends[1].reject(call.leg, 486, None, pair.now);
        pair.collect();
        assert!(matches!(pair.failed(End::Caller), 486 | 408));
        pair.run_to_idle();
    }
}

#[test]
fn an_overloaded_callee_sends_retry_after() {
    let mut pair = Pair::lossless();
    pair.dial();
    let call = pair.incoming_call();
    pair.ends[1].reject(call.leg, 503, Some(5), pair.now);
    pair.collect();
    assert_eq!(pair.failed(End::Caller), 503);
    assert!(
        pair.run_to_idle()[1]
            .iter()
            .any(|message| message.contains("Retry-After: 5\r\n"))
    );
}

#[test]
fn a_call_hung_up_before_its_answer_is_cancelled() {
    for mut pair in links() {
        let caller = pair.dial();
        let call = pair.incoming_call();
        pair.ends[0].hang_up(caller, pair.now);
        pair.collect();
        while pair.step() {}
        if pair.events.is_empty() {
            assert!(pair.loss > 0, "the CANCEL was lost each time");
            pair.ends[1].reject(call.leg, 480, None, pair.now);
            pair.collect();
        }
        pair.events.clear();
        pair.run_to_idle();
    }
}

#[test]
fn a_cancel_that_crosses_the_answer_still_ends_the_call() {
    let mut pair = Pair::lossless();
    let caller = pair.dial();
    let callee = pair.incoming_call().leg;
    // Deliver the 100 first. The caller then sends its CANCEL at once, and it crosses the answer.
    while pair.wire[1].is_empty() || !pair.in_flight.is_empty() {
        pair.step();
    }
    pair.ends[0].hang_up(caller, pair.now);
    pair.ends[1].answer(callee, media(1), pair.now).unwrap();
    pair.collect();
    assert!(pair.hung_up(End::Callee));
    pair.events
        .retain(|(_, event)| !matches!(event, Event::Confirmed { .. }));
    let wire = pair_methods(&pair.run_to_idle()[0]);
    assert!(
        wire.contains("CANCEL") && wire.contains("ACK") && wire.contains("BYE"),
        "{wire}"
    );
}

fn pair_methods(wire: &[String]) -> String {
    wire.iter()
        .filter_map(|message| message.split(' ').next())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_copied_invite_and_a_returned_local_invite_are_rejected_as_loops() {
    let mut pair = Pair::lossless();
    let (caller, _) = pair.connect();
    let invite = pair.wire[0][0].clone();
    let by_another_way = invite.replacen("branch=z9hG4bK", "branch=z9hG4bKother", 1);
    let sent_back = invite.replacen(
        "Via: ",
        "Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKback\r\nVia: ",
        1,
    );
    for (end, message) in [(1, by_another_way), (0, sent_back)] {
        let message = SipMessage::from_datagram(message.into()).unwrap();
        pair.ends[end].receive(Transport::Udp, address(1 - end), message, pair.now);
        pair.collect();
        let answer = pair.wire[end].last().unwrap();
        assert!(
            answer.starts_with("SIP/2.0 482 Loop Detected\r\n"),
            "{answer}"
        );
    }
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    assert!(pair.hung_up(End::Callee));
    pair.run_to_idle();
}

#[test]
fn a_call_without_any_response_fails_after_32_seconds() {
    let mut pair = Pair::over(Transport::Udp, 1, 100);
    pair.dial();
    let start = pair.now;
    assert_eq!(pair.failed(End::Caller), 408);
    assert_eq!(pair.now - start, Duration::from_secs(32));
    pair.run_to_idle();
}

#[test]
fn an_answer_without_ack_is_hung_up() {
    let mut pair = Pair::lossless();
    pair.dial();
    let callee = pair.incoming_call().leg;
    pair.loss = 100;
    pair.ends[1].answer(callee, media(1), pair.now).unwrap();
    pair.collect();
    assert!(!pair.hung_up(End::Callee));
    assert!(pair_methods(&pair.wire[1]).contains("BYE"));
    while pair.step() {}
    assert_eq!(pair.ends[1].load(), IDLE);
}

#[test]
fn hanging_up_before_the_ack_waits_for_the_ack() {
    let mut pair = Pair::lossless();
    pair.dial();
    let callee = pair.incoming_call().leg;
    pair.ends[1].answer(callee, media(1), pair.now).unwrap();
    pair.ends[1].hang_up(callee, pair.now);
    pair.collect();
    assert!(!pair_methods(&pair.wire[1]).contains("BYE"));
    pair.run_until(End::Caller, |event| {
        matches!(event, Event::Answered { .. }).then_some(())
    });
    assert!(pair.hung_up(End::Caller));
    pair.run_to_idle();
}

#[test]
fn an_unknown_source_learns_nothing_and_leaves_no_state() {
    let mut pair = Pair::lossless();
    let stranger: SocketAddr = "198.51.100.9:5060".parse().unwrap();
    for (method, number) in [
        ("INVITE", "+914000000001"),
        ("INVITE", "+1"),
        ("OPTIONS", "x"),
        ("BYE", "x"),
    ] {
        let request = format!(
            "{method} sip:{number}@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:{number}@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: 70\r\nContact: <sip:a@198.51.100.9>\r\nContent-Length: 0\r\n\r\n"
        );
        let message = SipMessage::from_datagram(request.into()).unwrap();
        pair.ends[1].receive(Transport::Udp, stranger, message, pair.now);
        assert_eq!(pair.ends[1].load(), IDLE);
        pair.collect();
        assert!(
            pair.answer().starts_with("SIP/2.0 403 Forbidden\r\n"),
            "{}",
            pair.answer()
        );
    }
}

#[test]
fn unsupported_methods_are_rejected_without_state() {
    let mut pair = Pair::lossless();
    for (method, status) in [
        ("REFER", 405),
        ("MESSAGE", 405),
        ("REGISTER", 405),
        ("FROBNICATE", 501),
    ] {
        let request = format!(
            "{method} sip:x@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:x@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let message = SipMessage::from_datagram(request.into()).unwrap();
        pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
        pair.collect();
        assert!(
            pair.answer().starts_with(&format!("SIP/2.0 {status} ")),
            "{}",
            pair.answer()
        );
    }
    assert_eq!(pair.ends[1].load(), IDLE);
}

/// Returns the value of `Reason` in the first request of this method.
fn reason(wire: &[String], method: &str) -> String {
    let request = wire.iter().find(|text| text.starts_with(method)).unwrap();
    let line = request
        .lines()
        .find_map(|line| line.strip_prefix("Reason: "));
    line.unwrap().to_owned()
}

#[test]
fn a_bye_and_a_cancel_say_why_the_leg_ends() {
    let mut pair = Pair::lossless();
    let (caller, _) = pair.connect();
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    let expected = PeerReason {
        q850: Some(16),
        sip: None,
    };
    assert!(pair.hung_up(End::Callee));
    assert_eq!(pair.reasons, [(End::Callee, expected)]);
    let [wire, _] = pair.run_to_idle();
    assert!(reason(&wire, "BYE").starts_with("Q.850;cause=16;"));

    let mut pair = Pair::lossless();
    let caller = pair.dial();
    pair.incoming_call();
    // The 100 arrives: a CANCEL may be sent.
    while pair.in_flight.is_empty() {
        pair.step();
    }
    pair.step();
    pair.ends[0].hang_up_for(caller, EndReason::CompletedElsewhere, pair.now);
    pair.collect();
    let expected = PeerReason {
        q850: None,
        sip: Some(200),
    };
    assert!(pair.hung_up(End::Callee));
    assert_eq!(pair.reasons, [(End::Callee, expected)]);
    let [wire, _] = pair.run_to_idle();
    assert_eq!(
        reason(&wire, "CANCEL"),
        "SIP;cause=200;text=\"Call completed elsewhere\""
    );
}
