//! Requests within a call: hold, key presses, session timers, rejections.

use super::*;

#[test]
fn a_hold_by_reinvite_or_update_is_answered_on_its_own_leg() {
    for (method, sequence) in [("INVITE", 100), ("UPDATE", 101)] {
        let mut pair = Pair::lossless();
        let (caller, _) = pair.connect();
        pair.inject(method, sequence, SDP, HOLD);
        let remote = pair.run_until(End::Callee, |event| match event {
            Event::MediaChanged { remote, .. } => Some(*remote),
            _ => None,
        });
        assert_eq!(remote.rtp, "192.0.2.77:30000".parse().unwrap());
        assert_eq!(
            (remote.codec, remote.send, remote.receive),
            (Codec::Pcma, false, true)
        );
        assert!(
            pair.answer().starts_with("SIP/2.0 200 OK") && pair.answer().contains("a=recvonly")
        );
        if method == "INVITE" {
            pair.inject("ACK", sequence, "", "");
        }
        // The injected requests use higher sequence numbers than the caller itself.
        pair.inject("BYE", 200, "", "");
        assert!(pair.hung_up(End::Callee));
        pair.ends[0].hang_up(caller, pair.now);
        pair.collect();
        pair.run_to_idle();
    }
}

#[test]
fn a_stream_removed_within_a_call_stops_the_audio_and_keeps_the_call() {
    let mut pair = Pair::lossless();
    pair.connect();
    let removed = HOLD.replace("m=audio 30000", "m=audio 0");
    pair.inject("UPDATE", 101, SDP, &removed);
    let remote = pair.run_until(End::Callee, |event| match event {
        Event::MediaChanged { remote, .. } => Some(*remote),
        _ => None,
    });
    assert!(!remote.send && !remote.receive);
    let answer = pair.answer();
    assert!(answer.starts_with("SIP/2.0 200 OK") && answer.contains("m=audio 0 RTP/AVP 8\r\n"));
    pair.inject(
        "UPDATE",
        102,
        SDP,
        &HOLD.replace("a=sendonly", "a=sendrecv"),
    );
    let remote = pair.run_until(End::Callee, |event| match event {
        Event::MediaChanged { remote, .. } => Some(*remote),
        _ => None,
    });
    assert!(remote.send && remote.receive, "the audio is back");
}

#[test]
fn key_presses_by_info_are_read_in_all_common_body_types() {
    let mut pair = Pair::lossless();
    let (caller, _) = pair.connect();
    let bodies = [
        (
            "application/dtmf-relay",
            "Signal=5\r\nDuration=160\r\n",
            "5",
        ),
        ("application/dtmf-relay", "Signal= *\r\n", "*"),
        ("Application/DTMF-Relay;charset=utf-8", "signal=11\n", "#"),
        ("application/dtmf", "7", "7"),
        ("application/dtmf", "d=5\r\n", "5"),
        ("audio/telephone-event", "d=5\r\n", "5"),
        (
            "application/vnd.nortelnetworks.digits",
            "y=Digits\r\nd=442\r\n",
            "442",
        ),
        // Some phones send keys only as plain text. No other text is accepted.
        ("text/plain", "5", "5"),
    ];
    for (sequence, (content_type, body, pressed)) in (100..).zip(bodies) {
        let headers = format!("Content-Type: {content_type}\r\n");
        pair.inject("INFO", sequence, &headers, body);
        assert!(pair.answer().starts_with("SIP/2.0 200"));
        for symbol in pressed.chars() {
            let key = pair.run_until(End::Callee, |event| match event {
                Event::Key { key, .. } => Some(*key),
                _ => None,
            });
            assert_eq!(key, symbol);
        }
    }
    pair.inject("INFO", 110, "", "");
    assert!(pair.answer().starts_with("SIP/2.0 200"), "keep-alive");
    pair.inject("INFO", 109, "Content-Type: application/dtmf\r\n", "9");
    assert!(
        pair.answer().starts_with("SIP/2.0 500"),
        "an old sequence number is rejected"
    );
    pair.inject("BYE", 200, "", "");
    assert!(pair.hung_up(End::Callee));
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    pair.run_to_idle();
}

