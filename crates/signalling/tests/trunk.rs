//! Keep-alive, registration and targets of a trunk, on a virtual clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use signalling::sdes::{Secrets, SrtpMode};
use signalling::sdp::{Codec, LocalMedia};
use signalling::{
    Credentials, DialError, Endpoint, EndpointSettings, Event, Host, LegId, OutgoingCall,
    SipMessage, Transport, Trunk, TrunkPeer,
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

fn peer() -> SocketAddr {
    "192.0.2.2:5060".parse().unwrap()
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
            udp_port: 5060,
            tcp_port: 5060,
            tls_port: 5061,
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
             Content-Length: 0\r\n\r\n"
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

#[test]
fn a_trunk_is_probed_and_any_response_marks_it_as_reachable() {
    let mut single = SingleEndpoint::with_keep_alive(30);
    for round in 0..4 {
        let options = single.request();
        assert!(
            options.starts_with("OPTIONS sip:192.0.2.2:5060 SIP/2.0\r\n"),
            "{options}"
        );
        assert_eq!(single.elapsed(), round * 30);
        single.answer(
            &options,
            [200, 404, 405, 401][usize::try_from(round).unwrap()],
            "",
        );
    }
    assert_eq!(
        (single.take_events(), single.endpoint.is_up(0)),
        (Vec::new(), true)
    );
}

#[test]
fn a_silent_trunk_is_unreachable_until_it_answers_again() {
    let mut single = SingleEndpoint::with_keep_alive(30);
    single.request();
    let second = single.request();
    assert_eq!(
        single.take_events(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    assert!(!single.endpoint.is_up(0));
    assert_eq!(single.elapsed(), 30, "the probe interval does not change");
    single.answer(&second, 200, "");
    assert_eq!(
        single.take_events(),
        [Event::Reachable { trunk: 0, up: true }]
    );
    // The late result of the unanswered probe has no effect.
    single.advance(29);
    assert!(single.take_events().is_empty() && single.endpoint.is_up(0));
}

#[test]
fn a_503_or_a_transport_failure_marks_the_trunk_as_unreachable() {
    let mut single = SingleEndpoint::with_keep_alive(30);
    let options = single.request();
    single.answer(&options, 503, "");
    assert_eq!(
        single.take_events(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    let options = single.request();
    single.answer(&options, 200, "");
    assert_eq!(
        single.take_events(),
        [Event::Reachable { trunk: 0, up: true }]
    );
    single.now = single.endpoint.poll_timeout().unwrap();
    while single.take_events().is_empty() {
        single.now = single.endpoint.poll_timeout().unwrap().max(single.now);
        single.endpoint.handle_timeout(single.now);
        while let Some(transmit) = single.endpoint.poll_transmit() {
            single
                .endpoint
                .transport_failed(&transmit.ticket.unwrap(), single.now);
        }
        single.collect();
    }
    assert!(!single.endpoint.is_up(0));
}

#[test]
fn a_trunk_without_keep_alive_is_not_probed() {
    let mut single = SingleEndpoint::with(Trunk::default());
    single.collect();
    assert!(
        single.endpoint.poll_timeout().is_none()
            && single.wire.is_empty()
            && single.endpoint.is_up(0)
    );
}

const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"\r\n";
const OURS: &str = "Contact: <sip:somebody@198.51.100.9>;expires=7, <sip:trunk%20user@192.0.2.1:5060>;expires=600\r\n";

fn number(request: &str) -> u32 {
    let line = request
        .lines()
        .find(|line| line.starts_with("CSeq: "))
        .unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_registration_answers_the_challenge_and_is_renewed_before_it_expires() {
    let mut single = SingleEndpoint::registering();
    let first = single.request();
    assert!(
        first.starts_with("REGISTER sip:192.0.2.2:5060 SIP/2.0\r\n"),
        "{first}"
    );
    for part in [
        "Contact: <sip:trunk%20user@192.0.2.1:5060>\r\n",
        "Expires: 3600\r\n",
    ] {
        assert!(first.contains(part), "{part} in {first}");
    }
    assert!(
        first.contains("To: <sip:trunk%20user@192.0.2.2:5060>\r\n"),
        "{first}"
    );
    single.answer(&first, 401, CHALLENGE);
    let second = single.wire.last().unwrap().1.clone();
    assert_eq!(number(&second), number(&first) + 1);
    assert!(second.contains(
        "Authorization: Digest username=\"trunk user\", realm=\"carrier\", nonce=\"n1\""
    ));
    assert!(!second.contains("fictional password"));
    single.answer(&second, 200, OURS);
    assert_eq!(
        single.take_events(),
        [Event::Registered {
            trunk: 0,
            registered: true,
            status: 200
        }]
    );
    let third = single.request();
    assert_eq!(
        single.elapsed(),
        600 - 64,
        "the expiry of the own contact applies"
    );
    assert_eq!(number(&third), number(&second) + 1);
    let call_id = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("Call-ID:"))
            .map(str::to_owned)
    };
    assert_eq!(call_id(&third), call_id(&first));
    single.answer(&third, 200, "Expires: 20\r\n");
    single.request();
    assert_eq!(
        (single.elapsed(), single.take_events().len()),
        (536 + 10, 0)
    );
}

#[test]
fn a_minimum_expiry_is_accepted_once() {
    let mut single = SingleEndpoint::registering();
    let first = single.request();
    single.answer(&first, 423, "Min-Expires: 7200\r\n");
    let second = single.wire.last().unwrap().1.clone();
    assert!(second.contains("Expires: 7200\r\n"), "{second}");
    single.answer(&second, 423, "Min-Expires: 9000\r\n");
    assert_eq!(
        single.take_events(),
        [Event::Registered {
            trunk: 0,
            registered: false,
            status: 423
        }]
    );
    assert_eq!(single.wire.len(), 2, "no loop");
}

#[test]
fn a_failed_registration_is_retried_after_growing_delays() {
    let mut single = SingleEndpoint::registering();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let before = single.now;
        let request = single.request();
        pauses.push((single.now - before).as_secs());
        single.answer(&request, 403, "");
    }
    assert_eq!(
        single.take_events(),
        [Event::Registered {
            trunk: 0,
            registered: false,
            status: 403
        }],
        "one event"
    );
    assert!(
        pauses[1..8].windows(2).all(|pair| pair[0] < pair[1]),
        "{pauses:?}"
    );
    assert!(
        pauses[1] <= 5 && (150..=300).contains(&pauses[9]),
        "{pauses:?}"
    );
    let request = single.request();
    single.answer(&request, 503, "Retry-After: 1000 (busy)\r\n");
    let before = single.now;
    let request = single.request();
    assert_eq!((single.now - before).as_secs(), 1000);
    single.answer(&request, 200, "");
    assert_eq!(
        single.take_events(),
        [Event::Registered {
            trunk: 0,
            registered: true,
            status: 200
        }]
    );
}

#[test]
fn wrong_credentials_are_not_sent_twice_for_one_nonce() {
    let mut single = SingleEndpoint::registering();
    let first = single.request();
    single.answer(&first, 401, CHALLENGE);
    let second = single.wire.last().unwrap().1.clone();
    single.answer(&second, 401, CHALLENGE);
    assert_eq!(
        single.take_events(),
        [Event::Registered {
            trunk: 0,
            registered: false,
            status: 401
        }]
    );
    assert_eq!(single.wire.len(), 2);
}

#[test]
fn shutdown_removes_the_registration() {
    let mut single = SingleEndpoint::registering();
    let first = single.request();
    single.answer(&first, 200, "");
    assert!(!single.endpoint.is_unregistered());
    single.take_events();
    single.endpoint.unregister_all(single.now);
    single.collect();
    let last = single.wire.last().unwrap().1.clone();
    assert!(
        last.starts_with("REGISTER ") && last.contains("Expires: 0\r\n"),
        "{last}"
    );
    single.answer(&last, 401, CHALLENGE);
    let last = single.wire.last().unwrap().1.clone();
    assert!(
        last.contains("Expires: 0\r\n") && last.contains("Authorization:"),
        "{last}"
    );
    assert!(!single.endpoint.is_unregistered());
    single.answer(&last, 200, "");
    assert_eq!(
        single.take_events(),
        [Event::Registered {
            trunk: 0,
            registered: false,
            status: 200
        }]
    );
    assert!(single.endpoint.is_unregistered());
    single.advance(7200);
    assert_eq!(single.endpoint.load().timers, 0, "no renewal is scheduled");
}

fn targets(count: u8) -> Vec<SocketAddr> {
    (1..=count)
        .map(|last| SocketAddr::from(([198, 51, 100, last], 5070)))
        .collect()
}

impl SingleEndpoint {
    /// Endpoint with a trunk identified by a host name.
    fn with_name(keep_alive: Option<Duration>) -> Self {
        let host = Host::Name {
            host: "carrier.example".into(),
            port: None,
        };
        let peer = TrunkPeer {
            transport: Transport::Udp,
            host,
        };
        Self::with(Trunk {
            peer: Some(peer),
            accept_resolved: true,
            keep_alive,
            ..Trunk::default()
        })
    }

    fn dial(&mut self) -> Result<LegId, DialError> {
        let address = "192.0.2.1".parse().unwrap();
        let secrets = Secrets::new([1; 132]);
        let local = LocalMedia {
            address,
            port: 20000,
            session_id: 1,
            version: 1,
            comfort_noise: false,
            srtp: SrtpMode::Off,
            secrets,
        };
        let (to, from) = ("+919900000001".into(), "+914000000001".into());
        let call = OutgoingCall {
            trunk: 0,
            to,
            from,
            local,
            preferred: Codec::Pcma,
        };
        let leg = self.endpoint.dial(call, self.now);
        self.collect();
        leg
    }

    fn last(&self) -> (&str, SocketAddr) {
        (
            &self.wire.last().unwrap().1,
            *self.destinations.last().unwrap(),
        )
    }
}

#[test]
fn a_trunk_is_unreachable_while_its_name_does_not_resolve() {
    let mut single = SingleEndpoint::with_name(Some(Duration::from_secs(30)));
    assert!(!single.endpoint.is_up(0) && single.endpoint.poll_timeout().is_none());
    assert_eq!(single.dial(), Err(DialError::NoPeer));
    single
        .endpoint
        .set_targets(0, Transport::Udp, targets(1), single.now);
    single.collect();
    assert_eq!(
        single.take_events(),
        [Event::Reachable { trunk: 0, up: true }]
    );
    assert!(
        single
            .request()
            .starts_with("OPTIONS sip:carrier.example SIP/2.0\r\n")
    );
    assert_eq!(single.last().1, targets(1)[0]);
    assert_eq!(single.endpoint.networks(0).len(), 1);
    single
        .endpoint
        .set_targets(0, Transport::Udp, Vec::new(), single.now);
    single.collect();
    assert_eq!(
        single.take_events(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    assert!(single.endpoint.networks(0).is_empty());
}

#[test]
fn a_call_moves_to_the_next_target_after_a_failure() {
    let mut single = SingleEndpoint::with_name(None);
    single
        .endpoint
        .set_targets(0, Transport::Udp, targets(3), single.now);
    let leg = single.dial().unwrap();
    let (first, destination) = single.last();
    let first = first.to_owned();
    assert!(
        first.starts_with("INVITE sip:+919900000001@carrier.example SIP/2.0\r\n"),
        "{first}"
    );
    assert_eq!(destination, targets(3)[0]);
    single.answer(&first, 503, "");
    let (second, destination) = single.last();
    let second = second.to_owned();
    assert_eq!((destination, number(&second)), (targets(3)[1], 2));
    // A second call skips the failed target.
    single.dial().unwrap();
    assert_eq!(single.last().1, targets(3)[1]);
    let other = single.last().0.to_owned();
    single.answer(&other, 486, "");
    single.answer(&second, 503, "");
    let third = single.last().0.to_owned();
    single.answer(&third, 503, "");
    assert_eq!(number(&third), 3);
    let mut failed = single
        .take_events()
        .into_iter()
        .filter(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(
        failed.next_back(),
        Some(Event::Failed { leg, status: 503 }),
        "each target is attempted once"
    );
}

#[test]
fn a_domain_uses_the_transport_of_the_dns_and_a_uri_without_transport() {
    let peer = TrunkPeer {
        transport: Transport::Udp,
        host: Host::Domain("carrier.example".into()),
    };
    let trunk = Trunk {
        peer: Some(peer),
        keep_alive: Some(Duration::from_secs(30)),
        ..Trunk::default()
    };
    let mut single = SingleEndpoint::with(trunk);
    for (transport, via) in [
        (Transport::Tcp, "SIP/2.0/TCP"),
        (Transport::Udp, "SIP/2.0/UDP"),
    ] {
        single
            .endpoint
            .set_targets(0, transport, targets(1), single.now);
        single.advance(30);
        let (options, destination) = single.last();
        assert!(
            options.starts_with("OPTIONS sip:carrier.example SIP/2.0\r\n"),
            "{options}"
        );
        assert!(options.contains(&format!("Via: {via} ")), "{options}");
        assert_eq!(destination, targets(1)[0]);
    }
}

#[test]
fn a_new_order_of_targets_applies_except_back_to_a_failed_target() {
    let mut single = SingleEndpoint::with_name(None);
    let [first, second, third] = targets(3)[..] else {
        panic!("expected three targets")
    };
    let called = |single: &mut SingleEndpoint| {
        single.dial().unwrap();
        single.last().1
    };
    single
        .endpoint
        .set_targets(0, Transport::Udp, vec![first, second], single.now);
    assert_eq!(called(&mut single), first);
    single
        .endpoint
        .set_targets(0, Transport::Udp, vec![second, first], single.now);
    assert_eq!(called(&mut single), second);
    let invite = single.last().0.to_owned();
    single.answer(&invite, 503, "");
    single
        .endpoint
        .set_targets(0, Transport::Udp, vec![second, third, first], single.now);
    assert_eq!(
        called(&mut single),
        first,
        "the working target stays in use"
    );
    single
        .endpoint
        .set_targets(0, Transport::Udp, vec![second, third], single.now);
    assert_eq!(called(&mut single), second, "unless it is no longer listed");
}

#[test]
fn a_trunk_is_unreachable_only_if_none_of_its_targets_answers() {
    let mut single = SingleEndpoint::with_name(Some(Duration::from_secs(30)));
    single
        .endpoint
        .set_targets(0, Transport::Udp, targets(2), single.now);
    single.collect();
    single.take_events();
    let first = single.request();
    single.answer(&first, 503, "");
    let second = single.request();
    assert_eq!((single.last().1, single.elapsed()), (targets(2)[1], 0));
    single.answer(&second, 200, "");
    let third = single.request();
    assert_eq!(
        (single.last().1, single.elapsed(), single.take_events()),
        (targets(2)[1], 30, Vec::new())
    );
    single.answer(&third, 503, "");
    let fourth = single.request();
    single.answer(&fourth, 503, "");
    assert_eq!(
        single.take_events(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    single.request();
    assert_eq!(
        single.elapsed(),
        60,
        "the interval does not depend on the number of targets"
    );
}

#[test]
fn requests_go_to_the_outbound_proxy_and_name_the_peer() {
    let proxy: SocketAddr = "198.51.100.7:5080".parse().unwrap();
    let mut single = SingleEndpoint::with(Trunk {
        outbound_proxy: Some(TrunkPeer::at(Transport::Tcp, proxy)),
        keep_alive: Some(Duration::from_secs(30)),
        ..Trunk::default()
    });
    let options = single.request();
    let route = "\r\nRoute: <sip:198.51.100.7:5080;transport=tcp;lr>\r\n";
    assert!(
        options.starts_with("OPTIONS sip:192.0.2.2:5060 SIP/2.0\r\n") && options.contains(route),
        "{options}"
    );
    assert_eq!(single.last().1, proxy);
    let leg = single.dial().unwrap();
    let invite = single.last().0.to_owned();
    assert!(
        invite.starts_with("INVITE sip:+919900000001@192.0.2.2:5060 SIP/2.0\r\n"),
        "{invite}"
    );
    assert!(
        invite.contains(route) && invite.contains("Via: SIP/2.0/TCP "),
        "{invite}"
    );
    single.answer(&invite, 100, "");
    single.endpoint.hang_up(leg, single.now);
    single.collect();
    let (cancel, destination) = single.last();
    assert!(
        cancel.starts_with("CANCEL ") && cancel.contains(route),
        "{cancel}"
    );
    assert_eq!(destination, proxy);
}
