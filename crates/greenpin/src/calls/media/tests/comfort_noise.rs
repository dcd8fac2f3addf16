//! Comfort noise between two bridged legs.

use super::*;

/// Creates two bridged peers with G.711. The first peer uses comfort noise, the second only if `both` is set.
fn quiet_talk(harness: &mut MediaHarness, both: bool) -> ([LegMedia; 2], [Socket; 2]) {
    let legs = [harness.plane.open().unwrap(), harness.plane.open().unwrap()];
    let peers = [Socket::new(8), Socket::new(8)];
    for (index, (leg, peer)) in legs.iter().zip(&peers).enumerate() {
        let open = remote(peer.address(), Codec::Pcma, None);
        let formats = NegotiatedFormats {
            comfort_noise: index == 0 || both,
            ..open.formats
        };
        leg.connect(Remote { formats, ..open });
    }
    legs[0].bridge(&legs[1]);
    harness.wait_until_done(&legs[1]);
    (legs, peers)
}

#[test]
fn comfort_noise_passes_with_our_own_numbers_and_is_truncated_to_its_format() {
    let mut harness = MediaHarness::new(32_680..=32_699);
    let ([a, _b], [mut alice, bob]) = quiet_talk(&mut harness, true);
    alice.send(a.local_port(), &[0x55; 160]);
    let spoken = bob.receive();
    alice.header.payload_type = 13;
    alice.send(a.local_port(), &[200]);
    alice.send(a.local_port(), &[60; 40]);
    let quiet = bob.receive();
    let (spoken, quiet) = (
        Packet::parse(&spoken).unwrap(),
        Packet::parse(&quiet).unwrap(),
    );
    assert_eq!(
        (quiet.header.payload_type, quiet.payload),
        (13, &[60; 11][..])
    );
    assert_eq!(
        quiet.header.sequence,
        spoken.header.sequence.wrapping_add(1)
    );
    assert_eq!(quiet.header.ssrc, spoken.header.ssrc);
}

#[test]
fn comfort_noise_is_generated_for_a_peer_without_it_until_audio_resumes() {
    let mut harness = MediaHarness::new(32_700..=32_719);
    let ([a, _b], [mut alice, bob]) = quiet_talk(&mut harness, false);
    alice.send(a.local_port(), &[0x55; 160]);
    let mut last = Packet::parse(&bob.receive()).unwrap().header;
    alice.header.payload_type = 13;
    alice.send(a.local_port(), &[30]);
    let mut power = 0.0;
    for _ in 0..20 {
        let received = bob.receive();
        let header = Packet::parse(&received).unwrap().header;
        assert_eq!(
            (header.payload_type, header.sequence),
            (8, last.sequence.wrapping_add(1))
        );
        assert!((header.timestamp.wrapping_sub(last.timestamp) as i32) >= 160);
        last = header;
        power += decoded(&[received])
            .iter()
            .map(|sample| f64::from(*sample).powi(2))
            .sum::<f64>()
            / 3200.0;
    }
    let level = 10.0 * (power / 32_768f64.powi(2)).log10();
    assert!((level + 30.0).abs() < 2.0, "{level}");
    alice.header.payload_type = 8;
    alice.send(a.local_port(), &[0x11; 160]);
    let again = std::iter::from_fn(|| Some(bob.receive()))
        .find(|packet| packet[12..] == [0x11; 160])
        .unwrap();
    let again = Packet::parse(&again).unwrap().header;
    assert!(again.marker && again.ssrc == last.ssrc);
    alice.send(a.local_port(), &[0x22; 160]);
    assert_eq!(
        Packet::parse(&bob.receive()).unwrap().payload,
        [0x22; 160],
        "the noise has stopped"
    );
}

#[test]
fn a_key_pressed_again_after_comfort_noise_is_a_second_press() {
    let mut harness = MediaHarness::new(32_720..=32_739);
    let ([a, _b], [mut alice, _bob]) = quiet_talk(&mut harness, true);
    let mut tones = media::DigitTones::default();
    tones.press([Digit::try_from('5').unwrap()]);
    let press: Vec<[i16; 160]> = std::iter::from_fn(|| tones.frame())
        .filter(|frame| frame[80] != 0)
        .collect();
    for _ in 0..2 {
        for frame in &press {
            let mut octets = [0; 160];
            Codec::Pcma.encode(frame, &mut octets);
            alice.send(a.local_port(), &octets);
        }
        alice.header.payload_type = 13;
        alice.send(a.local_port(), &[60]);
        alice.header.payload_type = 8;
        assert_eq!(harness.digit(a.id()), ('5', DigitSource::InBand));
    }
}
