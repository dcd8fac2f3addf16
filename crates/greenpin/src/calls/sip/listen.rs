//! Listen addresses of SIP.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use signalling::Transport;

use super::tls::TlsError;

/// Maximum number of listen addresses.
pub const MAX_LISTEN_ADDRESSES: usize = 8;

/// Transport and address to listen on, written `udp:127.0.0.1:5060`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Address. Port 0 takes any free port.
    pub address: SocketAddr,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || {
            format!("must be udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT, not {text:?}")
        };
        let (transport, address) = text.split_once(':').ok_or_else(error)?;
        let transport = match transport {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            _ => return Err(error()),
        };
        Ok(Self {
            transport,
            address: address.parse().map_err(|_| error())?,
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        write!(f, "{transport}:{}", self.address)
    }
}

/// Error while binding the SIP sockets.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be bound.
    #[error("cannot listen for SIP on {listen}: {source}")]
    Address {
        /// Transport and address.
        listen: Listen,
        /// Cause.
        source: io::Error,
    },
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Returns the first address of a transport.
pub(crate) fn first_address(addresses: &[Listen], transport: Transport) -> Option<SocketAddr> {
    let mut addresses = addresses.iter();
    let first = addresses.find(|listen| listen.transport == transport)?;
    Some(first.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_is_displayed_as_it_is_parsed() {
        let listen: Listen = "udp:127.0.0.1:5060".parse().unwrap();
        assert_eq!(listen.to_string(), "udp:127.0.0.1:5060");
        for wrong in [
            "",
            "udp",
            "sctp:127.0.0.1:5060",
            "tcp:localhost:5060",
            "tcp:127.0.0.1",
        ] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
    }
}
