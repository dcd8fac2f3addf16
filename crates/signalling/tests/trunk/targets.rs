//! Targets of a trunk: name resolution, failover and outbound proxy.

use super::*;

fn targets(count: u8) -> Vec<SocketAddr> {
    (1..=count)
        .map(|last| SocketAddr::from(([198, 51, 100, last], 5070)))
        .collect()
}

/// Trunk identified by a host name.
fn trunk_with_name(keep_alive: Option<Duration>) -> Trunk {
    let host = Host::Name {
        host: "carrier.example".into(),
        port: None,
    };
    let peer = TrunkPeer {
        transport: Transport::Udp,
        host,
    };
    Trunk {
        peer: Some(peer),
        accept_resolved: true,
        keep_alive,
        ..Trunk::default()
    }
}

impl SingleEndpoint {
    fn with_name(keep_alive: Option<Duration>) -> Self {
        Self::with(trunk_with_name(keep_alive))
    }

    pub(super) fn dial(&mut self) -> Result<LegId, DialError> {
        let leg = self.dial_number("+919900000001");
        self.collect();
        leg
    }

    fn dial_number(&mut self, to: &str) -> Result<LegId, DialError> {
        let local = media();
        let (to, from) = (to.into(), "+914000000001".into());
        let call = OutgoingCall {
            trunk: 0,
            to,
            from,
            local,
            preferred: Codec::Pcma,
        };
        self.endpoint.dial(call, self.now)
    }

    fn last(&self) -> (&str, SocketAddr) {
        (
            &self.wire.last().unwrap().1,
            *self.destinations.last().unwrap(),
        )
    }
}

#[test]
fn a_trunk_is_unreachable_while_its_name_does_not_resolve() {
    let mut single = SingleEndpoint::with_name(Some(Duration::from_secs(30)));
    assert!(!single.endpoint.is_up(0) && single.endpoint.poll_timeout().is_none());
    assert_eq!(single.dial(), Err(DialError::NoPeer));
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(targets(1)), single.now);
    single.collect();
    assert_eq!(
        single.take_events(),
        [Event::Reachable { trunk: 0, up: true }]
    );
    assert!(
        single
            .request()
            .starts_with("OPTIONS sip:carrier.example SIP/2.0\r\n")
    );
    assert_eq!(single.last().1, targets(1)[0]);
    assert_eq!(single.endpoint.networks(0).len(), 1);
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(Vec::new()), single.now);
    single.collect();
    assert_eq!(
        single.take_events(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    assert!(single.endpoint.networks(0).is_empty());
}

#[test]
fn a_call_moves_to_the_next_target_after_a_failure() {
    let mut single = SingleEndpoint::with_name(None);
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(targets(3)), single.now);
    let leg = single.dial().unwrap();
    let (first, destination) = single.last();
    let first = first.to_owned();
    assert!(
        first.starts_with("INVITE sip:+919900000001@carrier.example SIP/2.0\r\n"),
        "{first}"
    );
    assert_eq!(destination, targets(3)[0]);
    single.answer(&first, 503, "");
    let (second, destination) = single.last();
    let second = second.to_owned();
    assert_eq!((destination, number(&second)), (targets(3)[1], 2));
    // A second call skips the failed target.
    single.dial().unwrap();
    assert_eq!(single.last().1, targets(3)[1]);
    let other = single.last().0.to_owned();
    single.answer(&other, 486, "");
    single.answer(&second, 503, "");
    let third = single.last().0.to_owned();
    single.answer(&third, 503, "");
    assert_eq!(number(&third), 3);
    let mut failed = single
        .take_events()
        .into_iter()
        .filter(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(
        failed.next_back(),
        Some(Event::Failed { leg, status: 503 }),
        "each target is attempted once"
    );
}

/// Trunk with two targets that waits two seconds for a response.
fn impatient() -> SingleEndpoint {
    let mut single = SingleEndpoint::with(Trunk {
        response_timeout: Some(Duration::from_secs(2)),
        ..trunk_with_name(None)
    });
    let now = single.now;
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(targets(2)), now);
    single.collect();
    single.take_events();
    single
}

#[test]
fn a_target_without_a_response_is_followed_by_the_next_and_then_reported() {
    let mut single = impatient();
    let leg = single.dial().unwrap();
    single.advance(2);
    let (second, destination) = single.last();
    assert_eq!((destination, number(second)), (targets(2)[1], 2));
    assert!(single.take_events().is_empty());
    single.advance(2);
    let reported = Event::NoResponse { leg, trunk: 0 };
    assert_eq!(single.take_events(), [reported]);
    let second = single.last().0.to_owned();
    single.answer(&second, 180, "");
    assert_eq!(
        single.take_events(),
        [Event::Ringing(leg)],
        "the attempt goes on"
    );
}

