//! Opus between legs, with other codecs, and in our own streams.

use super::*;

const OPUS: u8 = 111;

fn formats(payload_type: u8) -> NegotiatedFormats {
    let telephone_event = Some(EventFormat::at_48000(110));
    NegotiatedFormats {
        payload_type,
        telephone_event,
        ..NegotiatedFormats::new(Codec::Opus)
    }
}

fn speaking(rtp: SocketAddr, formats: NegotiatedFormats) -> Remote {
    Remote {
        formats,
        ..remote(rtp, formats.codec, None)
    }
}

/// Encodes one second of a tone in Opus with redundancy, as datagrams in order.
fn spoken(peer: &mut Socket, hertz: f64) -> Vec<Vec<u8>> {
    let mut encoder = media::Encoder::default();
    encoder.adapt(OpusSettings {
        inband_fec: true,
        ..OpusSettings::default()
    });
    let packet = |frame: &[i16]| {
        let (mut payload, mut out) = ([0; 300], [0; 400]);
        let length = encoder.encode(Codec::Opus, frame, &mut payload);
        let packet = peer
            .header
            .write(&payload[..length], &mut out)
            .unwrap()
            .to_vec();
        peer.header.sequence += 1;
        peer.header.timestamp += 960;
        packet
    };
    tone(hertz, 1000).chunks(160).map(packet).collect()
}

/// Bridges two peers with these formats.
fn bridge(
    ports: RangeInclusive<u16>,
    formats: [NegotiatedFormats; 2],
) -> (MediaHarness, [LegMedia; 2], [Socket; 2]) {
    let mut harness = MediaHarness::new(ports);
    let [a, b] = [(); 2].map(|()| harness.plane.open().unwrap());
    let peers = formats.map(|formats| Socket::new(formats.payload_type));
    a.connect(speaking(peers[0].address(), formats[0]));
    b.connect(speaking(peers[1].address(), formats[1]));
    a.bridge(&b);
    harness.wait_until_done(&b);
    (harness, [a, b], peers)
}

fn headers(packets: &[Vec<u8>]) -> Vec<Header> {
    packets
        .iter()
        .map(|packet| Packet::parse(packet).unwrap().header)
        .collect()
}

fn assert_steps(packets: &[Vec<u8>], samples: u32) {
    for two in headers(packets).windows(2) {
        let steps = (
            two[1].sequence.wrapping_sub(two[0].sequence),
            two[1].timestamp.wrapping_sub(two[0].timestamp),
        );
        assert_eq!(steps, (1, samples));
    }
}

fn opus_decoded(packets: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = media::Decoder::default();
    let mut samples = Vec::new();
    for packet in packets {
        let mut frame = [0; 1000];
        let count = decoder.decode(
            Codec::Opus,
            Packet::parse(packet).unwrap().payload,
            &mut frame,
        );
        samples.extend(&frame[..count]);
    }
    samples
}

#[test]
fn opus_passes_unchanged_with_the_payload_type_and_clock_of_its_receiver() {
    let (_bench, [a, _b], [mut alice, bob]) =
        bridge(32_800..=32_809, [formats(OPUS), formats(107)]);
    let sent = spoken(&mut alice, 440.0);
    for packet in &sent {
        alice.socket.send_to(packet, local(a.local_port())).unwrap();
    }
    let received: Vec<Vec<u8>> = sent.iter().map(|_| bob.receive()).collect();
    for (sent, received) in sent.iter().zip(&received) {
        let (sent, received) = (
            Packet::parse(sent).unwrap(),
            Packet::parse(received).unwrap(),
        );
        assert_eq!(
            (received.header.payload_type, received.payload),
            (107, sent.payload)
        );
    }
    assert_steps(&received, 960);
}

#[test]
fn opus_is_heard_and_recorded_between_two_opus_peers_and_with_other_codecs() {
    recorded_talk(32_810..=32_829, [Codec::Opus, Codec::Opus]);
    recorded_talk(32_830..=32_849, [Codec::Opus, Codec::Pcma]);
    recorded_talk(32_850..=32_869, [Codec::Pcmu, Codec::Opus]);
    recorded_talk(32_870..=32_889, [Codec::G722, Codec::Opus]);
}

