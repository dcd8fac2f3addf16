//! Sources, prompts, hold, silence and close of a leg.

use super::*;

#[test]
fn audio_and_digits_from_a_foreign_source_are_dropped_and_counted() {
    let mut harness = MediaHarness::new(32_040..=32_059);
    let leg = harness.plane.open().unwrap();
    let (mut peer, mut stranger) = (Socket::new(8), Socket::new(8));
    leg.connect(remote(peer.address(), Codec::Pcma, Some(101)));
    harness.wait_until_done(&leg);
    stranger.press(leg.local_port(), '1');
    peer.press(leg.local_port(), '2');
    assert_eq!(harness.digit(leg.id()), ('2', DigitSource::Event));
    let report = harness.close(leg);
    assert_eq!((report.foreign, report.received.packets > 0), (5, true));
}

#[test]
fn the_first_source_within_the_trunks_networks_is_latched() {
    let mut harness = MediaHarness::new(32_060..=32_079);
    let leg = harness.plane.open().unwrap();
    let (mut first, mut second) = (Socket::new(8), Socket::new(8));
    let source = SourceRule::Latch(vec![Network {
        address: Ipv4Addr::LOCALHOST.into(),
        prefix: 32,
    }]);
    leg.connect(Remote {
        source,
        ..remote("192.0.2.1:4000".parse().unwrap(), Codec::Pcma, Some(101))
    });
    harness.wait_until_done(&leg);
    first.press(leg.local_port(), '1');
    second.press(leg.local_port(), '2');
    first.press(leg.local_port(), '3');
    assert_eq!(
        [harness.digit(leg.id()).0, harness.digit(leg.id()).0],
        ['1', '3']
    );
    leg.play(Arc::new(Clip::new(tone(440.0, 20)).unwrap()), 1);
    assert_eq!(first.receive().len(), 172);
    assert_eq!(harness.close(leg).foreign, 5);
}

#[test]
fn a_clip_reports_its_end_unless_it_is_replaced() {
    let mut harness = MediaHarness::new(32_200..=32_219);
    let (leg, phone) = harness.pair(Codec::Pcmu, Some(101));
    let (sender, mut received) = unbounded_channel();
    phone.listen(sender);
    leg.play(Arc::new(Clip::new(tone(440.0, 60_000)).unwrap()), 1);
    leg.play(Arc::new(Clip::new(tone(700.0, 1000)).unwrap()), 2);
    harness.played(2);
    let samples: Vec<i16> = std::iter::from_fn(|| received.try_recv().ok())
        .flatten()
        .collect();
    assert!((frequency(&samples) - 700.0).abs() < 10.0);
    harness.close(leg);
    let is_end = |event: &MediaEvent| matches!(event, MediaEvent::PlayFinished { .. });
    assert!(!harness.seen.iter().any(is_end));
}

#[test]
fn ringback_plays_until_the_bridge() {
    let mut harness = MediaHarness::new(32_220..=32_239);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (alice, mut bob) = (Socket::new(8), Socket::new(8));
    a.connect(remote(alice.address(), Codec::Pcma, None));
    b.connect(remote(bob.address(), Codec::Pcma, None));
    a.play_ringback();
    let ringing: Vec<Vec<u8>> = (0..30).map(|_| alice.receive()).collect();
    assert!((frequency(&decoded(&ringing)) - 425.0).abs() < 10.0);
    a.bridge(&b);
    harness.wait_until_done(&b);
    bob.send(b.local_port(), &[0x11; 160]);
    let last = Packet::parse(ringing.last().unwrap()).unwrap().header;
    let bridged = std::iter::from_fn(|| Some(alice.receive()))
        .find(|packet| packet[12..] == [0x11; 160])
        .unwrap();
    assert_eq!(Packet::parse(&bridged).unwrap().header.ssrc, last.ssrc);
}

#[test]
fn during_hold_nothing_is_received_and_nothing_is_sent() {
    let mut harness = MediaHarness::new(32_240..=32_259);
    let leg = harness.plane.open().unwrap();
    let mut peer = Socket::new(8);
    let open = remote(peer.address(), Codec::Pcma, Some(101));
    leg.connect(Remote {
        send: false,
        receive: false,
        ..open.clone()
    });
    harness.wait_until_done(&leg);
    peer.press(leg.local_port(), '1');
    leg.play(Arc::new(Clip::new(vec![1000; 320]).unwrap()), 1);
    harness.played(1);
    leg.connect(open);
    harness.wait_until_done(&leg);
    peer.press(leg.local_port(), '2');
    assert_eq!(harness.digit(leg.id()).0, '2');
    leg.play(Arc::new(Clip::new(vec![-5000; 160]).unwrap()), 2);
    assert!(decoded(&[peer.receive()])[0] < -4000);
}

