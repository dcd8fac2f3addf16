//! Requests of a trunk by source and transport, and the destination of requests within a call.

use super::*;

const OTHER: &str = "192.0.2.77:5060";

/// Receives a request and returns the status of its response.
fn receive(single: &mut SingleEndpoint, transport: Transport, source: &str, text: &str) -> u16 {
    let before = single.wire.len();
    let message = SipMessage::from_datagram(text.to_owned().into()).unwrap();
    let source = source.parse().unwrap();
    single
        .endpoint
        .receive(transport, source, message, single.now);
    single.collect();
    let responses = single.wire[before..].iter();
    let mut statuses = responses.filter_map(|(_, text)| text.strip_prefix("SIP/2.0 "));
    statuses.next().map_or(0, |text| text[..3].parse().unwrap())
}

fn request(method: &str, headers: &str) -> String {
    format!(
        "{method} sip:+914000000001@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK{method};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+918800000001@192.0.2.2>;tag=caller\r\nTo: <sip:+914000000001@192.0.2.1>\r\n\
         Call-ID: 1\r\nCSeq: 1 {method}\r\n{headers}Content-Length: 0\r\n\r\n"
    )
}

/// Receives a call, answers and confirms it. Returns its leg and the header `To` of its dialog.
fn confirmed_call(single: &mut SingleEndpoint, headers: &str) -> (LegId, String) {
    let source = peer().to_string();
    let invite = request("INVITE", headers);
    assert_eq!(
        receive(single, Transport::Udp, &source, &invite),
        0,
        "no response before the decision"
    );
    let call = single
        .take_events()
        .into_iter()
        .find_map(|event| match event {
            Event::IncomingCall(call) => Some(call),
            _ => None,
        });
    let leg = call.unwrap().leg;
    single.endpoint.answer(leg, media(), single.now);
    single.collect();
    let (_, ok) = single.wire.last().unwrap();
    let to = ok
        .lines()
        .find(|line| line.starts_with("To: "))
        .unwrap()
        .to_owned();
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
    let ack = in_dialog("ACK", 1, &to).replace(
        "Content-Length: 0\r\n\r\n",
        &format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    receive(single, Transport::Udp, &source, &ack);
    let confirmed = |event: &Event| matches!(event, Event::Confirmed { .. });
    assert!(single.take_events().iter().any(confirmed));
    (leg, to)
}

fn in_dialog(method: &str, sequence: u32, to: &str) -> String {
    request(method, "")
        .replace("To: <sip:+914000000001@192.0.2.1>", to)
        .replace(
            &format!("CSeq: 1 {method}"),
            &format!("CSeq: {sequence} {method}"),
        )
}

fn resolved_trunk() -> SingleEndpoint {
    SingleEndpoint::with(Trunk {
        accept_resolved: true,
        ..Trunk::default()
    })
}

#[test]
fn a_trunk_reached_over_tls_is_not_accepted_in_clear() {
    let address: SocketAddr = peer();
    let mut single = SingleEndpoint::with(Trunk {
        peer: Some(TrunkPeer::at(Transport::Tls, address)),
        accept_resolved: true,
        ..Trunk::default()
    });
    let source = address.to_string();
    let options = request("OPTIONS", "");
    for transport in [Transport::Udp, Transport::Tcp] {
        assert_eq!(receive(&mut single, transport, &source, &options), 403);
    }
    assert_eq!(receive(&mut single, Transport::Tls, &source, &options), 200);
}

#[test]
fn a_request_of_a_call_is_accepted_after_the_name_leads_elsewhere() {
    let mut single = resolved_trunk();
    let (_, to) = confirmed_call(&mut single, "Contact: <sip:192.0.2.2>\r\n");
    let other = vec![OTHER.parse().unwrap()];
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(other), single.now);
    let source = peer().to_string();
    let options = request("OPTIONS", "");
    assert_eq!(receive(&mut single, Transport::Udp, &source, &options), 403);
    let bye = in_dialog("BYE", 2, &to);
    assert_eq!(
        receive(&mut single, Transport::Udp, "192.0.2.9:5060", &bye),
        403,
        "another address"
    );
    assert_eq!(receive(&mut single, Transport::Udp, &source, &bye), 200);
}

