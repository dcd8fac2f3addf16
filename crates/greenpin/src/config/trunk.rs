//! `[[trunks]]`: reading a carrier of the configuration.

use std::time::Duration;

use signalling::sdes::SrtpMode;
use signalling::{
    CalledFrom, CallerFrom, Credentials, Host, IdentityHeader, Network, ShownIdentity, TrunkPeer,
};

use super::source::Source;
use super::{Config, address, values};
use crate::calls::limits::RESPONSE_TIMEOUT;
use crate::calls::{DEFAULT_FAILOVER_ON, NumberFormat, TrunkSettings};
use crate::destinations::{TrunkDestinations, in_both};

/// Default interval of OPTIONS requests to a peer.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Reads the trunk at an index.
pub(super) fn read(source: &mut Source, index: usize) -> TrunkSettings {
    let key = |name: &str| format!("trunks.{index}.{name}");
    let name = source.get(&key("name"), values::name);
    if name.is_none() {
        source.fault(
            &key("name"),
            "must be given: 1 to 64 letters, digits, '-', '_' or '.'",
        );
    }
    let settings = TrunkSettings {
        name: name.unwrap_or_default(),
        country: source.get(&key("country"), values::country),
        media_address: source.get(&key("media_public_address"), values::ip),
        media_ports: source.get(&key("media_ports"), values::ports),
        show_withheld: source.get_or(&key("show_withheld"), values::boolean, false),
        number_format: source.get_or(
            &key("number_format"),
            values::number_format,
            NumberFormat::E164,
        ),
        virtual_numbers: source.get_or(
            &key("virtual_numbers"),
            values::number_prefixes,
            Vec::new(),
        ),
        tenants: source.get_or(&key("tenants"), values::tenants, Vec::new()),
        failover_on: source.get_or(
            &key("failover_on"),
            values::failover_statuses,
            DEFAULT_FAILOVER_ON.to_vec(),
        ),
        prefix: source.get_or(&key("prefix"), values::digits, String::new()),
        destinations: TrunkDestinations {
            allow: source.get_or(
                &key("allow_destinations"),
                values::number_prefixes,
                Vec::new(),
            ),
            deny: source.get_or(
                &key("deny_destinations"),
                values::number_prefixes,
                Vec::new(),
            ),
        },
        sip: read_sip(source, index),
        tls_ca: source.get(&key("tls_ca"), values::path),
        tls_identity: Config::read_identity(source, &format!("trunks.{index}")),
        symmetric_rtp: source.get_or(&key("symmetric_rtp"), values::boolean, false),
        direct_media: source.get_or(&key("media"), values::media, false),
        early_media: source.get_or(&key("early_media"), values::boolean, false),
        srtp: source.get_or(&key("srtp"), values::srtp, SrtpMode::Off),
        priority: source.get_or(&key("priority"), values::priority, 10),
        weight: source.get_or(&key("weight"), values::weight, 1),
        max_calls: source.get(&key("max_calls"), values::calls),
        max_calls_per_second: source.get(&key("max_calls_per_second"), values::rate),
    };
    check(source, index, &settings);
    settings
}

/// Notes a fault for each pair of values that exclude each other.
fn check(source: &mut Source, index: usize, settings: &TrunkSettings) {
    let next_hop = settings.sip.next_hop();
    let is_clear = !next_hop.is_some_and(TrunkPeer::may_be_encrypted);
    let not_tls = "must not be given for a peer that is not reached over TLS";
    let rules = [
        (
            settings.number_format == NumberFormat::National && settings.country.is_none(),
            "number_format",
            "must not be \"national\" without country",
        ),
        (
            settings.number_format == NumberFormat::E164 && !settings.prefix.is_empty(),
            "prefix",
            "cannot stand before a '+': choose another number_format",
        ),
        (
            in_both(&settings.destinations.allow, &settings.destinations.deny).is_some(),
            "deny_destinations",
            "has a prefix that is also in allow_destinations",
        ),
        (settings.tls_ca.is_some() && is_clear, "tls_ca", not_tls),
        (
            settings.tls_identity.is_some() && is_clear,
            "tls_certificate",
            not_tls,
        ),
        (
            settings.direct_media && settings.symmetric_rtp,
            "media",
            "must not be \"direct\" with symmetric_rtp: the source of its audio is not known",
        ),
        (
            settings.direct_media && settings.srtp == SrtpMode::Required,
            "media",
            "must not be \"direct\" with srtp = \"required\": the other side does not have its keys",
        ),
    ];
    for (is_broken, name, rule) in rules {
        if is_broken {
            source.fault(&format!("trunks.{index}.{name}"), rule);
        }
    }
}

