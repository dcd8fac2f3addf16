//! Two endpoints on a virtual clock, over a link with loss, duplication and reordering.
//!
//! At the end of a test both endpoints are idle, without timers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod answers;
mod digest;
mod early;
mod in_dialog;
mod redirections;
mod setup;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use signalling::sdes::{Secrets, SrtpMode};
use signalling::sdp::{Codec, LocalMedia, OpusParameters, TelephoneEventFormat};
use signalling::{
    Credentials, Digest, EndReason, Endpoint, EndpointLoad, EndpointSettings, Event, IncomingCall,
    LegId, ListenAddress, Network, OutgoingCall, PeerReason, Redirection, SipMessage, SipTimers,
    Transport, Trunk, TrunkPeer,
};

const IDLE: EndpointLoad = EndpointLoad {
    legs: 0,
    transactions: 0,
    timers: 0,
};

/// Xorshift generator for losses and delays, reproducible from its seed.
struct LinkRandom(u64);

impl LinkRandom {
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.draw() % 100 < chance
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Caller,
    Callee,
}

/// Message in flight: destination, transport, source address, bytes.
type InFlight = (usize, Transport, SocketAddr, Vec<u8>);

struct Pair {
    ends: [Endpoint; 2],
    now: Instant,
    random: LinkRandom,
    /// Percentage of lost messages. A third as many are duplicated, and all are delayed by up to
    /// 300 ms.
    loss: u64,
    in_flight: BTreeMap<(Instant, u64), InFlight>,
    sent: u64,
    events: Vec<(End, Event)>,
    /// Reasons that the endpoints received for the end of a leg.
    reasons: Vec<(End, PeerReason)>,
    /// All messages sent by each endpoint.
    wire: [Vec<String>; 2],
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + u8::try_from(end).unwrap())),
        5060,
    )
}

fn endpoint(own: usize, transport: Transport) -> Endpoint {
    endpoint_with(own, transport, None)
}

fn endpoint_with(own: usize, transport: Transport, credentials: Option<Credentials>) -> Endpoint {
    endpoint_for(
        own,
        transport,
        Trunk {
            credentials,
            ..Trunk::default()
        },
    )
}

/// Creates an endpoint with the other one as its trunk.
fn endpoint_for(own: usize, transport: Transport, trunk: Trunk) -> Endpoint {
    let peer = address(1 - own);
    let accept_from = match trunk.accept_credentials {
        Some(_) => Vec::new(),
        None => vec![Network::single(peer.ip())],
    };
    let trunk = Trunk {
        peer: Some(TrunkPeer::at(transport, peer)),
        accept_from,
        ..trunk
    };
    let settings = EndpointSettings {
        advertised: address(own).ip(),
        own_addresses: Vec::new(),
        listen: ListenAddress::for_each_transport(address(own).ip(), [5060, 5060, 5061]),
        timers: SipTimers::default(),
        trunks: vec![trunk],
    };
    let mut random = LinkRandom(0x9e37_79b9 + own as u64);
    Endpoint::new(settings, Box::new(move || random.draw()))
}

fn media(end: usize) -> LocalMedia {
    let (address, secrets) = (address(end).ip(), Secrets::new([end as u8; 132]));
    LocalMedia {
        address,
        port: 20000,
        session_id: 1,
        version: 1,
        comfort_noise: false,
        srtp: SrtpMode::Off,
        secrets,
    }
}

impl Pair {
    fn over(transport: Transport, seed: u64, loss: u64) -> Self {
        Self {
            ends: [endpoint(0, transport), endpoint(1, transport)],
            now: Instant::now(),
            random: LinkRandom(seed * 7919 + 1),
            loss,
            in_flight: BTreeMap::new(),
            sent: 0,
            events: Vec::new(),
            reasons: Vec::new(),
            wire: [Vec::new(), Vec::new()],
        }
    }

    fn lossless() -> Self {
        Self::over(Transport::Udp, 1, 0)
    }

    fn dial(&mut self) -> LegId {
        let call = OutgoingCall {
            trunk: 0,
            to: "+914000000001".into(),
            from: "+918800000001".into(),
            local: media(0),
            preferred: Codec::Pcmu,
        };
        let leg = self.ends[0].dial(call, self.now).unwrap();
        self.collect();
        leg
    }

    /// Moves the messages and events of both endpoints into the pair.
    fn collect(&mut self) {
        for own in 0..2 {
            while let Some(transmit) = self.ends[own].poll_transmit() {
                self.wire[own].push(String::from_utf8_lossy(&transmit.bytes).into_owned());
                let reliable = transmit.path.transport == Transport::Tcp;
                let copies = match () {
                    () if reliable => 1,
                    () if self.random.percent(self.loss) => 0,
                    () if self.random.percent(self.loss / 3) => 2,
                    () => 1,
                };
                for _ in 0..copies {
                    let jitter = if reliable || self.loss == 0 {
                        10
                    } else {
                        self.random.draw() % 300
                    };
                    self.sent += 1;
                    let arrival = (self.now + Duration::from_millis(jitter), self.sent);
                    let message = transmit.bytes.to_vec();
                    self.in_flight.insert(
                        arrival,
                        (1 - own, transmit.path.transport, address(own), message),
                    );
                }
            }
            while let Some(event) = self.ends[own].poll_event() {
                let end = [End::Caller, End::Callee][own];
                match event {
                    Event::PeerReason { reason, .. } => self.reasons.push((end, reason)),
                    event => self.events.push((end, event)),
                }
            }
        }
    }

