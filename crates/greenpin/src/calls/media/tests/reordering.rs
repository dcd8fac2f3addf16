//! Packets out of order, repeated or lost.

use super::*;

/// Encodes one second of a tone in this codec, as datagrams in order.
fn datagrams(peer: &mut Socket, codec: Codec, hertz: f64) -> Vec<Vec<u8>> {
    let mut encoder = media::Encoder::default();
    let packet = |frame: &[i16]| {
        let mut payload = [0; 160];
        encoder.encode(codec, frame, &mut payload);
        let mut out = [0; 172];
        peer.header.write(&payload, &mut out).unwrap();
        peer.header.sequence += 1;
        peer.header.timestamp += 160;
        out.to_vec()
    };
    tone(hertz, 1000).chunks(160).map(packet).collect()
}

#[test]
fn reordered_and_repeated_g722_becomes_g711_in_order_without_repeats() {
    let mut received = Vec::new();
    for (ports, disorder) in [(32_740..=32_749, false), (32_750..=32_759, true)] {
        let mut harness = MediaHarness::new(ports);
        let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
        let (mut alice, bob) = (Socket::new(9), Socket::new(8));
        a.connect(remote(alice.address(), Codec::G722, Some(101)));
        b.connect(remote(bob.address(), Codec::Pcma, Some(101)));
        a.bridge(&b);
        harness.wait_until_done(&b);
        let mut spoken = datagrams(&mut alice, Codec::G722, 440.0);
        if disorder {
            spoken[1..].chunks_mut(3).for_each(|three| three.reverse());
            spoken = spoken
                .into_iter()
                .flat_map(|packet| [packet.clone(), packet])
                .collect();
        }
        for packet in &spoken {
            alice.socket.send_to(packet, local(a.local_port())).unwrap();
        }
        let packets: Vec<Vec<u8>> = (0..50).map(|_| bob.receive()).collect();
        let headers: Vec<Header> = packets
            .iter()
            .map(|packet| Packet::parse(packet).unwrap().header)
            .collect();
        assert!(headers.windows(2).all(|two| {
            two[1].sequence == two[0].sequence.wrapping_add(1)
                && two[1].timestamp == two[0].timestamp.wrapping_add(160)
        }));
        received.push(decoded(&packets));
        assert_eq!(harness.close(a).late, if disorder { 50 } else { 0 });
    }
    assert!(received[0] == received[1], "reordering is inaudible");
    assert!((frequency(&received[0]) - 440.0).abs() < 10.0);
}

#[test]
fn packets_behind_a_lost_packet_continue_without_it() {
    let mut harness = MediaHarness::new(32_760..=32_779);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (mut alice, bob) = (Socket::new(9), Socket::new(8));
    a.connect(remote(alice.address(), Codec::G722, Some(101)));
    b.connect(remote(bob.address(), Codec::Pcma, Some(101)));
    a.bridge(&b);
    harness.wait_until_done(&b);
    let spoken = datagrams(&mut alice, Codec::G722, 440.0);
    for step in [0, 3, 2] {
        alice
            .socket
            .send_to(&spoken[step], local(a.local_port()))
            .unwrap();
    }
    let steps = [bob.receive(), bob.receive(), bob.receive()];
    let steps = steps.map(|packet| Packet::parse(&packet).unwrap().header.timestamp);
    assert_eq!(
        [steps[1], steps[2]].map(|step| step.wrapping_sub(steps[0])),
        [320, 480]
    );
}

#[test]
fn reordered_and_repeated_tones_are_one_key_and_pass_in_their_order_of_arrival() {
    let mut harness = MediaHarness::new(32_780..=32_799);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (mut alice, bob) = (Socket::new(8), Socket::new(8));
    a.connect(remote(alice.address(), Codec::Pcma, None));
    b.connect(remote(bob.address(), Codec::Pcma, None));
    a.bridge(&b);
    harness.wait_until_done(&b);
    let mut tones = media::DigitTones::default();
    tones.press("44".chars().map(|symbol| Digit::try_from(symbol).unwrap()));
    let mut packets = Vec::new();
    while let Some(frame) = tones.frame() {
        let (mut payload, mut out) = ([0; 160], [0; 172]);
        Codec::Pcma.encode(&frame, &mut payload);
        alice.header.write(&payload, &mut out).unwrap();
        alice.header.sequence += 1;
        alice.header.timestamp += 160;
        packets.push(out);
    }
    packets[1..].chunks_mut(4).for_each(|four| four.reverse());
    for packet in &packets {
        for _ in 0..2 {
            alice.socket.send_to(packet, local(a.local_port())).unwrap();
        }
    }
    let mut seen = std::collections::HashSet::new();
    for packet in &packets {
        let mut received = std::iter::from_fn(|| Some(bob.receive()));
        let passed = received
            .find(|packet| seen.insert([packet[2], packet[3]]))
            .unwrap();
        assert_eq!(passed[12..], packet[12..], "forwarded packets do not wait");
    }
    assert_eq!(
        [harness.digit(a.id()).0, harness.digit(a.id()).0],
        ['4', '4']
    );
    harness.close(a);
    assert!(
        !harness
            .seen
            .iter()
            .any(|event| matches!(event, MediaEvent::Digit { .. }))
    );
}
