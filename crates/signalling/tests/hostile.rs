//! Property tests with hostile input: no panic, and no state left at the end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::time::Instant;

use proptest::prelude::*;
use signalling::sdes::{Secrets, SrtpMode};
use signalling::sdp::LocalMedia;
use signalling::{
    Credentials, Endpoint, EndpointLoad, EndpointSettings, Event, Framer, ListenAddress, Network,
    SipMessage, SipTimers, Transport, Trunk, TrunkPeer,
};

const INVITE: &str = "INVITE sip:+914000000001@192.0.2.2;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport, SIP/2.0/TCP 198.51.100.1;branch=z9hG4bK0\r\n\
    Max-Forwards: 70\r\nFrom: \"A\" <sip:+918800000001@192.0.2.1>;tag=1\r\nTo: <sip:+914000000001@192.0.2.2>\r\n\
    Call-ID: 1@192.0.2.1\r\nCSeq: 1 INVITE\r\nContact: <sip:192.0.2.1:5062;transport=tcp>\r\n\
    P-Asserted-Identity: <tel:+918800000001>\r\nRecord-Route: <sip:192.0.2.7;lr>\r\nSession-Expires: 1800;refresher=uas\r\n\
    Allow: INVITE, UPDATE\r\nSupported: timer, 100rel\r\nContent-Type: application/sdp\r\nContent-Length: 126\r\n\r\n\
    v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\n\
    a=rtpmap:101 telephone-event/8000\r\n";

fn endpoint() -> Endpoint {
    let peer: SocketAddr = "192.0.2.1:5060".parse().unwrap();
    let trunk = Trunk {
        peer: Some(TrunkPeer::at(Transport::Udp, peer)),
        accept_from: vec![Network {
            address: peer.ip(),
            prefix: 32,
        }],
        ..Trunk::default()
    };
    let advertised = "192.0.2.2".parse().unwrap();
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
    Endpoint::new(settings, Box::new(entropy))
}

/// Endpoint with a single trunk, authenticated by password.
fn endpoint_with_password() -> Endpoint {
    let credentials = Credentials {
        username: "pbx".into(),
        password: "a fictional password".into(),
        realm: None,
    };
    let trunk = Trunk {
        accept_credentials: Some(credentials),
        ..Trunk::default()
    };
    let advertised = "192.0.2.2".parse().unwrap();
    let settings = EndpointSettings {
        advertised,
        own_addresses: Vec::new(),
        listen: ListenAddress::for_each_transport(advertised, [5060, 5060, 5061]),
        timers: SipTimers::default(),
        trunks: vec![trunk],
    };
    Endpoint::new(settings, Box::new(|| 7))
}

/// Feeds messages in, answers all incoming calls, hangs up, and runs all timers.
fn run_to_end(endpoint: &mut Endpoint, messages: Vec<(Transport, Vec<u8>)>) {
    let mut now = Instant::now();
    let source: SocketAddr = "192.0.2.1:5060".parse().unwrap();
    let (srtp, secrets) = (SrtpMode::Off, Secrets::new([0; 132]));
    let local = LocalMedia {
        address: source.ip(),
        port: 20_000,
        session_id: 1,
        version: 1,
        comfort_noise: false,
        srtp,
        secrets,
    };
    let mut received = Vec::new();
    for (transport, bytes) in messages {
        received.push(String::from_utf8_lossy(&bytes).into_owned());
        if let Some(message) = SipMessage::from_datagram(bytes.into()) {
            endpoint.receive(transport, source, message, now);
        }
        while let Some(event) = endpoint.poll_event() {
            if let Event::IncomingCall(call) = event {
                endpoint.answer(call.leg, local, now);
            }
        }
    }
    for leg in 0..10 {
        endpoint.hang_up(signalling::LegId(leg), now);
    }
    while let Some(next) = endpoint.poll_timeout() {
        now = now.max(next);
        endpoint.handle_timeout(now);
        while endpoint.poll_transmit().is_some() {}
    }
    let idle = EndpointLoad {
        legs: 0,
        transactions: 0,
        timers: 0,
    };
    assert_eq!(endpoint.load(), idle, "after:\n{}", received.join("\n"));
}

/// Change to a message: position, number of bytes to remove, bytes to insert.
fn mutation() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let token = prop::sample::select(vec![
        &b""[..],
        b"\r\n",
        b"\0",
        b";",
        b",",
        b"<",
        b">",
        b"\"",
        b":",
        b" ",
        b"99999999999999999999",
        b"-1",
        b"%00",
        b"ACK",
        b"BYE",
        b"CANCEL",
        b"UPDATE",
        b"INFO",
        b"To: <sip:x@y>;tag=0000000000000001\r\n",
    ]);
    (
        any::<prop::sample::Index>(),
        0..12usize,
        token.prop_map(<[u8]>::to_vec),
    )
}