    /// Runs the next delivery or timer. Returns `false` if none is left.
    fn step(&mut self) -> bool {
        let delivery = self.in_flight.keys().next().map(|(at, _)| *at);
        let timer = self.ends.iter().filter_map(Endpoint::poll_timeout).min();
        let Some(next) = [delivery, timer].into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(next);
        if delivery == Some(next) {
            let (_, (to, transport, from, bytes)) = self.in_flight.pop_first().unwrap();
            let message = SipMessage::from_datagram(bytes.into()).expect("sent messages parse");
            self.ends[to].receive(transport, from, message, self.now);
        } else {
            self.ends
                .iter_mut()
                .for_each(|end| end.handle_timeout(self.now));
        }
        self.collect();
        true
    }

    /// Runs until a matching event occurs, and returns its value.
    fn run_until<T>(&mut self, end: End, fits: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let found = self
                .events
                .iter()
                .position(|(at, event)| *at == end && fits(event).is_some());
            if let Some(index) = found {
                return fits(&self.events.remove(index).1).unwrap();
            }
            assert!(
                self.step(),
                "no event left to wait for; unexpected events: {:?}",
                self.events
            );
        }
    }

    fn incoming_call(&mut self) -> IncomingCall {
        self.run_until(End::Callee, |event| match event {
            Event::IncomingCall(call) => Some(call.clone()),
            _ => None,
        })
    }

    fn hung_up(&mut self, end: End) -> bool {
        self.run_until(end, |event| match event {
            Event::HungUp { orderly, .. } => Some(*orderly),
            _ => None,
        })
    }

    fn failed(&mut self, end: End) -> u16 {
        self.run_until(end, |event| match event {
            Event::Failed { status, .. } => Some(*status),
            _ => None,
        })
    }

    /// Connects a call and returns the legs of caller and callee.
    fn connect(&mut self) -> (LegId, LegId) {
        let caller = self.dial();
        let callee = self.incoming_call().leg;
        self.ends[1].answer(callee, media(1), self.now).unwrap();
        self.collect();
        self.run_until(End::Caller, |event| {
            matches!(event, Event::Answered { .. }).then_some(())
        });
        self.run_until(End::Callee, |event| {
            matches!(event, Event::Confirmed { .. }).then_some(())
        });
        (caller, callee)
    }

    /// Runs until both endpoints are idle, checks that no event is left, and returns all sent
    /// messages.
    fn run_to_idle(mut self) -> [Vec<String>; 2] {
        while self.step() {}
        assert_eq!([self.ends[0].load(), self.ends[1].load()], [IDLE, IDLE]);
        assert_eq!(self.events, []);
        self.wire
    }

    /// Sends a request to the callee within its dialog, in the name of the caller.
    fn inject(&mut self, method: &str, sequence: u32, headers: &str, body: &str) {
        let ack = self.wire[0]
            .iter()
            .find(|message| message.starts_with("ACK "))
            .expect("connected");
        let line = |name: &str| {
            ack.lines()
                .find(|line| line.starts_with(name))
                .unwrap()
                .to_owned()
        };
        let uri = ack.split(' ').nth(1).unwrap();
        let request = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{method}{sequence};rport\r\n\
             {}\r\n{}\r\n{}\r\nCSeq: {sequence} {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:192.0.2.1>\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            line("From:"),
            line("To:"),
            line("Call-ID:"),
            body.len()
        );
        let message = SipMessage::from_datagram(request.into()).unwrap();
        self.ends[1].receive(Transport::Udp, address(0), message, self.now);
        self.collect();
    }

    /// Returns the last message of the callee.
    fn answer(&self) -> &str {
        self.wire[1].last().unwrap()
    }
}

fn links() -> impl Iterator<Item = Pair> {
    let lossy = (1..60).map(|seed| Pair::over(Transport::Udp, seed, 25));
    let clean = [Pair::lossless(), Pair::over(Transport::Tcp, 1, 0)];
    clean.into_iter().chain(lossy)
}

const HOLD: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.77\r\nt=0 0\r\n\
    m=audio 30000 RTP/AVP 8\r\na=sendonly\r\n";
const SDP: &str = "Content-Type: application/sdp\r\n";

/// Writes a response to a request in the name of the called party. `tag` is empty within a dialog.
fn answer_to(invite: &str, status: u16, tag: &str, headers: &str, body: &str) -> SipMessage {
    let line = |name: &str| {
        invite
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    };
    let tag = if tag.is_empty() {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    let response = format!(
        "SIP/2.0 {status} X\r\n{}\r\n{}\r\n{}{tag}\r\n{}\r\n{}\r\nContact: <sip:192.0.2.2>\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        line("Via:"),
        line("From:"),
        line("To:"),
        line("Call-ID:"),
        line("CSeq:"),
        body.len()
    );
    SipMessage::from_datagram(response.into()).unwrap()
}

impl Pair {
    /// Dials without delivering the INVITE. The test writes the responses.
    fn dial_manually() -> (Self, LegId, String) {
        Self::lossless().dialled_manually()
    }

    fn dialled_manually(self) -> (Self, LegId, String) {
        let mut pair = self;
        let leg = pair.dial();
        pair.in_flight.clear();
        let invite = pair.wire[0][0].clone();
        (pair, leg, invite)
    }

    fn answer_manually(&mut self, response: SipMessage) {
        self.ends[0].receive(Transport::Udp, address(1), response, self.now);
        self.collect();
        self.in_flight.clear();
    }

    fn sent(&self, method: &str) -> Vec<&String> {
        let start = format!("{method} ");
        self.wire[0]
            .iter()
            .filter(|message| message.starts_with(&start))
            .collect()
    }

    fn is_answered(&self) -> bool {
        self.events
            .iter()
            .any(|(_, event)| matches!(event, Event::Answered { .. }))
    }
}
