//! Audio of a leg whose party has not answered.

use super::*;

/// Creates a caller in A-law and a callee in µ-law whose audio is played to the caller, with their peers.
fn early_media(harness: &mut MediaHarness) -> ([LegMedia; 2], [Socket; 2]) {
    let legs = [harness.plane.open().unwrap(), harness.plane.open().unwrap()];
    let peers = [Socket::new(8), Socket::new(0)];
    let [caller, callee] = &legs;
    caller.connect(remote(peers[0].address(), Codec::Pcma, Some(101)));
    callee.connect(Remote {
        send: false,
        ..remote(peers[1].address(), Codec::Pcmu, Some(101))
    });
    caller.play_ringback();
    caller.play_early_media(callee);
    harness.wait_until_done(callee);
    (legs, peers)
}

/// Returns the next payload of the tone to the caller that is not silence.
fn next_sound(peer: &Socket) -> Vec<u8> {
    let sounds = |payload: &Vec<u8>| payload.iter().any(|octet| !matches!(octet, 0x55 | 0xd5));
    let mut payloads = std::iter::repeat_with(|| peer.receive()[12..].to_vec());
    payloads.find(sounds).unwrap()
}

#[test]
fn ringback_lasts_until_the_first_packet_of_early_media_and_comes_again_after_it() {
    let mut harness = MediaHarness::new(32_440..=32_459);
    let ([caller, callee], [alice, mut bob]) = early_media(&mut harness);
    next_sound(&alice);
    // Keys are no audio, and no key is passed on before the answer.
    bob.press(callee.local_port(), '5');
    assert_eq!(harness.digit(callee.id()), ('5', DigitSource::Event));
    assert_eq!(next_sound(&alice).len(), 160);
    let mut quiet = [0; 160];
    Codec::Pcmu.encode(&[0; 160], &mut quiet);
    let mut heard = [0; 160];
    Codec::Pcma.encode(&[0; 160], &mut heard);
    // Sequence numbers and timestamps continue those of the tone.
    let mut last = Packet::parse(&alice.receive()).unwrap().header;
    for _ in 0..5 {
        bob.send(callee.local_port(), &quiet);
    }
    let mut relayed = 0;
    while relayed < 5 {
        let received = alice.receive();
        let packet = Packet::parse(&received).unwrap();
        let header = packet.header;
        assert_eq!((header.payload_type, header.ssrc), (8, last.ssrc));
        assert_eq!(header.sequence, last.sequence.wrapping_add(1));
        last = header;
        relayed = match packet.payload == heard {
            true => relayed + 1,
            false => 0,
        };
    }
    caller.play_ringback();
    harness.wait_until_done(&callee);
    bob.send(callee.local_port(), &[0x2a; 160]);
    assert_ne!(next_sound(&alice), [0x00; 160]);
    let report = harness.close(callee);
    assert_eq!(report.sent_packets, 0);
}

#[test]
fn nothing_of_the_caller_reaches_a_leg_before_its_answer() {
    // The callee's leg moves to the thread of the caller.
    let mut harness = MediaHarness::with(MediaSettings {
        ports: 32_460..=32_479,
        threads: 2,
        ..MediaSettings::default()
    });
    let ([caller, callee], [mut alice, mut bob]) = early_media(&mut harness);
    alice.send(caller.local_port(), &[0x2a; 160]);
    alice.press(caller.local_port(), '7');
    assert_eq!(harness.digit(caller.id()), ('7', DigitSource::Event));
    // The answer opens both directions.
    callee.connect(remote(bob.address(), Codec::Pcmu, Some(101)));
    caller.bridge(&callee);
    harness.wait_until_done(&callee);
    let heard_by_bob = alice.speak(caller.local_port(), 440.0, Codec::Pcma, &bob);
    assert!((frequency(&decoded(&heard_by_bob)) - 440.0).abs() < 10.0);
    alice.socket.set_nonblocking(true).unwrap();
    while alice.socket.recv(&mut [0; 1500]).is_ok() {}
    alice.socket.set_nonblocking(false).unwrap();
    let heard_by_alice = bob.speak(callee.local_port(), 1000.0, Codec::Pcmu, &alice);
    assert!((frequency(&decoded(&heard_by_alice)) - 1000.0).abs() < 10.0);
    assert_eq!(harness.close(callee).sent_packets, 50);
}

#[test]
fn early_media_ends_with_either_leg() {
    let mut harness = MediaHarness::new(32_480..=32_499);
    let ([caller, callee], [alice, mut bob]) = early_media(&mut harness);
    bob.send(callee.local_port(), &[0x2a; 160]);
    harness.close(caller);
    // The place of the caller's leg is free. Another call takes it, and does not hear the early media.
    let other = harness.plane.open().unwrap();
    other.connect(remote(alice.address(), Codec::Pcma, None));
    harness.wait_until_done(&other);
    bob.send(callee.local_port(), &[0x2a; 160]);
    harness.wait_until_done(&callee);
    harness.close(callee);
    assert_eq!(harness.close(other).sent_packets, 0);
}

#[test]
fn early_media_is_transcoded_like_the_audio_of_a_bridged_call() {
    for (ports, codec) in [
        (32_500..=32_519, Codec::Opus),
        (32_520..=32_539, Codec::G722),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("received.wav");
        let mut harness = MediaHarness::new(ports);
        let (caller, alice) = harness.pair(Codec::Pcma, Some(101));
        let (callee, bob) = harness.pair(codec, Some(101));
        caller.play_ringback();
        caller.play_early_media(&callee);
        harness.wait_until_done(&callee);
        alice.record(file.clone(), None);
        bob.play(Arc::new(Clip::new(tone(1000.0, 1500)).unwrap()), 1);
        harness.played(1);
        harness.close(alice);
        harness.recorded().unwrap();
        let heard = frequency(&channels(&file).0);
        assert!((heard - 1000.0).abs() < 10.0, "{codec:?}: {heard}");
    }
}
