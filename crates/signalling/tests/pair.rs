//! Two endpoints on a virtual clock, over a link that loses, repeats and reorders; every test ends with both idle
//! and no timer left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use signalling::sdes::{Secrets, SrtpMode};
use signalling::sdp::{Codec, LocalMedia, OpusParameters, TelephoneEvent};
use signalling::{
    Credentials, Digest, Endpoint, Event, LegId, Load, Network, Offer, OutgoingCall, Peer, Redirection,
    Settings, SipMessage, Transport, Trunk,
};

const IDLE: Load = Load { legs: 0, transactions: 0, timers: 0 };

/// xorshift: a link's bad luck, the same each time for the same seed.
struct Luck(u64);

impl Luck {
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

/// A message on its way: to which end, over what, from where.
type Flight = (usize, Transport, SocketAddr, Vec<u8>);

struct Pair {
    ends: [Endpoint; 2],
    now: Instant,
    luck: Luck,
    /// Percent of messages lost; a third as many are repeated, and all are delayed by up to 300 ms.
    loss: u64,
    flying: BTreeMap<(Instant, u64), Flight>,
    sent: u64,
    events: Vec<(End, Event)>,
    /// Every message that each end put on the wire.
    wire: [Vec<String>; 2],
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + u8::try_from(end).unwrap())), 5060)
}

fn endpoint(own: usize, transport: Transport) -> Endpoint {
    endpoint_with(own, transport, None)
}

fn endpoint_with(own: usize, transport: Transport, credentials: Option<Credentials>) -> Endpoint {
    endpoint_of(own, transport, Trunk { credentials, ..Trunk::default() })
}

/// An endpoint whose trunk is the other one, with keys of its own.
fn endpoint_of(own: usize, transport: Transport, trunk: Trunk) -> Endpoint {
    let peer = address(1 - own);
    let accept_from = match trunk.accept_credentials {
        Some(_) => Vec::new(),
        None => vec![Network::of(peer.ip())],
    };
    let trunk = Trunk { peer: Some(Peer::at(transport, peer)), accept_from, ..trunk };
    let settings = Settings {
        advertised: address(own).ip(),
        udp_port: 5060,
        tcp_port: 5060,
        tls_port: 5061,
        trunks: vec![trunk],
    };
    let mut luck = Luck(0x9e37_79b9 + own as u64);
    Endpoint::new(settings, Box::new(move || luck.draw()))
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
            luck: Luck(seed * 7919 + 1),
            loss,
            flying: BTreeMap::new(),
            sent: 0,
            events: Vec::new(),
            wire: [Vec::new(), Vec::new()],
        }
    }

    fn perfect() -> Self {
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

    /// Takes out what both ends want sent and told.
    fn collect(&mut self) {
        for own in 0..2 {
            while let Some(transmit) = self.ends[own].poll_transmit() {
                self.wire[own].push(String::from_utf8_lossy(&transmit.bytes).into_owned());
                let reliable = transmit.path.transport == Transport::Tcp;
                let copies = match () {
                    () if reliable => 1,
                    () if self.luck.percent(self.loss) => 0,
                    () if self.luck.percent(self.loss / 3) => 2,
                    () => 1,
                };
                for _ in 0..copies {
                    let jitter = if reliable || self.loss == 0 { 10 } else { self.luck.draw() % 300 };
                    self.sent += 1;
                    let flight = (self.now + Duration::from_millis(jitter), self.sent);
                    let message = transmit.bytes.to_vec();
                    self.flying.insert(flight, (1 - own, transmit.path.transport, address(own), message));
                }
            }
            while let Some(event) = self.ends[own].poll_event() {
                self.events.push(([End::Caller, End::Callee][own], event));
            }
        }
    }

    /// One step of the world: the next delivery or timer. `false` when nothing is left to happen.
    fn step(&mut self) -> bool {
        let delivery = self.flying.keys().next().map(|(at, _)| *at);
        let timer = self.ends.iter().filter_map(Endpoint::poll_timeout).min();
        let Some(next) = [delivery, timer].into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        if delivery == Some(next) {
            let (_, (to, transport, from, bytes)) = self.flying.pop_first().unwrap();
            let message = SipMessage::from_datagram(bytes.into()).expect("what we send can be read");
            self.ends[to].receive(transport, from, message, self.now);
        } else {
            self.ends.iter_mut().for_each(|end| end.handle_timeout(self.now));
        }
        self.collect();
        true
    }

    /// Lets the world go on until an event comes that fits.
    fn until<T>(&mut self, end: End, fits: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let found = self.events.iter().position(|(at, event)| *at == end && fits(event).is_some());
            if let Some(index) = found {
                return fits(&self.events.remove(index).1).unwrap();
            }
            assert!(self.step(), "nothing happens any more; unseen: {:?}", self.events);
        }
    }

    fn offered(&mut self) -> Offer {
        self.until(End::Callee, |event| match event {
            Event::Offered(offer) => Some(offer.clone()),
            _ => None,
        })
    }

    fn hung_up(&mut self, end: End) -> bool {
        self.until(end, |event| match event {
            Event::HungUp { orderly, .. } => Some(*orderly),
            _ => None,
        })
    }

    fn failed(&mut self, end: End) -> u16 {
        self.until(end, |event| match event {
            Event::Failed { status, .. } => Some(*status),
            _ => None,
        })
    }

    /// A call that both ends count as connected: the caller's leg and the callee's.
    fn connect(&mut self) -> (LegId, LegId) {
        let caller = self.dial();
        let callee = self.offered().leg;
        self.ends[1].answer(callee, media(1), self.now).unwrap();
        self.collect();
        self.until(End::Caller, |event| matches!(event, Event::Answered { .. }).then_some(()));
        self.until(End::Callee, |event| matches!(event, Event::Confirmed { .. }).then_some(()));
        (caller, callee)
    }

    /// Runs to the end: both idle, no timer left, and no event that nobody asked for.
    fn settle(mut self) -> [Vec<String>; 2] {
        while self.step() {}
        assert_eq!([self.ends[0].load(), self.ends[1].load()], [IDLE, IDLE]);
        assert_eq!(self.events, []);
        self.wire
    }

    /// Puts a request of the caller's making into the callee's dialog.
    fn inject(&mut self, method: &str, sequence: u32, headers: &str, body: &str) {
        let ack = self.wire[0].iter().find(|message| message.starts_with("ACK ")).expect("connected");
        let line = |name: &str| ack.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
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

    /// The callee's last message.
    fn answer(&self) -> &str {
        self.wire[1].last().unwrap()
    }
}

