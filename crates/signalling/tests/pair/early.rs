//! Early dialogs: what the called party sends before its answer.

use super::*;

const RELIABLE: &str = "Require: 100rel\r\nRSeq: 7\r\nContent-Type: application/sdp\r\n";

impl Pair {
    /// Sends a request of the called party in the dialog of its tag, and returns the status of the response.
    fn inject_early(&mut self, method: &str, tag: &str, sequence: u32, body: &str) -> u16 {
        let invite = self.wire[0][0].clone();
        let line = |name: &str| invite.lines().find(|line| line.starts_with(name)).unwrap();
        let kind = if body.is_empty() { "" } else { SDP };
        let (from, to) = (line("From: "), line("To: "));
        let request = format!(
            "{method} sip:+918800000001@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK{method}{tag}{sequence};rport\r\n\
             From: {};tag={tag}\r\nTo: {}\r\n{}\r\nCSeq: {sequence} {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:192.0.2.2>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            &to[4..],
            &from[6..],
            line("Call-ID:"),
            body.len()
        );
        self.answer_manually(SipMessage::from_datagram(request.into()).unwrap());
        let response = self.wire[0].last().unwrap();
        response[8..11].parse().unwrap()
    }
}

#[test]
fn a_request_in_an_early_dialog_is_answered_there() {
    let (mut pair, leg, invite) = Pair::dial_manually();
    pair.answer_manually(answer_to(&invite, 183, "one", "", ""));
    for (sequence, method, status) in [
        (1, "UPDATE", 200),
        (2, "OPTIONS", 200),
        (3, "INFO", 200),
        (4, "INVITE", 491),
        (5, "PRACK", 481),
        (5, "UPDATE", 500),
    ] {
        let seen = pair.inject_early(method, "one", sequence, "");
        assert_eq!(seen, status, "{method} {sequence}");
    }
    assert_eq!(
        pair.inject_early("OPTIONS", "two", 1, ""),
        481,
        "another branch"
    );
    let update = pair.wire[0]
        .iter()
        .find(|text| text.contains("CSeq: 1 UPDATE"));
    assert!(
        update
            .unwrap()
            .contains("Contact: <sip:+918800000001@192.0.2.1:5060>\r\n")
    );
    let body = HOLD.replace("sendonly", "sendrecv");
    pair.answer_manually(answer_to(&invite, 200, "one", SDP, &body));
    assert!(pair.is_answered());
    assert_eq!(
        pair.inject_early("OPTIONS", "one", 5, ""),
        500,
        "the sequence numbers continue after the answer"
    );
    assert_eq!(pair.inject_early("OPTIONS", "one", 6, ""), 200);
    pair.ends[0].hang_up(leg, pair.now);
    pair.collect();
    pair.events.clear();
    pair.run_to_idle();
}

#[test]
fn an_offer_in_an_early_dialog_waits_for_a_reliable_answer_and_then_counts() {
    let body = HOLD.replace("sendonly", "sendrecv");
    let moved = body.replace("192.0.2.77", "192.0.2.78");
    for (headers, status, address) in [(SDP, 491, "192.0.2.77"), (RELIABLE, 200, "192.0.2.78")] {
        let (mut pair, _, invite) = Pair::dial_manually();
        pair.answer_manually(answer_to(&invite, 183, "one", headers, &body));
        assert_eq!(pair.inject_early("UPDATE", "one", 1, &moved), status);
        let answered = pair.wire[0]
            .last()
            .unwrap()
            .contains("m=audio 20000 RTP/AVP 8");
        assert_eq!(answered, status == 200);
        pair.answer_manually(answer_to(&invite, 200, "one", "", ""));
        let remote = pair.run_until(End::Caller, |event| match event {
            Event::Answered { remote, .. } => Some(*remote),
            _ => None,
        });
        assert_eq!(remote.rtp.ip().to_string(), address);
    }
}