#[test]
fn a_peer_that_sends_nothing_is_reported_once() {
    let settings = MediaSettings {
        ports: 32_260..=32_279,
        silence_limit: Duration::ZERO,
        ..MediaSettings::default()
    };
    let mut harness = MediaHarness::with(settings);
    let leg = harness.plane.open().unwrap();
    leg.connect(remote(local(9), Codec::Pcma, None));
    let id = leg.id();
    harness.wait(|event| (*event == MediaEvent::Silent { id }).then_some(()));
}

#[test]
fn an_open_leg_reports_its_statistics() {
    let mut harness = MediaHarness::with(MediaSettings {
        ports: 33_400..=33_419,
        ..MediaSettings::default()
    });
    let leg = harness.plane.open().unwrap();
    let mut peer = Socket::new(8);
    leg.connect(remote(peer.address(), Codec::Pcma, Some(101)));
    harness.wait_until_done(&leg);
    peer.press(leg.local_port(), '1');
    harness.digit(leg.id());
    let reported = harness.wait(|event| match event {
        MediaEvent::Report { id, report } if *id == leg.id() => Some(*report),
        _ => None,
    });
    assert_eq!(reported.codec, Some(Codec::Pcma));
    assert!(reported.received.packets > 0);
}

#[test]
fn an_address_that_nothing_comes_from_gets_no_more_audio_until_a_packet_comes() {
    let settings = MediaSettings {
        ports: 32_420..=32_439,
        unanswered_limit: Duration::ZERO,
        ..MediaSettings::default()
    };
    let mut harness = MediaHarness::with(settings);
    let leg = harness.plane.open().unwrap();
    let mut peer = Socket::new(8);
    leg.connect(remote(peer.address(), Codec::Pcma, None));
    leg.play(Arc::new(Clip::new(tone(440.0, 600_000)).unwrap()), 1);
    peer.receive();
    let quiet = Duration::from_millis(400);
    peer.socket.set_read_timeout(Some(quiet)).unwrap();
    while peer.socket.recv(&mut [0; 1500]).is_ok() {}
    peer.socket.set_read_timeout(Some(EVENT_TIMEOUT)).unwrap();
    peer.send(leg.local_port(), &[0xd5; 160]);
    assert_eq!(peer.receive().len(), 172);
    harness.close(leg);
}

#[test]
fn closing_frees_the_ports_and_sends_an_rtcp_bye() {
    let mut harness = MediaHarness::new(32_280..=32_281);
    let leg = harness.plane.open().unwrap();
    assert!(matches!(
        harness.plane.open(),
        Err(OpenLegError::NoPortFree)
    ));
    let (peer, control) = (Socket::new(8), Socket::new(8));
    leg.connect(Remote {
        rtcp: Some(control.address()),
        ..remote(peer.address(), Codec::Pcma, None)
    });
    harness.wait_until_done(&leg);
    harness.close(leg);
    assert_eq!(
        (
            harness.plane.legs(),
            harness.plane.open().unwrap().local_port()
        ),
        (0, 32_280)
    );
    let goodbye = std::iter::from_fn(|| Some(control.receive())).any(|octets| {
        media::parse_rtcp(&octets).any(|item| matches!(item, media::Rtcp::Bye { .. }))
    });
    assert!(goodbye);
}

#[test]
fn malformed_datagrams_are_counted_and_ignored() {
    let mut harness = MediaHarness::new(32_320..=32_339);
    let leg = harness.plane.open().unwrap();
    let mut peer = Socket::new(8);
    leg.connect(Remote {
        rtcp: Some(peer.address()),
        ..remote(peer.address(), Codec::Pcma, Some(101))
    });
    harness.wait_until_done(&leg);
    for length in [0, 1, 11, 1400, 9000] {
        let garbage = vec![0xbf; length];
        peer.socket
            .send_to(&garbage, local(leg.local_port()))
            .unwrap();
        peer.socket
            .send_to(&garbage, local(leg.local_port() + 1))
            .unwrap();
    }
    peer.press(leg.local_port(), '6');
    assert_eq!(harness.digit(leg.id()).0, '6');
    assert_eq!(harness.close(leg).malformed, 5);
}
