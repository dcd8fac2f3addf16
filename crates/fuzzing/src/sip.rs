//! Targets for received SIP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use signalling::sdes::{Secrets, SrtpMode};
use signalling::sdp::{Codec, Description, LocalMedia, offer};
use signalling::{
    Endpoint, EndpointLoad, EndpointSettings, Event, Framer, ListenAddress, Network, OutgoingCall,
    SipMessage, SipTimers, Transport, Trunk, TrunkPeer,
};

const LOCAL_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const TRUNK_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5060);
/// Separator between the messages of an input.
const MESSAGE_SEPARATOR: u8 = 0x1e;
/// Maximum number of messages per input and of timers per run.
const MAX_MESSAGES: usize = 16;
const MAX_TIMERS: usize = 100_000;

fn endpoint() -> Endpoint {
    let peer = Some(TrunkPeer::at(Transport::Udp, TRUNK_ADDRESS));
    let accept_from = vec![Network {
        address: TRUNK_ADDRESS.ip(),
        prefix: 32,
    }];
    let trunks = vec![Trunk {
        peer,
        accept_from,
        ..Trunk::default()
    }];
    let mut drawn = 0;
    let entropy = move || {
        drawn += 1;
        drawn
    };
    let settings = EndpointSettings {
        advertised: LOCAL_ADDRESS,
        own_addresses: Vec::new(),
        listen: ListenAddress::for_each_transport(LOCAL_ADDRESS, [5060, 5060, 5061]),
        timers: SipTimers::default(),
        trunks,
    };
    Endpoint::new(settings, Box::new(entropy))
}

fn media(srtp: SrtpMode) -> LocalMedia {
    LocalMedia {
        address: LOCAL_ADDRESS,
        port: 20_000,
        session_id: 1,
        version: 1,
        comfort_noise: true,
        srtp,
        secrets: Secrets::new([7; 132]),
    }
}

/// Messages from a trunk during an outgoing call. The target answers callers, hangs up all legs and
/// lets all timers expire. No state remains at the end.
pub(crate) fn messages(input: &[u8]) {
    let (mut endpoint, mut now) = (endpoint(), Instant::now());
    let call = OutgoingCall {
        trunk: 0,
        to: "+919900000001".to_owned(),
        from: "+914000000001".to_owned(),
        local: media(SrtpMode::Off),
        preferred: Codec::Pcma,
    };
    assert!(endpoint.dial(call, now).is_ok());
    for (index, bytes) in input
        .split(|byte| *byte == MESSAGE_SEPARATOR)
        .take(MAX_MESSAGES)
        .enumerate()
    {
        let transport = if index % 2 == 0 {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        if let Some(message) = SipMessage::from_datagram(bytes.to_vec().into()) {
            endpoint.receive(transport, TRUNK_ADDRESS, message, now);
        }
        while let Some(event) = endpoint.poll_event() {
            if let Event::IncomingCall(offer) = event {
                endpoint.answer(offer.leg, media(SrtpMode::Optional), now);
            }
        }
        while endpoint.poll_transmit().is_some() {}
        now += Duration::from_millis(300);
        endpoint.handle_timeout(now);
    }
    for leg in 0..=MAX_MESSAGES as u64 + 1 {
        endpoint.hang_up(signalling::LegId(leg), now);
    }
    for _ in 0..MAX_TIMERS {
        let Some(next) = endpoint.poll_timeout() else {
            break;
        };
        now = now.max(next);
        endpoint.handle_timeout(now);
        while endpoint.poll_transmit().is_some() {}
        while endpoint.poll_event().is_some() {}
    }
    assert_eq!(
        endpoint.load(),
        EndpointLoad {
            legs: 0,
            transactions: 0,
            timers: 0
        }
    );
}

/// Stream that is cut into pieces; the first octet is the length of a piece. Every cut gives the
/// same messages and the same validity.
pub(crate) fn stream(input: &[u8]) {
    let Some((length, stream)) = input.split_first() else {
        return;
    };
    let mut whole = Vec::new();
    let is_valid = Framer::new().push(stream, &mut whole).is_ok();
    let (mut framer, mut messages_of_pieces, mut broken) = (Framer::new(), Vec::new(), false);
    for piece in stream.chunks(usize::from(*length).max(1)) {
        let pushed = framer.push(piece, &mut messages_of_pieces);
        assert!(!broken || pushed.is_err(), "a broken stream stays broken");
        broken = pushed.is_err();
        assert!(
            broken || framer.pending() <= 0x2_0000,
            "the buffer exceeds the maximum message size"
        );
    }
    assert_eq!((is_valid, whole.len()), (!broken, messages_of_pieces.len()));
}

/// Session description. A valid description has a valid answer.
pub(crate) fn description(input: &[u8]) {
    let Ok(description) = Description::parse(input) else {
        return;
    };
    let codec = description.remote_preferring(Codec::Pcmu).codec;
    for srtp in [SrtpMode::Off, SrtpMode::Optional, SrtpMode::Required] {
        let local = media(srtp);
        let _ = (
            description.offered_key(&local),
            description.answered_key(&local),
        );
        let answer = description.answer(&local, codec);
        assert!(
            answer.len() < 0x1_0000 + 16 * input.len(),
            "the answer is too long for its offer"
        );
    }
    if let Ok(answer) =
        Description::parse(description.answer(&media(SrtpMode::Off), codec).as_bytes())
    {
        assert_eq!(answer.remote().rtp, SocketAddr::new(LOCAL_ADDRESS, 20_000));
    }
}

/// Value of an `a=crypto` line in an offer with mandatory SRTP.
pub(crate) fn crypto_line(input: &[u8]) {
    let offer = offer(&media(SrtpMode::Required), Codec::Pcma, &[]);
    let lines = offer.lines().filter(|line| !line.starts_with("a=crypto"));
    let mut text: Vec<u8> = lines
        .flat_map(|line| [line.as_bytes(), b"\r\n"].concat())
        .collect();
    text.extend([b"a=crypto:", input, b"\r\n"].concat());
    let Ok(description) = Description::parse(&text) else {
        return;
    };
    let local = media(SrtpMode::Required);
    if let Ok(Some(key)) = description.offered_key(&local) {
        assert_eq!(
            key.expose().len(),
            local.secrets.key(key.suite()).expose().len()
        );
    }
}
