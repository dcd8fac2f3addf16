//! Benchmark of the delay, jitter and loss added by a relay on loopback.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "a load generator that meets no peer"
)]

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use media::{FRAME, Header, SRTP_OVERHEAD, SrtpReceiver, SrtpSender, SrtpSuite};
use mio::{Events, Interest, Poll, Token};
use signalling::sdes::{Secrets, SrtpKey, SrtpMode, Suite};
use tokio::sync::mpsc::unbounded_channel;

use super::bench::{BareRelay, BenchError, PHASES, phones, remote};
use super::{LegMedia, MediaPlane, MediaSettings, Remote};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
/// Octets of the payload with the send time in nanoseconds since the start.
const STAMP_BYTES: usize = 8;

/// Path of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed<'a> {
    /// A relay that only receives and sends.
    Bare,
    /// The media plane.
    Plain,
    /// The media plane, with each call recorded into this folder.
    Recorded(&'a Path),
    /// The media plane, with both legs under `AES_CM_128_HMAC_SHA1_80`.
    Encrypted,
}

/// Delay, jitter and loss between two sockets of the load generator. The kernel's share is included twice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DelayFigures {
    /// Median of the one-way delay.
    pub median: Duration,
    /// 99th percentile of the one-way delay.
    pub p99: Duration,
    /// Mean difference between the delays of consecutive packets (RFC 3550, section 6.4.1).
    pub jitter: Duration,
    /// Share of lost packets, 0.0 to 1.0.
    pub lost: f64,
}

/// Sends G.711 of `calls` calls in both directions for `time`. The port range of `settings` must hold two legs per
/// call.
pub fn delay_bench(
    settings: &MediaSettings,
    calls: usize,
    time: Duration,
    through: Relayed<'_>,
) -> Result<DelayFigures, BenchError> {
    let phones = phones(calls)?;
    if through == Relayed::Bare {
        let relay = BareRelay::start(&phones)?;
        let figures = measure(phones, &relay.ports, &[], time)?;
        relay.end()?;
        return Ok(figures);
    }
    let (events, _events) = unbounded_channel();
    let plane = MediaPlane::start(settings.clone(), events)?;
    let legs: Vec<LegMedia> = phones
        .iter()
        .map(|_| plane.open())
        .collect::<Result<_, _>>()?;
    let encrypted = through == Relayed::Encrypted;
    for (leg, phone) in legs.iter().zip(&phones) {
        leg.connect(Remote {
            crypto: encrypted.then(phone_key),
            ..remote(phone.local_addr()?)
        });
    }
    for (number, pair) in legs.chunks_exact(2).enumerate() {
        let [a, b] = pair else { continue };
        a.bridge(b);
        if let Relayed::Recorded(folder) = through {
            a.record(folder.join(format!("delay-{number}.wav")), None);
        }
    }
    let keys: Vec<SrtpKey> = legs
        .iter()
        .filter(|_| encrypted)
        .map(|leg| own_key(leg, settings))
        .collect();
    let ports: Vec<SocketAddr> = legs
        .iter()
        .map(|leg| SocketAddr::new(settings.bind, leg.local_port()))
        .collect();
    measure(phones, &ports, &keys, time)
}

/// Returns the key shared by all phones.
fn phone_key() -> SrtpKey {
    Secrets::new([7; 132]).key(SUITE)
}

fn own_key(leg: &LegMedia, settings: &MediaSettings) -> SrtpKey {
    leg.describe(settings.bind, SrtpMode::Required)
        .secrets
        .key(SUITE)
}

/// Receiving side of a phone.
struct ProbeReceiver {
    socket: mio::net::UdpSocket,
    srtp: Option<SrtpReceiver>,
    last: Option<Duration>,
}

/// Delays measured by all phones.
#[derive(Default)]
struct DelaySamples {
    delays: Vec<Duration>,
    differences: Duration,
}

