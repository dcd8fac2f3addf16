//! What crosses the boundary to the sockets: messages in, messages out, and who may talk to us.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::malformed::{Malformed, without_repeated_parameters};
use crate::sip::{Limits, Message, Method, StreamParser, TransactionKey, parse_datagram};

/// How messages travel (RFC 3261, section 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A datagram for each message.
    Udp,
    /// A stream of messages.
    Tcp,
    /// A stream of messages that is encrypted (RFC 3261, section 26.2.1).
    Tls,
}

impl Transport {
    /// The word of a `Via` header.
    pub(crate) fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The `transport` parameter of our URIs; UDP is the default and is not named.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
        }
    }

    /// The port where nothing is said of it (RFC 3261, section 19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    /// Whether messages travel over connections.
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }
}

/// The way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// How messages travel.
    pub transport: Transport,
    /// Where they go. Over TCP and TLS: connect there if no connection is open.
    pub destination: SocketAddr,
    /// Over TCP and TLS: the peer's end of a connection to use instead, as long as it is open.
    pub connection: Option<SocketAddr>,
    /// Index of the trunk in [`crate::EndpointSettings::trunks`] whose peer is there, where that is known: what its certificate
    /// must say.
    pub trunk: Option<usize>,
}

/// A message to put on the wire.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// Where it goes.
    pub path: Path,
    /// The message.
    pub bytes: Bytes,
    /// To be given back to [`crate::Endpoint::transport_failed`] if it cannot be sent.
    pub ticket: Option<Ticket>,
}

/// Names the transaction that a message belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) TransactionKey);

/// A SIP message, or a request that is too broken to be read but must be answered.
#[derive(Debug, Clone)]
pub struct SipMessage(pub(crate) MessageContent);

#[derive(Debug, Clone)]
pub(crate) enum MessageContent {
    Whole(Message),
    Malformed(Malformed),
}

impl SipMessage {
    /// Reads one datagram. `None`: nothing that is answered. The limits are 64 KiB whole, 8 KiB a header, 256 headers.
    pub fn from_datagram(bytes: Bytes) -> Option<Self> {
        let parse = |bytes| {
            parse_datagram(bytes, &Limits::datagram())
                .ok()
                .map(MessageContent::Whole)
        };
        let repaired = || without_repeated_parameters(&bytes).and_then(parse);
        let whole = parse(bytes.clone()).or_else(repaired);
        whole
            .or_else(|| Malformed::read(&bytes).map(MessageContent::Malformed))
            .map(Self)
    }

    /// Whether this is a request that asks for a call.
    pub fn is_invite(&self) -> bool {
        matches!(&self.0, MessageContent::Whole(Message::Request(request)) if request.method == Method::Invite)
    }
}

/// Of a message that is not complete yet, so much is prefix_bits to answer it if it turns out to be broken.
const MAX_PARTIAL_BYTES: usize = 8192;

/// Cuts a TCP stream into messages.
#[derive(Debug)]
pub struct Framer {
    parser: StreamParser,
    /// How the message begins that is not complete yet.
    partial: Vec<u8>,
    /// It cannot be read any more.
    broken: bool,
}

/// A stream that is not SIP, or goes beyond the limits: the connection cannot be used any more.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream is not SIP, or goes beyond the size limits")]
pub struct FramingError {
    /// What is to be said before the connection is closed: a 400 where a request was broken.
    pub answer: Option<Bytes>,
}

impl std::fmt::Debug for FramingError {
    /// Without the answer, which may repeat numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FramingError")
            .field("answered", &self.answer.is_some())
            .finish()
    }
}

impl Framer {
    /// A framer at the start of a stream. Messages are limited as datagrams are.
    pub fn new() -> Self {
        Self {
            parser: StreamParser::new(Limits::datagram()),
            partial: Vec::new(),
            broken: false,
        }
    }

