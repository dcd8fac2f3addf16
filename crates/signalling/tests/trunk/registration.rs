//! Registration and its renewal.

use super::*;

const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"\r\n";
const OURS: &str = "Contact: <sip:somebody@198.51.100.9>;expires=7, <sip:trunk%20user@192.0.2.1:5060>;expires=600\r\n";

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
fn the_expiry_granted_to_a_changed_contact_applies() {
    for contacts in [
        "<sip:trunk%20user@203.0.113.7:61234>;expires=30",
        "<sip:914000000001@192.0.2.1:5060>;expires=30",
        "<sip:a@203.0.113.1>;expires=900, <sip:b@203.0.113.2>;expires=30, <sip:c@203.0.113.3>;expires=0",
        "<sip:PBX#1000@203.0.113.9>;expires=9, <sip:trunk%20user@192.0.2.1:5060>;expires=30",
        "Doe, Jo <sip:x@203.0.113.9>;expires=60, <sip:y@203.0.113.8>;expires=\"30\"",
    ] {
        let mut single = SingleEndpoint::registering();
        let first = single.request();
        single.answer(&first, 200, &format!("Contact: {contacts}\r\n"));
        single.request();
        assert_eq!(single.elapsed(), 15, "{contacts}");
    }
}

#[test]
fn calls_take_the_route_that_the_registrar_names() {
    let mut single = SingleEndpoint::registering();
    let first = single.request();
    assert!(!first.contains("Route:"), "{first}");
    let named = "Service-Route: <sip:edge.carrier.example;lr>, <sip:strict.carrier.example>\r\n\
                 Service-Route: <sip:home@core.carrier.example;lr;x=1>\r\n";
    single.answer(&first, 200, &format!("{OURS}{named}"));
    let invite = single.invite();
    assert_eq!(
        routes(&invite),
        [
            "<sip:edge.carrier.example;lr>",
            "<sip:home@core.carrier.example;lr;x=1>"
        ],
        "{invite}"
    );
    assert_eq!(single.destinations.last(), Some(&peer()));
    single.answer(&invite, 486, "");
    let renewal = single.request();
    assert!(renewal.starts_with("REGISTER "), "{renewal}");
    assert!(routes(&renewal).is_empty(), "{renewal}");
    single.answer(&renewal, 200, OURS);
    let invite = single.invite();
    assert!(routes(&invite).is_empty(), "a renewal replaces the route");
}

impl SingleEndpoint {
    /// Starts a call and returns its INVITE.
    fn invite(&mut self) -> String {
        self.dial().unwrap();
        self.wire.last().unwrap().1.clone()
    }
}

/// Returns the values of the `Route` headers.
fn routes(request: &str) -> Vec<&str> {
    let lines = request.lines();
    lines
        .filter_map(|line| line.strip_prefix("Route: "))
        .collect()
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

/// Endpoint with several targets, registered at the first one.
fn registered_at_first_target(keep_alive: Option<Duration>) -> (SingleEndpoint, usize) {
    let host = Host::Name {
        host: "carrier.example".into(),
        port: None,
    };
    let credentials = Credentials {
        username: "trunk user".into(),
        password: "a fictional password".into(),
        realm: None,
    };
    let mut single = SingleEndpoint::with(Trunk {
        peer: Some(TrunkPeer {
            transport: Transport::Tcp,
            host,
        }),
        credentials: Some(credentials),
        register: true,
        keep_alive,
        ..Trunk::default()
    });
    single.set_targets(&[1, 2]);
    let mut seen = 0;
    let register = request_to(&mut single, &mut seen, "REGISTER ", 1);
    single.answer(&register, 200, "Expires: 3600\r\n");
    (single, seen)
}

fn target(last: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, last], 5070))
}

impl SingleEndpoint {
    fn set_targets(&mut self, targets: &[u8]) {
        let targets = targets.iter().map(|last| target(*last)).collect();
        self.endpoint
            .set_targets(0, Transport::Tcp, group(targets), self.now);
        self.collect();
    }
}

/// Advances time until the next request of this method is sent, checks its target and returns it. Requests before `seen`
/// are ignored.
fn request_to(single: &mut SingleEndpoint, seen: &mut usize, method: &str, last: u8) -> String {
    loop {
        let found = single.wire[*seen..]
            .iter()
            .position(|(_, text)| text.starts_with(method));
        if let Some(position) = found {
            let index = *seen + position;
            assert_eq!(single.destinations[index], target(last));
            *seen = index + 1;
            return single.wire[index].1.clone();
        }
        *seen = single.wire.len();
        single.request();
    }
}

#[test]
fn a_registration_is_renewed_when_its_flow_ends_with_growing_delays_for_short_flows() {
    let (mut single, mut seen) = registered_at_first_target(None);
    let mut delays = Vec::new();
    for _ in 0..4 {
        let closed = single.elapsed();
        single
            .endpoint
            .connection_closed(Transport::Tcp, target(1), single.now);
        let register = request_to(&mut single, &mut seen, "REGISTER ", 1);
        delays.push(single.elapsed() - closed);
        single.answer(&register, 200, "Expires: 3600\r\n");
    }
    assert!(
        delays.windows(2).all(|pair| pair[0] < pair[1]),
        "{delays:?}"
    );
    single.advance(120);
    let closed = single.elapsed();
    for (transport, other) in [(Transport::Tls, target(1)), (Transport::Tcp, target(2))] {
        single
            .endpoint
            .connection_closed(transport, other, single.now);
    }
    single
        .endpoint
        .connection_closed(Transport::Tcp, target(1), single.now);
    request_to(&mut single, &mut seen, "REGISTER ", 1);
    assert!(
        single.elapsed() - closed < delays[1],
        "a stable flow is renewed soon"
    );
}

#[test]
fn a_registration_follows_the_trunk_to_its_next_target() {
    let (mut single, mut seen) = registered_at_first_target(Some(Duration::from_secs(30)));
    // The first target stays silent, the second one answers.
    let probe = request_to(&mut single, &mut seen, "OPTIONS ", 2);
    single.answer(&probe, 200, "");
    request_to(&mut single, &mut seen, "REGISTER ", 2);
    assert!(single.elapsed() < 60, "{}", single.elapsed());
}

#[test]
fn a_registration_is_renewed_when_the_trunk_is_reachable_again_or_its_address_is_gone() {
    let (mut single, _) = registered_at_first_target(Some(Duration::from_secs(30)));
    while single.endpoint.is_up(0) {
        single.request();
    }
    let mut seen = single.wire.len();
    let probe = single.request();
    let up = single.elapsed();
    single.answer(&probe, 200, "");
    let register = request_to(&mut single, &mut seen, "REGISTER ", 2);
    assert_eq!(single.elapsed(), up);
    single.answer(&register, 200, "Expires: 3600\r\n");
    single.set_targets(&[7]);
    request_to(&mut single, &mut seen, "REGISTER ", 7);
    assert_eq!(single.elapsed(), up);
}
