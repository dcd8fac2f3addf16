//! Keys as events and as tones.

use super::*;

#[test]
fn a_press_with_three_end_packets_is_one_digit() {
    let mut harness = MediaHarness::new(32_080..=32_099);
    let leg = harness.plane.open().unwrap();
    let mut peer = Socket::new(8);
    leg.connect(remote(peer.address(), Codec::Pcma, Some(101)));
    harness.wait_until_done(&leg);
    "4421"
        .chars()
        .for_each(|symbol| peer.press(leg.local_port(), symbol));
    let id = leg.id();
    let received: String = (0..4).map(|_| harness.digit(id).0).collect();
    assert_eq!(received, "4421");
    harness.close(leg);
    assert_eq!(harness.seen.len(), 0);
}

#[test]
fn digits_pass_over_the_bridge_as_events() {
    let mut harness = MediaHarness::new(32_100..=32_119);
    let (a, alice) = harness.pair(Codec::Pcma, Some(101));
    let (b, bob) = harness.pair(Codec::Pcmu, Some(96));
    a.bridge(&b);
    alice.send_digits(
        "19*#"
            .chars()
            .map(|symbol| Digit::try_from(symbol).unwrap())
            .collect(),
    );
    for symbol in "19*#".chars() {
        assert_eq!(harness.digit(a.id()), (symbol, DigitSource::Event));
        assert_eq!(harness.digit(bob.id()), (symbol, DigitSource::Event));
    }
    drop(b);
}

#[test]
fn the_rest_of_a_press_from_before_the_bridge_does_not_pass() {
    let mut harness = MediaHarness::new(32_340..=32_359);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (mut alice, bob) = (Socket::new(8), Socket::new(8));
    a.connect(remote(alice.address(), Codec::Pcma, Some(101)));
    b.connect(remote(bob.address(), Codec::Pcma, Some(101)));
    alice.send_events(a.local_port(), '9', &[(false, 160), (false, 320)]);
    assert_eq!(harness.digit(a.id()).0, '9');
    a.bridge(&b);
    harness.wait_until_done(&b);
    let rest = [(false, 480), (true, 640), (true, 640), (true, 640)];
    alice.send_events(a.local_port(), '9', &rest);
    alice.header.timestamp += 1600;
    alice.send(a.local_port(), &[0x33; 160]);
    assert_eq!(Packet::parse(&bob.receive()).unwrap().payload, [0x33; 160]);
    alice.press(a.local_port(), '5');
    let passed: Vec<Vec<u8>> = (0..5).map(|_| bob.receive()).collect();
    assert!(
        passed
            .iter()
            .all(|packet| packet[1] & 0x7f == 101 && packet[12] == 5)
    );
}

#[test]
fn our_digits_and_the_peers_digits_are_sent_in_sequence() {
    let mut harness = MediaHarness::new(32_360..=32_379);
    let (a, alice) = harness.pair(Codec::Pcma, Some(101));
    let (b, bob) = harness.pair(Codec::Pcma, Some(101));
    a.bridge(&b);
    let digits = |keys: &str| {
        keys.chars()
            .map(|symbol| Digit::try_from(symbol).unwrap())
            .collect::<Vec<_>>()
    };
    b.send_digits(digits("111"));
    alice.send_digits(digits("222"));
    let mut received: Vec<char> = (0..6).map(|_| harness.digit(bob.id()).0).collect();
    received.sort_unstable();
    assert_eq!(received, ['1', '1', '1', '2', '2', '2']);
    harness.close(alice);
    harness.close(bob);
    let more = harness
        .seen
        .iter()
        .filter(|event| matches!(event, MediaEvent::Digit { .. }))
        .count();
    assert_eq!(more, 3, "only the digits of the caller's own leg are left");
    drop(a);
}

#[test]
fn digits_reach_a_peer_without_telephone_event_as_tones() {
    let mut harness = MediaHarness::new(32_120..=32_139);
    let (a, alice) = harness.pair(Codec::Pcma, Some(101));
    let (b, bob) = harness.pair(Codec::Pcma, None);
    a.bridge(&b);
    alice.send_digits(
        "70D"
            .chars()
            .map(|symbol| Digit::try_from(symbol).unwrap())
            .collect(),
    );
    for symbol in "70D".chars() {
        assert_eq!(harness.digit(bob.id()), (symbol, DigitSource::InBand));
    }
}

#[test]
fn presses_under_one_timestamp_pass_as_presses_of_our_own() {
    let mut harness = MediaHarness::new(32_380..=32_399);
    let a = harness.plane.open().unwrap();
    let mut alice = Socket::new(8);
    let mut answered = remote(alice.address(), Codec::Pcma, Some(96));
    answered.formats.offered_telephone_event = Some(EventFormat::at_8000(101));
    a.connect(answered);
    let (b, bob) = harness.pair(Codec::Pcma, Some(101));
    a.bridge(&b);
    harness.wait_until_done(&b);
    for symbol in "123".chars() {
        // Payload type 101 of our offer, although the peer named 96.
        alice.send_events(a.local_port(), symbol, &[(false, 160), (true, 320)]);
        assert_eq!(harness.digit(a.id()), (symbol, DigitSource::Event));
    }
    for symbol in "123".chars() {
        assert_eq!(harness.digit(bob.id()), (symbol, DigitSource::Event));
    }
    drop(b);
}