fn read_sip(source: &mut Source, index: usize) -> signalling::Trunk {
    let key = |name: &str| format!("trunks.{index}.{name}");
    let peer = source.get(&key("peer"), address::peer);
    let outbound_proxy = source.get(&key("outbound_proxy"), address::peer);
    if outbound_proxy.is_some() && peer.is_none() {
        source.fault(&key("outbound_proxy"), "must not be given without peer");
    }
    let accept_from = source.get(&key("accept_from"), values::networks);
    let tls_peer_name = source.get(&key("tls_peer_name"), values::certificate_name);
    let credentials = read_credentials(source, index);
    let accept_credentials = read_accept_credentials(source, index);
    let register = source.get_or(&key("register"), values::boolean, false);
    if register && (peer.is_none() || credentials.is_none()) {
        source.fault(
            &key("register"),
            "must not be true without peer, username and password",
        );
    }
    let keep_alive = source.get(&key("keep_alive"), values::keep_alive);
    if keep_alive.is_some_and(|interval| !interval.is_zero()) && peer.is_none() {
        source.fault(&key("keep_alive"), "must not be given without peer");
    }
    // By default, calls are accepted from the address that calls go out to.
    let own = [peer.as_ref(), outbound_proxy.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(TrunkPeer::address);
    // A certificate identifies the peer at any address.
    let own = own.filter(|_| tls_peer_name.is_none());
    let own = own.map(|address| Network::single(address.ip())).collect();
    signalling::Trunk {
        accept_resolved: accept_from.is_none() && tls_peer_name.is_none(),
        accept_from: accept_from.unwrap_or(own),
        tls_peer_name,
        advertised: source.get(&key("public_address"), values::ip),
        outbound_proxy,
        accept_credentials,
        media_from: source.get_or(&key("media_from"), values::networks, Vec::new()),
        nat: source.get_or(&key("nat"), values::boolean, false),
        accept_digests: source.get_or(&key("accept_digest"), values::digests, Vec::new()),
        codecs: source.get_or(&key("codecs"), values::codecs, Vec::new()),
        caller_from: source.get_or(
            &key("caller_from"),
            values::caller_from,
            CallerFrom::default(),
        ),
        called_from: source.get_or(
            &key("called_from"),
            values::called_from,
            CalledFrom::default(),
        ),
        shown_as: read_shown_identity(source, index),
        response_timeout: Some(source.get_or(
            &key("response_timeout"),
            values::response_timeout,
            RESPONSE_TIMEOUT,
        )),
        keep_alive: Some(keep_alive.unwrap_or(DEFAULT_KEEP_ALIVE))
            .filter(|interval| !interval.is_zero()),
        peer,
        credentials,
        register,
    }
}

fn read_shown_identity(source: &mut Source, index: usize) -> ShownIdentity {
    let key = |name: &str| format!("trunks.{index}.{name}");
    ShownIdentity {
        from_user: source.get(&key("from_user"), values::sip_user),
        domain: source.get(&key("from_domain"), values::sip_domain),
        header: source.get_or(
            &key("identity_header"),
            values::identity_header,
            IdentityHeader::default(),
        ),
        user_phone: source.get_or(&key("user_phone"), values::boolean, false),
    }
}

fn read_credentials(source: &mut Source, index: usize) -> Option<Credentials> {
    let key = |name: &str| format!("trunks.{index}.{name}");
    let [username, password, realm] = ["username", "password", "realm"].map(|name| {
        let given = source.get(&key(name), values::credential);
        given.filter(|text: &String| !text.is_empty())
    });
    source.require_both([
        (&key("username"), username.is_some()),
        (&key("password"), password.is_some()),
    ]);
    let (username, password) = username.zip(password)?;
    Some(Credentials {
        username,
        password,
        realm,
    })
}

/// Reads the credentials of callers from outside the trunk's networks.
fn read_accept_credentials(source: &mut Source, index: usize) -> Option<Credentials> {
    let key = |name: &str| format!("trunks.{index}.{name}");
    let username = source.get(&key("accept_username"), values::credential);
    let username = username.filter(|username| !username.is_empty());
    let password = source.get(&key("accept_password"), values::secret);
    source.require_both([
        (&key("accept_username"), username.is_some()),
        (&key("accept_password"), password.is_some()),
    ]);
    Some(Credentials {
        username: username?,
        password: password?.expose().to_owned(),
        realm: None,
    })
}

pub(crate) fn uri(peer: &TrunkPeer) -> String {
    match peer.host {
        Host::Domain(_) => format!("sip:{peer}"),
        _ => format!(
            "sip:{peer};transport={}",
            address::transport_name(peer.transport)
        ),
    }
}

/// Returns the address for outgoing calls as in the file: `sip:192.0.2.1:5060;transport=udp`.
pub fn peer_uri(trunk: &TrunkSettings) -> Option<String> {
    trunk.sip.peer.as_ref().map(uri)
}

/// Returns networks as in the file: `192.0.2.0/24`.
pub fn networks(networks: &[Network]) -> Vec<String> {
    networks
        .iter()
        .map(|network| format!("{}/{}", network.address, network.prefix))
        .collect()
}
