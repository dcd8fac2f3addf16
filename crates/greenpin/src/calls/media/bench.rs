//! Benchmark of the cost of a bridged call on loopback, compared with a bare UDP relay.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "a load generator that meets no peer"
)]

use std::{
    collections::HashSet,
    fs, io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use media::{
    Codec, Encoder, EventFormat, FRAME, Header, NegotiatedFormats, OpusSettings, Oscillator,
};
use mio::{Events, Interest, Poll, Token};
use tokio::sync::mpsc::unbounded_channel;

use super::{LegMedia, MediaPlane, MediaSettings, OpenLegError, Remote, SourceRule};

/// Number of phases within 20 ms. The packets of the calls are spread over them, like those of unrelated callers.
pub(super) const PHASES: usize = 200;

/// CPU figures in percent of one core. They cover the relaying threads and not the load generator. On loopback the
/// kernel's work for a packet counts for its sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RelayFigures {
    /// Concurrent bridged calls: two legs each, G.711, 20 ms packets, both directions.
    pub calls: usize,
    /// CPU of a relay that only receives and sends.
    pub bare_cpu: f64,
    /// CPU of the media plane.
    pub bridged_cpu: f64,
    /// CPU of the media plane with each call recorded, including the recording thread.
    pub recorded_cpu: f64,
    /// CPU of the media plane with A-law on one side of each call and Opus on the other side.
    pub transcoded_cpu: f64,
    /// Share of packets delivered without recording, 0.0 to 1.0.
    pub delivered: f64,
    /// Resident memory per bridged call, in octets.
    pub memory: u64,
}