    /// Takes bytes in and adds the messages that they completed. An error is final for the stream; what was complete
    /// before it is a message.
    pub fn push(
        &mut self,
        bytes: &[u8],
        messages: &mut Vec<SipMessage>,
    ) -> Result<(), FramingError> {
        // The parser gives up at the end of a head: given that by itself, it takes no message before it along.
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = match rest.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(0) => 4,
                Some(head) => head,
                None => rest.len(),
            };
            let (piece, after) = rest.split_at_checked(piece).unwrap_or((rest, &[]));
            self.push_piece(piece, messages)?;
            rest = after;
        }
        Ok(())
    }

    fn push_piece(
        &mut self,
        bytes: &[u8],
        messages: &mut Vec<SipMessage>,
    ) -> Result<(), FramingError> {
        let in_progress = self.parser.pending() > 0;
        let complete = self
            .parser
            .push(bytes)
            .or_else(|_| self.push_repaired(bytes))?;
        self.buffer_partial(bytes, in_progress && complete.is_empty());
        messages.extend(
            complete
                .into_iter()
                .map(|message| SipMessage(MessageContent::Whole(message))),
        );
        Ok(())
    }

    /// The parser gave up on a message that ends with these bytes: begins it again without what makes it unreadable.
    fn push_repaired(&mut self, bytes: &[u8]) -> Result<Vec<Message>, FramingError> {
        let begun = [&self.partial[..], bytes].concat();
        let repairable = !self.broken && begun.len() <= MAX_PARTIAL_BYTES;
        let mut parser = StreamParser::new(Limits::datagram());
        let repaired = without_repeated_parameters(&begun).filter(|_| repairable);
        if let Some(complete) = repaired.and_then(|repaired| parser.push(&repaired).ok()) {
            self.parser = parser;
            return Ok(complete);
        }
        self.broken = true;
        let broken = Malformed::read(begun.get(..MAX_PARTIAL_BYTES).unwrap_or(&begun));
        Err(FramingError {
            answer: broken.map(|broken| broken.bad_request()),
        })
    }

    /// Keeps how the message begins that is not complete yet: it goes on with these bytes, or is at their end.
    fn buffer_partial(&mut self, bytes: &[u8], continues: bool) {
        let pending = self.parser.pending();
        let begun = match continues {
            true => bytes,
            false => {
                self.partial = Vec::new();
                bytes
                    .get(bytes.len().saturating_sub(pending)..)
                    .unwrap_or_default()
            }
        };
        let room = MAX_PARTIAL_BYTES.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(begun.get(..room).unwrap_or(begun));
    }

    /// Bytes of a message that is not complete yet.
    pub fn pending(&self) -> usize {
        self.parser.pending()
    }

    /// Whether a keep-alive ping (RFC 5626, section 4.4.1) came in since the last call: answer it with CRLF.
    pub fn take_ping(&mut self) -> bool {
        self.parser.take_keepalives() >= 2
    }
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

/// A block of addresses (CIDR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address of the block.
    pub address: IpAddr,
    /// How many leading bits count: up to 32, or 128 with IPv6.
    pub prefix: u8,
}

impl Network {
    /// The network of one address alone.
    pub fn single(address: IpAddr) -> Self {
        Self {
            address,
            prefix: if address.is_ipv4() { 32 } else { 128 },
        }
    }

    /// Whether an address is in the block. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, other: IpAddr) -> bool {
        fn bits(address: IpAddr) -> (u128, u32) {
            match address.to_canonical() {
                IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
                IpAddr::V6(v6) => (v6.to_bits(), 128),
            }
        }
        let ((ours, width), (theirs, their_width)) = (bits(self.address), bits(other));
        let ignored = width.saturating_sub(u32::from(self.prefix));
        let prefix_bits = |bits: u128| bits.checked_shr(ignored).unwrap_or(0);
        width == their_width && prefix_bits(ours) == prefix_bits(theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let network = |address: &str, prefix| Network {
            address: address.parse().unwrap(),
            prefix,
        };
        let holds = |network: Network, address: &str| network.contains(address.parse().unwrap());
        assert!(holds(network("192.0.2.0", 24), "192.0.2.255"));
        assert!(holds(network("192.0.2.0", 24), "::ffff:192.0.2.7"));
        assert!(!holds(network("192.0.2.0", 24), "192.0.3.0"));
        assert!(holds(network("192.0.2.1", 32), "192.0.2.1"));
        assert!(!holds(network("192.0.2.1", 32), "192.0.2.2"));
        assert!(holds(network("0.0.0.0", 0), "203.0.113.9"));
        assert!(!holds(network("0.0.0.0", 0), "2001:db8::1"));
        assert!(holds(network("2001:db8::", 32), "2001:db8:1::1"));
        assert!(holds(network("::", 0), "2001:db8:1::1"));
    }
}
