//! `[[trunks]]`: what is read of a carrier, and what is shown of it.

use std::time::Duration;

use rlibphonenumber::Region;
use serde_json::{Value, json};
use signalling::sdes::SrtpMode;
use signalling::{Credentials, Network, Peer};

use super::source::Source;
use super::values;
use crate::engine::{NumberFormat, TrunkSettings, TrunkState};

/// How often a peer is asked whether it is alive, where nothing is said of it.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Takes the trunk of an index.
pub(super) fn take(source: &mut Source, index: usize) -> TrunkSettings {
    let key = |name: &str| format!("trunks.{index}.{name}");
    let name = source.get(&key("name"), values::name);
    if name.is_none() {
        source.fault(&key("name"), "must be given: 1 to 64 letters, digits, '-', '_' or '.'");
    }
    let country = source.get(&key("country"), values::country);
    let number_format = source.or(&key("number_format"), values::number_format, NumberFormat::E164);
    let prefix = source.or(&key("prefix"), values::digits, String::new());
    if number_format == NumberFormat::National && country.is_none() {
        source.fault(&key("number_format"), "must not be \"national\" without country");
    }
    if number_format == NumberFormat::E164 && !prefix.is_empty() {
        source.fault(&key("prefix"), "cannot stand before a '+': choose another number_format");
    }
    TrunkSettings {
        name: name.unwrap_or_default(),
        sip: take_sip(source, index),
        country,
        symmetric_rtp: source.or(&key("symmetric_rtp"), values::boolean, false),
        srtp: source.or(&key("srtp"), values::srtp, SrtpMode::Off),
        priority: source.or(&key("priority"), values::priority, 10),
        weight: source.or(&key("weight"), values::weight, 1),
        number_format,
        prefix,
        max_calls: source.get(&key("max_calls"), values::calls),
    }
}

fn take_sip(source: &mut Source, index: usize) -> signalling::Trunk {
    let key = |name: &str| format!("trunks.{index}.{name}");
    let peer = source.get(&key("peer"), values::peer);
    let accept_from = source.get(&key("accept_from"), values::networks);
    let credentials = take_credentials(source, index);
    let register = source.or(&key("register"), values::boolean, false);
    if register && (peer.is_none() || credentials.is_none()) {
        source.fault(&key("register"), "must not be true without peer, username and password");
    }
    let keep_alive = source.get(&key("keep_alive"), values::keep_alive);
    if keep_alive.is_some_and(|interval| !interval.is_zero()) && peer.is_none() {
        source.fault(&key("keep_alive"), "must not be given without peer");
    }
    let own = peer.as_ref().map(own_network);
    signalling::Trunk {
        accept_from: accept_from.unwrap_or_else(|| own.into_iter().collect()),
        keep_alive: Some(keep_alive.unwrap_or(KEEP_ALIVE)).filter(|interval| !interval.is_zero()),
        peer,
        credentials,
        register,
    }
}

fn take_credentials(source: &mut Source, index: usize) -> Option<Credentials> {
    let key = |name: &str| format!("trunks.{index}.{name}");
    let [username, password, realm] = ["username", "password", "realm"].map(|name| {
        let given = source.get(&key(name), values::credential);
        given.filter(|text: &String| !text.is_empty())
    });
    if username.is_some() != password.is_some() {
        source.fault(&key("username"), "must be given together with password");
    }
    let (username, password) = username.zip(password)?;
    Some(Credentials { username, password, realm })
}

fn own_network(peer: &Peer) -> Network {
    Network { address: peer.address.ip(), prefix: if peer.address.is_ipv4() { 32 } else { 128 } }
}

/// Where calls go out to, as in the file: `sip:192.0.2.1:5060;transport=udp`.
pub fn peer_uri(trunk: &TrunkSettings) -> Option<String> {
    let peer = trunk.sip.peer.as_ref()?;
    Some(format!("sip:{peer};transport={}", values::transport_name(peer.transport)))
}

/// Where its calls come from, as in the file: `192.0.2.0/24`.
pub fn networks(trunk: &TrunkSettings) -> Vec<String> {
    let networks = trunk.sip.accept_from.iter();
    networks.map(|network| format!("{}/{}", network.address, network.prefix)).collect()
}

/// The trunk in the names of the file, for people to look at, and how it is, where that is known. Never with a password.
pub fn shown(trunk: &TrunkSettings, state: Option<TrunkState>) -> Value {
    json!({
        "name": trunk.name,
        "peer": peer_uri(trunk),
        "accept_from": networks(trunk),
        "keep_alive": trunk.sip.keep_alive.unwrap_or_default().as_secs(),
        "register": trunk.sip.register,
        "country": trunk.country.as_ref().map(Region::to_string),
        "symmetric_rtp": trunk.symmetric_rtp,
        "srtp": values::srtp_name(trunk.srtp),
        "username": trunk.sip.credentials.as_ref().map(|known| &known.username),
        "priority": trunk.priority,
        "weight": trunk.weight,
        "number_format": values::number_format_name(trunk.number_format),
        "prefix": trunk.prefix,
        "max_calls": trunk.max_calls,
        "state": state.map(|state| if state.up { "up" } else { "away" }),
        "registered": state.and_then(|state| state.registered),
    })
}