/// Error in a benchmark.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A socket, a thread or the system's figures in `/proc` (Linux only) were not available.
    #[error("relay bench: {0}")]
    Io(#[from] io::Error),
    /// The port range is too small.
    #[error(transparent)]
    Open(#[from] OpenLegError),
}

/// Relays `calls` calls for `seconds` in each configuration: bare, bridged, recorded into `folder`, and Opus to G.711.
/// Takes a little over four times `seconds`. The port range of `settings` must hold two legs per call.
pub fn relay_bench(
    settings: &MediaSettings,
    calls: usize,
    seconds: u32,
    folder: &Path,
) -> Result<RelayFigures, BenchError> {
    let time = Duration::from_secs(u64::from(seconds.max(1)));
    let bare_cpu = measure_bare(calls, time)?;
    let alike = [Codec::Pcma; 2];
    let bridged = measure_bridged(settings, calls, time, alike, None)?;
    let recorded = measure_bridged(settings, calls, time, alike, Some(folder))?;
    let transcoded = measure_bridged(settings, calls, time, [Codec::Pcma, Codec::Opus], None)?;
    Ok(RelayFigures {
        calls,
        bare_cpu,
        bridged_cpu: bridged.cpu,
        recorded_cpu: recorded.cpu,
        transcoded_cpu: transcoded.cpu,
        delivered: bridged.delivered,
        memory: bridged.memory,
    })
}

struct Measured {
    cpu: f64,
    delivered: f64,
    memory: u64,
}

fn measure_bridged(
    settings: &MediaSettings,
    calls: usize,
    time: Duration,
    codecs: [Codec; 2],
    folder: Option<&Path>,
) -> Result<Measured, BenchError> {
    let before = thread_ids()?;
    let (events, _events) = unbounded_channel();
    let plane = MediaPlane::start(settings.clone(), events)?;
    let phones = phones(calls)?;
    let memory = resident()?;
    let legs: Vec<LegMedia> = phones
        .iter()
        .map(|_| plane.open())
        .collect::<Result<_, _>>()?;
    let speech = codecs.map(SpeechLoop::new);
    for ((leg, phone), speech) in legs.iter().zip(&phones).zip(speech.iter().cycle()) {
        leg.connect(remote_speaking(phone.local_addr()?, speech.codec));
    }
    for (number, pair) in legs.chunks_exact(2).enumerate() {
        let [a, b] = pair else { continue };
        a.bridge(b);
        if let Some(folder) = folder {
            a.record(folder.join(format!("bench-{number}.wav")), None);
        }
    }
    let workers: Vec<String> = thread_ids()?.difference(&before).cloned().collect();
    let ports = legs
        .iter()
        .map(|leg| SocketAddr::new(settings.bind, leg.local_port()))
        .collect::<Vec<_>>();
    // One second of warm-up for caches, buffers and the packet rate of the media threads.
    exchange_load(&phones, &ports, &speech, Duration::from_secs(1), 1)?;
    let (start, cpu) = (Instant::now(), cpu_time(&workers)?);
    let (sent, received) = exchange_load(&phones, &ports, &speech, time, 2)?;
    let used = cpu_time(&workers)?.saturating_sub(cpu);
    let grown = resident()?.saturating_sub(memory);
    Ok(Measured {
        cpu: percent(used, start.elapsed()),
        delivered: received as f64 / sent.max(1) as f64,
        memory: grown / calls.max(1) as u64,
    })
}

/// Baseline: pairs of sockets that forward every datagram unchanged.
pub(super) struct BareRelay {
    /// Relay address for each phone.
    pub(super) ports: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl BareRelay {
    /// Starts a relay between each phone and the next phone.
    pub(super) fn start(phones: &[UdpSocket]) -> io::Result<Self> {
        let targets = phones
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sockets = targets
            .iter()
            .map(|_| mio::net::UdpSocket::bind(any))
            .collect::<io::Result<Vec<_>>>()?;
        let ports = sockets
            .iter()
            .map(mio::net::UdpSocket::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let builder = thread::Builder::new().name("bare-relay".to_owned());
        let thread = builder.spawn(move || relay(sockets, &targets, &flag))?;
        Ok(Self {
            ports,
            stop,
            thread,
        })
    }

    pub(super) fn end(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| io::Error::other("the bare relay ended early"))?
    }
}

fn measure_bare(calls: usize, time: Duration) -> Result<f64, BenchError> {
    let phones = phones(calls)?;
    let before = thread_ids()?;
    let relay = BareRelay::start(&phones)?;
    let speech = [Codec::Pcma; 2].map(SpeechLoop::new);
    exchange_load(&phones, &relay.ports, &speech, Duration::from_secs(1), 1)?;
    let workers: Vec<String> = thread_ids()?.difference(&before).cloned().collect();
    let (start, cpu) = (Instant::now(), cpu_time(&workers)?);
    exchange_load(&phones, &relay.ports, &speech, time, 2)?;
    let used = cpu_time(&workers)?.saturating_sub(cpu);
    let elapsed = start.elapsed();
    relay.end()?;
    Ok(percent(used, elapsed))
}

fn relay(
    mut sockets: Vec<mio::net::UdpSocket>,
    targets: &[SocketAddr],
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    for (slot, socket) in sockets.iter_mut().enumerate() {
        poll.registry()
            .register(socket, Token(slot), Interest::READABLE)?;
    }
    let (mut ready, mut datagram) = (Events::with_capacity(1024), [0; 1500]);
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut ready, Some(Duration::from_millis(100)))?;
        for event in &ready {
            let (index, peer) = (event.token().0, event.token().0 ^ 1);
            let (Some(from), Some(to), Some(target)) =
                (sockets.get(index), sockets.get(peer), targets.get(peer))
            else {
                continue;
            };
            while let Ok(length) = from.recv(&mut datagram) {
                to.send_to(datagram.get(..length).unwrap_or_default(), *target)?;
            }
        }
    }
    Ok(())
}

pub(super) fn phones(calls: usize) -> io::Result<Vec<UdpSocket>> {
    let open = |_| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (0..calls * 2).map(open).collect()
}

pub(super) fn remote(rtp: SocketAddr) -> Remote {
    remote_speaking(rtp, Codec::Pcma)
}

fn remote_speaking(rtp: SocketAddr, codec: Codec) -> Remote {
    let source = SourceRule::Negotiated;
    Remote {
        rtp,
        rtcp: None,
        formats: NegotiatedFormats {
            telephone_event: Some(EventFormat::at_8000(101)),
            ..NegotiatedFormats::new(codec)
        },
        opus: OpusSettings::default(),
        crypto: None,
        send: true,
        receive: true,
        source,
        proven: true,
    }
}