#[test]
fn lost_and_reordered_opus_is_repaired_for_a_peer_with_another_codec() {
    let mut received = Vec::new();
    for (ports, harmed) in [(32_890..=32_899, false), (32_900..=32_909, true)] {
        let (_bench, [a, _b], [mut alice, bob]) =
            bridge(ports, [formats(OPUS), NegotiatedFormats::new(Codec::Pcma)]);
        let mut sent = spoken(&mut alice, 440.0);
        if harmed {
            sent.swap(20, 21);
            sent.remove(30);
        }
        for packet in &sent {
            alice.socket.send_to(packet, local(a.local_port())).unwrap();
        }
        let packets: Vec<Vec<u8>> = (0..50).map(|_| bob.receive()).collect();
        assert_steps(&packets, 160);
        received.push(decoded(&packets));
    }
    let [whole, harmed] = &received[..] else {
        panic!()
    };
    assert_eq!(
        whole[160 * 20..160 * 30],
        harmed[160 * 20..160 * 30],
        "reordering is inaudible"
    );
    assert!((frequency(harmed) - 440.0).abs() < 10.0);
    let level = |samples: &[i16]| {
        samples
            .iter()
            .map(|sample| f64::from(*sample).powi(2))
            .sum::<f64>()
    };
    let lost = 160 * 30 + 40..160 * 31 + 40;
    let ratio = level(&harmed[lost.clone()]) / level(&whole[lost]);
    assert!(
        (0.2..2.0).contains(&ratio),
        "lost audio was concealed: {ratio}"
    );
}

#[test]
fn packets_of_30_ms_become_a_stream_without_gaps() {
    let (_bench, [a, _b], [mut alice, bob]) = bridge(
        32_910..=32_919,
        [NegotiatedFormats::new(Codec::Pcma), formats(OPUS)],
    );
    let mut last = None;
    let mut packets = Vec::new();
    for frame in tone(440.0, 990).chunks(240) {
        let mut octets = [0; 240];
        Codec::Pcma.encode(frame, &mut octets);
        alice.send(a.local_port(), &octets);
        packets.push(bob.receive());
        let header = headers(&packets[packets.len() - 1..])[0];
        let length = opus_decoded(&packets[packets.len() - 1..]).len() as u32 * 6;
        assert_eq!(last.unwrap_or(header.timestamp), header.timestamp);
        last = Some(header.timestamp.wrapping_add(length));
    }
    assert!((frequency(&opus_decoded(&packets)) - 440.0).abs() < 10.0);
}

#[test]
fn a_peer_that_switches_to_opus_during_the_call_still_hears_and_is_heard() {
    let g711 = NegotiatedFormats::new(Codec::Pcma);
    let (mut harness, [a, b], [mut alice, bob]) = bridge(32_920..=32_929, [g711, g711]);
    let before = alice.speak(a.local_port(), 440.0, Codec::Pcma, &bob);
    b.connect(speaking(bob.address(), formats(OPUS)));
    harness.wait_until_done(&b);
    let after = alice.speak(a.local_port(), 440.0, Codec::Pcma, &bob);
    let (last, first) = (headers(&before)[49], headers(&after)[0]);
    assert_eq!(first.payload_type, OPUS);
    assert_eq!(first.timestamp.wrapping_sub(last.timestamp) % 960, 0);
    assert_steps(&after, 960);
    assert!((frequency(&opus_decoded(&after)) - 440.0).abs() < 10.0);
    let mut bob = bob;
    bob.header.payload_type = OPUS;
    for packet in spoken(&mut bob, 1000.0) {
        bob.socket.send_to(&packet, local(b.local_port())).unwrap();
    }
    let received: Vec<Vec<u8>> = (0..50).map(|_| alice.receive()).collect();
    assert!((frequency(&decoded(&received)) - 1000.0).abs() < 10.0);
}

#[test]
fn a_key_press_keeps_its_duration_across_different_clocks() {
    let g711 = NegotiatedFormats {
        telephone_event: Some(EventFormat::at_8000(101)),
        ..NegotiatedFormats::new(Codec::Pcmu)
    };
    let (mut harness, [a, _b], [mut alice, bob]) = bridge(32_930..=32_939, [formats(OPUS), g711]);
    for packet in spoken(&mut alice, 440.0).iter().take(3) {
        alice.socket.send_to(packet, local(a.local_port())).unwrap();
        bob.receive();
    }
    alice.header.payload_type = 110;
    let start = alice.header.timestamp;
    let mut durations = Vec::new();
    for (end, duration) in [
        (false, 960),
        (false, 1920),
        (true, 2880),
        (true, 2880),
        (true, 2880),
    ] {
        let digit = Digit::try_from('5').unwrap();
        alice.send(
            a.local_port(),
            &EventPayload {
                digit,
                end,
                volume: 10,
                duration,
            }
            .octets(),
        );
        alice.header.timestamp = start;
        let packet = bob.receive();
        let packet = Packet::parse(&packet).unwrap();
        assert_eq!(packet.header.payload_type, 101);
        durations.push(EventPayload::parse(packet.payload).unwrap().duration);
    }
    assert_eq!(durations, [160, 320, 480, 480, 480]);
    assert_eq!(harness.digit(a.id()), ('5', DigitSource::Event));
}

