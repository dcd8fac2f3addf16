//! Audio of bridged calls: G.711, 20 ms, both ways, relayed; without and with recording.

use std::time::{Duration, Instant};

use media::{FRAME, Header};

use super::Figure;
use super::calls::Generator;

const PACKET: Duration = Duration::from_millis(20);

pub(super) async fn measure(time: Duration, calls: u32) -> Result<Vec<Figure>, String> {
    let plain = talk(time, calls, false).await?;
    let recorded = talk(time, calls, true).await?;
    let per_hundred = |cpu: f64| cpu * 100.0 / f64::from(calls);
    Ok(vec![
        Figure::new("CPU of a core, 100 bridged calls", per_hundred(plain.cpu), "%", "10 or less"),
        Figure::new("the same, recorded", per_hundred(recorded.cpu), "%", "14 or less"),
        Figure::new("RSS a bridged call", plain.resident / f64::from(calls), "kB", "40 or less"),
        Figure::new("packets lost", plain.lost, "%", "0"),
    ])
}

struct Talked {
    /// Percent of a core.
    cpu: f64,
    /// kB for all calls.
    resident: f64,
    /// Percent.
    lost: f64,
}

async fn talk(time: Duration, calls: u32, record: bool) -> Result<Talked, String> {
    let (mut generator, server) = Generator::start(calls, record).await?;
    let before = server.resident()?;
    generator.connect_all().await?;
    let streams = generator.streams();
    let (begun, cpu) = (Instant::now(), server.cpu()?);
    let (mut sent, mut received) = (0_u64, 0_u64);
    let mut packet = [0xd5; Header::LENGTH + FRAME];
    let mut heard = [0; 2048];
    let mut ticks = tokio::time::interval(PACKET);
    for number in 0_u16.. {
        ticks.tick().await;
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
        let payload = [0xd5; FRAME];
        let packet = header.write(&payload, &mut packet).unwrap_or_default();
        for (index, stream) in streams.iter().enumerate() {
            sent += u64::from(generator.media().try_send_to(packet, *stream).is_ok());
            // A few at a time, as real calls come, and what comes back is taken out meanwhile.
            if index % 8 == 0 {
                tokio::task::yield_now().await;
                received += drain(&generator, &mut heard);
            }
        }
        received += drain(&generator, &mut heard);
    }
    let used = (server.cpu()? - cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    tokio::time::sleep(PACKET * 5).await;
    received += drain(&generator, &mut heard);
    let lost = 100.0 - received.min(sent) as f64 / sent.max(1) as f64 * 100.0;
    Ok(Talked { cpu: used, resident: server.resident()? - before, lost })
}

fn drain(generator: &Generator, buffer: &mut [u8]) -> u64 {
    let mut count = 0;
    while let Ok((length, _)) = generator.media().try_recv_from(buffer) {
        count += u64::from(length == Header::LENGTH + FRAME);
    }
    count
}