/// Returns the destination and the Request-URI of a BYE to a caller with these headers.
fn bye_to(trunk: Trunk, headers: &str) -> (String, String) {
    let mut single = SingleEndpoint::with(Trunk {
        accept_resolved: true,
        ..trunk
    });
    let (leg, _) = confirmed_call(&mut single, headers);
    single.endpoint.hang_up(leg, single.now);
    single.collect();
    let (_, bye) = single.wire.last().unwrap();
    assert!(bye.starts_with("BYE "), "{bye}");
    let uri = bye.split(' ').nth(1).unwrap().to_owned();
    (single.destinations.last().unwrap().to_string(), uri)
}

#[test]
fn requests_go_to_the_contact_or_behind_a_nat_to_the_source() {
    let source = peer().to_string();
    let bye = |nat: bool, contact: &str| {
        let trunk = Trunk {
            nat,
            ..Trunk::default()
        };
        bye_to(trunk, &format!("Contact: <sip:{contact}>\r\n")).0
    };
    assert_eq!(bye(false, "192.0.2.50:5070"), "192.0.2.50:5070");
    assert_eq!(bye(true, "192.0.2.50:5070"), source);
    for private in ["10.1.2.3:5070", "192.168.1.2", "100.64.0.1:5070"] {
        assert_eq!(bye(false, private), source, "{private}");
    }
}

#[test]
fn a_route_without_lr_becomes_the_request_uri() {
    let contact = "Contact: <sip:192.0.2.50:5070>\r\n";
    let loose = format!("Record-Route: <sip:192.0.2.60;lr>\r\n{contact}");
    assert_eq!(
        bye_to(Trunk::default(), &loose),
        ("192.0.2.60:5060".into(), "sip:192.0.2.50:5070".into())
    );
    let strict = format!("Record-Route: <sip:192.0.2.60>\r\n{contact}");
    assert_eq!(
        bye_to(Trunk::default(), &strict),
        ("192.0.2.60:5060".into(), "sip:192.0.2.60".into())
    );
}

#[test]
fn options_gets_503_while_no_call_is_taken() {
    let mut single = resolved_trunk();
    let source = peer().to_string();
    single.endpoint.set_unavailable(Some(5));
    let status = receive(
        &mut single,
        Transport::Udp,
        &source,
        &request("OPTIONS", ""),
    );
    assert_eq!(status, 503);
    assert!(single.wire.last().unwrap().1.contains("Retry-After: 5\r\n"));
    single.endpoint.set_unavailable(None);
    let again = request("OPTIONS", "").replace("z9hG4bKOPTIONS", "z9hG4bKagain");
    assert_eq!(receive(&mut single, Transport::Udp, &source, &again), 200);
}

#[test]
fn a_response_whose_connection_is_gone_goes_to_the_port_of_the_via() {
    for (transport, via, port) in [
        (Transport::Tcp, "TCP 192.0.2.2:5070", 5070),
        (Transport::Tcp, "TCP 192.0.2.2", 5060),
        (Transport::Tls, "TLS sbc.carrier.example", 5061),
    ] {
        let mut single = SingleEndpoint::with(Trunk {
            accept_from: vec![signalling::Network::single(peer().ip())],
            ..Trunk::default()
        });
        let options = request("OPTIONS", "").replace("UDP 192.0.2.2", via);
        let message = SipMessage::from_datagram(options.into()).unwrap();
        let source = SocketAddr::new(peer().ip(), 40_000);
        single
            .endpoint
            .receive(transport, source, message, single.now);
        let path = single.endpoint.poll_transmit().unwrap().path;
        assert_eq!(path.connection, Some(source), "{via}");
        assert_eq!(path.destination, SocketAddr::new(peer().ip(), port));
    }
}

#[test]
fn a_secure_invite_gets_a_secure_contact() {
    for (transport, uri, contact, expected) in [
        (
            Transport::Tls,
            "sips:",
            "sips:a@192.0.2.2",
            "<sips:+914000000001@192.0.2.1:5061>",
        ),
        (
            Transport::Tls,
            "sip:",
            "sips:a@192.0.2.2",
            "<sips:+914000000001@192.0.2.1:5061>",
        ),
        (
            Transport::Tls,
            "sip:",
            "sip:a@192.0.2.2",
            "<sip:+914000000001@192.0.2.1:5061;transport=tls>",
        ),
        (
            Transport::Udp,
            "sip:",
            "sip:a@192.0.2.2",
            "<sip:+914000000001@192.0.2.1:5060>",
        ),
    ] {
        let mut single = SingleEndpoint::with(Trunk {
            accept_from: vec![signalling::Network::single(peer().ip())],
            ..Trunk::default()
        });
        let invite = request("INVITE", &format!("Contact: <{contact}>\r\n")).replacen(
            "INVITE sip:",
            &format!("INVITE {uri}"),
            1,
        );
        receive(&mut single, transport, "192.0.2.2:5061", &invite);
        let leg = match &single.take_events()[..] {
            [Event::IncomingCall(call)] => call.leg,
            events => panic!("{events:?}"),
        };
        single.endpoint.answer(leg, media(), single.now);
        single.collect();
        let (_, answer) = single.wire.last().unwrap();
        assert!(
            answer.contains(&format!("Contact: {expected}\r\n")),
            "{answer}"
        );
    }
}

