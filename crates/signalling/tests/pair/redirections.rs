//! Re-INVITEs of the endpoint: a peer's audio is moved to a different address and back.

use super::*;

/// Redirection to a different address.
fn other_address() -> Redirection {
    let rtp = Some("203.0.113.7:4000".parse().unwrap());
    let telephone_event = Some(TelephoneEventFormat {
        payload_type: 97,
        rate: 8000,
    });
    let (codec, opus) = (Codec::Pcmu, OpusParameters::default());
    Redirection {
        rtp,
        codec,
        payload_type: 0,
        opus,
        telephone_event,
    }
}

fn local_address() -> Redirection {
    Redirection {
        rtp: None,
        ..other_address()
    }
}

impl Pair {
    fn redirect(&mut self, end: End, leg: LegId, to: Redirection) {
        assert!(self.ends[end as usize].redirect(leg, to, self.now));
        self.collect();
    }

    /// Returns the status of a redirection: 200, or the status of the rejection. `None` if the leg
    /// ended.
    fn redirected(&mut self, end: End) -> Option<u16> {
        self.run_until(end, |event| match event {
            Event::Redirected { .. } => Some(Some(200)),
            Event::RedirectFailed { status, .. } => Some(Some(*status)),
            Event::HungUp { .. } => Some(None),
            _ => None,
        })
    }

    /// Returns the last request of the callee with this method.
    fn sent_by_callee(&self, method: &str) -> &str {
        let mut sent = self.wire[1].iter().rev();
        sent.find(|message| message.starts_with(method)).unwrap()
    }

    /// Ends the rest of a call, in any state.
    fn end(mut self, legs: [LegId; 2]) -> [Vec<String>; 2] {
        for (end, leg) in self.ends.iter_mut().zip(legs) {
            end.hang_up(leg, self.now);
        }
        self.collect();
        while self.step() {}
        self.events.clear();
        self.run_to_idle()
    }
}

#[test]
fn a_peer_is_redirected_and_back_over_any_link() {
    for mut pair in links() {
        let (caller, callee) = pair.connect();
        pair.redirect(End::Caller, caller, other_address());
        let first = pair.redirected(End::Caller);
        assert!(first == Some(200) || pair.loss > 0);
        if first.is_some() {
            pair.redirect(End::Caller, caller, local_address());
            assert!(pair.redirected(End::Caller) == Some(200) || pair.loss > 0);
        }
        pair.end([caller, callee]);
    }
}

