//! Digest authentication in both directions (RFC 7616).

use super::*;

impl Pair {
    /// Pair with credentials configured at the caller.
    fn with_credentials(realm: Option<&str>) -> Self {
        let mut pair = Self::lossless();
        let credentials = Credentials {
            username: "trunk-user".into(),
            password: "a fictional password".into(),
            realm: realm.map(str::to_owned),
        };
        pair.ends[0] = endpoint_with(0, Transport::Udp, Some(credentials));
        pair
    }

    /// Returns the last INVITE sent by the caller.
    fn last_invite(&self) -> String {
        self.sent("INVITE").last().unwrap().to_string()
    }
}

const CHALLENGE: &str = "Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=MD5\r\n\
                         Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\"\r\n";

#[test]
fn a_challenge_of_the_trunk_is_answered_with_its_strongest_digest() {
    let (mut pair, leg, first) = Pair::with_credentials(None).dialled_manually();
    pair.answer_manually(answer_to(&first, 407, "one", CHALLENGE, ""));
    let second = pair.last_invite();
    assert!(second.contains("CSeq: 2 INVITE\r\n"), "{second}");
    for part in [
        "Proxy-Authorization: Digest ",
        "username=\"trunk-user\"",
        "nonce=\"n2\"",
        "algorithm=SHA-256",
        "qop=auth",
    ] {
        assert!(second.contains(part), "{part} in {second}");
    }
    assert!(!second.contains("fictional password"));
    let same = |name: &str| {
        first.lines().find(|line| line.starts_with(name))
            == second.lines().find(|line| line.starts_with(name))
    };
    assert!(
        same("From:") && same("Call-ID:") && !same("Via:"),
        "{second}"
    );
    assert_eq!(pair.sent("ACK").len(), 1, "the 407 is acknowledged");
    let body = HOLD.replace("sendonly", "sendrecv");
    pair.answer_manually(answer_to(&second, 200, "two", SDP, &body));
    assert!(pair.is_answered());
    assert!(pair.sent("ACK")[1].contains("CSeq: 2 ACK\r\n"));
    pair.ends[0].hang_up(leg, pair.now);
    pair.collect();
    assert!(pair.sent("BYE")[0].contains("CSeq: 3 BYE\r\n"));
    pair.events.clear();
    pair.run_to_idle();
}

#[test]
fn a_challenge_is_answered_once_and_again_only_for_a_stale_nonce() {
    let stale = CHALLENGE.replace("nonce=\"n2\"", "nonce=\"n3\", stale=true");
    for (then, invites) in [(CHALLENGE, 2), (stale.as_str(), 3)] {
        let (mut pair, _, first) = Pair::with_credentials(None).dialled_manually();
        pair.answer_manually(answer_to(&first, 407, "one", CHALLENGE, ""));
        for _ in 0..3 {
            pair.answer_manually(answer_to(&pair.last_invite(), 407, "two", then, ""));
        }
        assert_eq!(
            (pair.sent("INVITE").len(), pair.failed(End::Caller)),
            (invites, 407)
        );
        pair.run_to_idle();
    }
}

#[test]
fn a_challenge_of_a_called_party_is_never_answered() {
    let other = CHALLENGE.replace("carrier", "elsewhere");
    // After a ringing response a challenge may come from the called party.
    let (mut pair, _, first) = Pair::with_credentials(None).dialled_manually();
    pair.answer_manually(answer_to(&first, 180, "one", "", ""));
    pair.answer_manually(answer_to(&first, 407, "one", CHALLENGE, ""));
    assert_eq!(
        (pair.sent("INVITE").len(), pair.failed(End::Caller)),
        (1, 407)
    );
    pair.events.clear();
    pair.run_to_idle();
    // Realm different from the configured one.
    let (mut pair, _, first) = Pair::with_credentials(Some("carrier")).dialled_manually();
    pair.answer_manually(answer_to(&first, 407, "one", &other, ""));
    assert_eq!(
        (pair.sent("INVITE").len(), pair.failed(End::Caller)),
        (1, 407)
    );
    // Realm different from the one pinned by an earlier call.
    let (mut pair, _, first) = Pair::with_credentials(None).dialled_manually();
    pair.answer_manually(answer_to(&first, 407, "one", CHALLENGE, ""));
    pair.answer_manually(answer_to(&pair.last_invite(), 183, "two", "", ""));
    pair.answer_manually(answer_to(&pair.last_invite(), 486, "two", "", ""));
    pair.dial();
    pair.in_flight.clear();
    pair.answer_manually(answer_to(&pair.last_invite(), 407, "three", &other, ""));
    assert_eq!(pair.sent("INVITE").len(), 3);
    pair.events.clear();
    pair.run_to_idle();
}

