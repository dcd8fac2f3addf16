//! Several addresses of the host: which one a request leaves from, and what it shows.

use super::*;

fn listen(transport: Transport, address: &str, advertised: &str) -> ListenAddress {
    ListenAddress {
        transport,
        address: address.parse().unwrap(),
        advertised: advertised.parse().unwrap(),
    }
}

/// Endpoint with addresses of both IP versions, and trunks to these peers.
fn endpoint(peers: &[(&str, Option<&str>)]) -> Endpoint {
    let trunks = peers.iter().map(|(peer, advertised)| Trunk {
        peer: Some(TrunkPeer::at(Transport::Udp, peer.parse().unwrap())),
        accept_resolved: true,
        advertised: advertised.map(|address| address.parse().unwrap()),
        ..Trunk::default()
    });
    let settings = EndpointSettings {
        advertised: "203.0.113.10".parse().unwrap(),
        own_addresses: Vec::new(),
        listen: vec![
            listen(Transport::Udp, "192.0.2.1:5060", "203.0.113.10"),
            listen(Transport::Udp, "10.1.0.5:5070", "10.1.0.5"),
            listen(Transport::Udp, "[2001:db8::1]:5060", "2001:db8::1"),
            listen(Transport::Tcp, "10.1.0.5:5080", "10.1.0.5"),
        ],
        timers: SipTimers::default(),
        trunks: trunks.collect(),
    };
    let mut next = 0;
    Endpoint::new(
        settings,
        Box::new(move || {
            next += 1;
            next
        }),
    )
}

fn call() -> OutgoingCall {
    OutgoingCall {
        trunk: 0,
        to: "+919900000001".into(),
        from: "+914000000001".into(),
        local: media(),
        preferred: Codec::Pcma,
    }
}

/// Returns the header line of a message.
fn line<'a>(message: &'a str, name: &str) -> &'a str {
    let mut lines = message.lines();
    lines.find(|line| line.starts_with(name)).unwrap()
}

fn next_message(endpoint: &mut Endpoint) -> (Option<u8>, String) {
    let sent = endpoint.poll_transmit().unwrap();
    (
        sent.path.local,
        String::from_utf8(sent.bytes.to_vec()).unwrap(),
    )
}

#[test]
fn a_call_leaves_from_the_address_of_its_ip_version_or_of_its_trunk() {
    for (peer, advertised, local, shown) in [
        ("198.51.100.5:5060", None, 0, "203.0.113.10:5060"),
        ("[2001:db8::5]:5060", None, 2, "[2001:db8::1]:5060"),
        ("10.1.0.9:5060", Some("10.1.0.5"), 1, "10.1.0.5:5070"),
        (
            "10.1.0.9:5060",
            Some("203.0.113.77"),
            0,
            "203.0.113.77:5060",
        ),
        ("[2001:db8::5]:5060", Some("10.1.0.5"), 2, "10.1.0.5:5060"),
    ] {
        let mut endpoint = endpoint(&[(peer, advertised)]);
        assert_eq!(endpoint.local_of_trunk(0), Some(local), "{peer}");
        let leg = endpoint.dial(call(), Instant::now()).unwrap();
        assert_eq!(endpoint.local_of_leg(leg), Some(local));
        let (sent_from, invite) = next_message(&mut endpoint);
        assert_eq!(sent_from, Some(local));
        assert!(
            line(&invite, "Via:").contains(&format!("SIP/2.0/UDP {shown};")),
            "{invite}"
        );
        for name in ["Contact:", "From:"] {
            assert!(
                line(&invite, name).contains(&format!("@{shown}")),
                "{invite}"
            );
        }
    }
}

fn request(method: &str, sequence: u32, tag: &str, transport: &str) -> SipMessage {
    let text = format!(
        "{method} sip:+914000000001@10.1.0.5:5070 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 10.1.0.9:5060;branch=z9hG4bK{method}{sequence};rport\r\n\
         From: <sip:+918800000001@10.1.0.9>;tag=one\r\nTo: <sip:+914000000001@10.1.0.5>{tag}\r\n\
         Call-ID: 1\r\nCSeq: {sequence} {method}\r\nMax-Forwards: 70\r\n\
         Contact: <sip:10.1.0.9:5060{}>\r\nContent-Length: 0\r\n\r\n",
        match transport {
            "TCP" => ";transport=tcp",
            _ => "",
        }
    );
    SipMessage::from_datagram(text.into()).unwrap()
}

#[test]
fn a_call_is_answered_and_ended_from_the_address_that_it_came_to() {
    for (transport, name, local, shown) in [
        (Transport::Udp, "UDP", 1, "10.1.0.5:5070"),
        (Transport::Tcp, "TCP", 3, "10.1.0.5:5080"),
    ] {
        let mut endpoint = endpoint(&[("10.1.0.9:5060", None)]);
        let now = Instant::now();
        let arrival = Arrival {
            transport,
            source: "10.1.0.9:5060".parse().unwrap(),
            local: Some(local),
            certified: &[],
        };
        endpoint.receive_at(arrival, request("INVITE", 1, "", name), now);
        let Some(Event::IncomingCall(incoming)) = endpoint.poll_event() else {
            panic!("no call")
        };
        assert_eq!(endpoint.local_of_leg(incoming.leg), Some(local));
        endpoint.answer(incoming.leg, call().local, now);
        let (sent_from, answer) = next_message(&mut endpoint);
        assert_eq!(sent_from, Some(local));
        assert!(
            line(&answer, "Contact:").contains(&format!("@{shown}")),
            "{answer}"
        );
        let tag = line(&answer, "To:")
            .rsplit(";tag=")
            .next()
            .unwrap()
            .to_owned();
        let ack = request("ACK", 1, &format!(";tag={tag}"), name);
        endpoint.receive_at(arrival, ack, now);
        endpoint.hang_up(incoming.leg, now);
        let (sent_from, bye) = next_message(&mut endpoint);
        assert_eq!(sent_from, Some(local));
        assert!(
            line(&bye, "Via:").contains(&format!("SIP/2.0/{name} {shown};")),
            "{bye}"
        );
    }
}

#[test]
fn without_an_address_for_a_transport_that_of_the_weaker_one_is_shown() {
    let peer = TrunkPeer::at(Transport::Tls, "10.1.0.9:5061".parse().unwrap());
    let mut endpoint = endpoint(&[("10.1.0.9:5060", None)]);
    endpoint.set_trunks(vec![Trunk {
        peer: Some(peer),
        ..Trunk::default()
    }]);
    let groups = vec![TargetGroup::single(vec!["10.1.0.9:5061".parse().unwrap()])];
    let now = Instant::now();
    endpoint.set_targets(0, Transport::Tls, groups, now);
    assert_eq!(endpoint.local_of_trunk(0), None);
    endpoint.dial(call(), now).unwrap();
    let (sent_from, invite) = next_message(&mut endpoint);
    assert_eq!(sent_from, None);
    assert!(
        line(&invite, "Via:").contains("SIP/2.0/TLS 10.1.0.5:5080;"),
        "{invite}"
    );
}
