//! Addresses of the configuration: listeners and peers.

use std::net::SocketAddr;

use signalling::{Host, Transport, TrunkPeer};

use super::values::{InvalidValue, RawValue, name_of, require};
use crate::calls::sip::Listen;

const TRANSPORTS: [(&str, Transport); 3] = [
    ("udp", Transport::Udp),
    ("tcp", Transport::Tcp),
    ("tls", Transport::Tls),
];

pub(super) fn transport_name(transport: Transport) -> &'static str {
    name_of(&TRANSPORTS, transport)
}

/// Listen addresses of SIP.
pub(super) struct ListenAddresses {
    pub(super) udp: SocketAddr,
    pub(super) tcp: Option<SocketAddr>,
    pub(super) tls: Option<SocketAddr>,
}

/// Parses the listen addresses: one for UDP, at most one each for TCP and TLS.
pub(super) fn listen(raw: &RawValue) -> Result<ListenAddresses, InvalidValue> {
    let rule = "a list of one \"udp:ADDRESS:PORT\" and at most one \"tcp:ADDRESS:PORT\" and \"tls:ADDRESS:PORT\"";
    let items = require(raw.list(), rule)?;
    let listens: Option<Vec<Listen>> = items.iter().map(|item| item.parse().ok()).collect();
    let listens = require(listens, rule)?;
    let of = |transport| {
        let mut found = listens
            .iter()
            .filter(move |listen| listen.transport == transport);
        (
            found.next().map(|listen| listen.address),
            found.next().is_none(),
        )
    };
    match (of(Transport::Udp), of(Transport::Tcp), of(Transport::Tls)) {
        ((Some(udp), true), (tcp, true), (tls, true)) => Ok(ListenAddresses { udp, tcp, tls }),
        _ => require(None, rule),
    }
}

/// Parses `sip:HOST[:PORT][;transport=udp|tcp|tls]` or `sips:HOST[:PORT]`. For `sip:NAME` the DNS
/// selects port and transport.
pub(super) fn peer(raw: &RawValue) -> Result<TrunkPeer, InvalidValue> {
    let rule = "\"sip:HOST:PORT;transport=udp\" (or tcp, tls) with an IP address or a DNS name";
    require(raw.text().and_then(parse_peer), rule)
}

fn parse_peer(text: &str) -> Option<TrunkPeer> {
    let (scheme, rest) = text.split_once(':')?;
    let (place, parameters) = rest
        .split_once(';')
        .map_or((rest, None), |(place, more)| (place, Some(more)));
    let named = parameters.map(str::to_ascii_lowercase);
    let transport = match (scheme, named.as_deref()) {
        ("sip", None | Some("transport=udp")) => Transport::Udp,
        ("sip", Some("transport=tcp")) => Transport::Tcp,
        ("sip" | "sips", Some("transport=tls")) | ("sips", None) => Transport::Tls,
        _ => return None,
    };
    let place = match parse_place(place, transport)? {
        Host::Name { host, port: None } if (scheme, named) == ("sip", None) => Host::Domain(host),
        place => place,
    };
    Some(TrunkPeer {
        transport,
        host: place,
    })
}

fn parse_place(place: &str, transport: Transport) -> Option<Host> {
    let port = transport.default_port();
    let alone = || {
        place
            .trim_matches(['[', ']'])
            .parse()
            .ok()
            .map(|ip| SocketAddr::new(ip, port))
    };
    if let Some(address) = place.parse().ok().or_else(alone) {
        return Some(Host::Address(address));
    }
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
        None => (place, None),
    };
    is_host_name(host).then(|| Host::Name {
        host: host.to_ascii_lowercase(),
        port,
    })
}

/// Returns whether a text is a host name: labels of letters, digits and hyphens. The last label is
/// no number, so that a mistyped address is not taken for a name.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.split('.').all(label)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}
