//! Tests of the media plane over real sockets on loopback.

mod comfort_noise;
mod digits;
mod early_media;
mod forwarding;
mod leg;
mod opus;
mod recording;
mod reordering;

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
    Clip, Codec, Digit, DigitSource, EventFormat, EventPayload, Header, NegotiatedFormats,
    OpusSettings, Oscillator, Packet,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

const EVENT_TIMEOUT: Duration = Duration::from_secs(20);
/// Amplitude exceeded by the tones of these tests, but not by noise.
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

    /// Opens two connected legs: the first for the server, the second for a phone.
    fn pair(&self, codec: Codec, telephone_event: Option<u8>) -> (LegMedia, LegMedia) {
        let (server, phone) = (self.plane.open().unwrap(), self.plane.open().unwrap());
        server.connect(remote(local(phone.local_port()), codec, telephone_event));
        phone.connect(remote(local(server.local_port()), codec, telephone_event));
        (server, phone)
    }

    /// Waits for the first event accepted by `select`, and stores the others.
    fn wait<T>(&mut self, select: impl Fn(&MediaEvent) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().position(|event| select(event).is_some()) {
            return select(&self.seen.remove(found).unwrap()).unwrap();
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
                match select(&event) {
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

    fn played(&mut self, expected: u64) {
        self.wait(|event| {
            matches!(event, MediaEvent::PlayFinished { token, .. } if *token == expected)
                .then_some(())
        });
    }

    /// Waits until the leg has executed all commands. An empty clip ends after them and sends nothing.
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
        formats: NegotiatedFormats {
            telephone_event: telephone_event.map(EventFormat::at_8000),
            ..NegotiatedFormats::new(codec)
        },
        opus: OpusSettings::default(),
        crypto: None,
        send: true,
        receive: true,
        source: SourceRule::Negotiated,
        proven: true,
    }
}

fn tone(frequency: f64, millis: usize) -> Vec<i16> {
    let mut oscillator = Oscillator::new(frequency, -10.0);
    (0..millis * 8)
        .map(|_| oscillator.next_sample() as i16)
        .collect()
}

/// Returns the frequency of a tone, measured between upward zero crossings. Playback on a busy machine has gaps, and a
/// codec rings beside them. Irregular periods are therefore ignored, if they are rare.
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

/// Peer with a socket of its own.
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
        let packets = [
            (false, 160),
            (false, 320),
            (true, 480),
            (true, 480),
            (true, 480),
        ];
        self.send_events(to, symbol, &packets);
        self.header.timestamp += 1600;
    }

    /// Sends packets of a press, each with its end bit and duration, under the present timestamp.
    fn send_events(&mut self, to: u16, symbol: char, packets: &[(bool, u16)]) {
        let payload_type = std::mem::replace(&mut self.header.payload_type, 101);
        let digit = Digit::try_from(symbol).unwrap();
        for (end, duration) in packets {
            let timestamp = self.header.timestamp;
            let event = EventPayload {
                digit,
                end: *end,
                volume: 10,
                duration: *duration,
            };
            self.send(to, &event.octets());
            self.header.timestamp = timestamp;
        }
        self.header.payload_type = payload_type;
    }

    fn receive(&self) -> Vec<u8> {
        let mut datagram = [0; 1500];
        // A stop of the process interrupts the system call.
        let length = loop {
            match self.socket.recv(&mut datagram) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        datagram[..length].to_vec()
    }

    /// Sends a tone packet by packet to a port. Returns the packets received by `receiver`.
    fn speak(&mut self, to: u16, hertz: f64, codec: Codec, receiver: &Self) -> Vec<Vec<u8>> {
        let send_frame = |frame: &[i16]| {
            let mut octets = [0; 160];
            codec.encode(frame, &mut octets);
            self.send(to, &octets);
            receiver.receive()
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

/// Records a conversation of two phones in these codecs, the first with 440 Hz and the second with 1000 Hz. Returns the
/// length of the recording, and the second phone, still open.
fn talk(
    harness: &mut MediaHarness,
    codecs: [Codec; 2],
    file: &Path,
    received: Option<&Path>,
) -> (Duration, LegMedia) {
    let [(a, alice), (b, bob)] = codecs.map(|codec| harness.pair(codec, Some(101)));
    a.bridge(&b);
    a.record(file.to_owned(), None);
    if let Some(received) = received {
        bob.record(received.to_owned(), None);
    }
    alice.play(Arc::new(Clip::new(tone(440.0, 1500)).unwrap()), 1);
    bob.play(Arc::new(Clip::new(tone(1000.0, 1500)).unwrap()), 2);
    harness.played(1);
    harness.played(2);
    harness.close(a);
    (harness.recorded().unwrap(), bob)
}

/// Asserts that the first phone is on the left channel.
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

/// Asserts both tones in the recording of a conversation and in the audio at the second phone.
fn recorded_talk(ports: RangeInclusive<u16>, codecs: [Codec; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let (file, received) = (
        folder.path().join("call.wav"),
        folder.path().join("received.wav"),
    );
    let mut harness = MediaHarness::new(ports);
    let (length, bob) = talk(&mut harness, codecs, &file, Some(&received));
    assert!(length >= Duration::from_millis(1400), "{length:?}");
    harness.close(bob);
    harness.recorded().unwrap();
    assert!((frequency(&channels(&received).0) - 440.0).abs() < 10.0);
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
