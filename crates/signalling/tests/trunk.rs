//! What an endpoint says to a trunk outside of any call, on a virtual clock: whether it is alive, and where we are.
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
    Credentials, DialError, Endpoint, Event, LegId, OutgoingCall, Peer, Place, Settings,
    SipMessage, Transport, Trunk,
};

/// An endpoint with one trunk, whose answers are of our making.
struct Lone {
    endpoint: Endpoint,
    start: Instant,
    now: Instant,
    /// Every message that it sent, and when.
    wire: Vec<(Duration, String)>,
    /// Where each went.
    ways: Vec<SocketAddr>,
    events: Vec<Event>,
}

fn peer() -> SocketAddr {
    "192.0.2.2:5060".parse().unwrap()
}

impl Lone {
    fn with(trunk: Trunk) -> Self {
        let peer = trunk.peer.unwrap_or(Peer::at(Transport::Udp, peer()));
        let trunk = Trunk {
            peer: Some(peer),
            ..trunk
        };
        let advertised = "192.0.2.1".parse().unwrap();
        let settings = Settings {
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
        let mut lone = Self {
            endpoint: Endpoint::new(settings, Box::new(entropy)),
            start,
            now: start,
            wire: Vec::new(),
            ways: Vec::new(),
            events: Vec::new(),
        };
        lone.endpoint.start(start);
        lone
    }

    fn kept_alive(seconds: u64) -> Self {
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
            self.ways.push(transmit.path.destination);
        }
        self.events
            .extend(std::iter::from_fn(|| self.endpoint.poll_event()));
    }

    /// Lets time pass until the next new request is sent (not one that is repeated), and returns it.
    fn request(&mut self) -> String {
        let branch = |text: &str| {
            text.lines()
                .find(|line| line.starts_with("Via:"))
                .map(str::to_owned)
        };
        let known: Vec<_> = self.wire.iter().map(|(_, text)| branch(text)).collect();
        loop {
            let sent = self.wire.len();
            self.now = self
                .endpoint
                .poll_timeout()
                .expect("something is to come")
                .max(self.now);
            self.endpoint.handle_timeout(self.now);
            self.collect();
            let mut new = self.wire[sent..].iter();
            if let Some((_, text)) = new.find(|(_, text)| !known.contains(&branch(text))) {
                return text.clone();
            }
        }
    }