#[test]
fn progress_is_told_from_ringing() {
    let (mut pair, leg, invite) = Pair::dial_manually();
    for status in [100, 183, 183, 181, 182, 180, 180, 183] {
        pair.answer_manually(answer_to(&invite, status, "one", "", ""));
    }
    let events: Vec<Event> = pair.events.drain(..).map(|(_, event)| event).collect();
    let progress = |status| Event::Progress { leg, status };
    let ringing = Event::Ringing(leg);
    let expected = [
        progress(183),
        progress(181),
        progress(182),
        ringing,
        progress(183),
    ];
    assert_eq!(events, expected);
}

#[test]
fn an_abandoned_invite_without_a_response_is_not_retransmitted() {
    let (mut pair, leg, invite) = Pair::dial_manually();
    pair.ends[0].hang_up(leg, pair.now);
    while pair.ends[0].poll_timeout().is_some() {
        pair.step();
    }
    assert_eq!(pair.wire[0].len(), 1);
    pair.in_flight.clear();
    pair.run_to_idle();

    // Responses that arrive late are still served.
    let (mut pair, leg, _) = Pair::dial_manually();
    pair.ends[0].hang_up(leg, pair.now);
    pair.answer_manually(answer_to(&invite, 180, "one", "", ""));
    assert_eq!(pair.sent("CANCEL").len(), 1);
    let (mut pair, leg, _) = Pair::dial_manually();
    pair.ends[0].hang_up(leg, pair.now);
    pair.answer_manually(answer_to(&invite, 200, "one", SDP, HOLD));
    assert_eq!((pair.sent("ACK").len(), pair.sent("BYE").len()), (1, 1));
    assert_eq!(pair.events, []);
}

#[test]
fn the_first_description_of_each_branch_is_its_early_media() {
    let (mut pair, leg, invite) = Pair::dial_manually();
    let body = HOLD.replace("sendonly", "sendrecv");
    let forked = body.replace("192.0.2.77", "192.0.2.78");
    pair.answer_manually(answer_to(&invite, 180, "one", "", ""));
    for (status, tag, body) in [
        (183, "one", &body),
        (180, "one", &body),
        (183, "two", &forked),
    ] {
        pair.answer_manually(answer_to(&invite, status, tag, SDP, body));
    }
    let sources: Vec<_> = pair
        .events
        .drain(..)
        .filter_map(|(_, event)| match event {
            Event::EarlyMedia { leg: of, remote } if of == leg => Some(remote.rtp.ip().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(sources, ["192.0.2.77", "192.0.2.78"]);
}

#[test]
fn early_media_follows_an_offer_in_its_dialog() {
    let body = HOLD.replace("sendonly", "sendrecv");
    let (mut pair, _, invite) = Pair::dial_manually();
    pair.answer_manually(answer_to(&invite, 183, "one", RELIABLE, &body));
    pair.events.clear();
    let inactive = body.replace("sendrecv", "inactive");
    assert_eq!(pair.inject_early("UPDATE", "one", 1, &inactive), 200);
    assert_eq!(pair.inject_early("UPDATE", "one", 2, ""), 200);
    let events: Vec<Event> = pair.events.drain(..).map(|(_, event)| event).collect();
    assert!(
        matches!(events[..], [Event::EarlyMedia { remote, .. }] if !remote.receive),
        "{events:?}"
    );
}

#[test]
fn early_media_without_a_codec_of_the_offer_or_after_a_hang_up_is_ignored() {
    let is_early = |(_, event): &(End, Event)| matches!(event, Event::EarlyMedia { .. });
    let body = HOLD.replace("sendonly", "sendrecv");
    let (mut pair, leg, invite) = Pair::dial_manually();
    let unknown = body.replace("RTP/AVP 8", "RTP/AVP 18");
    pair.answer_manually(answer_to(&invite, 183, "one", SDP, &unknown));
    pair.answer_manually(answer_to(&invite, 183, "two", SDP, "no description"));
    pair.ends[0].hang_up(leg, pair.now);
    pair.answer_manually(answer_to(&invite, 183, "three", SDP, &body));
    assert!(!pair.events.iter().any(is_early), "{:?}", pair.events);
}
