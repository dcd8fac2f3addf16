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

    fn dial(&mut self) -> Result<LegId, DialError> {
        let address = "192.0.2.1".parse().unwrap();
        let secrets = Secrets::new([1; 132]);
        let local = LocalMedia {
            address,
            port: 20000,
            session_id: 1,
            version: 1,
            comfort_noise: false,
            srtp: SrtpMode::Off,
            secrets,
        };
        let (to, from) = ("+919900000001".into(), "+914000000001".into());
        let call = OutgoingCall {
            trunk: 0,
            to,
            from,
            local,
            preferred: Codec::Pcma,
        };
        let leg = self.endpoint.dial(call, self.now);
        self.collect();
        leg
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
        .set_targets(0, Transport::Udp, targets(1), single.now);
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
        .set_targets(0, Transport::Udp, Vec::new(), single.now);
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
        .set_targets(0, Transport::Udp, targets(3), single.now);
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
        .set_targets(0, Transport::Udp, targets(2), now);
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
            .set_targets(0, transport, targets(1), single.now);
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
        .set_targets(0, Transport::Udp, vec![first, second], single.now);
    assert_eq!(called(&mut single), first);
    single
        .endpoint
        .set_targets(0, Transport::Udp, vec![second, first], single.now);
    assert_eq!(called(&mut single), second);
    let invite = single.last().0.to_owned();
    single.answer(&invite, 503, "");
    single
        .endpoint
        .set_targets(0, Transport::Udp, vec![second, third, first], single.now);
    assert_eq!(
        called(&mut single),
        first,
        "the working target stays in use"
    );
    single
        .endpoint
        .set_targets(0, Transport::Udp, vec![second, third], single.now);
    assert_eq!(called(&mut single), second, "unless it is no longer listed");
}

#[test]
fn a_trunk_is_unreachable_only_if_none_of_its_targets_answers() {
    let mut single = SingleEndpoint::with_name(Some(Duration::from_secs(30)));
    single
        .endpoint
        .set_targets(0, Transport::Udp, targets(2), single.now);
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
