//! PIN calls: INVITE, answer, four digits by RFC 4733, INVITE to the agent, answer, a short talk,
//! BYE.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use call::Pin;
use media::{Digit, EventPayload, Header};
use signalling::sdes::{Secrets, SrtpMode};
use signalling::sdp::{Codec, LocalMedia, RemoteMedia};
use signalling::{
    EndpointSettings, Event, LegId, ListenAddress, Network, OutgoingCall, SipTimers, Transport,
    Trunk, TrunkPeer,
};
use tokio::net::UdpSocket;

use super::Goal::{AtLeast, AtMost, Open};
use super::child::{BenchStore, Prepared, Server, any_port, number};
use super::{Figure, progress};
use crate::calls::sip::{SipSockets, UserAgent};
use crate::store::NumberMode;

/// Number of virtual numbers that the calls rotate through.
const NUMBERS: u32 = 400;
const TALK: Duration = Duration::from_millis(100);
/// Time for calls to settle once all are answered.
const SETTLE_TIME: Duration = Duration::from_millis(500);
/// Time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which the transactions of the last call are gone (RFC 3261, 64·T1) and their memory
/// is released.
const REST_TIME: Duration = Duration::from_secs(60);
/// Number of writes in the measurement of the disk.
const FLUSH_COUNT: usize = 200;
const EVENT: u8 = 101;
const MEDIA_BUFFER: usize = 4 << 20;

/// Measures PIN calls at a rate for `time`, and the server's memory a minute after the last one.
pub(super) async fn measure(
    time: Duration,
    rate: u32,
    store: &BenchStore,
) -> Result<Vec<Figure>, String> {
    progress("PIN calls");
    let (mut generator, server) = Generator::start(NUMBERS, false, store).await?;
    let flush = flush_times(server.folder()).map_err(|error| error.to_string())?;
    let before = Memory::of(&server)?;
    let cpu = server.cpu()?;
    generator.call_at(rate, time).await?;
    let used = server.cpu()? - cpu;
    let peak = server.peak()?;
    progress("a minute of rest, for memory");
    tokio::time::sleep(REST_TIME).await;
    let after = Memory::of(&server)?;
    let mut figures = generator.figures(time, rate, used);
    figures.extend(disk_figures(flush));
    figures.extend(memory_figures(&before, peak, &after));
    Ok(figures)
}

/// Memory of the server, in kB.
struct Memory {
    resident: f64,
    own: f64,
}

impl Memory {
    fn of(server: &Server) -> Result<Self, String> {
        Ok(Self {
            resident: server.resident()?,
            own: server.own()?,
        })
    }
}

fn disk_figures((median, slow): (Duration, Duration)) -> [Figure; 2] {
    let figure = |name, time| Figure::new(name, millis(time), "ms", Open);
    [
        figure("one durable 4 KiB write on this disk, p50", median),
        figure("one durable 4 KiB write on this disk, p99", slow),
    ]
}

