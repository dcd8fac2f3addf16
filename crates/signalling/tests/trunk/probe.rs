//! Single requests for a diagnosis.

use super::*;

fn trunk() -> Trunk {
    Trunk {
        peer: Some(TrunkPeer::at(
            Transport::Udp,
            "192.0.2.2:5060".parse().unwrap(),
        )),
        credentials: Some(Credentials {
            username: "trunk user".into(),
            password: "fictional password".into(),
            realm: None,
        }),
        ..Trunk::default()
    }
}

fn probe(
    create: fn(&Trunk, Transport, SocketAddr, Entropy) -> Option<Probe>,
    trunk: &Trunk,
) -> Option<Probe> {
    let mut count = 0;
    let entropy = move || {
        count += 1;
        count
    };
    let local = "192.0.2.1:40000".parse().unwrap();
    create(trunk, Transport::Udp, local, Box::new(entropy))
}

fn text(probe: &Probe) -> String {
    String::from_utf8(probe.bytes().to_vec()).unwrap()
}

/// Returns the response to a request, with further headers.
fn response(request: &str, status: u16, headers: &str) -> SipMessage {
    let repeated = request.lines().filter(|line| {
        ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    let repeated: String = repeated.map(|line| format!("{line}\r\n")).collect();
    let text = format!("SIP/2.0 {status} Word\r\n{repeated}{headers}Content-Length: 0\r\n\r\n");
    SipMessage::from_datagram(text.into()).unwrap()
}

#[test]
fn options_end_with_the_first_final_response_to_them() {
    let mut options = probe(Probe::options, &trunk()).unwrap();
    let mut other = probe(Probe::options, &trunk()).unwrap();
    let sent = text(&options);
    assert!(
        sent.starts_with(
            "OPTIONS sip:192.0.2.2:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:40000;branch=z9hG4bK"
        ),
        "{sent}"
    );
    assert_eq!(
        options.on_message(&response(&sent, 100, "")),
        ProbeStep::Wait
    );
    // A challenge is an answer: the peer is there.
    let challenge = "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\"\r\n";
    assert_eq!(
        options.on_message(&response(&sent, 401, challenge)),
        ProbeStep::Done(401)
    );
    let of_other = sent.replace("branch=z9hG4bK", "branch=z9hG4bKother");
    assert_eq!(
        other.on_message(&response(&of_other, 200, "")),
        ProbeStep::Wait
    );
}

#[test]
fn a_registration_query_has_no_contact_and_answers_one_challenge() {
    let mut query = probe(Probe::registration_query, &trunk()).unwrap();
    let first = text(&query);
    assert!(first.starts_with("REGISTER sip:192.0.2.2:5060 "), "{first}");
    assert!(first.contains("\r\nTo: <sip:trunk%20user@192.0.2.2:5060>\r\n"));
    let challenge = "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", qop=\"auth\"\r\n";
    assert_eq!(
        query.on_message(&response(&first, 401, challenge)),
        ProbeStep::SendAgain
    );
    let second = text(&query);
    assert!(
        second.contains("Authorization: Digest username=\"trunk user\""),
        "{second}"
    );
    assert!(second.contains("CSeq: 2 REGISTER\r\n"), "{second}");
    for request in [&first, &second] {
        assert!(!request.contains("Contact") && !request.contains("fictional password"));
    }
    assert_eq!(
        query.on_message(&response(&second, 401, challenge)),
        ProbeStep::Done(401),
        "wrong credentials are sent once"
    );
}

#[test]
fn a_challenge_of_another_realm_is_the_result() {
    let mut trunk = trunk();
    trunk.credentials.as_mut().unwrap().realm = Some("other".into());
    let mut query = probe(Probe::registration_query, &trunk).unwrap();
    let challenge = "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\"\r\n";
    let challenged = response(&text(&query), 401, challenge);
    assert_eq!(query.on_message(&challenged), ProbeStep::Done(401));
}

#[test]
fn a_trunk_without_a_peer_or_without_credentials_cannot_be_probed() {
    assert!(probe(Probe::options, &Trunk::default()).is_none());
    let anonymous = Trunk {
        credentials: None,
        ..trunk()
    };
    assert!(probe(Probe::registration_query, &anonymous).is_none());
}