#[test]
fn an_info_that_cannot_be_read_is_rejected() {
    let mut pair = Pair::lossless();
    let (caller, _) = pair.connect();
    pair.inject("INFO", 100, "Content-Type: application/json\r\n", "5");
    assert!(pair.answer().starts_with("SIP/2.0 415"));
    let accepted = "Accept: application/dtmf-relay, application/dtmf, \
        application/vnd.nortelnetworks.digits, audio/telephone-event, text/plain\r\n";
    assert!(pair.answer().contains(accepted), "{}", pair.answer());
    pair.inject("INFO", 101, "", "5");
    assert!(pair.answer().starts_with("SIP/2.0 415"), "no content type");
    for (sequence, (content_type, body)) in (102..).zip([
        ("application/dtmf-relay", "Signal=17\r\n"),
        ("application/dtmf-relay", ""),
        ("application/dtmf", "55"),
        ("text/plain", "hello"),
    ]) {
        let headers = format!("Content-Type: {content_type}\r\n");
        pair.inject("INFO", sequence, &headers, body);
        assert!(pair.answer().starts_with("SIP/2.0 400"), "{body:?}");
    }
    pair.inject("BYE", 200, "", "");
    assert!(pair.hung_up(End::Callee));
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    pair.run_to_idle();
}

#[test]
fn a_session_without_refresh_is_ended() {
    let mut pair = Pair::lossless();
    pair.connect();
    pair.inject(
        "UPDATE",
        100,
        "Session-Expires: 30\r\nSupported: timer\r\n",
        "",
    );
    assert!(pair.answer().starts_with("SIP/2.0 422") && pair.answer().contains("Min-SE: 90\r\n"));
    pair.inject("UPDATE", 101, "Session-Expires: 90;refresher=uac\r\n", "");
    assert!(
        pair.answer()
            .contains("Session-Expires: 90;refresher=uac\r\n")
    );
    let start = pair.now;
    assert!(!pair.hung_up(End::Callee));
    assert_eq!(pair.now - start, Duration::from_secs(60));
    assert!(pair.hung_up(End::Caller));
    pair.run_to_idle();
}

#[test]
fn a_request_for_an_unknown_call_gets_481() {
    let mut pair = Pair::lossless();
    let (caller, _) = pair.connect();
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    pair.hung_up(End::Callee);
    pair.inject("BYE", 100, "", "");
    assert!(pair.answer().starts_with("SIP/2.0 481"));
    pair.run_to_idle();
}