fn memory_figures(before: &Memory, peak: f64, after: &Memory) -> [Figure; 6] {
    let mebibytes = |name, kilobytes: f64| Figure::new(name, kilobytes / 1024.0, "MiB", Open);
    let own = "the same without pages of the program";
    let growth = (after.resident / before.resident - 1.0) * 100.0;
    [
        mebibytes("RSS before", before.resident),
        mebibytes(own, before.own),
        mebibytes("RSS at its highest", peak),
        mebibytes("RSS a minute later", after.resident),
        mebibytes(own, after.own),
        Figure::new("RSS a minute later, over before", growth, "%", AtMost(10.0)),
    ]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Returns the median and the 99th percentile of the time to make a page durable: the lower bound
/// of every PIN check.
fn flush_times(folder: &Path) -> std::io::Result<(Duration, Duration)> {
    let mut file = std::fs::File::create(folder.join("flush"))?;
    let mut times = Vec::with_capacity(FLUSH_COUNT);
    for _ in 0..FLUSH_COUNT {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    Ok((at(FLUSH_COUNT / 2), at(FLUSH_COUNT * 99 / 100)))
}

/// Callers and agents: one SIP address per side, one media port for all.
pub(super) struct Generator {
    callers: UserAgent,
    agents: UserAgent,
    media: UdpSocket,
    local: LocalMedia,
    pins: Vec<Pin>,
    next: u32,
    calls: HashMap<LegId, Call>,
    by_number: HashMap<String, LegId>,
    hang_ups: BTreeMap<(Instant, LegId), ()>,
    /// Destination of the agents' audio, by the caller's leg.
    pub(super) agent_audio: HashMap<LegId, RemoteMedia>,
    pub(super) latencies: Vec<Duration>,
    pub(super) failed: u32,
    /// Packets sent on each stream so far. RTP numbers continue from here.
    pub(super) packets: u32,
    talk: Option<Duration>,
}

/// A call under way.
struct Call {
    index: u32,
    begun: Instant,
    keyed: Option<Instant>,
    audio: Option<RemoteMedia>,
}

async fn agent_on(sockets: SipSockets, peer: SocketAddr) -> Result<UserAgent, String> {
    let own = sockets.udp_address().map_err(|error| error.to_string())?;
    let trunk = Trunk {
        peer: Some(TrunkPeer::at(Transport::Udp, peer)),
        accept_from: vec![Network {
            address: peer.ip(),
            prefix: 32,
        }],
        ..Trunk::default()
    };
    let settings = EndpointSettings {
        advertised: own.ip(),
        own_addresses: Vec::new(),
        listen: ListenAddress::for_each_transport(own.ip(), [own.port(); 3]),
        timers: SipTimers::default(),
        trunks: vec![trunk],
    };
    Ok(UserAgent::new(settings, sockets))
}

impl Generator {
    /// Returns the figures of the calls so far. `used`: CPU time of the server for them.
    fn figures(&mut self, time: Duration, rate: u32, used: Duration) -> Vec<Figure> {
        let done = self.latencies.len();
        self.latencies.sort_unstable();
        let percentile = |share: f64| {
            let index = ((done as f64 * share) as usize).min(done.saturating_sub(1));
            self.latencies.get(index).map_or(0.0, |at| millis(*at))
        };
        let a_second = done as f64 / time.as_secs_f64();
        let cpu = used.as_secs_f64() * 1000.0 / done.max(1) as f64;
        let goal = AtLeast(f64::from(rate));
        vec![
            Figure::new("PIN calls completed", a_second, "/s", goal),
            Figure::new("PIN calls failed", f64::from(self.failed), "", AtMost(0.0)),
            Figure::new("CPU a PIN call", cpu, "ms", AtMost(1.5)),
            Figure::new(
                "last digit to INVITE, p50",
                percentile(0.5),
                "ms",
                AtMost(1.0),
            ),
            Figure::new(
                "last digit to INVITE, p99",
                percentile(0.99),
                "ms",
                AtMost(5.0),
            ),
        ]
    }

    /// Starts a server with `numbers` numbers and an allocation on each, and its load generator.
    pub(super) async fn start(
        numbers: u32,
        record: bool,
        store: &BenchStore,
    ) -> Result<(Self, Server), String> {
        let prepared = Prepared::on(store).await?;
        let mut pins = Vec::new();
        for index in 0..numbers {
            prepared
                .add_number(number(index)?, NumberMode::Exclusive)
                .await?;
            pins.push(prepared.allocate(number(index)?, record).await?.pin);
        }
        let callers = SipSockets::bind(any_port(), None).map_err(|error| error.to_string())?;
        let agents = SipSockets::bind(any_port(), None).map_err(|error| error.to_string())?;
        let server = prepared
            .start(agents.udp_address().map_err(|error| error.to_string())?)
            .await?;
        let media = UdpSocket::bind(any_port())
            .await
            .map_err(|error| error.to_string())?;
        // One socket receives all streams.
        socket2::SockRef::from(&media)
            .set_recv_buffer_size(MEDIA_BUFFER)
            .map_err(|error| error.to_string())?;
        let port = media
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
        let (srtp, secrets) = (SrtpMode::Off, Secrets::new([0; 132]));
        let local = LocalMedia {
            address: any_port().ip(),
            port,
            session_id: 1,
            version: 1,
            comfort_noise: false,
            srtp,
            secrets,
        };
        let generator = Self {
            callers: agent_on(callers, server.sip).await?,
            agents: agent_on(agents, server.sip).await?,
            media,
            local,
            pins,
            next: 0,
            calls: HashMap::new(),
            by_number: HashMap::new(),
            hang_ups: BTreeMap::new(),
            agent_audio: HashMap::new(),
            latencies: Vec::new(),
            failed: 0,
            packets: 0,
            talk: Some(TALK),
        };
        Ok((generator, server))
    }

    /// Connects one call on each number.
    pub(super) async fn connect_all(&mut self) -> Result<(), String> {
        self.talk = None;
        let all = self.pins.len();
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.agent_audio.len() < all {
            if (self.next as usize) < all && self.calls.len() - self.agent_audio.len() < 8 {
                self.dial()?;
            }
            self.step(Instant::now() + Duration::from_millis(1)).await;
            if self.failed > 0 || Instant::now() > deadline {
                return Err("the calls were not connected".to_owned());
            }
        }
        // The last answer and its ACK are still under way.
        self.listen(SETTLE_TIME).await;
        if self.failed > 0 {
            Err("a call was not connected".to_owned())
        } else {
            Ok(())
        }
    }

    /// Handles events of the calls for `time`.
    pub(super) async fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.step(until).await;
        }
    }

    /// Returns the destinations of both streams of every connected call.
    pub(super) fn streams(&self) -> Vec<SocketAddr> {
        let callers = self.calls.values().filter_map(|call| call.audio);
        callers
            .chain(self.agent_audio.values().copied())
            .map(|remote| remote.rtp)
            .collect()
    }

    pub(super) fn media(&self) -> &UdpSocket {
        &self.media
    }

    async fn call_at(&mut self, rate: u32, time: Duration) -> Result<(), String> {
        let begun = Instant::now();
        let total = (f64::from(rate) * time.as_secs_f64()) as u32;
        while self.next < total || !self.calls.is_empty() {
            let due = begun + Duration::from_secs_f64(f64::from(self.next) / f64::from(rate));
            if self.next < total && Instant::now() >= due {
                self.dial()?;
                continue;
            }
            let wait = if self.next < total {
                due
            } else {
                Instant::now() + Duration::from_millis(50)
            };
            self.step(wait).await;
            self.give_up_old();
        }
        Ok(())
    }

    fn dial(&mut self) -> Result<(), String> {
        let index = self.next % u32::try_from(self.pins.len()).unwrap_or(1);
        self.next += 1;
        let to = number(index)?.expose();
        let call = OutgoingCall {
            trunk: 0,
            to: to.clone(),
            from: "+918800000001".to_owned(),
            local: self.local,
            preferred: Codec::Pcma,
        };
        let leg = self
            .callers
            .command(|endpoint, now| endpoint.dial(call, now))
            .map_err(|error| error.to_string())?;
        self.by_number.insert(to, leg);
        self.calls.insert(
            leg,
            Call {
                index,
                begun: Instant::now(),
                keyed: None,
                audio: None,
            },
        );
        Ok(())
    }

    /// Handles one event, or returns at `wait`.
    async fn step(&mut self, wait: Instant) {
        let hang_up = self
            .hang_ups
            .first_key_value()
            .map_or(wait, |((at, _), ())| (*at).min(wait));
        tokio::select! {
            event = self.callers.event() => self.caller(event),
            event = self.agents.event() => self.agent(event),
            () = tokio::time::sleep_until(hang_up.into()) => self.hang_up_due(),
        }
    }

    fn caller(&mut self, event: Event) {
        match event {
            Event::Answered { leg, remote } => {
                let Some(call) = self.calls.get_mut(&leg) else {
                    return;
                };
                call.audio = Some(remote);
                call.keyed = Some(Instant::now());
                let pin = self.pins.get(call.index as usize);
                pin.into_iter()
                    .for_each(|pin| self.key_in(pin.expose(), remote.rtp));
            }
            Event::Failed { leg, .. } | Event::HungUp { leg, .. } => self.fail(leg),
            _ => {}
        }
    }

    fn agent(&mut self, event: Event) {
        let Event::IncomingCall(offer) = event else {
            return;
        };
        // The caller identity is the virtual number, which identifies the call.
        let leg = offer
            .caller
            .numbers
            .first()
            .and_then(|shown| self.by_number.get(&shown.text))
            .copied();
        let local = self.local;
        self.agents
            .command(|endpoint, now| endpoint.answer(offer.leg, local, now));
        let Some(leg) = leg else { return };
        let Some(call) = self.calls.get(&leg) else {
            return;
        };
        self.latencies
            .extend(call.keyed.map(|keyed| keyed.elapsed()));
        self.agent_audio
            .extend(offer.remote.map(|remote| (leg, remote)));
        if let Some(talk) = self.talk {
            self.hang_ups.insert((Instant::now() + talk, leg), ());
        }
    }

    fn hang_up_due(&mut self) {
        let now = Instant::now();
        while let Some(((_, leg), ())) = self
            .hang_ups
            .first_key_value()
            .filter(|((at, _), ())| *at <= now)
        {
            let leg = *leg;
            self.hang_ups.pop_first();
            self.callers
                .command(|endpoint, now| endpoint.hang_up(leg, now));
            self.calls.remove(&leg);
            self.agent_audio.remove(&leg);
        }
    }

    fn fail(&mut self, leg: LegId) {
        if self.calls.remove(&leg).is_some() {
            self.failed += 1;
        }
    }

    fn give_up_old(&mut self) {
        let old: Vec<LegId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.begun.elapsed() > TIMEOUT)
            .map(|(leg, _)| *leg)
            .collect();
        for leg in old {
            self.callers
                .command(|endpoint, now| endpoint.hang_up(leg, now));
            self.fail(leg);
        }
    }

    fn key_in(&self, pin: &str, to: SocketAddr) {
        let mut sequence = 0;
        for (press, key) in (0_u32..).zip(pin.chars()) {
            let Ok(digit) = Digit::try_from(key) else {
                continue;
            };
            for (end, duration) in [(false, 160), (true, 320)] {
                sequence += 1;
                let payload = EventPayload {
                    digit,
                    end,
                    volume: 10,
                    duration,
                };
                let header = Header {
                    marker: !end,
                    payload_type: EVENT,
                    sequence,
                    timestamp: press * 1600,
                    ssrc: 7,
                };
                let mut packet = [0; Header::LENGTH + 4];
                if let Some(packet) = header.write(&payload.octets(), &mut packet) {
                    let _ = self.media.try_send_to(packet, to);
                }
            }
        }
    }
}