#[test]
fn a_call_cancelled_during_a_challenge_is_not_resent() {
    let (mut pair, leg, first) = Pair::with_credentials(None).dialled_manually();
    pair.ends[0].hang_up(leg, pair.now);
    pair.answer_manually(answer_to(&first, 407, "one", CHALLENGE, ""));
    assert_eq!(pair.sent("INVITE").len(), 1);
    pair.run_to_idle();
}

/// Returns a connected pair whose INVITE was challenged, and the leg.
fn challenged_call() -> (Pair, LegId) {
    let (mut pair, leg, first) = Pair::with_credentials(None).dialled_manually();
    pair.answer_manually(answer_to(&first, 407, "one", CHALLENGE, ""));
    let body = HOLD.replace("sendonly", "sendrecv");
    pair.answer_manually(answer_to(&pair.last_invite(), 200, "two", SDP, &body));
    pair.events.clear();
    (pair, leg)
}

#[test]
fn the_ack_of_a_2xx_carries_the_credentials_of_its_invite() {
    let (pair, _) = challenged_call();
    let credentials = |text: &str| {
        let mut lines = text.lines();
        lines
            .find(|line| line.starts_with("Proxy-Authorization: "))
            .map(str::to_owned)
    };
    let invite = credentials(&pair.last_invite());
    assert!(invite.is_some());
    assert_eq!(credentials(pair.sent("ACK")[1]), invite);

    // Not if the ACK goes elsewhere.
    let (mut pair, _, first) = Pair::with_credentials(None).dialled_manually();
    pair.answer_manually(answer_to(&first, 407, "one", CHALLENGE, ""));
    let route = format!("Record-Route: <sip:198.51.100.7;lr>\r\n{SDP}");
    pair.answer_manually(answer_to(&pair.last_invite(), 200, "two", &route, HOLD));
    assert_eq!(credentials(pair.sent("ACK")[1]), None);
}

#[test]
fn a_challenge_of_the_trunk_within_a_call_is_answered() {
    let (mut pair, leg) = challenged_call();
    let redirection = Redirection {
        rtp: None,
        codec: Codec::Pcma,
        payload_type: 8,
        opus: OpusParameters::default(),
        telephone_event: None,
    };
    assert!(pair.ends[0].redirect(leg, redirection, pair.now));
    pair.collect();
    pair.answer_manually(answer_to(&pair.last_invite(), 407, "", CHALLENGE, ""));
    let second = pair.last_invite();
    assert!(second.contains("CSeq: 4 INVITE") && second.contains("Proxy-Authorization: "));
    let body = HOLD.replace("sendonly", "sendrecv");
    pair.answer_manually(answer_to(&second, 200, "", SDP, &body));
    let ack = pair.sent("ACK").last().unwrap().to_string();
    assert!(ack.contains("CSeq: 4 ACK") && ack.contains("Proxy-Authorization: "));

    pair.ends[0].hang_up(leg, pair.now);
    pair.collect();
    let bye = pair.sent("BYE")[0].clone();
    assert!(bye.contains("CSeq: 5 BYE") && !bye.contains("Authorization"));
    pair.answer_manually(answer_to(&bye, 407, "", CHALLENGE, ""));
    let bye = pair.sent("BYE")[1].clone();
    assert!(bye.contains("CSeq: 6 BYE\r\n") && bye.contains("Proxy-Authorization: "));
    pair.answer_manually(answer_to(&bye, 407, "", CHALLENGE, ""));
    assert_eq!(pair.sent("BYE").len(), 2, "answered once");
    pair.events.clear();
    pair.run_to_idle();
}