#[test]
fn a_2xx_after_a_failure_of_the_same_invite_is_acknowledged_and_ended() {
    let mut single = impatient();
    single.dial().unwrap();
    let first = single.last().0.to_owned();
    single.answer(&first, 503, "");
    let before = single.wire.len();
    let contact = "Contact: <sip:agent@198.51.100.9:5070>\r\n";
    single.answer(&first, 200, contact);
    let methods: Vec<_> = single.wire[before..]
        .iter()
        .map(|(_, text)| text.split(' ').next().unwrap())
        .collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    single.answer(&first, 200, contact);
    let last = single.last().0;
    assert!(
        last.starts_with("ACK sip:agent@198.51.100.9:5070"),
        "{last}"
    );
    assert!(single.take_events().is_empty());
}

#[test]
fn a_provisional_response_ends_the_wait_for_the_first_response() {
    let mut single = impatient();
    single.dial().unwrap();
    let first = single.last().0.to_owned();
    single.answer(&first, 100, "");
    single.advance(10);
    assert_eq!(single.last().1, targets(2)[0]);
    assert!(single.take_events().is_empty());
}

#[test]
fn a_late_response_of_an_abandoned_target_is_canceled_and_reports_nothing() {
    let mut single = impatient();
    single.dial().unwrap();
    let first = single.last().0.to_owned();
    single.advance(2);
    single.answer(&first, 180, "");
    let (cancel, destination) = single.last();
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
    assert_eq!(destination, targets(2)[0]);
    single.answer(&first, 487, "");
    assert!(single.take_events().is_empty());
}

#[test]
fn a_domain_uses_the_transport_of_the_dns_and_a_uri_without_transport() {
    let peer = TrunkPeer {
        transport: Transport::Udp,
        host: Host::Domain("carrier.example".into()),
    };
    let trunk = Trunk {
        peer: Some(peer),
        keep_alive: Some(Duration::from_secs(30)),
        ..Trunk::default()
    };
    let mut single = SingleEndpoint::with(trunk);
    for (transport, via) in [
        (Transport::Tcp, "SIP/2.0/TCP"),
        (Transport::Udp, "SIP/2.0/UDP"),
    ] {
        single
            .endpoint
            .set_targets(0, transport, group(targets(1)), single.now);
        single.advance(30);
        let (options, destination) = single.last();
        assert!(
            options.starts_with("OPTIONS sip:carrier.example SIP/2.0\r\n"),
            "{options}"
        );
        assert!(options.contains(&format!("Via: {via} ")), "{options}");
        assert_eq!(destination, targets(1)[0]);
    }
}

#[test]
fn a_new_order_of_targets_applies_except_back_to_a_failed_target() {
    let mut single = SingleEndpoint::with_name(None);
    let [first, second, third] = targets(3)[..] else {
        panic!("expected three targets")
    };
    let called = |single: &mut SingleEndpoint| {
        single.dial().unwrap();
        single.last().1
    };
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(vec![first, second]), single.now);
    assert_eq!(called(&mut single), first);
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(vec![second, first]), single.now);
    assert_eq!(called(&mut single), second);
    let invite = single.last().0.to_owned();
    single.answer(&invite, 503, "");
    single.endpoint.set_targets(
        0,
        Transport::Udp,
        group(vec![second, third, first]),
        single.now,
    );
    assert_eq!(
        called(&mut single),
        first,
        "the working target stays in use"
    );
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(vec![second, third]), single.now);
    assert_eq!(called(&mut single), second, "unless it is no longer listed");
}