fn measure(
    phones: Vec<UdpSocket>,
    ports: &[SocketAddr],
    keys: &[SrtpKey],
    time: Duration,
) -> Result<DelayFigures, BenchError> {
    let srtp =
        |index: usize| SrtpReceiver::new(SrtpSuite::AesCm128HmacSha1_80, keys.get(index)?.expose());
    let receiver = |(index, phone): (usize, &UdpSocket)| {
        let socket = mio::net::UdpSocket::from_std(phone.try_clone()?);
        Ok(ProbeReceiver {
            socket,
            srtp: srtp(index),
            last: None,
        })
    };
    let receivers = phones
        .iter()
        .enumerate()
        .map(receiver)
        .collect::<io::Result<Vec<_>>>()?;
    let (origin, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let flag = stop.clone();
    let listening = thread::Builder::new()
        .name("receivers".to_owned())
        .spawn(move || listen(receivers, origin, &flag))?;
    let sent = send_load(&phones, ports, !keys.is_empty(), time, origin);
    // Packets in flight arrive within the gathering time.
    thread::sleep(Duration::from_millis(100));
    stop.store(true, Ordering::Relaxed);
    let samples = listening
        .join()
        .map_err(|_| io::Error::other("the listening thread ended early"))??;
    Ok(samples.figures(sent?))
}

/// Sends one packet per phone every 20 ms, spread like the packets of unrelated callers. Returns the number of packets.
fn send_load(
    phones: &[UdpSocket],
    ports: &[SocketAddr],
    encrypted: bool,
    time: Duration,
    origin: Instant,
) -> io::Result<u64> {
    let key = phone_key();
    let srtp = || {
        encrypted
            .then(|| SrtpSender::new(SrtpSuite::AesCm128HmacSha1_80, key.expose()))
            .flatten()
    };
    let mut srtp: Vec<Option<SrtpSender>> = phones.iter().map(|_| srtp()).collect();
    let (mut sent, mut payload) = (0, [0xd5; FRAME]);
    let mut out = [0; Header::LENGTH + FRAME + SRTP_OVERHEAD];
    let step = Duration::from_millis(20) / PHASES as u32;
    for round in 0u32.. {
        if step * round >= time {
            break;
        }
        thread::sleep((step * round).saturating_sub(origin.elapsed()));
        let (phase, number) = (round as usize % PHASES, round / PHASES as u32);
        let speakers = phones.iter().zip(ports).zip(&mut srtp);
        for ((phone, port), srtp) in speakers.skip(phase).step_by(PHASES) {
            let (sequence, timestamp) = (number as u16, number.wrapping_mul(FRAME as u32));
            let header = Header {
                marker: false,
                payload_type: 8,
                sequence,
                timestamp,
                ssrc: 1,
            };
            let (stamp, _) = payload.split_at_mut(STAMP_BYTES);
            stamp.copy_from_slice(&(origin.elapsed().as_nanos() as u64).to_be_bytes());
            let mut length = header.write(&payload, &mut out).map_or(0, <[u8]>::len);
            if let Some(srtp) = srtp {
                length = srtp.seal(&mut out, length).map_err(io::Error::other)?;
            }
            phone.send_to(out.get(..length).unwrap_or_default(), port)?;
            sent += 1;
        }
    }
    Ok(sent)
}

fn listen(
    mut receivers: Vec<ProbeReceiver>,
    origin: Instant,
    stop: &AtomicBool,
) -> io::Result<DelaySamples> {
    let mut poll = Poll::new()?;
    for (slot, receiver) in receivers.iter_mut().enumerate() {
        poll.registry()
            .register(&mut receiver.socket, Token(slot), Interest::READABLE)?;
    }
    let (mut ready, mut samples) = (Events::with_capacity(1024), DelaySamples::default());
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut ready, Some(Duration::from_millis(20)))?;
        for event in &ready {
            if let Some(receiver) = receivers.get_mut(event.token().0) {
                while receiver.receive(origin, &mut samples) {}
            }
        }
    }
    Ok(samples)
}

impl ProbeReceiver {
    /// Reads one datagram. Returns `false` if none was available.
    fn receive(&mut self, origin: Instant, samples: &mut DelaySamples) -> bool {
        let mut datagram = [0; 1500];
        let Ok(mut length) = self.socket.recv(&mut datagram) else {
            return false;
        };
        let now = origin.elapsed();
        if let Some(srtp) = &mut self.srtp {
            length = datagram
                .get_mut(..length)
                .and_then(|sealed| srtp.open(sealed).ok())
                .unwrap_or(0);
        }
        // Other datagrams are RTCP for the port below.
        let stamp = datagram
            .get(Header::LENGTH..)
            .and_then(|payload| payload.first_chunk::<STAMP_BYTES>());
        if let Some(stamp) = stamp.filter(|_| length == Header::LENGTH + FRAME) {
            let delay = now.saturating_sub(Duration::from_nanos(u64::from_be_bytes(*stamp)));
            samples.differences += self
                .last
                .replace(delay)
                .map_or(Duration::ZERO, |last| last.abs_diff(delay));
            samples.delays.push(delay);
        }
        true
    }
}

impl DelaySamples {
    fn figures(mut self, sent: u64) -> DelayFigures {
        self.delays.sort_unstable();
        let count = self.delays.len();
        let share = |hundredths: usize| {
            self.delays
                .get(count * hundredths / 100)
                .copied()
                .unwrap_or_default()
        };
        DelayFigures {
            median: share(50),
            p99: share(99),
            jitter: self
                .differences
                .checked_div(count as u32)
                .unwrap_or_default(),
            lost: 1.0 - count as f64 / sent.max(1) as f64,
        }
    }
}