#[test]
fn a_challenge_of_another_realm_within_a_call_is_not_answered() {
    let (mut pair, leg) = challenged_call();
    pair.ends[0].hang_up(leg, pair.now);
    pair.collect();
    let other = CHALLENGE.replace("carrier", "elsewhere");
    let bye = pair.sent("BYE")[0].clone();
    pair.answer_manually(answer_to(&bye, 407, "", &other, ""));
    assert_eq!(pair.sent("BYE").len(), 1);
    // No call has shown yet which realm takes the credentials.
    let (mut pair, leg, invite) = Pair::with_credentials(None).dialled_manually();
    pair.answer_manually(answer_to(&invite, 200, "two", SDP, HOLD));
    pair.ends[0].hang_up(leg, pair.now);
    pair.collect();
    let bye = pair.sent("BYE")[0].clone();
    pair.answer_manually(answer_to(&bye, 407, "", CHALLENGE, ""));
    assert_eq!(pair.sent("BYE").len(), 1);
}

fn credentials(password: &str) -> Credentials {
    Credentials {
        username: "pbx".into(),
        password: password.into(),
        realm: None,
    }
}

impl Pair {
    /// Pair with password authentication at the callee. The caller uses `password`.
    fn with_password(password: &str) -> Self {
        let mut pair = Self::lossless();
        pair.ends[0] = endpoint_with(0, Transport::Udp, Some(credentials(password)));
        let accept_credentials = Some(credentials("a fictional password"));
        pair.ends[1] = endpoint_for(
            1,
            Transport::Udp,
            Trunk {
                accept_credentials,
                ..Trunk::default()
            },
        );
        pair
    }

    /// Sends a request to the callee from any source and returns the response.
    fn answer_from(&mut self, source: SocketAddr, request: &str) -> String {
        let before = self.wire[1].len();
        let message = SipMessage::from_datagram(request.to_owned().into()).unwrap();
        self.ends[1].receive(Transport::Udp, source, message, self.now);
        self.collect();
        self.in_flight.clear();
        self.wire[1].get(before).cloned().unwrap_or_default()
    }
}

#[test]
fn a_caller_with_the_password_is_accepted_from_any_address_for_a_whole_call() {
    for loss in [0, 25] {
        for seed in 1..20 {
            let mut pair = Pair {
                loss,
                random: LinkRandom(seed * 7919),
                ..Pair::with_password("a fictional password")
            };
            let (caller, callee) = pair.connect();
            let challenge = pair.wire[1]
                .iter()
                .find(|message| message.starts_with("SIP/2.0 401"))
                .unwrap();
            for part in [
                "algorithm=SHA-256",
                "algorithm=MD5",
                "realm=\"192.0.2.2\"",
                "qop=\"auth\"",
            ] {
                assert!(challenge.contains(part), "{part} in {challenge}");
            }
            assert!(!challenge.contains("stale"));
            pair.ends[0].hang_up(caller, pair.now);
            pair.collect();
            while pair.step() {}
            let hung_up = pair
                .events
                .iter()
                .any(|(_, event)| matches!(event, Event::HungUp { .. }));
            assert!(hung_up || loss > 0, "the BYE is accepted");
            pair.ends[1].hang_up(callee, pair.now);
            pair.events.clear();
            pair.collect();
            while pair.step() {}
        }
    }
}

