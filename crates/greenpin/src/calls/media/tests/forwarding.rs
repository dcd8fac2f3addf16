//! Audio between two bridged legs.

use super::*;

#[test]
fn a_bridged_tone_arrives_both_ways_between_a_law_and_mu_law() {
    let mut harness = MediaHarness::new(32_000..=32_019);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (mut alice, mut bob) = (Socket::new(8), Socket::new(0));
    a.connect(remote(alice.address(), Codec::Pcma, Some(101)));
    b.connect(remote(bob.address(), Codec::Pcmu, Some(101)));
    a.bridge(&b);
    harness.wait_until_done(&b);
    let heard_by_bob = alice.speak(a.local_port(), 440.0, Codec::Pcma, &bob);
    let heard_by_alice = bob.speak(b.local_port(), 1000.0, Codec::Pcmu, &alice);
    assert!((frequency(&decoded(&heard_by_bob)) - 440.0).abs() < 10.0);
    assert!((frequency(&decoded(&heard_by_alice)) - 1000.0).abs() < 10.0);
    assert!(heard_by_bob.iter().all(|packet| packet[1] & 0x7f == 0));
    assert!(heard_by_alice.iter().all(|packet| packet[1] & 0x7f == 8));
}

#[test]
fn audio_of_the_same_codec_passes_unchanged_without_any_other_data_of_the_sender() {
    let mut harness = MediaHarness::new(32_020..=32_039);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (alice, bob) = (Socket::new(8), Socket::new(8));
    a.connect(remote(alice.address(), Codec::Pcma, None));
    b.connect(remote(bob.address(), Codec::Pcma, None));
    a.bridge(&b);
    harness.wait_until_done(&b);
    let mut headers = Vec::new();
    for step in 0..5u16 {
        let header = Header {
            sequence: 41_000 + step,
            timestamp: 777_777 + u32::from(step) * 160,
            ..alice.header
        };
        let mut datagram = header.octets().to_vec();
        datagram[0] = 0x80 | 0x10 | 1;
        datagram.extend(b"\xca\xfe\xba\xbe\xbe\xde\x00\x01LEAK");
        datagram.extend([0x5a; 160]);
        alice
            .socket
            .send_to(&datagram, local(a.local_port()))
            .unwrap();
        let received = bob.receive();
        let packet = Packet::parse(&received).unwrap();
        assert_eq!((received.len(), packet.payload), (172, &[0x5a; 160][..]));
        headers.push(packet.header);
    }
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
    }
    assert!(headers.iter().all(|header| header.ssrc != 0xfeed_f00d));
    assert!((headers[0].sequence, headers[0].timestamp) != (41_000, 777_777));
}

#[test]
fn g722_passes_unchanged_between_two_g722_peers() {
    let mut harness = MediaHarness::new(32_660..=32_679);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (mut alice, bob) = (Socket::new(9), Socket::new(9));
    a.connect(remote(alice.address(), Codec::G722, None));
    b.connect(remote(bob.address(), Codec::G722, None));
    a.bridge(&b);
    harness.wait_until_done(&b);
    let spoken: [u8; 160] = std::array::from_fn(|index| index as u8);
    alice.send(a.local_port(), &spoken);
    let received = bob.receive();
    let packet = Packet::parse(&received).unwrap();
    assert_eq!(
        (packet.header.payload_type, packet.payload),
        (9, &spoken[..])
    );
}

#[test]
fn legs_of_different_threads_are_bridged_on_one_thread() {
    let settings = MediaSettings {
        ports: 32_300..=32_319,
        threads: 2,
        ..MediaSettings::default()
    };
    let mut harness = MediaHarness::with(settings);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (mut alice, mut bob) = (Socket::new(8), Socket::new(0));
    b.connect(remote(bob.address(), Codec::Pcmu, Some(101)));
    b.play(Arc::new(Clip::new(tone(440.0, 20)).unwrap()), 1);
    harness.played(1);
    a.connect(remote(alice.address(), Codec::Pcma, Some(101)));
    a.bridge(&b);
    bob.receive();
    harness.wait_until_done(&b);
    let heard_by_bob = alice.speak(a.local_port(), 440.0, Codec::Pcma, &bob);
    let heard_by_alice = bob.speak(b.local_port(), 1000.0, Codec::Pcmu, &alice);
    assert!((frequency(&decoded(&heard_by_bob)) - 440.0).abs() < 10.0);
    assert!((frequency(&decoded(&heard_by_alice)) - 1000.0).abs() < 10.0);
    assert_eq!(harness.close(b).received.packets, 50);
}