/// One second of voice-like audio, sent in a loop.
struct SpeechLoop {
    codec: Codec,
    payloads: Vec<Vec<u8>>,
}

impl SpeechLoop {
    fn new(codec: Codec) -> Self {
        let mut encoder = Encoder::default();
        let mut parts = [150.0, 300.0, 450.0, 600.0, 750.0, 1050.0, 1500.0, 2250.0]
            .map(|hertz| Oscillator::new(hertz, -20.0 - hertz / 150.0));
        let mut payload = || {
            let sample = |_| parts.iter_mut().map(Oscillator::next_sample).sum::<f64>() as i16;
            let samples: [i16; FRAME] = std::array::from_fn(sample);
            let mut octets = [0; FRAME];
            let length = encoder.encode(codec, &samples, &mut octets);
            octets.get(..length).unwrap_or_default().to_vec()
        };
        let payloads = (0..50).map(|_| payload()).collect();
        Self { codec, payloads }
    }

    /// Writes the packet with this number.
    fn packet<'b>(&self, number: u32, ssrc: u32, out: &'b mut [u8]) -> Option<&'b [u8]> {
        let payload = self
            .payloads
            .get(number as usize % self.payloads.len().max(1))?;
        let timestamp = number
            .wrapping_mul(FRAME as u32)
            .wrapping_mul(self.codec.ticks());
        let payload_type = self.codec.payload_type();
        Header {
            marker: false,
            payload_type,
            sequence: number as u16,
            timestamp,
            ssrc,
        }
        .write(payload, out)
    }
}

/// Sends one packet per phone every 20 ms and reads the received packets. Returns the numbers of sent and received
/// packets.
fn exchange_load(
    phones: &[UdpSocket],
    ports: &[SocketAddr],
    speech: &[SpeechLoop],
    time: Duration,
    ssrc: u32,
) -> io::Result<(u64, u64)> {
    let start = Instant::now();
    let (mut sent, mut received) = (0, 0);
    let (mut out, mut datagram) = ([0; Header::LENGTH + FRAME], [0; 1500]);
    let step = Duration::from_millis(20) / PHASES as u32;
    for round in 0u32.. {
        if step * round >= time {
            break;
        }
        thread::sleep((step * round).saturating_sub(start.elapsed()));
        let phase = round as usize % PHASES;
        let number = round / PHASES as u32;
        let speakers = phones.iter().zip(ports).zip(speech.iter().cycle());
        for ((phone, port), speech) in speakers.skip(phase).step_by(PHASES) {
            if let Some(packet) = speech.packet(number, ssrc, &mut out) {
                phone.send_to(packet, port)?;
                sent += 1;
            }
            received += receive(phone, &mut datagram).unwrap_or(0);
        }
    }
    // Packets in flight arrive within the gathering time.
    thread::sleep(Duration::from_millis(50));
    for phone in phones {
        while let Some(packet) = receive(phone, &mut datagram) {
            received += packet;
        }
    }
    Ok((sent, received))
}

/// Reads one datagram. Returns 1 for RTP, and 0 for anything else, such as RTCP for the port below.
fn receive(phone: &UdpSocket, datagram: &mut [u8]) -> Option<u64> {
    phone.recv(datagram).ok()?;
    let is_rtp = datagram
        .get(1)
        .is_some_and(|second| matches!(second & 0x7f, 8 | 96));
    Some(u64::from(is_rtp))
}

fn percent(used: Duration, elapsed: Duration) -> f64 {
    used.as_secs_f64() / elapsed.as_secs_f64() * 100.0
}

/// Returns the threads of this process. Threads of other code would count too, so the benchmark needs a process of its
/// own.
fn thread_ids() -> io::Result<HashSet<String>> {
    fs::read_dir("/proc/self/task")?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn cpu_time(thread_ids: &[String]) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in thread_ids {
        let text = fs::read_to_string(format!("/proc/self/task/{task}/schedstat"))?;
        nanos += text
            .split_whitespace()
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

fn resident() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))
}
