//! Addresses of the configuration: listeners and peers.

use std::net::SocketAddr;

use signalling::{Host, Transport, TrunkPeer};

use super::values::{InvalidValue, RawValue, name_of, require};
use crate::calls::limits::MAX_LISTEN_ADDRESSES;
use crate::calls::sip::Listen;

const TRANSPORTS: [(&str, Transport); 3] = [
    ("udp", Transport::Udp),
    ("tcp", Transport::Tcp),
    ("tls", Transport::Tls),
];

pub(super) fn transport_name(transport: Transport) -> &'static str {
    name_of(&TRANSPORTS, transport)
}

/// Parses the listen addresses of SIP. Those for UDP come first in the result, then TCP and TLS.
pub(super) fn listen(raw: &RawValue) -> Result<Vec<Listen>, InvalidValue> {
    let rule = format!(
        "a list of 1 to {MAX_LISTEN_ADDRESSES} addresses \"udp:ADDRESS:PORT\", \"tcp:ADDRESS:PORT\" or \
         \"tls:ADDRESS:PORT\", at least one of them for UDP"
    );
    let items = require(raw.list(), &rule)?;
    let listens: Option<Vec<Listen>> = items.iter().map(|item| item.parse().ok()).collect();
    let has_udp = |listens: &Vec<Listen>| {
        let mut listens = listens.iter();
        listens.any(|listen| listen.transport == Transport::Udp)
    };
    let listens = listens.filter(|listens| listens.len() <= MAX_LISTEN_ADDRESSES);
    let mut listens = require(listens.filter(has_udp), &rule)?;
    let rank = |listen: &Listen| {
        let mut transports = TRANSPORTS.iter();
        transports.position(|(_, transport)| *transport == listen.transport)
    };
    listens.sort_by_key(rank);
    Ok(listens)
}

/// Returns the rule that two of the listen addresses break, if any.
pub(super) fn listen_conflict(listens: &[Listen]) -> Option<&'static str> {
    let others = |index: usize| listens.get(index.saturating_add(1)..).unwrap_or_default();
    let pairs = listens.iter().enumerate();
    let mut pairs =
        pairs.flat_map(|(index, first)| others(index).iter().map(move |other| (first, other)));
    pairs.find_map(|(first, other)| pair_conflict(first, other))
}

fn pair_conflict(first: &Listen, other: &Listen) -> Option<&'static str> {
    let is_same_kind = first.transport.is_stream() == other.transport.is_stream();
    let port = first.address.port();
    if !is_same_kind || port == 0 || port != other.address.port() {
        return None;
    }
    let (ip, other_ip) = (first.address.ip(), other.address.ip());
    let is_same_version = ip.to_canonical().is_ipv4() == other_ip.to_canonical().is_ipv4();
    if ip == other_ip {
        return Some(match first.transport == other.transport {
            true => "must not have the same address twice",
            false => "must not have tcp and tls at the same address and port",
        });
    }
    let is_covered = is_same_version && (ip.is_unspecified() || other_ip.is_unspecified());
    is_covered.then_some(
        "must not have 0.0.0.0 or [::] beside another address of the same IP version with the same port",
    )
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
