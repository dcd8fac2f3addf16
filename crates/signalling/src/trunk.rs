//! Trunk configuration.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::sdp::Codec;
use crate::sip::{Algorithm, HeaderName, Uri};
use crate::wire::{Network, Transport};

/// Configuration of a trunk: a peer carrying calls.
#[derive(Debug, Clone, Default)]
pub struct Trunk {
    /// Destination of outgoing calls. `None` for a trunk with incoming calls only.
    pub peer: Option<TrunkPeer>,
    /// Next hop of all requests to the peer.
    pub outbound_proxy: Option<TrunkPeer>,
    /// Address written into `Via`, `Contact` and `From` of this trunk. `None`: that of the endpoint.
    pub advertised: Option<IpAddr>,
    /// Networks allowed to send requests.
    pub accept_from: Vec<Network>,
    /// Also accept requests from the resolved addresses of the peer.
    pub accept_resolved: bool,
    /// Name in the TLS client certificate of the peer. Requests are then accepted only over connections with such a
    /// certificate, and from any address unless `accept_from` names some.
    pub tls_peer_name: Option<String>,
    /// Credentials required from callers outside these networks (digest, RFC 7616).
    pub accept_credentials: Option<Credentials>,
    /// Digest algorithms accepted from these callers. Empty for all.
    pub accept_digests: Vec<Digest>,
    /// Credentials sent in response to the trunk's challenges (digest, RFC 7616).
    pub credentials: Option<Credentials>,
    /// Interval of keep-alive probes. `None` disables them; the trunk then counts as reachable.
    pub keep_alive: Option<Duration>,
    /// Time for the first response to an INVITE. `None`: only the transaction limits it (32 s).
    pub response_timeout: Option<Duration>,
    /// Register with the peer (RFC 3261, section 10) as the user of `credentials`.
    pub register: bool,
    /// Allowed codecs, the preferred one first. Empty for all, in the peer's order.
    pub codecs: Vec<Codec>,
    /// Networks of the peer's audio. Empty for all except the addresses of this host.
    pub media_from: Vec<Network>,
    /// Header with the caller's number.
    pub caller_from: CallerFrom,
    /// Source of the called number.
    pub called_from: CalledFrom,
    /// Form of the number shown to called parties.
    pub shown_as: ShownIdentity,
    /// The peer is behind a NAT: requests within a call go to the source of its messages, not to its `Contact`.
    pub nat: bool,
}

/// Digest algorithm (RFC 7616, RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// MD5, for phones that do not support SHA-256. Some of them reject a challenge that offers a
    /// second algorithm.
    Md5,
}

impl Digest {
    /// All algorithms, the stronger first.
    pub(crate) const ALL: [Self; 2] = [Self::Sha256, Self::Md5];

    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::Sha256 => Algorithm::Sha256,
            Self::Md5 => Algorithm::Md5,
        }
    }
}

/// Header with the caller's number. `From` is used if the header is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallerFrom {
    /// `P-Asserted-Identity` (RFC 3325).
    #[default]
    AssertedIdentity,
    /// `P-Preferred-Identity` (RFC 3325).
    PreferredIdentity,
    /// `Remote-Party-ID`, still sent by many carriers.
    RemotePartyId,
    /// `From` only.
    From,
}

/// Form of the number that an INVITE shows to the called party. The default is a URI of this server in `From` and
/// `P-Asserted-Identity`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShownIdentity {
    /// User part of `From`. `None`: the shown number.
    pub from_user: Option<String>,
    /// Host in `From` and in the identity header. `None`: the address of this server.
    pub domain: Option<String>,
    /// Header with the shown number, besides `From`.
    pub header: IdentityHeader,
    /// Add `user=phone` to the URIs with a number (RFC 3261, section 19.1.1).
    pub user_phone: bool,
}

/// Header with the shown number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityHeader {
    /// `P-Asserted-Identity` (RFC 3325, section 9.1).
    #[default]
    Asserted,
    /// `P-Preferred-Identity` (RFC 3325, section 9.2).
    Preferred,
    /// `Remote-Party-ID`, which some carriers still ask for.
    RemoteParty,
    /// None: the number is in `From` alone.
    None,
}

impl ShownIdentity {
    /// Returns the URI of a number.
    fn uri(&self, user: &str, host: &str) -> String {
        let host = self.domain.as_deref().unwrap_or(host);
        format!("<sip:{user}@{host}{}>", self.user_parameter())
    }