fn worlds() -> impl Iterator<Item = Pair> {
    let lossy = (1..60).map(|seed| Pair::over(Transport::Udp, seed, 25));
    let clean = [Pair::perfect(), Pair::over(Transport::Tcp, 1, 0)];
    clean.into_iter().chain(lossy)
}

#[test]
fn a_call_is_set_up_and_ended_by_the_caller() {
    for mut pair in worlds() {
        let (caller, _) = pair.connect();
        pair.ends[0].hang_up(caller, pair.now);
        pair.collect();
        // With bad luck the BYE never arrives: the caller has forgotten the call, the callee's media watch ends it.
        while pair.step() {}
        let heard = pair.events.iter().any(|(_, event)| matches!(event, Event::HungUp { orderly: true, .. }));
        if !heard {
            assert!(pair.loss > 0);
            let leg = LegId(1);
            pair.ends[1].hang_up(leg, pair.now);
        }
        pair.events.clear();
        pair.collect();
        pair.settle();
    }
}

#[test]
fn a_call_is_ended_by_the_callee() {
    let mut pair = Pair::perfect();
    let (_, callee) = pair.connect();
    pair.ends[1].hang_up(callee, pair.now);
    pair.collect();
    assert!(pair.hung_up(End::Caller));
    pair.settle();
}

#[test]
fn the_offer_tells_the_numbers_and_the_audio() {
    let mut pair = Pair::perfect();
    pair.dial();
    let offer = pair.offered();
    assert_eq!((offer.called.as_str(), offer.caller.as_deref()), ("+914000000001", Some("+918800000001")));
    assert_eq!(offer.remote.unwrap().codec, Codec::Pcmu);
    assert!(!format!("{offer:?}").contains("00000001"), "numbers are not for a log");
    pair.ends[1].reject(offer.leg, 404, None, pair.now);
    pair.collect();
    assert_eq!(pair.failed(End::Caller), 404);
    pair.settle();
}

#[test]
fn a_rejected_call_fails_with_its_status_over_any_link() {
    for mut pair in worlds() {
        pair.dial();
        let offer = pair.offered();
        pair.ends[1].reject(offer.leg, 486, None, pair.now);
        pair.collect();
        assert!(matches!(pair.failed(End::Caller), 486 | 408));
        pair.settle();
    }
}

#[test]
fn an_overloaded_callee_names_the_time_to_come_back() {
    let mut pair = Pair::perfect();
    pair.dial();
    let offer = pair.offered();
    pair.ends[1].reject(offer.leg, 503, Some(5), pair.now);
    pair.collect();
    assert_eq!(pair.failed(End::Caller), 503);
    assert!(pair.settle()[1].iter().any(|message| message.contains("Retry-After: 5\r\n")));
}

#[test]
fn a_call_given_up_while_it_is_offered_is_cancelled() {
    for mut pair in worlds() {
        let caller = pair.dial();
        let offer = pair.offered();
        pair.ends[0].hang_up(caller, pair.now);
        pair.collect();
        while pair.step() {}
        if pair.events.is_empty() {
            assert!(pair.loss > 0, "the CANCEL was lost each time");
            pair.ends[1].reject(offer.leg, 480, None, pair.now);
            pair.collect();
        }
        pair.events.clear();
        pair.settle();
    }
}

#[test]
fn a_cancel_that_crosses_the_answer_still_ends_the_call() {
    let mut pair = Pair::perfect();
    let caller = pair.dial();
    let callee = pair.offered().leg;
    // Let the 100 reach the caller, so that the CANCEL goes out at once, and then cross it with the answer.
    while pair.wire[1].is_empty() || !pair.flying.is_empty() {
        pair.step();
    }
    pair.ends[0].hang_up(caller, pair.now);
    pair.ends[1].answer(callee, media(1), pair.now).unwrap();
    pair.collect();
    assert!(pair.hung_up(End::Callee));
    pair.events.retain(|(_, event)| !matches!(event, Event::Confirmed { .. }));
    let wire = pair_methods(&pair.settle()[0]);
    assert!(wire.contains("CANCEL") && wire.contains("ACK") && wire.contains("BYE"), "{wire}");
}

fn pair_methods(wire: &[String]) -> String {
    wire.iter().filter_map(|message| message.split(' ').next()).collect::<Vec<_>>().join(" ")
}

#[test]
fn nobody_at_the_other_end_fails_after_half_a_minute() {
    let mut pair = Pair::over(Transport::Udp, 1, 100);
    pair.dial();
    let start = pair.now;
    assert_eq!(pair.failed(End::Caller), 408);
    assert_eq!(pair.now - start, Duration::from_secs(32));
    pair.settle();
}

