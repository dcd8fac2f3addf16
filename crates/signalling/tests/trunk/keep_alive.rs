//! Keep-alive probes.

use super::*;

#[test]
fn a_trunk_is_probed_and_any_response_marks_it_as_reachable() {
    let mut single = SingleEndpoint::with_keep_alive(30);
    for round in 0..4 {
        let options = single.request();
        assert!(
            options.starts_with("OPTIONS sip:192.0.2.2:5060 SIP/2.0\r\n"),
            "{options}"
        );
        assert_eq!(single.elapsed(), round * 30);
        single.answer(
            &options,
            [200, 404, 405, 401][usize::try_from(round).unwrap()],
            "",
        );
    }
    assert_eq!(
        (single.take_events(), single.endpoint.is_up(0)),
        (Vec::new(), true)
    );
}

#[test]
fn a_silent_trunk_is_unreachable_until_it_answers_again() {
    let mut single = SingleEndpoint::with_keep_alive(30);
    single.request();
    let second = single.request();
    assert_eq!(
        single.take_events(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    assert!(!single.endpoint.is_up(0));
    assert_eq!(single.elapsed(), 30, "the probe interval does not change");
    single.answer(&second, 200, "");
    assert_eq!(
        single.take_events(),
        [Event::Reachable { trunk: 0, up: true }]
    );
    // The late result of the unanswered probe has no effect.
    single.advance(29);
    assert!(single.take_events().is_empty() && single.endpoint.is_up(0));
}

#[test]
fn a_503_or_a_transport_failure_marks_the_trunk_as_unreachable() {
    let mut single = SingleEndpoint::with_keep_alive(30);
    let options = single.request();
    single.answer(&options, 503, "");
    assert_eq!(
        single.take_events(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    let options = single.request();
    single.answer(&options, 200, "");
    assert_eq!(
        single.take_events(),
        [Event::Reachable { trunk: 0, up: true }]
    );
    single.now = single.endpoint.poll_timeout().unwrap();
    while single.take_events().is_empty() {
        single.now = single.endpoint.poll_timeout().unwrap().max(single.now);
        single.endpoint.handle_timeout(single.now);
        while let Some(transmit) = single.endpoint.poll_transmit() {
            single
                .endpoint
                .transport_failed(&transmit.ticket.unwrap(), single.now);
        }
        single.collect();
    }
    assert!(!single.endpoint.is_up(0));
}

#[test]
fn a_trunk_without_keep_alive_is_not_probed() {
    let mut single = SingleEndpoint::with(Trunk::default());
    single.collect();
    assert!(
        single.endpoint.poll_timeout().is_none()
            && single.wire.is_empty()
            && single.endpoint.is_up(0)
    );
}

#[test]
fn a_probe_without_a_response_names_its_connection_as_possibly_dead() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Udp] {
        let mut single = SingleEndpoint::with(Trunk {
            peer: Some(TrunkPeer::at(transport, peer())),
            keep_alive: Some(Duration::from_secs(30)),
            ..Trunk::default()
        });
        let probe = single.request();
        single.answer(&probe, 200, "");
        single.request();
        let sent = single.now;
        assert_eq!(single.endpoint.poll_unanswered(), None);
        single.advance(20);
        let unanswered = single.endpoint.poll_unanswered();
        let expected = (peer(), sent);
        assert_eq!(
            unanswered.map(|request| (request.path.destination, request.sent)),
            transport.is_stream().then_some(expected)
        );
    }
}