    /// Lets a time pass.
    fn pass(&mut self, seconds: u64) {
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

    fn told(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

#[test]
fn a_trunk_is_asked_whether_it_is_alive_and_whatever_it_says_it_is() {
    let mut lone = Lone::kept_alive(30);
    for round in 0..4 {
        let options = lone.request();
        assert!(
            options.starts_with("OPTIONS sip:192.0.2.2:5060 SIP/2.0\r\n"),
            "{options}"
        );
        assert_eq!(lone.elapsed(), round * 30);
        lone.answer(
            &options,
            [200, 404, 405, 401][usize::try_from(round).unwrap()],
            "",
        );
    }
    assert_eq!((lone.told(), lone.endpoint.is_up(0)), (Vec::new(), true));
}

#[test]
fn a_trunk_that_says_nothing_is_away_until_it_answers_again() {
    let mut lone = Lone::kept_alive(30);
    lone.request();
    let second = lone.request();
    assert_eq!(
        lone.told(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    assert!(!lone.endpoint.is_up(0));
    assert_eq!(lone.elapsed(), 30, "it is asked as often as before");
    lone.answer(&second, 200, "");
    assert_eq!(lone.told(), [Event::Reachable { trunk: 0, up: true }]);
    // What became of the question that was never answered changes nothing.
    lone.pass(29);
    assert!(lone.told().is_empty() && lone.endpoint.is_up(0));
}

#[test]
fn a_trunk_that_is_overloaded_or_cannot_be_reached_is_away() {
    let mut lone = Lone::kept_alive(30);
    let options = lone.request();
    lone.answer(&options, 503, "");
    assert_eq!(
        lone.told(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    let options = lone.request();
    lone.answer(&options, 200, "");
    assert_eq!(lone.told(), [Event::Reachable { trunk: 0, up: true }]);
    lone.now = lone.endpoint.poll_timeout().unwrap();
    while lone.told().is_empty() {
        lone.now = lone.endpoint.poll_timeout().unwrap().max(lone.now);
        lone.endpoint.handle_timeout(lone.now);
        while let Some(transmit) = lone.endpoint.poll_transmit() {
            lone.endpoint
                .transport_failed(&transmit.ticket.unwrap(), lone.now);
        }
        lone.collect();
    }
    assert!(!lone.endpoint.is_up(0));
}

#[test]
fn a_trunk_that_is_not_to_be_asked_is_not() {
    let mut lone = Lone::with(Trunk::default());
    lone.collect();
    assert!(
        lone.endpoint.poll_timeout().is_none() && lone.wire.is_empty() && lone.endpoint.is_up(0)
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
fn a_registration_answers_the_challenge_and_is_renewed_before_it_ends() {
    let mut lone = Lone::registering();
    let first = lone.request();
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
    lone.answer(&first, 401, CHALLENGE);
    let second = lone.wire.last().unwrap().1.clone();
    assert_eq!(number(&second), number(&first) + 1);
    assert!(second.contains(
        "Authorization: Digest username=\"trunk user\", realm=\"carrier\", nonce=\"n1\""
    ));
    assert!(!second.contains("fictional password"));
    lone.answer(&second, 200, OURS);
    assert_eq!(
        lone.told(),
        [Event::Registered {
            trunk: 0,
            registered: true,
            status: 200
        }]
    );
    let third = lone.request();
    assert_eq!(lone.elapsed(), 600 - 64, "what was granted to us counts");
    assert_eq!(number(&third), number(&second) + 1);
    let call_id = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("Call-ID:"))
            .map(str::to_owned)
    };
    assert_eq!(call_id(&third), call_id(&first));
    lone.answer(&third, 200, "Expires: 20\r\n");
    lone.request();
    assert_eq!((lone.elapsed(), lone.told().len()), (536 + 10, 0));
}

#[test]
fn a_registrar_that_wants_longer_times_gets_them_once() {
    let mut lone = Lone::registering();
    let first = lone.request();
    lone.answer(&first, 423, "Min-Expires: 7200\r\n");
    let second = lone.wire.last().unwrap().1.clone();
    assert!(second.contains("Expires: 7200\r\n"), "{second}");
    lone.answer(&second, 423, "Min-Expires: 9000\r\n");
    assert_eq!(
        lone.told(),
        [Event::Registered {
            trunk: 0,
            registered: false,
            status: 423
        }]
    );
    assert_eq!(lone.wire.len(), 2, "no loop");
}

#[test]
fn a_registration_that_fails_is_tried_again_after_growing_pauses() {
    let mut lone = Lone::registering();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let before = lone.now;
        let request = lone.request();
        pauses.push((lone.now - before).as_secs());
        lone.answer(&request, 403, "");
    }
    assert_eq!(
        lone.told(),
        [Event::Registered {
            trunk: 0,
            registered: false,
            status: 403
        }],
        "told once"
    );
    assert!(
        pauses[1..8].windows(2).all(|pair| pair[0] < pair[1]),
        "{pauses:?}"
    );
    assert!(
        pauses[1] <= 5 && (150..=300).contains(&pauses[9]),
        "{pauses:?}"
    );
    let request = lone.request();
    lone.answer(&request, 503, "Retry-After: 1000 (busy)\r\n");
    let before = lone.now;
    let request = lone.request();
    assert_eq!((lone.now - before).as_secs(), 1000);
    lone.answer(&request, 200, "");
    assert_eq!(
        lone.told(),
        [Event::Registered {
            trunk: 0,
            registered: true,
            status: 200
        }]
    );
}

#[test]
fn wrong_credentials_are_not_sent_twice_for_one_nonce() {
    let mut lone = Lone::registering();
    let first = lone.request();
    lone.answer(&first, 401, CHALLENGE);
    let second = lone.wire.last().unwrap().1.clone();
    lone.answer(&second, 401, CHALLENGE);
    assert_eq!(
        lone.told(),
        [Event::Registered {
            trunk: 0,
            registered: false,
            status: 401
        }]
    );
    assert_eq!(lone.wire.len(), 2);
}

#[test]
fn whoever_goes_takes_the_registration_back() {
    let mut lone = Lone::registering();
    let first = lone.request();
    lone.answer(&first, 200, "");
    assert!(!lone.endpoint.has_left());
    lone.told();
    lone.endpoint.leave(lone.now);
    lone.collect();
    let last = lone.wire.last().unwrap().1.clone();
    assert!(
        last.starts_with("REGISTER ") && last.contains("Expires: 0\r\n"),
        "{last}"
    );
    lone.answer(&last, 401, CHALLENGE);
    let last = lone.wire.last().unwrap().1.clone();
    assert!(
        last.contains("Expires: 0\r\n") && last.contains("Authorization:"),
        "{last}"
    );
    assert!(!lone.endpoint.has_left());
    lone.answer(&last, 200, "");
    assert_eq!(
        lone.told(),
        [Event::Registered {
            trunk: 0,
            registered: false,
            status: 200
        }]
    );
    assert!(lone.endpoint.has_left());
    lone.pass(7200);
    assert_eq!(lone.endpoint.load().timers, 0, "it is never made again");
}

fn targets(count: u8) -> Vec<SocketAddr> {
    (1..=count)
        .map(|last| SocketAddr::from(([198, 51, 100, last], 5070)))
        .collect()
}

impl Lone {
    /// A trunk that has a name.
    fn named(keep_alive: Option<Duration>) -> Self {
        let place = Place::Name {
            host: "carrier.example".into(),
            port: None,
        };
        let peer = Peer {
            transport: Transport::Udp,
            place,
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
        (&self.wire.last().unwrap().1, *self.ways.last().unwrap())
    }
}

#[test]
fn a_name_is_away_until_it_is_resolved_and_again_when_it_stands_for_nothing() {
    let mut lone = Lone::named(Some(Duration::from_secs(30)));
    assert!(!lone.endpoint.is_up(0) && lone.endpoint.poll_timeout().is_none());
    assert_eq!(lone.dial(), Err(DialError::NoPeer));
    lone.endpoint
        .set_targets(0, Transport::Udp, targets(1), lone.now);
    lone.collect();
    assert_eq!(lone.told(), [Event::Reachable { trunk: 0, up: true }]);
    assert!(
        lone.request()
            .starts_with("OPTIONS sip:carrier.example SIP/2.0\r\n")
    );
    assert_eq!(lone.last().1, targets(1)[0]);
    assert_eq!(lone.endpoint.networks(0).len(), 1);
    lone.endpoint
        .set_targets(0, Transport::Udp, Vec::new(), lone.now);
    lone.collect();
    assert_eq!(
        lone.told(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    assert!(lone.endpoint.networks(0).is_empty());
}

#[test]
fn a_target_that_is_away_is_followed_by_the_next_one_with_the_same_call() {
    let mut lone = Lone::named(None);
    lone.endpoint
        .set_targets(0, Transport::Udp, targets(3), lone.now);
    let leg = lone.dial().unwrap();
    let (first, way) = lone.last();
    let first = first.to_owned();
    assert!(
        first.starts_with("INVITE sip:+919900000001@carrier.example SIP/2.0\r\n"),
        "{first}"
    );
    assert_eq!(way, targets(3)[0]);
    lone.answer(&first, 503, "");
    let (second, way) = lone.last();
    let second = second.to_owned();
    assert_eq!((way, number(&second)), (targets(3)[1], 2));
    // Another call does not try the one that is away first.
    lone.dial().unwrap();
    assert_eq!(lone.last().1, targets(3)[1]);
    let other = lone.last().0.to_owned();
    lone.answer(&other, 486, "");
    lone.answer(&second, 503, "");
    let third = lone.last().0.to_owned();
    lone.answer(&third, 503, "");
    assert_eq!(number(&third), 3);
    let mut failed = lone
        .told()
        .into_iter()
        .filter(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(
        failed.next_back(),
        Some(Event::Failed { leg, status: 503 }),
        "each was tried once"
    );
}

#[test]
fn a_domain_is_reached_as_the_dns_says_and_named_without_a_transport() {
    let peer = Peer {
        transport: Transport::Udp,
        place: Place::Domain("carrier.example".into()),
    };
    let trunk = Trunk {
        peer: Some(peer),
        keep_alive: Some(Duration::from_secs(30)),
        ..Trunk::default()
    };
    let mut lone = Lone::with(trunk);
    for (transport, via) in [
        (Transport::Tcp, "SIP/2.0/TCP"),
        (Transport::Udp, "SIP/2.0/UDP"),
    ] {
        lone.endpoint
            .set_targets(0, transport, targets(1), lone.now);
        lone.pass(30);
        let (asked, way) = lone.last();
        assert!(
            asked.starts_with("OPTIONS sip:carrier.example SIP/2.0\r\n"),
            "{asked}"
        );
        assert!(asked.contains(&format!("Via: {via} ")), "{asked}");
        assert_eq!(way, targets(1)[0]);
    }
}

#[test]
fn a_new_order_of_targets_is_followed_but_not_back_to_one_that_failed() {
    let mut lone = Lone::named(None);
    let [one, two, three] = targets(3)[..] else {
        panic!("three were asked for")
    };
    let called = |lone: &mut Lone| {
        lone.dial().unwrap();
        lone.last().1
    };
    lone.endpoint
        .set_targets(0, Transport::Udp, vec![one, two], lone.now);
    assert_eq!(called(&mut lone), one);
    lone.endpoint
        .set_targets(0, Transport::Udp, vec![two, one], lone.now);
    assert_eq!(called(&mut lone), two);
    let invite = lone.last().0.to_owned();
    lone.answer(&invite, 503, "");
    lone.endpoint
        .set_targets(0, Transport::Udp, vec![two, three, one], lone.now);
    assert_eq!(
        called(&mut lone),
        one,
        "it goes on with the one that answers"
    );
    lone.endpoint
        .set_targets(0, Transport::Udp, vec![two, three], lone.now);
    assert_eq!(called(&mut lone), two, "unless that is gone");
}

#[test]
fn a_trunk_is_away_only_when_none_of_its_targets_answers() {
    let mut lone = Lone::named(Some(Duration::from_secs(30)));
    lone.endpoint
        .set_targets(0, Transport::Udp, targets(2), lone.now);
    lone.collect();
    lone.told();
    let first = lone.request();
    lone.answer(&first, 503, "");
    let second = lone.request();
    assert_eq!((lone.last().1, lone.elapsed()), (targets(2)[1], 0));
    lone.answer(&second, 200, "");
    let third = lone.request();
    assert_eq!(
        (lone.last().1, lone.elapsed(), lone.told()),
        (targets(2)[1], 30, Vec::new())
    );
    lone.answer(&third, 503, "");
    let fourth = lone.request();
    lone.answer(&fourth, 503, "");
    assert_eq!(
        lone.told(),
        [Event::Reachable {
            trunk: 0,
            up: false
        }]
    );
    lone.request();
    assert_eq!(lone.elapsed(), 60, "no faster than one that has one target");
}

#[test]
fn requests_go_to_the_outbound_proxy_and_name_the_peer() {
    let proxy: SocketAddr = "198.51.100.7:5080".parse().unwrap();
    let mut lone = Lone::with(Trunk {
        outbound_proxy: Some(Peer::at(Transport::Tcp, proxy)),
        keep_alive: Some(Duration::from_secs(30)),
        ..Trunk::default()
    });
    let options = lone.request();
    let route = "\r\nRoute: <sip:198.51.100.7:5080;transport=tcp;lr>\r\n";
    assert!(
        options.starts_with("OPTIONS sip:192.0.2.2:5060 SIP/2.0\r\n") && options.contains(route),
        "{options}"
    );
    assert_eq!(lone.last().1, proxy);
    let leg = lone.dial().unwrap();
    let invite = lone.last().0.to_owned();
    assert!(
        invite.starts_with("INVITE sip:+919900000001@192.0.2.2:5060 SIP/2.0\r\n"),
        "{invite}"
    );
    assert!(
        invite.contains(route) && invite.contains("Via: SIP/2.0/TCP "),
        "{invite}"
    );
    lone.answer(&invite, 100, "");
    lone.endpoint.hang_up(leg, lone.now);
    lone.collect();
    let (cancel, way) = lone.last();
    assert!(
        cancel.starts_with("CANCEL ") && cancel.contains(route),
        "{cancel}"
    );
    assert_eq!(way, proxy);
}
