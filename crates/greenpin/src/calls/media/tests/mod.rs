//! The media plane over real sockets on loopback.

mod opus;

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
    time::Duration,
};

use media::{
    Clip, Codec, Digit, DigitSource, EventPayload, Formats, Header, OpusSettings, Oscillator,
    Packet, TelephoneEvent,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

const EVENT_TIMEOUT: Duration = Duration::from_secs(20);
/// A tone of these tests goes far beyond this, the noise beside it does not.
const MIN_SWING: i16 = 1000;

struct MediaHarness {
    plane: MediaPlane,
    events: UnboundedReceiver<MediaEvent>,
    seen: VecDeque<MediaEvent>,
}

impl MediaHarness {
    fn with(settings: MediaSettings) -> Self {
        let (sender, events) = unbounded_channel();
        Self {
            plane: MediaPlane::start(settings, sender).unwrap(),
            events,
            seen: VecDeque::new(),
        }
    }

    fn new(ports: RangeInclusive<u16>) -> Self {
        Self::with(MediaSettings {
            ports,
            ..MediaSettings::default()
        })
    }

    /// Two legs of the plane that talk to each other: the first is the server's, the second a phone.
    fn pair(&self, codec: Codec, telephone_event: Option<u8>) -> (LegMedia, LegMedia) {
        let (server, phone) = (self.plane.open().unwrap(), self.plane.open().unwrap());
        server.connect(remote(local(phone.local_port()), codec, telephone_event));
        phone.connect(remote(local(server.local_port()), codec, telephone_event));
        (server, phone)
    }

    /// Waits for the first event that `wanted` takes; keeps the others.
    fn wait<T>(&mut self, wanted: impl Fn(&MediaEvent) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().position(|event| wanted(event).is_some()) {
            return wanted(&self.seen.remove(found).unwrap()).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            loop {
                let event = tokio::time::timeout(EVENT_TIMEOUT, self.events.recv())
                    .await
                    .unwrap()
                    .unwrap();
                match wanted(&event) {
                    Some(found) => return found,
                    None => self.seen.push_back(event),
                }
            }
        })
    }

    fn digit(&mut self, leg: MediaId) -> (char, DigitSource) {
        self.wait(|event| match event {
            MediaEvent::Digit { id, digit, source } if *id == leg => {
                Some((digit.expose(), *source))
            }
            _ => None,
        })
    }

    fn played(&mut self, wanted: u64) {
        self.wait(|event| {
            matches!(event, MediaEvent::PlayFinished { token, .. } if *token == wanted)
                .then_some(())
        });
    }

    /// Waits until this leg has done all that it was told: an empty clip ends after that, and sends nothing.
    fn wait_until_done(&mut self, leg: &LegMedia) {
        const DONE_TOKEN: u64 = u64::MAX;
        leg.play(Arc::new(Clip::new(Vec::new()).unwrap()), DONE_TOKEN);
        self.played(DONE_TOKEN);
    }

    fn close(&mut self, leg: LegMedia) -> MediaReport {
        let leg_id = leg.id();
        leg.close();
        self.wait(|event| match event {
            MediaEvent::Closed { id, report } if *id == leg_id => Some(*report),
            _ => None,
        })
    }

    fn recorded(&mut self) -> Result<Duration, RecordingError> {
        self.wait(|event| match event {
            MediaEvent::RecordingFinished { result, .. } => Some(result.clone()),
            _ => None,
        })
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn remote(rtp: SocketAddr, codec: Codec, telephone_event: Option<u8>) -> Remote {
    Remote {
        rtp,
        rtcp: None,
        formats: Formats {
            telephone_event: telephone_event.map(TelephoneEvent::at_8000),
            ..Formats::of(codec)
        },
        opus: OpusSettings::default(),
        crypto: None,
        send: true,
        receive: true,
        source: SourceRule::Negotiated,
    }
}

fn tone(frequency: f64, millis: usize) -> Vec<i16> {
    let mut oscillator = Oscillator::new(frequency, -10.0);
    (0..millis * 8)
        .map(|_| oscillator.next_sample() as i16)
        .collect()
}

/// The frequency of a tone, by the time from one upward swing to the next. A machine that is held up leaves gaps in what is
/// played at its own pace, and a coder rings beside them: what is far from the usual period does not count, if it is rare.
fn frequency(samples: &[i16]) -> f64 {
    let mut swings = Vec::new();
    let mut low = false;
    for (at, sample) in samples.iter().enumerate() {
        if low && *sample > MIN_SWING {
            swings.push(at);
        }
        low = *sample < -MIN_SWING || (low && *sample <= MIN_SWING);
    }
    let mut periods: Vec<usize> = swings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    periods.sort_unstable();
    let usual = periods.get(periods.len() / 2).copied().unwrap_or_default();
    let regular: Vec<usize> = periods
        .iter()
        .copied()
        .filter(|period| period.abs_diff(usual) * 4 <= usual)
        .collect();
    let length: usize = regular.iter().sum();
    assert!(length >= 4000, "only {length} samples of a tone");
    assert!(
        regular.len() * 10 >= periods.len() * 9,
        "{} of {} are regular",
        regular.len(),
        periods.len()
    );
    regular.len() as f64 * 8000.0 / length as f64
}

/// A peer on a socket of its own.
struct Socket {
    socket: UdpSocket,
    header: Header,
}

impl Socket {
    fn new(payload_type: u8) -> Self {
        let socket = UdpSocket::bind(local(0)).unwrap();
        socket.set_read_timeout(Some(EVENT_TIMEOUT)).unwrap();
        let header = Header {
            marker: false,
            payload_type,
            sequence: 41_000,
            timestamp: 777_777,
            ssrc: 0xfeed_f00d,
        };
        Self { socket, header }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn send(&mut self, to: u16, payload: &[u8]) {
        let mut out = [0; 400];
        self.socket
            .send_to(self.header.write(payload, &mut out).unwrap(), local(to))
            .unwrap();
        self.header.sequence += 1;
        self.header.timestamp += payload.len() as u32;
    }

    fn press(&mut self, to: u16, symbol: char) {
        let payload_type = std::mem::replace(&mut self.header.payload_type, 101);
        let digit = Digit::try_from(symbol).unwrap();
        for (end, duration) in [
            (false, 160),
            (false, 320),
            (true, 480),
            (true, 480),
            (true, 480),
        ] {
            let timestamp = self.header.timestamp;
            self.send(
                to,
                &EventPayload {
                    digit,
                    end,
                    volume: 10,
                    duration,
                }
                .octets(),
            );
            self.header.timestamp = timestamp;
        }
        self.header.timestamp += 1600;
        self.header.payload_type = payload_type;
    }

    fn receive(&self) -> Vec<u8> {
        let mut datagram = [0; 1500];
        // A process that is stopped and goes on has its system call interrupted.
        let length = loop {
            match self.socket.recv(&mut datagram) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        datagram[..length].to_vec()
    }

    /// Sends a tone to one port packet by packet, and gives what `ear` receives of it.
    fn speak(&mut self, to: u16, hertz: f64, codec: Codec, ear: &Self) -> Vec<Vec<u8>> {
        let send_frame = |frame: &[i16]| {
            let mut octets = [0; 160];
            codec.encode(frame, &mut octets);
            self.send(to, &octets);
            ear.receive()
        };
        tone(hertz, 1000).chunks(160).map(send_frame).collect()
    }
}

fn decoded(packets: &[Vec<u8>]) -> Vec<i16> {
    let mut samples = Vec::new();
    for packet in packets {
        let packet = Packet::parse(packet).unwrap();
        let mut frame = [0; 160];
        let count = Codec::from_payload_type(packet.header.payload_type)
            .unwrap()
            .decode(packet.payload, &mut frame);
        samples.extend(&frame[..count]);
    }
    samples
}

#[test]
fn a_bridged_tone_arrives_both_ways_across_the_two_laws() {
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
fn the_same_law_passes_untouched_and_nothing_else_of_the_sender_does() {
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
fn the_first_source_inside_the_trunks_networks_is_latched() {
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
    let heard: String = (0..4).map(|_| harness.digit(id).0).collect();
    assert_eq!(heard, "4421");
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
fn the_rest_of_a_press_that_began_before_the_bridge_does_not_pass() {
    let mut harness = MediaHarness::new(32_340..=32_359);
    let (a, b) = (harness.plane.open().unwrap(), harness.plane.open().unwrap());
    let (mut alice, bob) = (Socket::new(8), Socket::new(8));
    a.connect(remote(alice.address(), Codec::Pcma, Some(101)));
    b.connect(remote(bob.address(), Codec::Pcma, Some(101)));
    let start = alice.header;
    alice.press(a.local_port(), '9');
    assert_eq!(harness.digit(a.id()).0, '9');
    a.bridge(&b);
    harness.wait_until_done(&b);
    alice.header.timestamp = start.timestamp;
    alice.press(a.local_port(), '9');
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
fn digits_of_our_own_and_the_peers_come_one_after_the_other() {
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
    let mut heard: Vec<char> = (0..6).map(|_| harness.digit(bob.id()).0).collect();
    heard.sort_unstable();
    assert_eq!(heard, ['1', '1', '1', '2', '2', '2']);
    harness.close(alice);
    harness.close(bob);
    let more = harness
        .seen
        .iter()
        .filter(|event| matches!(event, MediaEvent::Digit { .. }))
        .count();
    assert_eq!(more, 3, "only what the caller's own leg heard is left");
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
fn a_recording_has_each_side_in_its_channel() {
    recorded_talk(32_140..=32_159, [Codec::Pcma, Codec::Pcmu]);
}

#[test]
fn g722_is_heard_and_recorded_between_two_who_speak_it_and_with_one_who_does_not() {
    recorded_talk(32_600..=32_619, [Codec::G722, Codec::G722]);
    recorded_talk(32_620..=32_639, [Codec::G722, Codec::Pcma]);
    recorded_talk(32_640..=32_659, [Codec::Pcmu, Codec::G722]);
}

#[test]
fn g722_passes_untouched_between_two_who_speak_it() {
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

/// Two phones that talk in these codecs for a while, the one with 440 Hz and the other with 1000 Hz, recorded. Gives the length of
/// the recording, and the second phone, still open.
fn talk(
    harness: &mut MediaHarness,
    codecs: [Codec; 2],
    file: &Path,
    heard: Option<&Path>,
) -> (Duration, LegMedia) {
    let [(a, alice), (b, bob)] = codecs.map(|codec| harness.pair(codec, Some(101)));
    a.bridge(&b);
    a.record(file.to_owned());
    if let Some(heard) = heard {
        bob.record(heard.to_owned());
    }
    alice.play(Arc::new(Clip::new(tone(440.0, 1500)).unwrap()), 1);
    bob.play(Arc::new(Clip::new(tone(1000.0, 1500)).unwrap()), 2);
    harness.played(1);
    harness.played(2);
    harness.close(a);
    (harness.recorded().unwrap(), bob)
}

/// The first of the two is on the left.
fn assert_each_on_its_side((left, right): &(Vec<i16>, Vec<i16>)) {
    assert!(
        (frequency(left) - 440.0).abs() < 10.0,
        "{}",
        frequency(left)
    );
    assert!(
        (frequency(right) - 1000.0).abs() < 10.0,
        "{}",
        frequency(right)
    );
}

/// Both the recording of a talk and what one of the two hears have the tones.
fn recorded_talk(ports: RangeInclusive<u16>, codecs: [Codec; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let (file, heard) = (
        folder.path().join("call.wav"),
        folder.path().join("heard.wav"),
    );
    let mut harness = MediaHarness::new(ports);
    let (length, bob) = talk(&mut harness, codecs, &file, Some(&heard));
    assert!(length >= Duration::from_millis(1400), "{length:?}");
    harness.close(bob);
    harness.recorded().unwrap();
    assert!((frequency(&channels(&heard).0) - 440.0).abs() < 10.0);
    assert_each_on_its_side(&channels(&file));
    assert!(!folder.path().join("call.wav.part").exists());
}

fn channels(file: &Path) -> (Vec<i16>, Vec<i16>) {
    let reader = hound::WavReader::open(file).unwrap();
    assert_eq!(
        (reader.spec().channels, reader.spec().sample_rate),
        (2, 8000)
    );
    let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
    samples
        .chunks_exact(2)
        .map(|frame| (frame[0], frame[1]))
        .unzip()
}

#[test]
fn before_the_bridge_the_right_channel_has_what_we_play() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.wav");
    let mut harness = MediaHarness::new(32_160..=32_179);
    let (leg, phone) = harness.pair(Codec::Pcma, Some(101));
    leg.record(file.clone());
    leg.play(Arc::new(Clip::new(tone(600.0, 1000)).unwrap()), 1);
    harness.played(1);
    drop(phone);
    harness.close(leg);
    harness.recorded().unwrap();
    assert!((frequency(&channels(&file).1) - 600.0).abs() < 10.0);
}

#[test]
fn a_recording_that_cannot_be_made_is_told_before_the_leg_is_closed() {
    let mut harness = MediaHarness::new(32_180..=32_199);
    let leg = harness.plane.open().unwrap();
    leg.record("/no/such/folder/call.wav".into());
    harness.close(leg);
    assert!(matches!(
        harness.seen.pop_front(),
        Some(MediaEvent::RecordingFinished {
            result: Err(RecordingError::Io(_)),
            ..
        })
    ));
}

#[test]
fn a_clip_reports_its_end_and_a_replaced_one_does_not() {
    let mut harness = MediaHarness::new(32_200..=32_219);
    let (leg, phone) = harness.pair(Codec::Pcmu, Some(101));
    let (sender, mut heard) = unbounded_channel();
    phone.listen(sender);
    leg.play(Arc::new(Clip::new(tone(440.0, 60_000)).unwrap()), 1);
    leg.play(Arc::new(Clip::new(tone(700.0, 1000)).unwrap()), 2);
    harness.played(2);
    let samples: Vec<i16> = std::iter::from_fn(|| heard.try_recv().ok())
        .flatten()
        .collect();
    assert!((frequency(&samples) - 700.0).abs() < 10.0);
    harness.close(leg);
    assert!(harness.seen.is_empty());
}

#[test]
fn ring_back_sounds_until_the_bridge() {
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
fn on_hold_nothing_is_taken_and_nothing_is_sent() {
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
fn closing_frees_the_ports_and_says_goodbye() {
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
fn legs_of_different_threads_are_bridged_on_one() {
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

#[test]
fn malformed_datagrams_disturb_nothing() {
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

/// Two bridged peers of one law, of which the first speaks comfort noise and the second does where `both`.
fn quiet_talk(harness: &mut MediaHarness, both: bool) -> ([LegMedia; 2], [Socket; 2]) {
    let legs = [harness.plane.open().unwrap(), harness.plane.open().unwrap()];
    let peers = [Socket::new(8), Socket::new(8)];
    for (index, (leg, peer)) in legs.iter().zip(&peers).enumerate() {
        let open = remote(peer.address(), Codec::Pcma, None);
        let formats = Formats {
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
fn comfort_noise_passes_under_our_own_numbers_and_cut_to_its_format() {
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
fn comfort_noise_is_made_for_a_peer_without_it_until_audio_comes_again() {
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
        "the noise is over"
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

/// A second of a tone in this codec, as datagrams in order.
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
fn g722_out_of_order_and_twice_is_turned_into_g711_in_order_and_once() {
    let mut heard = Vec::new();
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
        heard.push(decoded(&packets));
        assert_eq!(harness.close(a).late, if disorder { 50 } else { 0 });
    }
    assert!(heard[0] == heard[1], "the disorder is not heard");
    assert!((frequency(&heard[0]) - 440.0).abs() < 10.0);
}

#[test]
fn what_waits_for_a_lost_packet_goes_on_without_it() {
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
fn tones_out_of_order_and_twice_are_one_key_and_pass_as_they_came() {
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
        assert_eq!(passed[12..], packet[12..], "what passes does not wait");
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
