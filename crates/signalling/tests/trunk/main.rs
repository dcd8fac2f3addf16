//! Keep-alive, registration and targets of a trunk, on a virtual clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod keep_alive;
mod local_addresses;
mod probe;
mod registration;
mod sources;
mod targets;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use signalling::sdes::{Secrets, SrtpMode};
use signalling::sdp::{Codec, LocalMedia};
use signalling::{
    Arrival, Credentials, DialError, Endpoint, EndpointSettings, Entropy, Event, Host, LegId,
    ListenAddress, OutgoingCall, Probe, ProbeStep, SipMessage, SipTimers, TargetGroup, Transport,
    Trunk, TrunkPeer,
};

/// Endpoint with one trunk. The test writes the responses of the trunk.
struct SingleEndpoint {
    endpoint: Endpoint,
    start: Instant,
    now: Instant,
    /// All sent messages with their time since the start.
    wire: Vec<(Duration, String)>,
    /// Destinations of the sent messages.
    destinations: Vec<SocketAddr>,
    events: Vec<Event>,
}

fn media() -> LocalMedia {
    LocalMedia {
        address: "192.0.2.1".parse().unwrap(),
        port: 20_000,
        session_id: 1,
        version: 1,
        comfort_noise: false,
        srtp: SrtpMode::Off,
        secrets: Secrets::new([0; 132]),
    }
}

fn peer() -> SocketAddr {
    "192.0.2.2:5060".parse().unwrap()
}

/// Returns the targets of a name without SRV records.
fn group(addresses: Vec<SocketAddr>) -> Vec<TargetGroup> {
    let groups = [TargetGroup::single(addresses)].into_iter();
    groups.filter(|group| !group.addresses.is_empty()).collect()
}

impl SingleEndpoint {
    fn with(trunk: Trunk) -> Self {
        let peer = trunk.peer.unwrap_or(TrunkPeer::at(Transport::Udp, peer()));
        let trunk = Trunk {
            peer: Some(peer),
            ..trunk
        };
        let advertised = "192.0.2.1".parse().unwrap();
        let settings = EndpointSettings {
            advertised,
            own_addresses: Vec::new(),
            listen: ListenAddress::for_each_transport(advertised, [5060, 5060, 5061]),
            timers: SipTimers::default(),
            trunks: vec![trunk],
        };
        let mut count = 0;
        let entropy = move || {
            count += 1;
            count
        };
        let start = Instant::now();
        let mut single = Self {
            endpoint: Endpoint::new(settings, Box::new(entropy)),
            start,
            now: start,
            wire: Vec::new(),
            destinations: Vec::new(),
            events: Vec::new(),
        };
        single.endpoint.start(start);
        single
    }

    fn with_keep_alive(seconds: u64) -> Self {
        Self::with(Trunk {
            keep_alive: Some(Duration::from_secs(seconds)),
            ..Trunk::default()
        })
    }

    fn registering() -> Self {
        let credentials = Credentials {
            username: "trunk user".into(),
            password: "a fictional password".into(),
            realm: None,
        };
        Self::with(Trunk {
            credentials: Some(credentials),
            register: true,
            ..Trunk::default()
        })
    }

    fn collect(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
            self.wire.push((self.now - self.start, text));
            self.destinations.push(transmit.path.destination);
        }
        self.events
            .extend(std::iter::from_fn(|| self.endpoint.poll_event()));
    }

    /// Advances time until a new request is sent and returns it. Retransmissions are skipped.
    fn request(&mut self) -> String {
        let branch = |text: &str| {
            text.lines()
                .find(|line| line.starts_with("Via:"))
                .map(str::to_owned)
        };
        let seen: Vec<_> = self.wire.iter().map(|(_, text)| branch(text)).collect();
        loop {
            let sent = self.wire.len();
            self.now = self
                .endpoint
                .poll_timeout()
                .expect("a timer is set")
                .max(self.now);
            self.endpoint.handle_timeout(self.now);
            self.collect();
            let mut new = self.wire[sent..].iter();
            if let Some((_, text)) = new.find(|(_, text)| !seen.contains(&branch(text))) {
                return text.clone();
            }
        }
    }

    /// Advances time.
    fn advance(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(next) = self.endpoint.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.endpoint.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
    }

    fn answer(&mut self, request: &str, status: u16, headers: &str) {
        self.answer_with(request, status, headers, "");
    }

    fn answer_with(&mut self, request: &str, status: u16, headers: &str, body: &str) {
        let line = |name: &str| {
            request
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap()
                .to_owned()
        };
        let [via, from, to, call_id, cseq] =
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].map(line);
        let response = format!(
            "SIP/2.0 {status} X\r\n{via}\r\n{from}\r\n{to};tag=registrar\r\n{call_id}\r\n{cseq}\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let message = SipMessage::from_datagram(response.into()).unwrap();
        self.endpoint
            .receive(Transport::Udp, peer(), message, self.now);
        self.collect();
    }

    fn elapsed(&self) -> u64 {
        (self.now - self.start).as_secs()
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// Returns the sequence number of a request.
fn number(request: &str) -> u32 {
    let line = request
        .lines()
        .find(|line| line.starts_with("CSeq: "))
        .unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}