    /// Returns the parameter of URIs with a number.
    pub(crate) fn user_parameter(&self) -> &'static str {
        if self.user_phone { ";user=phone" } else { "" }
    }

    /// Returns the value of `From` without its tag. `host` is the address of this server.
    pub(crate) fn from(&self, number: &str, host: &str) -> String {
        self.uri(self.from_user.as_deref().unwrap_or(number), host)
    }

    /// Returns the identity header with its value.
    pub(crate) fn identity(&self, number: &str, host: &str) -> Option<(HeaderName, String)> {
        let uri = self.uri(number, host);
        match self.header {
            IdentityHeader::Asserted => Some((HeaderName::PAssertedIdentity, uri)),
            IdentityHeader::Preferred => Some((HeaderName::PPreferredIdentity, uri)),
            IdentityHeader::RemoteParty => {
                let name = HeaderName::Other(Bytes::from_static(b"Remote-Party-ID"));
                Some((name, format!("{uri};party=calling;screen=yes;privacy=off")))
            }
            IdentityHeader::None => None,
        }
    }
}

/// Source of the called number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CalledFrom {
    /// The Request-URI.
    #[default]
    RequestUri,
    /// `To`. Needed for registered contacts: their Request-URI contains the username.
    To,
}

/// Remote end of a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkPeer {
    /// Transport. For a domain it is provisional until the DNS lookup.
    pub transport: Transport,
    /// Host.
    pub host: Host,
}

/// Host of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// IP address and port.
    Address(SocketAddr),
    /// Host name (RFC 3263). The engine resolves it and calls [`crate::Endpoint::set_targets`].
    Name {
        /// Host name.
        host: String,
        /// Port. `None` to use the port found in the DNS.
        port: Option<u16>,
    },
    /// Domain whose transport, hosts and ports are in the DNS (RFC 3263, section 4.1). The engine
    /// resolves it and calls [`crate::Endpoint::set_targets`].
    Domain(String),
}

/// Addresses of a peer that one SRV record names (RFC 2782), or that its name has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    /// Priority: the lowest number is used first.
    pub priority: u16,
    /// Share of the calls among the groups with the same priority.
    pub weight: u16,
    /// Addresses and ports, in order of preference.
    pub addresses: Vec<SocketAddr>,
}

impl TargetGroup {
    /// Creates the group of a name without SRV records.
    pub fn single(addresses: Vec<SocketAddr>) -> Self {
        Self {
            priority: 0,
            weight: 0,
            addresses,
        }
    }
}

impl TrunkPeer {
    /// Creates a peer with a fixed address.
    pub fn at(transport: Transport, address: SocketAddr) -> Self {
        Self {
            transport,
            host: Host::Address(address),
        }
    }

    /// Returns `true` if the peer uses TLS or the DNS may select TLS.
    pub fn may_be_encrypted(&self) -> bool {
        self.transport == Transport::Tls || matches!(self.host, Host::Domain(_))
    }

    /// Returns the fixed address. `None` for names and domains.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Address(address) => Some(*address),
            Host::Name { .. } | Host::Domain(_) => None,
        }
    }

    /// Returns the URI of a user at the peer, or of the peer itself if `user` is empty.
    pub(crate) fn uri(&self, user: &str) -> Option<Uri> {
        let at = if user.is_empty() { "" } else { "@" };
        let text = format!("sip:{user}{at}{self}{}", self.transport.uri_parameter());
        Uri::parse(Bytes::from(text)).ok()
    }
}

impl Trunk {
    /// Returns `true` if callers may authenticate with this algorithm.
    pub(crate) fn accepts(&self, digest: Digest) -> bool {
        let any = self.accept_digests.is_empty() || self.accept_digests.contains(&digest);
        any && self.accept_credentials.is_some()
    }

    /// Returns `true` if requests go out over TLS by configuration, so that requests in clear are not from this trunk.
    pub(crate) fn requires_tls(&self) -> bool {
        self.next_hop().is_some_and(|hop| {
            hop.transport == Transport::Tls && !matches!(hop.host, Host::Domain(_))
        })
    }

    /// Returns `true` if an address is in one of the networks.
    pub(crate) fn lists(&self, address: IpAddr) -> bool {
        let mut networks = self.accept_from.iter();
        networks.any(|network| network.contains(address))
    }

    /// Returns the first hop of requests: the outbound proxy, otherwise the peer.
    pub fn next_hop(&self) -> Option<&TrunkPeer> {
        let peer = self.peer.as_ref()?;
        Some(self.outbound_proxy.as_ref().unwrap_or(peer))
    }
}

impl fmt::Display for TrunkPeer {
    /// Formats the host and port as in a URI.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => address.fmt(f),
            Host::Name { host, port: None } | Host::Domain(host) => f.write_str(host),
            Host::Name {
                host,
                port: Some(port),
            } => write!(f, "{host}:{port}"),
        }
    }
}

/// Username and password for digest authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Username.
    pub username: String,
    /// Password.
    pub password: String,
    /// Only realm that these credentials are sent to. `None` for the first realm that accepts them.
    pub realm: Option<String>,
}

impl fmt::Debug for Credentials {
    /// Omits the username and the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