#[test]
fn an_unquoted_display_name_and_line_ends_before_a_request_are_taken() {
    for (name, before) in [("Jos\u{e9} ", ""), ("Smith [Sales] ", ""), ("", "\r\n\r\n")] {
        let mut single = SingleEndpoint::with(Trunk {
            accept_from: vec![signalling::Network::single(peer().ip())],
            ..Trunk::default()
        });
        let options = request("OPTIONS", "").replace("From: <", &format!("From: {name}<"));
        let text = format!("{before}{options}");
        // Latin-1: one byte for each character.
        let bytes: Vec<u8> = text.chars().map(|char| char as u8).collect();
        let message = SipMessage::from_datagram(bytes.into()).unwrap();
        single
            .endpoint
            .receive(Transport::Udp, peer(), message, single.now);
        let response = single.endpoint.poll_transmit().unwrap().bytes;
        let response = String::from_utf8_lossy(&response).into_owned();
        assert!(response.starts_with("SIP/2.0 200 "), "{response}");
    }
}

#[test]
fn a_source_outside_all_networks_gets_no_response_on_a_silent_transport() {
    let credentials = |password: &str| Credentials {
        username: "pbx".into(),
        password: password.into(),
        realm: None,
    };
    for accept_credentials in [None, Some(credentials("a fictional password"))] {
        let challenged = accept_credentials.is_some();
        let mut single = SingleEndpoint::with(Trunk {
            accept_from: vec![signalling::Network::single(peer().ip())],
            accept_credentials,
            ..Trunk::default()
        });
        single.endpoint.set_silent(vec![Transport::Udp]);
        let unreadable = request("OPTIONS", "").replace("CSeq: 1 OPTIONS", "CSeq: x");
        let requests = ["OPTIONS", "BYE", "REGISTER", "BOGUS"].map(|method| request(method, ""));
        for text in requests.iter().chain([&unreadable]) {
            assert_eq!(
                receive(&mut single, Transport::Udp, OTHER, text),
                0,
                "{text}"
            );
            assert_ne!(
                receive(&mut single, Transport::Tcp, OTHER, text),
                0,
                "{text}"
            );
            let known = peer().to_string();
            assert_ne!(
                receive(&mut single, Transport::Udp, &known, text),
                0,
                "{text}"
            );
        }
        let invite = request("INVITE", "");
        let status = receive(&mut single, Transport::Udp, OTHER, &invite);
        assert_eq!(status, if challenged { 401 } else { 0 });
    }
}

#[test]
fn a_refused_invite_is_reported_with_its_source_and_reason_within_a_bound() {
    let mut single = SingleEndpoint::with(Trunk {
        accept_resolved: true,
        ..Trunk::default()
    });
    let source = peer().to_string();
    let too_far = request("INVITE", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(receive(&mut single, Transport::Udp, &source, &too_far), 483);
    let refused = single.endpoint.poll_refused().unwrap();
    assert_eq!(
        (refused.trunk, refused.status, refused.reason),
        (Some(0), 483, "too many hops")
    );
    for _ in 0..100 {
        let invite = request("INVITE", "");
        assert_eq!(receive(&mut single, Transport::Udp, OTHER, &invite), 403);
    }
    let refused: Vec<_> = std::iter::from_fn(|| single.endpoint.poll_refused()).collect();
    assert_eq!(refused.len(), 64);
    let first = &refused[0];
    assert_eq!(
        (first.source.to_string(), first.trunk, first.status),
        ("192.0.2.77".to_owned(), None, 403)
    );
    assert_eq!(first.called, "+914000000001");
    assert!(!format!("{first:?}").contains("914000000001"));
}