#[test]
fn a_caller_without_the_password_learns_nothing_and_leaves_no_state() {
    let mut pair = Pair::with_password("another password");
    pair.dial();
    assert_eq!(pair.failed(End::Caller), 401);
    assert!(pair.events.is_empty());
    assert_eq!(pair.ends[1].load(), IDLE, "no state is left");
    let invite = pair.wire[0][0].clone();
    let status =
        |pair: &mut Pair, request: &str| pair.answer_from(address(0), request)[8..11].to_owned();
    for number in ["+914000000001", "+914000000009", "nobody"] {
        assert_eq!(
            status(&mut pair, &invite.replace("+914000000001", number)),
            "401"
        );
    }
    for method in ["OPTIONS", "BYE", "INFO"] {
        let request = invite.replace("INVITE", method);
        assert_eq!(status(&mut pair, &request), "403", "{method}");
    }
    assert_eq!(pair.ends[1].load(), IDLE);
    pair.run_to_idle();
}

#[test]
fn a_trunk_may_accept_a_single_digest_algorithm() {
    for (digest, named, other) in [
        (Digest::Md5, "MD5", "SHA-256"),
        (Digest::Sha256, "SHA-256", "MD5"),
    ] {
        let mut pair = Pair::with_password("a fictional password");
        let accept_credentials = Some(credentials("a fictional password"));
        let trunk = Trunk {
            accept_credentials,
            accept_digests: vec![digest],
            ..Trunk::default()
        };
        pair.ends[1] = endpoint_for(1, Transport::Udp, trunk);
        let (caller, _) = pair.connect();
        let challenge = pair.wire[1]
            .iter()
            .find(|message| message.starts_with("SIP/2.0 401"))
            .unwrap();
        assert!(
            challenge.contains(&format!("algorithm={named},")) && !challenge.contains(other),
            "{challenge}"
        );
        let invite = pair.wire[0]
            .iter()
            .find(|message| message.contains("Authorization: "))
            .unwrap()
            .clone();
        let forged = invite
            .replace("branch=z9hG4bK", "branch=z9hG4bKnew")
            .replace(named, other);
        assert!(
            pair.answer_from(address(0), &forged)
                .starts_with("SIP/2.0 401 "),
            "a different algorithm is rejected"
        );
        pair.ends[0].hang_up(caller, pair.now);
        pair.collect();
        assert!(pair.hung_up(End::Callee));
        pair.run_to_idle();
    }
}

#[test]
fn replayed_credentials_are_stale_also_from_a_different_source() {
    let mut pair = Pair::with_password("a fictional password");
    pair.dial();
    let call = pair.incoming_call();
    let invite = pair.wire[0]
        .iter()
        .find(|message| message.contains("Authorization: "))
        .unwrap()
        .clone();
    let again = pair.answer_from(
        address(0),
        &invite.replace("branch=z9hG4bK", "branch=z9hG4bKother"),
    );
    assert!(
        again.starts_with("SIP/2.0 401 ") && again.contains("stale=true"),
        "{again}"
    );
    let elsewhere = pair.answer_from("203.0.113.9:5060".parse().unwrap(), &invite);
    assert!(
        elsewhere.starts_with("SIP/2.0 401 ") && elsewhere.contains("stale=true"),
        "{elsewhere}"
    );
    // A different source can neither cancel the call nor reuse the credentials for a different
    // number.
    let cancel = invite.replace("INVITE", "CANCEL");
    let refused = pair.answer_from("203.0.113.9:5060".parse().unwrap(), &cancel);
    assert!(refused.starts_with("SIP/2.0 403 "), "{refused}");
    let branch = |text: &str| {
        text.replace("branch=z9hG4bK", "branch=z9hG4bKnew")
            .replace("nc=00000001", "nc=00000002")
    };
    let other = pair.answer_from(
        address(0),
        &branch(&invite).replacen("+914000000001", "+914000000009", 1),
    );
    assert!(
        other.starts_with("SIP/2.0 401 ") && !other.contains("Warning"),
        "{other}"
    );
    pair.ends[1].reject(call.leg, 404, None, pair.now);
    pair.collect();
    assert_eq!(pair.failed(End::Caller), 404);
    pair.run_to_idle();
}
