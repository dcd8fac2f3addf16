//! Audio of bridged calls: G.711, 20 ms, both ways, relayed, without and with recording.

use std::time::{Duration, Instant};

use media::{FRAME, Header};

use super::Goal::{AtMost, Open};
use super::calls::Generator;
use super::child::BenchStore;
use super::{Figure, progress};
use crate::calls::media::{
    DelayFigures, MediaSettings, RelayFigures, Relayed, delay_bench, relay_bench,
};

const PACKET: Duration = Duration::from_millis(20);
/// Numbers of calls for the curve of the delay, beyond the number asked for.
const DELAY_CALLS: [usize; 2] = [300, 1000];
/// Packets of each stream before the measurement starts. A call counts as answered shortly before
/// both sides are connected.
const WARM_UP: u32 = 10;

pub(super) async fn measure(time: Duration, calls: u32) -> Result<Vec<Figure>, String> {
    progress("the bare relay, and the media plane alone");
    let relay = relay(time, calls).await?;
    progress("bridged calls");
    let plain = talk(time, calls, false).await?;
    progress("bridged and recorded calls");
    let recorded = talk(time, calls, true).await?;
    progress("the delay of the bare relay, and of the media plane: plain, recorded, encrypted");
    let delays = delays(time, calls).await?;
    let per_hundred = |cpu: f64| cpu * 100.0 / f64::from(calls);
    let mut figures = vec![
        Figure::new(
            "CPU of a core, 100 bridged calls",
            per_hundred(plain.cpu),
            "%",
            AtMost(10.0),
        ),
        Figure::new(
            "the same, recorded",
            per_hundred(recorded.cpu),
            "%",
            AtMost(14.0),
        ),
        Figure::new(
            "100 through a bare relay",
            per_hundred(relay.bare_cpu),
            "%",
            Open,
        ),
        Figure::new(
            "100 through the media plane alone",
            per_hundred(relay.bridged_cpu),
            "%",
            Open,
        ),
        Figure::new(
            "100 of them from Opus to G.711",
            per_hundred(relay.transcoded_cpu),
            "%",
            Open,
        ),
        Figure::new(
            "RSS a bridged call",
            plain.resident / f64::from(calls),
            "kB",
            AtMost(40.0),
        ),
        Figure::new("packets lost", plain.lost, "%", AtMost(0.0)),
    ];
    figures.extend(
        delays
            .into_iter()
            .flat_map(|(name, delay)| delay_figures(&name, delay)),
    );
    Ok(figures)
}

/// Measures the delay through the bare relay and through the server, one after the other, for several numbers of calls.
async fn delays(time: Duration, calls: u32) -> Result<Vec<(String, DelayFigures)>, String> {
    let measure = move || {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let calls = usize::try_from(calls).unwrap_or_default();
        let delay = |name: &str, calls: usize, through| {
            delay_bench(&MediaSettings::default(), calls, time, through)
                .map(|figures| (format!("{name}, {calls} calls"), figures))
                .map_err(|error| error.to_string())
        };
        let mut measured = Vec::new();
        let more = DELAY_CALLS.into_iter().filter(|more| *more > calls);
        for calls in [calls].into_iter().chain(more) {
            measured.push(delay("bare relay", calls, Relayed::Bare)?);
            measured.push(delay("plain", calls, Relayed::Plain)?);
        }
        measured.push(delay("recorded", calls, Relayed::Recorded(folder.path()))?);
        measured.push(delay("SRTP", calls, Relayed::Encrypted)?);
        Ok(measured)
    };
    tokio::task::spawn_blocking(measure)
        .await
        .map_err(|error| error.to_string())?
}

fn delay_figures(name: &str, delay: DelayFigures) -> [Figure; 4] {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    [
        Figure::new(
            format!("{name}: one-way delay, p50"),
            millis(delay.median),
            "ms",
            Open,
        ),
        Figure::new(
            format!("{name}: one-way delay, p99"),
            millis(delay.p99),
            "ms",
            Open,
        ),
        Figure::new(format!("{name}: jitter"), millis(delay.jitter), "ms", Open),
        Figure::new(
            format!("{name}: packets lost"),
            delay.lost * 100.0,
            "%",
            Open,
        ),
    ]
}

/// Measures the bare relay. Its figures are those of this process, which is otherwise idle.
async fn relay(time: Duration, calls: u32) -> Result<RelayFigures, String> {
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let measure = move || {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let calls = usize::try_from(calls).unwrap_or_default();
        relay_bench(&MediaSettings::default(), calls, seconds, folder.path())
            .map_err(|error| error.to_string())
    };
    tokio::task::spawn_blocking(measure)
        .await
        .map_err(|error| error.to_string())?
}

struct Talked {
    /// CPU in percent of a core.
    cpu: f64,
    /// Memory of all calls, in kB.
    resident: f64,
    /// Lost packets in percent.
    lost: f64,
}

async fn talk(time: Duration, calls: u32, record: bool) -> Result<Talked, String> {
    let (mut generator, server) = Generator::start(calls, record, &BenchStore::default()).await?;
    let before = server.resident()?;
    generator.connect_all().await?;
    let (begun, cpu) = (Instant::now(), server.cpu()?);
    let lost = exchange(&mut generator, time).await;
    let used = (server.cpu()? - cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    Ok(Talked {
        cpu: used,
        resident: server.resident()? - before,
        lost,
    })
}

/// Sends audio both ways on every connected call. Returns the lost packets in percent.
pub(super) async fn exchange(generator: &mut Generator, time: Duration) -> f64 {
    let (streams, begun) = (generator.streams(), Instant::now());
    let (mut sent, mut received) = (0_u64, 0_u64);
    let mut packet = [0xd5; Header::LENGTH + FRAME];
    let mut heard = [0; 2048];
    let mut ticks = tokio::time::interval(PACKET);
    for number in 0_u32.. {
        ticks.tick().await;
        if begun.elapsed() >= time {
            break;
        }
        let header = Header {
            marker: false,
            payload_type: 8,
            sequence: generator.packets as u16,
            timestamp: generator.packets.wrapping_mul(FRAME as u32),
            ssrc: 7,
        };
        generator.packets = generator.packets.wrapping_add(1);
        let counts = number >= WARM_UP;
        let payload = [u8::from(counts); FRAME];
        let packet = header.write(&payload, &mut packet).unwrap_or_default();
        for (index, stream) in streams.iter().enumerate() {
            let went = generator.media().try_send_to(packet, *stream).is_ok();
            sent += u64::from(went && counts);
            // Calls start a few at a time, and returning packets are read in between.
            if index % 8 == 0 {
                tokio::task::yield_now().await;
                received += drain(generator, &mut heard);
            }
        }
        received += drain(generator, &mut heard);
    }
    tokio::time::sleep(PACKET * 5).await;
    received += drain(generator, &mut heard);
    100.0 - received.min(sent) as f64 / sent.max(1) as f64 * 100.0
}

fn drain(generator: &Generator, buffer: &mut [u8]) -> u64 {
    let mut count = 0;
    while let Ok((length, _)) = generator.media().try_recv_from(buffer) {
        let counts = length == Header::LENGTH + FRAME && buffer.get(length - 1) == Some(&1);
        count += u64::from(counts);
    }
    count
}
