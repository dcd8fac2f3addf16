//! The peers that carry calls, as they are configured.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::sdp::Codec;
use crate::sip::{Algorithm, Uri};
use crate::wire::{Network, Transport};

/// A peer that carries calls.
#[derive(Debug, Clone, Default)]
pub struct Trunk {
    /// Where calls go out to; `None`: it only brings calls.
    pub peer: Option<TrunkPeer>,
    /// Where requests go instead, whoever they are for: its peer is behind it.
    pub outbound_proxy: Option<TrunkPeer>,
    /// Who may send us requests.
    pub accept_from: Vec<Network>,
    /// The addresses that its peer's name stands for may send us requests, too.
    pub accept_resolved: bool,
    /// What it must know to bring calls from anywhere else (digest, RFC 7616).
    pub accept_credentials: Option<Credentials>,
    /// By which hashes it may show that; empty: by each.
    pub accept_digests: Vec<Digest>,
    /// What it knows us by when it asks (digest, RFC 7616).
    pub credentials: Option<Credentials>,
    /// How often its peer is asked whether it is alive; `None`: never, it counts as up.
    pub keep_alive: Option<Duration>,
    /// Tell its peer where we are (RFC 3261, section 10), as the user of `credentials`.
    pub register: bool,
    /// The codecs that are offered and taken, the preferred one first; empty: all, as the peer prefers.
    pub codecs: Vec<Codec>,
    /// Which header tells who calls.
    pub caller_from: CallerFrom,
    /// What tells who is called.
    pub called_from: CalledFrom,
}

/// How a password is shown to be known without being told (RFC 7616, RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// MD5: for phones that know no other, some of which do not understand a challenge that names another one beside.
    Md5,
}

impl Digest {
    /// The stronger first.
    pub(crate) const ALL: [Self; 2] = [Self::Sha256, Self::Md5];

    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::Sha256 => Algorithm::Sha256,
            Self::Md5 => Algorithm::Md5,
        }
    }
}

/// The header that the caller's number is read from; `From` where it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallerFrom {
    /// `P-Asserted-Identity` (RFC 3325).
    #[default]
    AssertedIdentity,
    /// `P-Preferred-Identity` (RFC 3325).
    PreferredIdentity,
    /// `Remote-Party-ID`, as many carriers still send it.
    RemotePartyId,
    /// `From` alone.
    From,
}

/// What the called number is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CalledFrom {
    /// The Request-URI.
    #[default]
    RequestUri,
    /// `To`: the Request-URI of a registered contact has the name of a user.
    To,
}

/// The far end of a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkPeer {
    /// How messages travel; of a domain before the DNS says how.
    pub transport: Transport,
    /// Where they go.
    pub host: Host,
}

/// Where a peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// At an address.
    Address(SocketAddr),
    /// Where the DNS says (RFC 3263): the engine tells with [`crate::Endpoint::set_targets`].
    Name {
        /// The name.
        host: String,
        /// `None`: the DNS says that, too.
        port: Option<u16>,
    },
    /// Where, and how, the DNS says for a domain (RFC 3263, section 4.1): with [`crate::Endpoint::set_targets`], too.
    Domain(String),
}

impl TrunkPeer {
    /// A peer at an address.
    pub fn at(transport: Transport, address: SocketAddr) -> Self {
        Self {
            transport,
            host: Host::Address(address),
        }
    }

    /// Whether it is reached over TLS, or may be where the DNS says so.
    pub fn may_be_encrypted(&self) -> bool {
        self.transport == Transport::Tls || matches!(self.host, Host::Domain(_))
    }

    /// Its address, unless it has a name.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Address(address) => Some(*address),
            Host::Name { .. } | Host::Domain(_) => None,
        }
    }

    /// The URI of a user there, or without one of the peer itself.
    pub(crate) fn uri(&self, user: &str) -> Option<Uri> {
        let at = if user.is_empty() { "" } else { "@" };
        let text = format!("sip:{user}{at}{self}{}", self.transport.parameter());
        Uri::parse(Bytes::from(text)).ok()
    }
}

impl Trunk {
    /// Whether its callers may show by this hash that they know its password.
    pub(crate) fn accepts(&self, digest: Digest) -> bool {
        let any = self.accept_digests.is_empty() || self.accept_digests.contains(&digest);
        any && self.accept_credentials.is_some()
    }

    /// Where its requests go first.
    pub fn next_hop(&self) -> Option<&TrunkPeer> {
        let peer = self.peer.as_ref()?;
        Some(self.outbound_proxy.as_ref().unwrap_or(peer))
    }
}

impl fmt::Display for TrunkPeer {
    /// As in the host of a URI, with its port.
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

/// What a trunk knows us by.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// The only realm that they are for. `None`: the first one that has taken them.
    pub realm: Option<String>,
}

impl fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