#[test]
fn a_redirection_reveals_an_address_a_codec_and_a_payload_type_and_nothing_else() {
    let mut pair = Pair::lossless();
    let (caller, callee) = pair.connect();
    pair.redirect(End::Callee, callee, other_address());
    assert_eq!(pair.redirected(End::Callee), Some(200));
    pair.redirect(End::Callee, callee, local_address());
    assert_eq!(pair.redirected(End::Callee), Some(200));
    let changes: Vec<u16> = pair
        .events
        .iter()
        .filter_map(|(end, event)| match event {
            Event::MediaChanged { remote, .. } if *end == End::Caller => Some(remote.rtp.port()),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [4000, 20000]);
    let wire = pair.end([caller, callee]);
    let offers: Vec<&str> = wire[1]
        .iter()
        .filter(|message| message.starts_with("INVITE "))
        .map(|message| message.split_once("\r\n\r\n").unwrap().1)
        .collect();
    let audio = "RTP/AVP 0 97\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\n\
                 a=ptime:20\r\na=sendrecv\r\n";
    let away = format!(
        "v=0\r\no=- 1 2 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\nm=audio 4000 {audio}\
         a=rtcp:20001 IN IP4 192.0.2.2\r\n"
    );
    let back = format!(
        "v=0\r\no=- 1 3 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 20000 {audio}"
    );
    assert_eq!(offers, [away, back]);
}

#[test]
fn colliding_re_invites_are_rejected_with_491_and_retried() {
    for mut pair in links() {
        let (caller, callee) = pair.connect();
        pair.redirect(End::Caller, caller, other_address());
        pair.redirect(End::Callee, callee, other_address());
        let met = [pair.redirected(End::Callee), pair.redirected(End::Caller)];
        assert!(met == [Some(200); 2] || pair.loss > 0, "{met:?}");
        let clean = pair.loss == 0;
        let wire = pair.end([caller, callee]);
        if clean {
            for sent in wire {
                assert!(
                    sent.iter()
                        .any(|message| message.starts_with("SIP/2.0 491 "))
                );
            }
        }
    }
}

#[test]
fn an_offer_colliding_with_a_local_one_is_rejected_and_an_update_without_offer_is_not() {
    let mut pair = Pair::lossless();
    let (caller, callee) = pair.connect();
    pair.redirect(End::Callee, callee, other_address());
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4 RTP/AVP 0\r\n";
    pair.inject("UPDATE", 100, "Content-Type: application/sdp\r\n", body);
    assert!(pair.answer().starts_with("SIP/2.0 491 "));
    pair.inject("UPDATE", 101, "", "");
    assert!(pair.answer().starts_with("SIP/2.0 200 "));
    pair.inject("INVITE", 102, "Content-Type: application/sdp\r\n", body);
    assert!(pair.answer().starts_with("SIP/2.0 491 "));
    assert_eq!(pair.redirected(End::Callee), Some(200));
    pair.end([caller, callee]);
}

#[test]
fn a_call_is_hung_up_during_a_re_invite() {
    for hangs_up in [End::Caller, End::Callee] {
        for mut pair in links() {
            let (caller, callee) = pair.connect();
            pair.redirect(End::Caller, caller, other_address());
            let leg = [caller, callee][hangs_up as usize];
            pair.ends[hangs_up as usize].hang_up(leg, pair.now);
            pair.collect();
            pair.end([caller, callee]);
        }
    }
}

/// Responds to a re-INVITE of the callee with `status`. Returns the outcome and the messages sent
/// by the callee.
fn refused_with(status: &str) -> (Option<u16>, Vec<String>) {
    let mut pair = Pair::lossless();
    let (caller, callee) = pair.connect();
    pair.redirect(End::Callee, callee, other_address());
    pair.in_flight.clear();
    let invite = pair.wire[1].last().unwrap().clone();
    let head: String = invite
        .lines()
        .filter(|line| {
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .map(|line| format!("{line}\r\n"))
        .collect();
    let answer = format!("SIP/2.0 {status} x\r\n{head}Content-Length: 0\r\n\r\n");
    let message = SipMessage::from_datagram(answer.into()).unwrap();
    pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
    pair.collect();
    let outcome = pair.redirected(End::Callee);
    let wire = pair.end([caller, callee]);
    (outcome, wire[1].clone())
}

#[test]
fn a_rejected_re_invite_keeps_the_call_and_an_unknown_dialog_ends_it() {
    for status in [404, 488, 503, 603] {
        assert_eq!(refused_with(&status.to_string()).0, Some(status));
    }
    for status in ["408", "481", "200"] {
        let (outcome, sent) = refused_with(status);
        assert_eq!(outcome, None, "{status}");
        assert!(
            sent.iter().any(|message| message.starts_with("BYE ")),
            "{status}"
        );
    }
}

#[test]
fn a_re_invite_with_only_a_provisional_response_ends_the_call() {
    assert_eq!(refused_with("100").0, None);
}

/// Returns the description of a message.
fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn an_offer_that_changes_nothing_leaves_the_audio_where_it_is() {
    let mut pair = Pair::lossless();
    let (caller, callee) = pair.connect();
    pair.redirect(End::Callee, callee, other_address());
    assert_eq!(pair.redirected(End::Callee), Some(200));
    let offered = body(pair.sent_by_callee("INVITE")).to_owned();
    let mut sent = pair.wire[0].iter().rev();
    let answer =
        sent.find(|message| message.starts_with("SIP/2.0 200") && message.contains("m=audio"));
    let unchanged = body(answer.unwrap()).to_owned();
    // A refresh may name all formats again, and count its version.
    let more = unchanged
        .replace("RTP/AVP 0", "RTP/AVP 0 8 13")
        .replace("o=- 1 1 ", "o=- 1 2 ");
    assert_ne!(more, unchanged);
    for (sequence, method, refresh) in [
        (100, "INVITE", &unchanged),
        (101, "UPDATE", &unchanged),
        (102, "UPDATE", &more),
    ] {
        pair.inject(method, sequence, SDP, refresh);
        assert!(pair.answer().starts_with("SIP/2.0 200 OK"));
        assert_eq!(body(pair.answer()), offered, "{method}");
        if method == "INVITE" {
            pair.inject("ACK", sequence, "", "");
        }
    }
    let is_change = |(end, event): &(End, Event)| {
        *end == End::Callee && matches!(event, Event::MediaChanged { .. })
    };
    assert!(!pair.events.iter().any(is_change));

    let video = format!("{unchanged}m=video 4002 RTP/AVP 96\r\n");
    let moved = unchanged.replacen("m=audio 2", "m=audio 3", 1);
    for (sequence, changed) in [(103, &moved), (104, &unchanged), (105, &video)] {
        pair.inject("UPDATE", sequence, SDP, changed);
        assert!(
            body(pair.answer()).contains("c=IN IP4 192.0.2.2\r\n"),
            "back at the endpoint"
        );
        pair.run_until(End::Callee, |event| {
            matches!(event, Event::MediaChanged { .. }).then_some(())
        });
    }
    pair.end([caller, callee]);
}