#[test]
fn an_answer_that_is_never_acknowledged_is_hung_up() {
    let mut pair = Pair::perfect();
    pair.dial();
    let callee = pair.offered().leg;
    pair.loss = 100;
    pair.ends[1].answer(callee, media(1), pair.now).unwrap();
    pair.collect();
    assert!(!pair.hung_up(End::Callee));
    assert!(pair_methods(&pair.wire[1]).contains("BYE"));
    while pair.step() {}
    assert_eq!(pair.ends[1].load(), IDLE);
}

#[test]
fn hanging_up_before_the_ack_waits_for_it() {
    let mut pair = Pair::perfect();
    pair.dial();
    let callee = pair.offered().leg;
    pair.ends[1].answer(callee, media(1), pair.now).unwrap();
    pair.ends[1].hang_up(callee, pair.now);
    pair.collect();
    assert!(!pair_methods(&pair.wire[1]).contains("BYE"));
    pair.until(End::Caller, |event| matches!(event, Event::Answered { .. }).then_some(()));
    assert!(pair.hung_up(End::Caller));
    pair.settle();
}

#[test]
fn a_stranger_learns_nothing_and_leaves_nothing_behind() {
    let mut pair = Pair::perfect();
    let stranger: SocketAddr = "198.51.100.9:5060".parse().unwrap();
    for (method, number) in [("INVITE", "+914000000001"), ("INVITE", "+1"), ("OPTIONS", "x"), ("BYE", "x")] {
        let request = format!(
            "{method} sip:{number}@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:{number}@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: 70\r\nContact: <sip:a@198.51.100.9>\r\nContent-Length: 0\r\n\r\n"
        );
        let message = SipMessage::from_datagram(request.into()).unwrap();
        pair.ends[1].receive(Transport::Udp, stranger, message, pair.now);
        assert_eq!(pair.ends[1].load(), IDLE);
        pair.collect();
        assert!(pair.answer().starts_with("SIP/2.0 403 Forbidden\r\n"), "{}", pair.answer());
    }
}

