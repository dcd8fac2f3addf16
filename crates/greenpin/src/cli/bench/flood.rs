//! Live calls beside a flood of INVITEs from an unknown source.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Goal::{AtLeast, AtMost, Open};
use super::bridged::exchange;
use super::calls::Generator;
use super::child::{BenchStore, number};
use super::{Figure, progress};

/// Number of live calls.
const CALLS: u32 = 50;
/// Source address that belongs to no trunk.
const UNKNOWN_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Interval of the flood's batches.
const BATCH_INTERVAL: Duration = Duration::from_millis(1);
/// Time that the calls continue after the flood.
const TIME_AFTER_FLOOD: Duration = Duration::from_secs(3);

pub(super) async fn measure(time: Duration, rate: u32) -> Result<Vec<Figure>, String> {
    let (mut generator, server) = Generator::start(CALLS, false, &BenchStore::default()).await?;
    generator.connect_all().await?;
    exchange(&mut generator, TIME_AFTER_FLOOD).await;
    let (before, cpu) = (server.resident()?, server.cpu()?);
    progress("calls beside a flood");
    let flood = Flood::start(server.sip, rate)?;
    let lost_meanwhile = exchange(&mut generator, time).await;
    let sent = flood.end()?;
    let used = (server.cpu()? - cpu).as_secs_f64() / time.as_secs_f64() * 100.0;
    progress("the same calls after it");
    generator.listen(TIME_AFTER_FLOOD).await;
    let lost_afterwards = exchange(&mut generator, TIME_AFTER_FLOOD).await;
    let grown = (server.peak()? - before) / 1024.0;
    let reached = f64::from(sent) / time.as_secs_f64();
    Ok(vec![
        Figure::new(
            "INVITEs of strangers",
            reached,
            "/s",
            AtLeast(f64::from(rate) * 0.95),
        ),
        Figure::new(
            "live calls lost",
            f64::from(generator.failed),
            "",
            AtMost(0.0),
        ),
        Figure::new("RSS grown at its highest", grown, "MiB", AtMost(64.0)),
        Figure::new(
            "packets of the calls lost meanwhile",
            lost_meanwhile,
            "%",
            AtMost(0.0),
        ),
        Figure::new(
            "packets of the calls lost afterwards",
            lost_afterwards,
            "%",
            AtMost(0.0),
        ),
        Figure::new("CPU of a core meanwhile, calls and flood", used, "%", Open),
    ])
}

/// Thread that sends INVITEs at a rate and reads no response.
struct Flood {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u32>,
}

impl Flood {
    fn start(server: SocketAddr, rate: u32) -> Result<Self, String> {
        let socket = UdpSocket::bind((UNKNOWN_SOURCE, 0)).map_err(|error| error.to_string())?;
        let source = socket.local_addr().map_err(|error| error.to_string())?;
        let dialled = number(1)?.expose();
        let over = Arc::<AtomicBool>::default();
        let ended = over.clone();
        let thread = std::thread::spawn(move || {
            let (begun, mut sent) = (Instant::now(), 0);
            while !ended.load(Ordering::Relaxed) {
                let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u32;
                while sent < due && !ended.load(Ordering::Relaxed) {
                    // A datagram that does not fit into the send buffer is sent again.
                    let invite = invite(&dialled, source, sent);
                    sent += u32::from(socket.send_to(invite.as_bytes(), server).is_ok());
                }
                std::thread::sleep(BATCH_INTERVAL);
            }
            sent
        });
        Ok(Self { over, thread })
    }

    /// Stops the flood. Returns the number of sent INVITEs.
    fn end(self) -> Result<u32, String> {
        self.over.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| "the flood has failed".to_owned())
    }
}

/// Builds an INVITE of a new call.
fn invite(number: &str, source: SocketAddr, index: u32) -> String {
    format!(
        "INVITE sip:{number}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bKflood{index};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+917700000001@{source}>;tag={index}\r\nTo: <sip:{number}@127.0.0.1>\r\n\
         Call-ID: flood{index}\r\nCSeq: 1 INVITE\r\nContact: <sip:{source}>\r\nContent-Length: 0\r\n\r\n"
    )
}