#[test]
fn a_trunk_is_unreachable_only_if_none_of_its_targets_answers() {
    let mut single = SingleEndpoint::with_name(Some(Duration::from_secs(30)));
    single
        .endpoint
        .set_targets(0, Transport::Udp, group(targets(2)), single.now);
    single.collect();
    single.take_events();
    let first = single.request();
    single.answer(&first, 503, "");
    let second = single.request();
    assert_eq!((single.last().1, single.elapsed()), (targets(2)[1], 0));
    single.answer(&second, 200, "");
    let third = single.request();
    assert_eq!(
        (single.last().1, single.elapsed(), single.take_events()),
        (targets(2)[1], 30, Vec::new())
    );
    single.answer(&third, 503, "");
    let fourth = single.request();
    single.answer(&fourth, 503, "");
    assert_eq!(
        single.take_events(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    single.request();
    assert_eq!(
        single.elapsed(),
        60,
        "the interval does not depend on the number of targets"
    );
}

#[test]
fn requests_go_to_the_outbound_proxy_and_name_the_peer() {
    let proxy: SocketAddr = "198.51.100.7:5080".parse().unwrap();
    let mut single = SingleEndpoint::with(Trunk {
        outbound_proxy: Some(TrunkPeer::at(Transport::Tcp, proxy)),
        keep_alive: Some(Duration::from_secs(30)),
        ..Trunk::default()
    });
    let options = single.request();
    let route = "\r\nRoute: <sip:198.51.100.7:5080;transport=tcp;lr>\r\n";
    assert!(
        options.starts_with("OPTIONS sip:192.0.2.2:5060 SIP/2.0\r\n") && options.contains(route),
        "{options}"
    );
    assert_eq!(single.last().1, proxy);
    let leg = single.dial().unwrap();
    let invite = single.last().0.to_owned();
    assert!(
        invite.starts_with("INVITE sip:+919900000001@192.0.2.2:5060 SIP/2.0\r\n"),
        "{invite}"
    );
    assert!(
        invite.contains(route) && invite.contains("Via: SIP/2.0/TCP "),
        "{invite}"
    );
    single.answer(&invite, 100, "");
    single.endpoint.hang_up(leg, single.now);
    single.collect();
    let (cancel, destination) = single.last();
    assert!(
        cancel.starts_with("CANCEL ") && cancel.contains(route),
        "{cancel}"
    );
    assert_eq!(destination, proxy);
}

#[test]
fn each_call_draws_its_target_by_weight_and_leaves_failed_targets_out() {
    let mut single = SingleEndpoint::with_name(None);
    let groups = [(10, 3, 1), (10, 2, 2), (10, 0, 3), (20, 9, 4)];
    let groups = groups.map(|(priority, weight, last)| TargetGroup {
        priority,
        weight,
        addresses: vec![SocketAddr::from(([198, 51, 100, last], 5070))],
    });
    single
        .endpoint
        .set_targets(0, Transport::Udp, groups.to_vec(), single.now);
    let calls = |single: &mut SingleEndpoint| -> [usize; 4] {
        let first = single.destinations.len();
        for _ in 0..200 {
            single.dial().unwrap();
        }
        let drawn = &single.destinations[first..];
        let count = |last: u8| {
            drawn
                .iter()
                .filter(|address| address.ip() == target_ip(last))
                .count()
        };
        [1, 2, 3, 4].map(count)
    };
    let [heavy, light, none, backup] = calls(&mut single);
    assert!(
        heavy > light && light > 0 && backup == 0,
        "{heavy} {light} {none} {backup}"
    );

    let invite = loop {
        single.dial().unwrap();
        let (invite, destination) = single.last();
        if destination.ip() == target_ip(1) {
            break invite.to_owned();
        }
    };
    single.answer(&invite, 503, "");
    assert_ne!(
        single.last().1.ip(),
        target_ip(1),
        "the call goes on at another target"
    );
    let [heavy, light, ..] = calls(&mut single);
    assert!(heavy == 0 && light > 0, "{heavy} {light}");
}

fn target_ip(last: u8) -> std::net::IpAddr {
    [198, 51, 100, last].into()
}

#[test]
fn an_invite_that_is_too_large_for_udp_goes_over_tcp_and_back_to_udp_without_it() {
    let mut single = SingleEndpoint::with(Trunk { ..Trunk::default() });
    let dial = |single: &mut SingleEndpoint| {
        let to = format!("+{}", "1".repeat(800));
        single.dial_number(&to).unwrap();
        let sent = single.endpoint.poll_transmit().unwrap();
        (
            sent.path.transport,
            sent.ticket.unwrap(),
            String::from_utf8_lossy(&sent.bytes).into_owned(),
        )
    };
    let (transport, ticket, invite) = dial(&mut single);
    assert!(
        invite.len() > 1300 && invite.contains("Via: SIP/2.0/TCP 192.0.2.1:5060;"),
        "{invite}"
    );
    assert_eq!(transport, Transport::Tcp);
    single.endpoint.transport_failed(&ticket, single.now);
    let again = single.endpoint.poll_transmit().unwrap();
    let text = String::from_utf8_lossy(&again.bytes).into_owned();
    assert_eq!(again.path.transport, Transport::Udp);
    assert!(text.contains("Via: SIP/2.0/UDP 192.0.2.1:5060;"), "{text}");
    assert_eq!(number(&text), number(&invite));
    let (transport, ..) = dial(&mut single);
    assert_eq!(
        transport,
        Transport::Udp,
        "the peer is known to have no TCP"
    );
    single.collect();
    assert!(single.take_events().is_empty());
    single.now += Duration::from_secs(3600);
    let (transport, ..) = dial(&mut single);
    assert_eq!(transport, Transport::Tcp, "asked again");
}

#[test]
fn early_media_ends_with_the_change_to_the_next_target() {
    let mut single = SingleEndpoint::with_name(None);
    let groups = group(targets(2));
    single
        .endpoint
        .set_targets(0, Transport::Udp, groups, single.now);
    let leg = single.dial().unwrap();
    single.take_events();
    let invite = single.last().0.to_owned();
    let description = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
                       m=audio 30000 RTP/AVP 8\r\n";
    single.answer_with(
        &invite,
        183,
        "Content-Type: application/sdp\r\n",
        description,
    );
    let events = single.take_events();
    assert!(
        matches!(
            events[..],
            [
                Event::EarlyMedia { .. },
                Event::Progress { status: 183, .. }
            ]
        ),
        "{events:?}"
    );
    single.answer(&invite, 503, "");
    assert_eq!(single.take_events(), [Event::EarlyMediaEnded(leg)]);
    let second = single.last().0.to_owned();
    assert!(second.starts_with("INVITE ") && second != invite);
    single.answer(&second, 503, "");
    assert_eq!(single.take_events(), [Event::Failed { leg, status: 503 }]);
}