#[test]
fn methods_that_are_not_served_are_refused_before_any_logic() {
    let mut pair = Pair::perfect();
    for (method, status) in [("REFER", 405), ("MESSAGE", 405), ("REGISTER", 405), ("FROBNICATE", 501)] {
        let request = format!(
            "{method} sip:x@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:x@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let message = SipMessage::from_datagram(request.into()).unwrap();
        pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
        pair.collect();
        assert!(pair.answer().starts_with(&format!("SIP/2.0 {status} ")), "{}", pair.answer());
    }
    assert_eq!(pair.ends[1].load(), IDLE);
}

const HOLD: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.77\r\nt=0 0\r\n\
    m=audio 30000 RTP/AVP 8\r\na=sendonly\r\n";
const SDP: &str = "Content-Type: application/sdp\r\n";

#[test]
fn a_hold_by_reinvite_or_update_is_answered_on_its_own_leg() {
    for (method, sequence) in [("INVITE", 100), ("UPDATE", 101)] {
        let mut pair = Pair::perfect();
        let (caller, _) = pair.connect();
        pair.inject(method, sequence, SDP, HOLD);
        let remote = pair.until(End::Callee, |event| match event {
            Event::MediaChanged { remote, .. } => Some(*remote),
            _ => None,
        });
        assert_eq!(remote.rtp, "192.0.2.77:30000".parse().unwrap());
        assert_eq!((remote.codec, remote.send, remote.receive), (Codec::Pcma, false, true));
        assert!(pair.answer().starts_with("SIP/2.0 200 OK") && pair.answer().contains("a=recvonly"));
        if method == "INVITE" {
            pair.inject("ACK", sequence, "", "");
        }
        // The injected requests ran ahead of the caller's own count.
        pair.inject("BYE", 200, "", "");
        assert!(pair.hung_up(End::Callee));
        pair.ends[0].hang_up(caller, pair.now);
        pair.collect();
        pair.settle();
    }
}

#[test]
fn keys_come_by_info_in_both_usual_bodies() {
    let mut pair = Pair::perfect();
    let (caller, _) = pair.connect();
    let bodies = [
        ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", '5'),
        ("application/dtmf-relay", "Signal= *\r\n", '*'),
        ("application/dtmf", "7", '7'),
    ];
    for (sequence, (content_type, body, pressed)) in (100..).zip(bodies) {
        pair.inject("INFO", sequence, &format!("Content-Type: {content_type}\r\n"), body);
        let key = pair.until(End::Callee, |event| match event {
            Event::Key { key, .. } => Some(*key),
            _ => None,
        });
        assert_eq!(key, pressed);
    }
    pair.inject("INFO", 110, "Content-Type: text/plain\r\n", "5");
    assert!(pair.answer().starts_with("SIP/2.0 415"));
    pair.inject("INFO", 111, "", "");
    assert!(pair.answer().starts_with("SIP/2.0 200"));
    pair.inject("INFO", 105, "Content-Type: application/dtmf\r\n", "9");
    assert!(pair.answer().starts_with("SIP/2.0 500"), "an old sequence number is out of order");
    pair.inject("BYE", 200, "", "");
    assert!(pair.hung_up(End::Callee));
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    pair.settle();
}

#[test]
fn a_session_that_is_not_refreshed_is_ended() {
    let mut pair = Pair::perfect();
    pair.connect();
    pair.inject("UPDATE", 100, "Session-Expires: 30\r\n", "");
    assert!(pair.answer().starts_with("SIP/2.0 422") && pair.answer().contains("Min-SE: 90\r\n"));
    pair.inject("UPDATE", 101, "Session-Expires: 90;refresher=uac\r\n", "");
    assert!(pair.answer().contains("Session-Expires: 90;refresher=uac\r\n"));
    let start = pair.now;
    assert!(!pair.hung_up(End::Callee));
    assert_eq!(pair.now - start, Duration::from_secs(60));
    assert!(pair.hung_up(End::Caller));
    pair.settle();
}

#[test]
fn a_request_for_a_call_that_is_not_there_is_told_so() {
    let mut pair = Pair::perfect();
    let (caller, _) = pair.connect();
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    pair.hung_up(End::Callee);
    pair.inject("BYE", 100, "", "");
    assert!(pair.answer().starts_with("SIP/2.0 481"));
    pair.settle();
}

#[test]
fn a_required_extension_that_is_unknown_is_named() {
    let mut pair = Pair::perfect();
    let invite = "INVITE sip:+914000000001@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:x@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
        Contact: <sip:a@192.0.2.1>\r\nRequire: timer, nothing-known\r\nContent-Length: 0\r\n\r\n";
    let message = SipMessage::from_datagram(invite.into()).unwrap();
    pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
    pair.collect();
    assert!(
        pair.answer().starts_with("SIP/2.0 420") && pair.answer().contains("Unsupported: nothing-known\r\n")
    );
    let received = pair.answer().contains("received=192.0.2.1;rport=5060");
    assert!(received, "RFC 3581: {}", pair.answer());
    pair.settle();
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut pair = Pair::perfect();
    let invite = "INVITE sip:+914000000001@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:x@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
        Contact: <sip:a@192.0.2.1>\r\nContent-Length: 0\r\n\r\n";
    let message = SipMessage::from_datagram(invite.into()).unwrap();
    pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
    pair.collect();
    let offer = pair.offered();
    assert_eq!(offer.remote, None);
    assert_eq!(pair.ends[1].answer(offer.leg, media(1), pair.now), None);
    pair.collect();
    let ok = pair.answer().to_owned();
    let to = ok.lines().find(|line| line.starts_with("To:")).unwrap();
    assert!(ok.contains("m=audio 20000 RTP/AVP 8 0 101"));
    let body = HOLD.replace("sendonly", "sendrecv");
    let ack = format!(
        "ACK sip:x@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2\r\nFrom: <sip:a@b>;tag=1\r\n{to}\r\n\
         Call-ID: 1\r\nCSeq: 1 ACK\r\nMax-Forwards: 70\r\n{SDP}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let message = SipMessage::from_datagram(ack.into()).unwrap();
    pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
    pair.collect();
    let remote = pair.until(End::Callee, |event| match event {
        Event::Confirmed { remote, .. } => *remote,
        _ => None,
    });
    assert_eq!(remote.rtp.port(), 30000);
    pair.ends[1].hang_up(offer.leg, pair.now);
    pair.collect();
    pair.settle();
}

/// An answer of the called side's making to the INVITE that is on the wire.
fn answer_to(invite: &str, status: u16, tag: &str, headers: &str, body: &str) -> SipMessage {
    let line = |name: &str| invite.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let response = format!(
        "SIP/2.0 {status} X\r\n{}\r\n{}\r\n{};tag={tag}\r\n{}\r\n{}\r\nContact: <sip:192.0.2.2>\r\n{headers}\
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
    /// The caller's INVITE never arrives; the called side's answers are of our making.
    fn dial_by_hand() -> (Self, LegId, String) {
        Self::perfect().dialled_by_hand()
    }

    fn dialled_by_hand(self) -> (Self, LegId, String) {
        let mut pair = self;
        let leg = pair.dial();
        pair.flying.clear();
        let invite = pair.wire[0][0].clone();
        (pair, leg, invite)
    }

    fn answer_by_hand(&mut self, response: SipMessage) {
        self.ends[0].receive(Transport::Udp, address(1), response, self.now);
        self.collect();
        self.flying.clear();
    }

    fn sent(&self, method: &str) -> Vec<&String> {
        let start = format!("{method} ");
        self.wire[0].iter().filter(|message| message.starts_with(&start)).collect()
    }

    fn is_answered(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, Event::Answered { .. }))
    }
}

#[test]
fn a_reliable_provisional_response_is_acknowledged_once_and_may_bring_the_answer() {
    let (mut pair, leg, invite) = Pair::dial_by_hand();
    let body = HOLD.replace("sendonly", "sendrecv");
    let reliable = format!("Require: 100rel\r\nRSeq: 7\r\n{SDP}");
    for _ in 0..3 {
        pair.answer_by_hand(answer_to(&invite, 183, "one", &reliable, &body));
    }
    pair.answer_by_hand(answer_to(&invite, 180, "one", "Require: 100rel\r\nRSeq: 9\r\n", ""));
    assert_eq!(pair.sent("PRACK").len(), 1, "neither repeated nor out of order");
    pair.answer_by_hand(answer_to(&invite, 180, "one", "Require: 100rel\r\nRSeq: 8\r\n", ""));
    let pracks = pair.sent("PRACK");
    assert_eq!(pracks.len(), 2);
    assert!(pracks[0].contains("RAck: 7 1 INVITE\r\n") && pracks[0].contains("CSeq: 2 PRACK\r\n"));
    assert!(pracks[1].contains("RAck: 8 1 INVITE\r\n") && pracks[1].contains("CSeq: 3 PRACK\r\n"));
    assert!(!pair.is_answered(), "early media connects nobody");
    pair.answer_by_hand(answer_to(&invite, 200, "one", "", ""));
    assert!(pair.is_answered(), "the answer came before");
    assert!(pair.sent("ACK")[0].contains("CSeq: 1 ACK\r\n"));
    pair.ends[0].hang_up(leg, pair.now);
    pair.collect();
    assert!(pair.sent("BYE")[0].contains("CSeq: 4 BYE\r\n"), "numbers go on where the PRACKs stopped");
}

#[test]
fn the_first_branch_of_a_fork_that_answers_wins_and_a_later_one_is_hung_up() {
    let (mut pair, _, invite) = Pair::dial_by_hand();
    let body = HOLD.replace("sendonly", "sendrecv");
    for tag in ["one", "two"] {
        pair.answer_by_hand(answer_to(&invite, 180, tag, "", ""));
    }
    pair.answer_by_hand(answer_to(&invite, 200, "two", SDP, &body));
    assert!(pair.is_answered());
    assert_eq!(pair.sent("BYE").len(), 0);
    pair.answer_by_hand(answer_to(&invite, 200, "one", SDP, &body));
    assert_eq!((pair.sent("ACK").len(), pair.sent("BYE").len()), (2, 1));
    assert!(pair.sent("BYE")[0].contains(";tag=one"));
    pair.answer_by_hand(answer_to(&invite, 200, "one", SDP, &body));
    assert_eq!(
        (pair.sent("ACK").len(), pair.sent("BYE").len()),
        (3, 1),
        "a repeated 2xx is acknowledged again"
    );
}

#[test]
fn a_redirection_and_a_challenge_of_a_called_party_are_refusals() {
    for (status, header) in [
        (302, "Contact: <sip:+910000000000@198.51.100.9>\r\n"),
        (401, "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n"),
        (407, "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n"),
    ] {
        let (mut pair, _, invite) = Pair::dial_by_hand();
        pair.answer_by_hand(answer_to(&invite, status, "one", header, ""));
        assert_eq!(pair.failed(End::Caller), status);
        assert_eq!((pair.sent("INVITE").len(), pair.sent("ACK").len()), (1, 1));
        assert!(!pair.wire[0].iter().any(|message| message.contains("Authorization")));
    }
}

#[test]
fn within_a_call_an_unknown_extension_is_named_and_the_call_goes_on() {
    let mut pair = Pair::perfect();
    let (caller, _) = pair.connect();
    for (sequence, method) in (10..).zip(["INVITE", "UPDATE", "INFO", "OPTIONS"]) {
        pair.inject(method, sequence, "Require: timer, magic\r\n", "");
        assert!(pair.answer().starts_with("SIP/2.0 420 "), "{method}: {}", pair.answer());
        assert!(pair.answer().contains("Unsupported: magic\r\n"), "{method}");
        if method == "INVITE" {
            pair.inject("ACK", sequence, "", "");
        }
    }
    pair.inject("BYE", 20, "Require: magic\r\n", "");
    assert!(pair.answer().starts_with("SIP/2.0 200 "));
    assert!(pair.hung_up(End::Callee));
    pair.ends[0].hang_up(caller, pair.now);
    pair.collect();
    while pair.step() {}
}

#[test]
fn a_peer_that_knows_session_timers_and_update_is_offered_one_that_we_refresh() {
    for (known, offered) in [
        ("Supported: timer\r\nAllow: INVITE, UPDATE\r\n", true),
        ("Supported: timer\r\nAllow: INVITE\r\n", false),
        ("Allow: UPDATE\r\n", false),
    ] {
        let mut pair = Pair::perfect();
        let (_, callee) = pair.connect();
        pair.inject("UPDATE", 10, known, "");
        assert_eq!(pair.answer().contains("Session-Expires: 1800;refresher=uas\r\n"), offered, "{known}");
        pair.ends[1].hang_up(callee, pair.now);
        pair.collect();
        assert!(pair.hung_up(End::Caller));
        pair.settle();
    }
}

#[test]
fn a_session_that_is_left_to_us_is_refreshed_by_update_at_half_its_time() {
    let mut pair = Pair::perfect();
    let (_, callee) = pair.connect();
    let asked = "Session-Expires: 90;refresher=uas\r\nSupported: timer\r\nAllow: UPDATE\r\n";
    pair.inject("UPDATE", 10, asked, "");
    assert!(pair.answer().contains("Session-Expires: 90;refresher=uas\r\n"), "{}", pair.answer());
    let agreed = pair.now;
    let updates = |pair: &Pair| pair.wire[1].iter().filter(|one| one.starts_with("UPDATE ")).count();
    while updates(&pair) == 0 {
        assert!(pair.step());
    }
    assert_eq!(pair.now - agreed, Duration::from_secs(45));
    assert!(pair.answer().contains("Session-Expires: 90;refresher=uac\r\n"));
    let answered = pair.now + Duration::from_secs(1);
    while pair.now < answered && pair.step() {}
    assert!(!pair.events.iter().any(|(_, event)| matches!(event, Event::HungUp { .. })));
    pair.ends[1].hang_up(callee, pair.now);
    pair.collect();
    assert!(pair.hung_up(End::Caller));
    pair.settle();
}

impl Pair {
    /// The caller's trunk knows it by a password.
    fn with_credentials(realm: Option<&str>) -> Self {
        let mut pair = Self::perfect();
        let credentials = Credentials {
            username: "trunk-user".into(),
            password: "a fictional password".into(),
            realm: realm.map(str::to_owned),
        };
        pair.ends[0] = endpoint_with(0, Transport::Udp, Some(credentials));
        pair
    }

    /// The last INVITE that the caller sent.
    fn last_invite(&self) -> String {
        self.sent("INVITE").last().unwrap().to_string()
    }
}

const CHALLENGE: &str = "Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=MD5\r\n\
                         Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\"\r\n";

#[test]
fn a_trunks_own_challenge_is_answered_with_the_strongest_digest_that_it_offers() {
    let (mut pair, leg, first) = Pair::with_credentials(None).dialled_by_hand();
    pair.answer_by_hand(answer_to(&first, 407, "one", CHALLENGE, ""));
    let second = pair.last_invite();
    assert!(second.contains("CSeq: 2 INVITE\r\n"), "{second}");
    for part in [
        "Proxy-Authorization: Digest ",
        "username=\"trunk-user\"",
        "nonce=\"n2\"",
        "algorithm=SHA-256",
        "qop=auth",
    ] {
        assert!(second.contains(part), "{part} in {second}");
    }
    assert!(!second.contains("fictional password"));
    let same = |name: &str| {
        first.lines().find(|line| line.starts_with(name))
            == second.lines().find(|line| line.starts_with(name))
    };
    assert!(same("From:") && same("Call-ID:") && !same("Via:"), "{second}");
    assert_eq!(pair.sent("ACK").len(), 1, "the refusal is acknowledged");
    let body = HOLD.replace("sendonly", "sendrecv");
    pair.answer_by_hand(answer_to(&second, 200, "two", SDP, &body));
    assert!(pair.is_answered());
    assert!(pair.sent("ACK")[1].contains("CSeq: 2 ACK\r\n"));
    pair.ends[0].hang_up(leg, pair.now);
    pair.collect();
    assert!(pair.sent("BYE")[0].contains("CSeq: 3 BYE\r\n"));
    pair.events.clear();
    pair.settle();
}

#[test]
fn a_challenge_is_answered_once_and_again_only_for_a_stale_nonce() {
    let stale = CHALLENGE.replace("nonce=\"n2\"", "nonce=\"n3\", stale=true");
    for (then, invites) in [(CHALLENGE, 2), (stale.as_str(), 3)] {
        let (mut pair, _, first) = Pair::with_credentials(None).dialled_by_hand();
        pair.answer_by_hand(answer_to(&first, 407, "one", CHALLENGE, ""));
        for _ in 0..3 {
            pair.answer_by_hand(answer_to(&pair.last_invite(), 407, "two", then, ""));
        }
        assert_eq!((pair.sent("INVITE").len(), pair.failed(End::Caller)), (invites, 407));
        pair.settle();
    }
}

#[test]
fn what_a_called_party_asks_for_is_never_answered() {
    let other = CHALLENGE.replace("carrier", "elsewhere");
    // Once a party is being alerted, it is no more the trunk that asks.
    let (mut pair, _, first) = Pair::with_credentials(None).dialled_by_hand();
    pair.answer_by_hand(answer_to(&first, 180, "one", "", ""));
    pair.answer_by_hand(answer_to(&first, 407, "one", CHALLENGE, ""));
    assert_eq!((pair.sent("INVITE").len(), pair.failed(End::Caller)), (1, 407));
    pair.events.clear();
    pair.settle();
    // Another realm than the one that is configured.
    let (mut pair, _, first) = Pair::with_credentials(Some("carrier")).dialled_by_hand();
    pair.answer_by_hand(answer_to(&first, 407, "one", &other, ""));
    assert_eq!((pair.sent("INVITE").len(), pair.failed(End::Caller)), (1, 407));
    // Another realm than the one that has taken the credentials before.
    let (mut pair, _, first) = Pair::with_credentials(None).dialled_by_hand();
    pair.answer_by_hand(answer_to(&first, 407, "one", CHALLENGE, ""));
    pair.answer_by_hand(answer_to(&pair.last_invite(), 183, "two", "", ""));
    pair.answer_by_hand(answer_to(&pair.last_invite(), 486, "two", "", ""));
    pair.dial();
    pair.flying.clear();
    pair.answer_by_hand(answer_to(&pair.last_invite(), 407, "three", &other, ""));
    assert_eq!(pair.sent("INVITE").len(), 3);
    pair.events.clear();
    pair.settle();
}

#[test]
fn a_call_that_is_withdrawn_while_the_trunk_asks_is_not_made_again() {
    let (mut pair, leg, first) = Pair::with_credentials(None).dialled_by_hand();
    pair.ends[0].hang_up(leg, pair.now);
    pair.answer_by_hand(answer_to(&first, 407, "one", CHALLENGE, ""));
    assert_eq!(pair.sent("INVITE").len(), 1);
    pair.settle();
}

fn known_by(password: &str) -> Credentials {
    Credentials { username: "pbx".into(), password: password.into(), realm: None }
}

impl Pair {
    /// The callee knows the caller by a password alone; the caller knows this one.
    fn strangers(password: &str) -> Self {
        let mut pair = Self::perfect();
        pair.ends[0] = endpoint_with(0, Transport::Udp, Some(known_by(password)));
        let accept_credentials = Some(known_by("a fictional password"));
        pair.ends[1] = endpoint_of(1, Transport::Udp, Trunk { accept_credentials, ..Trunk::default() });
        pair
    }

    /// The callee's answer to a request that comes from somewhere.
    fn answer_from(&mut self, source: SocketAddr, request: &str) -> String {
        let before = self.wire[1].len();
        let message = SipMessage::from_datagram(request.to_owned().into()).unwrap();
        self.ends[1].receive(Transport::Udp, source, message, self.now);
        self.collect();
        self.flying.clear();
        self.wire[1].get(before).cloned().unwrap_or_default()
    }
}

#[test]
fn a_caller_who_knows_the_password_is_let_in_from_anywhere_for_a_whole_call() {
    for loss in [0, 25] {
        for seed in 1..20 {
            let mut pair = Pair { loss, luck: Luck(seed * 7919), ..Pair::strangers("a fictional password") };
            let (caller, callee) = pair.connect();
            let challenge = pair.wire[1].iter().find(|one| one.starts_with("SIP/2.0 401")).unwrap();
            for part in ["algorithm=SHA-256", "algorithm=MD5", "realm=\"192.0.2.2\"", "qop=\"auth\""] {
                assert!(challenge.contains(part), "{part} in {challenge}");
            }
            assert!(!challenge.contains("stale"));
            pair.ends[0].hang_up(caller, pair.now);
            pair.collect();
            while pair.step() {}
            let heard = pair.events.iter().any(|(_, event)| matches!(event, Event::HungUp { .. }));
            assert!(heard || loss > 0, "the BYE is let in");
            pair.ends[1].hang_up(callee, pair.now);
            pair.events.clear();
            pair.collect();
            while pair.step() {}
        }
    }
}

#[test]
fn a_caller_who_does_not_know_the_password_learns_nothing_and_costs_nothing() {
    let mut pair = Pair::strangers("another password");
    pair.dial();
    assert_eq!(pair.failed(End::Caller), 401);
    assert!(pair.events.is_empty());
    assert_eq!(pair.ends[1].load(), IDLE, "nothing is remembered");
    let invite = pair.wire[0][0].clone();
    let status = |pair: &mut Pair, request: &str| pair.answer_from(address(0), request)[8..11].to_owned();
    for number in ["+914000000001", "+914000000009", "nobody"] {
        assert_eq!(status(&mut pair, &invite.replace("+914000000001", number)), "401");
    }
    for method in ["OPTIONS", "BYE", "INFO"] {
        let request = invite.replace("INVITE", method);
        assert_eq!(status(&mut pair, &request), "403", "{method}");
    }
    assert_eq!(pair.ends[1].load(), IDLE);
    pair.settle();
}

#[test]
fn a_trunk_may_be_known_by_one_hash_alone() {
    for (digest, named, other) in [(Digest::Md5, "MD5", "SHA-256"), (Digest::Sha256, "SHA-256", "MD5")] {
        let mut pair = Pair::strangers("a fictional password");
        let accept_credentials = Some(known_by("a fictional password"));
        let trunk = Trunk { accept_credentials, accept_digests: vec![digest], ..Trunk::default() };
        pair.ends[1] = endpoint_of(1, Transport::Udp, trunk);
        let (caller, _) = pair.connect();
        let challenge = pair.wire[1].iter().find(|one| one.starts_with("SIP/2.0 401")).unwrap();
        assert!(
            challenge.contains(&format!("algorithm={named},")) && !challenge.contains(other),
            "{challenge}"
        );
        let invite = pair.wire[0].iter().find(|one| one.contains("Authorization: ")).unwrap().clone();
        let forged = invite.replace("branch=z9hG4bK", "branch=z9hG4bKnew").replace(named, other);
        assert!(pair.answer_from(address(0), &forged).starts_with("SIP/2.0 401 "), "not by another one");
        pair.ends[0].hang_up(caller, pair.now);
        pair.collect();
        assert!(pair.hung_up(End::Callee));
        pair.settle();
    }
}

#[test]
fn an_answer_that_is_sent_again_is_stale_and_one_from_elsewhere_is_too() {
    let mut pair = Pair::strangers("a fictional password");
    pair.dial();
    let offer = pair.offered();
    let invite = pair.wire[0].iter().find(|one| one.contains("Authorization: ")).unwrap().clone();
    let again = pair.answer_from(address(0), &invite.replace("branch=z9hG4bK", "branch=z9hG4bKother"));
    assert!(again.starts_with("SIP/2.0 401 ") && again.contains("stale=true"), "{again}");
    let elsewhere = pair.answer_from("203.0.113.9:5060".parse().unwrap(), &invite);
    assert!(elsewhere.starts_with("SIP/2.0 401 ") && elsewhere.contains("stale=true"), "{elsewhere}");
    // Neither can somebody else withdraw the call, or use the answer for another number.
    let cancel = invite.replace("INVITE", "CANCEL");
    let refused = pair.answer_from("203.0.113.9:5060".parse().unwrap(), &cancel);
    assert!(refused.starts_with("SIP/2.0 403 "), "{refused}");
    let branch = |text: &str| {
        text.replace("branch=z9hG4bK", "branch=z9hG4bKnew").replace("nc=00000001", "nc=00000002")
    };
    let other = pair.answer_from(address(0), &branch(&invite).replacen("+914000000001", "+914000000009", 1));
    assert!(other.starts_with("SIP/2.0 401 ") && !other.contains("Warning"), "{other}");
    pair.ends[1].reject(offer.leg, 404, None, pair.now);
    pair.collect();
    assert_eq!(pair.failed(End::Caller), 404);
    pair.settle();
}

/// What a peer is told of another's audio.
fn elsewhere() -> Redirection {
    let rtp = Some("203.0.113.7:4000".parse().unwrap());
    let telephone_event = Some(TelephoneEvent { payload_type: 97, rate: 8000 });
    let (codec, opus) = (Codec::Pcmu, OpusParameters::default());
    Redirection { rtp, codec, payload_type: 0, opus, telephone_event }
}

fn home() -> Redirection {
    Redirection { rtp: None, ..elsewhere() }
}

impl Pair {
    fn redirect(&mut self, end: End, leg: LegId, to: Redirection) {
        assert!(self.ends[end as usize].redirect(leg, to, self.now));
        self.collect();
    }

    /// The status of a redirection, 200 or that of the refusal; `None`: the leg has ended.
    fn redirected(&mut self, end: End) -> Option<u16> {
        self.until(end, |event| match event {
            Event::Redirected { .. } => Some(Some(200)),
            Event::NotRedirected { status, .. } => Some(Some(*status)),
            Event::HungUp { .. } => Some(None),
            _ => None,
        })
    }

    /// Ends what is left of a call, whatever the link has done to it.
    fn end(mut self, legs: [LegId; 2]) -> [Vec<String>; 2] {
        for (end, leg) in self.ends.iter_mut().zip(legs) {
            end.hang_up(leg, self.now);
        }
        self.collect();
        while self.step() {}
        self.events.clear();
        self.settle()
    }
}

#[test]
fn a_peer_is_sent_elsewhere_and_back_over_any_link() {
    for mut pair in worlds() {
        let (caller, callee) = pair.connect();
        pair.redirect(End::Caller, caller, elsewhere());
        let first = pair.redirected(End::Caller);
        assert!(first == Some(200) || pair.loss > 0);
        if first.is_some() {
            pair.redirect(End::Caller, caller, home());
            assert!(pair.redirected(End::Caller) == Some(200) || pair.loss > 0);
        }
        pair.end([caller, callee]);
    }
}

#[test]
fn a_redirection_tells_of_an_address_a_codec_and_a_payload_type_and_nothing_else() {
    let mut pair = Pair::perfect();
    let (caller, callee) = pair.connect();
    pair.redirect(End::Callee, callee, elsewhere());
    assert_eq!(pair.redirected(End::Callee), Some(200));
    pair.redirect(End::Callee, callee, home());
    assert_eq!(pair.redirected(End::Callee), Some(200));
    let changes: Vec<u16> = pair
        .events
        .iter()
        .filter_map(|(end, event)| match event {
            Event::MediaChanged { remote, .. } if *end == End::Caller => Some(remote.rtp.port()),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [4000, 20000]);
    let wire = pair.end([caller, callee]);
    let offers: Vec<&str> = wire[1]
        .iter()
        .filter(|message| message.starts_with("INVITE "))
        .map(|message| message.split_once("\r\n\r\n").unwrap().1)
        .collect();
    let audio = "RTP/AVP 0 97\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\n\
                 a=ptime:20\r\na=sendrecv\r\n";
    let away = format!(
        "v=0\r\no=- 1 2 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\nm=audio 4000 {audio}\
         a=rtcp:20001 IN IP4 192.0.2.2\r\n"
    );
    let back = format!(
        "v=0\r\no=- 1 3 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 20000 {audio}"
    );
    assert_eq!(offers, [away, back]);
}

#[test]
fn re_invites_that_meet_are_refused_with_491_and_made_again() {
    for mut pair in worlds() {
        let (caller, callee) = pair.connect();
        pair.redirect(End::Caller, caller, elsewhere());
        pair.redirect(End::Callee, callee, elsewhere());
        let met = [pair.redirected(End::Callee), pair.redirected(End::Caller)];
        assert!(met == [Some(200); 2] || pair.loss > 0, "{met:?}");
        let clean = pair.loss == 0;
        let wire = pair.end([caller, callee]);
        if clean {
            for sent in wire {
                assert!(sent.iter().any(|message| message.starts_with("SIP/2.0 491 ")));
            }
        }
    }
}

#[test]
fn an_offer_that_meets_ours_is_refused_and_an_update_without_one_is_not() {
    let mut pair = Pair::perfect();
    let (caller, callee) = pair.connect();
    pair.redirect(End::Callee, callee, elsewhere());
    let body =
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4 RTP/AVP 0\r\n";
    pair.inject("UPDATE", 100, "Content-Type: application/sdp\r\n", body);
    assert!(pair.answer().starts_with("SIP/2.0 491 "));
    pair.inject("UPDATE", 101, "", "");
    assert!(pair.answer().starts_with("SIP/2.0 200 "));
    pair.inject("INVITE", 102, "Content-Type: application/sdp\r\n", body);
    assert!(pair.answer().starts_with("SIP/2.0 491 "));
    assert_eq!(pair.redirected(End::Callee), Some(200));
    pair.end([caller, callee]);
}

#[test]
fn a_call_is_hung_up_while_a_re_invite_is_under_way() {
    for hangs_up in [End::Caller, End::Callee] {
        for mut pair in worlds() {
            let (caller, callee) = pair.connect();
            pair.redirect(End::Caller, caller, elsewhere());
            let leg = [caller, callee][hangs_up as usize];
            pair.ends[hangs_up as usize].hang_up(leg, pair.now);
            pair.collect();
            pair.end([caller, callee]);
        }
    }
}

/// What the callee answers to a re-INVITE, by a peer of the test's own making.
fn refused_with(status: &str) -> (Option<u16>, Vec<String>) {
    let mut pair = Pair::perfect();
    let (caller, callee) = pair.connect();
    pair.redirect(End::Callee, callee, elsewhere());
    pair.flying.clear();
    let invite = pair.wire[1].last().unwrap().clone();
    let head: String = invite
        .lines()
        .filter(|line| {
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
        })
        .map(|line| format!("{line}\r\n"))
        .collect();
    let answer = format!("SIP/2.0 {status} x\r\n{head}Content-Length: 0\r\n\r\n");
    let message = SipMessage::from_datagram(answer.into()).unwrap();
    pair.ends[1].receive(Transport::Udp, address(0), message, pair.now);
    pair.collect();
    let outcome = pair.redirected(End::Callee);
    let wire = pair.end([caller, callee]);
    (outcome, wire[1].clone())
}

#[test]
fn a_refusal_leaves_the_call_as_it_was_and_a_peer_that_has_forgotten_it_ends_it() {
    for status in [404, 488, 503, 603] {
        assert_eq!(refused_with(&status.to_string()).0, Some(status));
    }
    for status in ["408", "481", "200"] {
        let (outcome, sent) = refused_with(status);
        assert_eq!(outcome, None, "{status}");
        assert!(sent.iter().any(|message| message.starts_with("BYE ")), "{status}");
    }
}

#[test]
fn a_peer_that_says_it_has_our_re_invite_and_then_nothing_loses_the_call() {
    assert_eq!(refused_with("100").0, None);
}