#[test]
fn an_unknown_required_extension_is_named() {
    let mut pair = Pair::lossless();
    let invite = "INVITE sip:+914000000001@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:x@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
        Contact: <sip:a@192.0.2.1>\r\nRequire: timer, nothing-known\r\nContent-Length: 0\r\n\r\n";
    let message = SipMessage::from_datagram(invite.into()).unwrap();
    pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
    pair.collect();
    assert!(
        pair.answer().starts_with("SIP/2.0 420")
            && pair.answer().contains("Unsupported: nothing-known\r\n")
    );
    let received = pair.answer().contains("received=192.0.2.1;rport=5060");
    assert!(received, "RFC 3581: {}", pair.answer());
    pair.run_to_idle();
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut pair = Pair::lossless();
    let invite = "INVITE sip:+914000000001@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:x@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
        Contact: <sip:a@192.0.2.1>\r\nContent-Length: 0\r\n\r\n";
    let message = SipMessage::from_datagram(invite.into()).unwrap();
    pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
    pair.collect();
    let call = pair.incoming_call();
    assert_eq!(call.remote, None);
    assert_eq!(pair.ends[1].answer(call.leg, media(1), pair.now), None);
    pair.collect();
    let ok = pair.answer().to_owned();
    let to = ok.lines().find(|line| line.starts_with("To:")).unwrap();
    assert!(ok.contains("m=audio 20000 RTP/AVP 8 0 101"));
    let body = HOLD.replace("sendonly", "sendrecv").replace(
        "AVP 8\r\n",
        "AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\n",
    );
    let ack = format!(
        "ACK sip:x@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2\r\nFrom: <sip:a@b>;tag=1\r\n{to}\r\n\
         Call-ID: 1\r\nCSeq: 1 ACK\r\nMax-Forwards: 70\r\n{SDP}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let message = SipMessage::from_datagram(ack.into()).unwrap();
    pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
    pair.collect();
    let remote = pair.run_until(End::Callee, |event| match event {
        Event::Confirmed { remote, .. } => *remote,
        _ => None,
    });
    assert_eq!(remote.rtp.port(), 30000);
    let events = [remote.telephone_event, remote.offered_telephone_event];
    let payload_types = events.map(|events| events.map(|events| events.payload_type));
    assert_eq!(payload_types, [Some(96), Some(101)]);
    pair.ends[1].hang_up(call.leg, pair.now);
    pair.collect();
    pair.run_to_idle();
}

#[test]
fn within_a_call_an_unknown_extension_is_named_and_the_call_goes_on() {
    let mut pair = Pair::lossless();
    let (caller, _) = pair.connect();
    for (sequence, method) in (10..).zip(["INVITE", "UPDATE", "INFO", "OPTIONS"]) {
        pair.inject(method, sequence, "Require: timer, magic\r\n", "");
        assert!(
            pair.answer().starts_with("SIP/2.0 420 "),
            "{method}: {}",
            pair.answer()
        );
        assert!(pair.answer().contains("Unsupported: magic\r\n"), "{method}");
        if method == "INVITE" {
            pair.inject("ACK", sequence, "", "");
        }
    }
    pair.inject("BYE", 20, "Require: magic\r\n", "");
    assert!(pair.answer().starts_with("SIP/2.0 200 "));
    assert!(pair.hung_up(End::Callee));
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    while pair.step() {}
}

#[test]
fn a_peer_with_session_timers_and_update_gets_a_locally_refreshed_session() {
    for (headers, offered) in [
        ("Supported: timer\r\nAllow: INVITE, UPDATE\r\n", true),
        ("Supported: timer\r\nAllow: INVITE\r\n", false),
        ("Allow: UPDATE\r\n", false),
    ] {
        let mut pair = Pair::lossless();
        let (_, callee) = pair.connect();
        pair.inject("UPDATE", 10, headers, "");
        assert_eq!(
            pair.answer()
                .contains("Session-Expires: 1800;refresher=uas\r\n"),
            offered,
            "{headers}"
        );
        pair.ends[1].hang_up(callee, pair.now);
        pair.collect();
        assert!(pair.hung_up(End::Caller));
        pair.run_to_idle();
    }
}

#[test]
fn a_locally_refreshed_session_is_refreshed_by_update_at_half_its_interval() {
    let mut pair = Pair::lossless();
    let (_, callee) = pair.connect();
    let headers = "Session-Expires: 90;refresher=uas\r\nSupported: timer\r\nAllow: UPDATE\r\n";
    pair.inject("UPDATE", 10, headers, "");
    assert!(
        pair.answer()
            .contains("Session-Expires: 90;refresher=uas\r\n"),
        "{}",
        pair.answer()
    );
    let agreed = pair.now;
    let updates = |pair: &Pair| {
        pair.wire[1]
            .iter()
            .filter(|message| message.starts_with("UPDATE "))
            .count()
    };
    while updates(&pair) == 0 {
        assert!(pair.step());
    }
    assert_eq!(pair.now - agreed, Duration::from_secs(45));
    assert!(
        pair.answer()
            .contains("Session-Expires: 90;refresher=uac\r\n")
    );
    let answered = pair.now + Duration::from_secs(1);
    while pair.now < answered && pair.step() {}
    assert!(
        !pair
            .events
            .iter()
            .any(|(_, event)| matches!(event, Event::HungUp { .. }))
    );
    pair.ends[1].hang_up(callee, pair.now);
    pair.collect();
    assert!(pair.hung_up(End::Caller));
    pair.run_to_idle();
}

#[test]
fn a_later_offer_keeps_the_media_lines_of_the_session_in_order() {
    let mut pair = Pair::lossless();
    let (_, callee) = pair.connect();
    let video = "m=video 40000 RTP/AVP 96\r\n";
    let offer = HOLD.replace("m=audio", &format!("{video}m=audio"));
    pair.inject("INVITE", 2, SDP, &offer);
    pair.inject("ACK", 2, "", "");
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("m="));
        lines
            .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let expected = ["m=video 0", "m=audio 20000"];
    assert_eq!(lines(pair.answer()), expected, "the answer");
    // An offer of the endpoint in its 200, and one in its own re-INVITE.
    pair.inject("INVITE", 3, "", "");
    assert_eq!(lines(pair.answer()), expected);
    pair.inject(
        "ACK",
        3,
        SDP,
        &HOLD.replace("m=audio", "m=video 0 RTP/AVP 96\r\nm=audio"),
    );
    let redirection = Redirection {
        rtp: Some("192.0.2.9:30000".parse().unwrap()),
        codec: Codec::Pcma,
        payload_type: 8,
        opus: OpusParameters::default(),
        telephone_event: None,
    };
    assert!(pair.ends[1].redirect(callee, redirection, pair.now));
    pair.collect();
    assert_eq!(lines(pair.answer()), ["m=video 0", "m=audio 30000"]);
    let audio = pair.answer().find("m=audio").unwrap();
    assert!(
        pair.answer()[audio..].contains("a=rtcp:20001"),
        "RTCP of the audio"
    );
}
