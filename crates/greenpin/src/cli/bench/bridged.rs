//! Audio of bridged calls: G.711, 20 ms, both ways, relayed; without and with recording.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use media::{FRAME, Header, Packet};

use super::Goal::{AtMost, Open};
use super::calls::Generator;
use super::{Figure, progress};
use crate::engine::audio::{MediaSettings, RelayFigures, relay_bench};

const PACKET: Duration = Duration::from_millis(20);
/// Packets of each stream that are sent before any counts: an answer is told a moment before both sides are connected.
const WARM_UP: u16 = 10;

pub(super) async fn measure(time: Duration, calls: u32) -> Result<Vec<Figure>, String> {
    progress("the bare relay, and the media plane alone");
    let relay = relay(time, calls).await?;
    progress("bridged calls");
    let plain = talk(time, calls, false).await?;
    progress("bridged and recorded calls");
    let recorded = talk(time, calls, true).await?;
    let per_hundred = |cpu: f64| cpu * 100.0 / f64::from(calls);
    Ok(vec![
        Figure::new("CPU of a core, 100 bridged calls", per_hundred(plain.cpu), "%", AtMost(10.0)),
        Figure::new("the same, recorded", per_hundred(recorded.cpu), "%", AtMost(14.0)),
        Figure::new("100 through a bare relay", per_hundred(relay.bare_cpu), "%", Open),
        Figure::new("100 through the media plane alone", per_hundred(relay.bridged_cpu), "%", Open),
        Figure::new("RSS a bridged call", plain.resident / f64::from(calls), "kB", AtMost(40.0)),
        Figure::new("packets lost", plain.lost, "%", AtMost(0.0)),
        Figure::new("packets lost, recorded", recorded.lost, "%", AtMost(0.0)),
        Figure::new("delay of a packet on its way through, p50", plain.heard.delay(50), "ms", Open),
        Figure::new("delay of a packet on its way through, p99", plain.heard.delay(99), "ms", Open),
        Figure::new("the same, recorded, p50", recorded.heard.delay(50), "ms", Open),
        Figure::new("the same, recorded, p99", recorded.heard.delay(99), "ms", Open),
        Figure::new("jitter that is added, mean of the streams", plain.heard.jitter(), "ms", Open),
        Figure::new("the same, recorded", recorded.heard.jitter(), "ms", Open),
    ])
}

/// The floor: it counts threads of this process, which does nothing else meanwhile.
async fn relay(time: Duration, calls: u32) -> Result<RelayFigures, String> {
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let measure = move || {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let calls = usize::try_from(calls).unwrap_or_default();
        relay_bench(&MediaSettings::default(), calls, seconds, folder.path())
            .map_err(|error| error.to_string())
    };
    tokio::task::spawn_blocking(measure).await.map_err(|error| error.to_string())?
}

struct Talked {
    /// Percent of a core.
    cpu: f64,
    /// kB for all calls.
    resident: f64,
    /// Percent.
    lost: f64,
    heard: Heard,
}

/// What came back. Each packet carries the moment at which it was sent, which passes untouched.
struct Heard {
    origin: Instant,
    packets: u64,
    /// Microseconds from one end to the other, the load's own sending and reading included.
    delays: Vec<u32>,
    /// The last delay of each stream in microseconds, and its jitter (RFC 3550, section 6.4.1) by it.
    streams: HashMap<u32, (f64, f64)>,
}

impl Heard {
    fn new() -> Self {
        Self { origin: Instant::now(), packets: 0, delays: Vec::new(), streams: HashMap::new() }
    }

    fn now(&self) -> u32 {
        u32::try_from(self.origin.elapsed().as_micros()).unwrap_or(u32::MAX)
    }

    /// A payload that carries the moment, and whether it counts.
    fn payload(&self, counts: bool) -> [u8; FRAME] {
        let mut payload = [u8::from(counts); FRAME];
        payload.iter_mut().zip(self.now().to_le_bytes()).for_each(|(octet, of_time)| *octet = of_time);
        payload
    }

    fn take(&mut self, datagram: &[u8]) {
        let Ok(packet) = Packet::parse(datagram) else { return };
        let counts = packet.payload.len() == FRAME && packet.payload.last() == Some(&1);
        let Some(sent) = packet.payload.first_chunk().filter(|_| counts) else { return };
        let delay = self.now().saturating_sub(u32::from_le_bytes(*sent));
        self.packets += 1;
        self.delays.push(delay);
        let (last, jitter) = self.streams.entry(packet.header.ssrc).or_insert((delay.into(), 0.0));
        *jitter += ((f64::from(delay) - *last).abs() - *jitter) / 16.0;
        *last = delay.into();
    }

    /// Milliseconds that so many percent of the packets stay below.
    fn delay(&self, percent: usize) -> f64 {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let place = (delays.len() * percent / 100).min(delays.len().saturating_sub(1));
        delays.get(place).map_or(0.0, |delay| f64::from(*delay) / 1000.0)
    }

    /// Milliseconds, the mean of all streams at their end.
    fn jitter(&self) -> f64 {
        let sum: f64 = self.streams.values().map(|(_, jitter)| jitter).sum();
        sum / self.streams.len().max(1) as f64 / 1000.0
    }
}

async fn talk(time: Duration, calls: u32, record: bool) -> Result<Talked, String> {
    let (mut generator, server) = Generator::start(calls, record).await?;
    let before = server.resident()?;
    generator.connect_all().await?;
    let streams = generator.streams();
    let (begun, cpu) = (Instant::now(), server.cpu()?);
    let (mut sent, mut back) = (0_u64, Heard::new());
    let mut packet = [0xd5; Header::LENGTH + FRAME];
    let mut ticks = tokio::time::interval(PACKET);
    for number in 0_u16.. {
        listen(&generator, &mut back, ticks.tick()).await;
        if begun.elapsed() >= time {
            break;
        }
        let header = Header {
            marker: false,
            payload_type: 8,
            sequence: 1000 + number,
            timestamp: 100_000 + u32::from(number) * FRAME as u32,
            ssrc: 7,
        };
        for (index, stream) in streams.iter().enumerate() {
            let counts = number >= WARM_UP;
            let packet = header.write(&back.payload(counts), &mut packet).unwrap_or_default();
            let went = generator.media().try_send_to(packet, *stream).is_ok();
            sent += u64::from(went && counts);
            // A few at a time, as real calls come, and what comes back is taken out meanwhile.
            if index % 8 == 0 {
                tokio::task::yield_now().await;
                drain(&generator, &mut back);
            }
        }
    }
    let used = (server.cpu()? - cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    listen(&generator, &mut back, tokio::time::sleep(PACKET * 5)).await;
    let lost = 100.0 - back.packets.min(sent) as f64 / sent.max(1) as f64 * 100.0;
    Ok(Talked { cpu: used, resident: server.resident()? - before, lost, heard: back })
}

/// Takes what comes back, as it comes, until something else is due.
async fn listen<T>(generator: &Generator, heard: &mut Heard, until: impl Future<Output = T>) {
    tokio::pin!(until);
    loop {
        tokio::select! {
            biased;
            _ = &mut until => return,
            Ok(()) = generator.media().readable() => drain(generator, heard),
        }
    }
}

fn drain(generator: &Generator, heard: &mut Heard) {
    let mut buffer = [0; 2048];
    while let Ok((length, _)) = generator.media().try_recv_from(&mut buffer) {
        heard.take(buffer.get(..length).unwrap_or_default());
    }
}
