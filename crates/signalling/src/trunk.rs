//! The peers that carry calls, as they are configured.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::sip::Uri;
use crate::wire::{Network, Transport};

/// A peer that carries calls.
#[derive(Debug, Clone, Default)]
pub struct Trunk {
    /// Where calls go out to; `None`: it only brings calls.
    pub peer: Option<Peer>,
    /// Who may send us requests.
    pub accept_from: Vec<Network>,
    /// What it knows us by when it asks (digest, RFC 7616).
    pub credentials: Option<Credentials>,
    /// How often its peer is asked whether it is alive; `None`: never, it counts as up.
    pub keep_alive: Option<Duration>,
    /// Tell its peer where we are (RFC 3261, section 10), as the user of `credentials`.
    pub register: bool,
}

/// The far end of a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// How messages travel.
    pub transport: Transport,
    /// Where they go.
    pub address: SocketAddr,
}

impl Peer {
    /// The URI of a user there, or without one of the peer itself.
    pub(crate) fn uri(&self, user: &str) -> Option<Uri> {
        let at = if user.is_empty() { "" } else { "@" };
        let text = format!("sip:{user}{at}{self}{}", self.transport.parameter());
        Uri::parse(Bytes::from(text)).ok()
    }
}

impl fmt::Display for Peer {
    /// As in the host of a URI, with its port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
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
        f.debug_struct("Credentials").field("realm", &self.realm).finish_non_exhaustive()
    }
}