fn mutated(changes: &[(prop::sample::Index, usize, Vec<u8>)]) -> Vec<u8> {
    let mut message = INVITE.as_bytes().to_vec();
    for (position, length, new) in changes {
        let start = position.index(message.len() + 1);
        let end = (start + length).min(message.len());
        message.splice(start..end, new.iter().copied());
    }
    message
}

#[test]
fn the_message_to_mutate_is_valid() {
    let mut endpoint = endpoint();
    let message = SipMessage::from_datagram(INVITE.into()).unwrap();
    endpoint.receive(
        Transport::Udp,
        "192.0.2.1:5060".parse().unwrap(),
        message,
        Instant::now(),
    );
    assert!(matches!(
        endpoint.poll_event(),
        Some(Event::IncomingCall(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_messages_cause_no_panic_and_leave_no_state(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(mutation(), 0..4)), 1..5),
    ) {
        let mut endpoint = endpoint();
        let messages = messages.iter().map(|(tcp, changes)| {
            (if *tcp { Transport::Tcp } else { Transport::Udp }, mutated(changes))
        });
        run_to_end(&mut endpoint, messages.collect());
    }

    #[test]
    fn an_invalid_answer_to_a_challenge_is_challenged_again_and_leaves_no_state(
        noise in "[ -~]{0,40}",
        parameters in prop::collection::vec(
            ("(username|realm|nonce|uri|response|qop|nc|cnonce|algorithm)", "(\"[ -~]{0,50}\"|[ -~]{0,20}|pbx|auth|0000000[0-9]|ä)"),
            0..10,
        ),
    ) {
        let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let proof = format!("Authorization: Digest {}{noise}\r\nCall-ID", parameters.join(", "));
        let mut endpoint = endpoint_with_password();
        let message = SipMessage::from_datagram(INVITE.replacen("Call-ID", &proof, 1).into()).unwrap();
        endpoint.receive(Transport::Udp, "192.0.2.1:5060".parse().unwrap(), message, Instant::now());
        let answer = endpoint.poll_transmit().unwrap();
        prop_assert!(answer.bytes.starts_with(b"SIP/2.0 401 "));
        prop_assert_eq!(endpoint.load(), EndpointLoad { legs: 0, transactions: 0, timers: 0 });
    }

    #[test]
    fn any_stream_is_split_into_messages_or_rejected(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        changes in prop::collection::vec(mutation(), 0..4),
    ) {
        let mut framer = Framer::new();
        let mut messages = Vec::new();
        let mut alive = framer.push(&mutated(&changes), &mut messages).is_ok();
        for chunk in chunks {
            let pushed = framer.push(&chunk, &mut messages);
            prop_assert!(alive || chunk.is_empty() || pushed.is_err(), "a broken stream stays broken");
            alive = pushed.is_ok();
        }
    }

    #[test]
    fn a_repeated_uri_parameter_never_breaks_a_stream(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let body = INVITE.split_once("\r\n\r\n").unwrap().1.len();
        let whole = INVITE.replace("Content-Length: 126", &format!("Content-Length: {body}"));
        let twice = whole.replacen("user=phone", "user=phone;transport=tcp;transport=tcp", 1);
        let stream = [&whole, &twice, &twice, &whole[..]].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let (mut framer, mut messages, mut from) = (Framer::new(), Vec::new(), 0);
        for cut in cuts {
            prop_assert!(framer.push(&stream.as_bytes()[from..cut], &mut messages).is_ok());
            from = cut;
        }
        prop_assert_eq!((messages.len(), framer.pending()), (4, 0));
        prop_assert!(messages.iter().all(SipMessage::is_invite));
    }

    #[test]
    fn a_stream_may_arrive_in_any_pieces(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let body = INVITE.split_once("\r\n\r\n").unwrap().1.len();
        let whole = &INVITE.replace("Content-Length: 126", &format!("Content-Length: {body}"));
        let stream = [whole, "\r\n\r\n", whole, "INVITE <x> SIP/2.0\r\nVia: SIP/2.0/TCP x\r\n\r\n"].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let (mut framer, mut messages, mut from, mut last) = (Framer::new(), Vec::new(), 0, Ok(()));
        for cut in cuts {
            last = last.and(framer.push(&stream.as_bytes()[from..cut], &mut messages));
            from = cut;
        }
        prop_assert_eq!(messages.len(), 2);
        let answer = last.unwrap_err().answer.unwrap();
        prop_assert!(answer.starts_with(b"SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/TCP x\r\n"));
    }
}