#[test]
fn our_own_keys_and_prompts_use_the_clock_of_opus() {
    let harness = MediaHarness::new(32_940..=32_949);
    let (leg, peer) = (harness.plane.open().unwrap(), Socket::new(OPUS));
    leg.connect(speaking(peer.address(), formats(OPUS)));
    leg.play(Arc::new(Clip::new(tone(600.0, 600)).unwrap()), 1);
    let played: Vec<Vec<u8>> = (0..30).map(|_| peer.receive()).collect();
    let steps: Vec<u32> = headers(&played)
        .windows(2)
        .map(|two| {
            assert_eq!(two[1].sequence, two[0].sequence.wrapping_add(1));
            two[1].timestamp.wrapping_sub(two[0].timestamp)
        })
        .collect();
    // After a long stall of the machine the clock has advanced.
    assert!(
        steps.iter().all(|step| (960..48_000).contains(step)),
        "{steps:?}"
    );
    assert!(
        steps.iter().filter(|step| **step == 960).count() > 20,
        "{steps:?}"
    );
    assert!((frequency(&opus_decoded(&played)) - 600.0).abs() < 12.0);
    leg.send_digits(vec![Digit::try_from('7').unwrap()]);
    let pressed: Vec<Vec<u8>> = (0..7).map(|_| peer.receive()).collect();
    let durations: Vec<u16> = pressed
        .iter()
        .map(|packet| {
            EventPayload::parse(Packet::parse(packet).unwrap().payload)
                .unwrap()
                .duration
        })
        .collect();
    assert_eq!(durations, [960, 1920, 2880, 3840, 4800, 4800, 4800]);
    assert!(
        headers(&pressed)
            .iter()
            .all(|header| header.payload_type == 110)
    );
}

#[test]
fn without_events_keys_are_detected_and_sent_as_tones_in_opus() {
    let mut harness = MediaHarness::new(32_950..=32_969);
    let (leg, phone) = harness.pair(Codec::Opus, None);
    for symbol in "1590#".chars() {
        let digit = Digit::try_from(symbol).unwrap();
        phone.send_digits(vec![digit]);
        assert_eq!(harness.digit(leg.id()), (symbol, DigitSource::InBand));
    }
    leg.send_digits(vec![Digit::try_from('8').unwrap()]);
    assert_eq!(harness.digit(phone.id()), ('8', DigitSource::InBand));
}

#[test]
fn speech_is_heard_after_invalid_opus_packets() {
    let (_bench, [a, _b], [mut alice, bob]) = bridge(
        32_970..=32_979,
        [formats(OPUS), NegotiatedFormats::new(Codec::Pcma)],
    );
    for payload in [
        &[][..],
        &[0xff; 300],
        &[3],
        &[0x7b, 0xff, 0xff, 0xff],
        &[0; 1],
    ] {
        alice.send(a.local_port(), payload);
        alice.header.timestamp += 960;
    }
    let speech = spoken(&mut alice, 440.0);
    for packet in &speech {
        alice.socket.send_to(packet, local(a.local_port())).unwrap();
    }
    let received: Vec<Vec<u8>> = (0..50).map(|_| bob.receive()).collect();
    assert!((frequency(&decoded(&received)) - 440.0).abs() < 10.0);
}

/// Decodes both channels of an Ogg Opus file with `opusdec`, an independent decoder.
fn played(file: &Path) -> (Vec<i16>, Vec<i16>) {
    let wav = file.with_extension("opusdec.wav");
    let run = std::process::Command::new("opusdec")
        .args(["--quiet", "--rate", "8000"])
        .args([file, &wav])
        .status();
    assert!(run.expect("opusdec is installed: ./test does it").success());
    channels(&wav)
}

#[test]
fn an_ogg_opus_recording_plays_in_opusdec_with_each_side_in_its_channel() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("call.opus");
    let mut harness = MediaHarness::new(32_980..=32_989);
    let (length, _bob) = talk(&mut harness, [Codec::Pcma, Codec::Opus], &file, None);
    let sides = played(&file);
    assert_each_on_its_side(&sides);
    assert!(
        sides.0.len().abs_diff(length.as_millis() as usize * 8) <= 16,
        "{} {length:?}",
        sides.0.len()
    );
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(size < 12_000, "an eighth of WAV: {size}");
}
