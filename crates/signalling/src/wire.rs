//! Interface to the sockets: received messages, messages to send, and networks.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::malformed::{Malformed, without_repeated_parameters};
use crate::sdp::MediaHost;
use crate::sip::{Limits, Message, Method, StreamParser, TransactionKey, parse_datagram};

/// SIP transport (RFC 3261, section 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP: one datagram for each message.
    Udp,
    /// TCP: a stream of messages.
    Tcp,
    /// TLS: an encrypted stream of messages (RFC 3261, section 26.2.1).
    Tls,
}

impl Transport {
    /// Returns the transport name for a `Via` header.
    pub(crate) fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// Returns the `transport` parameter for local URIs. Empty for UDP, the default.
    pub(crate) fn uri_parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
        }
    }

    /// Returns the default port (RFC 3261, section 19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    /// Returns `true` for connection-oriented transports.
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }
}

/// Path to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// Transport.
    pub transport: Transport,
    /// Destination address. Over TCP and TLS, connect to it unless `connection` is open.
    pub destination: SocketAddr,
    /// Source of the peer's last message. Over TCP and TLS: remote address of an open connection to use instead of
    /// `destination`.
    pub connection: Option<SocketAddr>,
    /// The peer may be behind a NAT: requests go to the source of its messages, not to its `Contact`.
    pub nat: bool,
    /// Index of the address of this host that the path uses, in [`crate::EndpointSettings::listen`]. `None`: the one that
    /// fits transport, destination and trunk.
    pub local: Option<u8>,
    /// Index of the peer's trunk in [`crate::EndpointSettings::trunks`], if known. The TLS
    /// certificate must match this trunk.
    pub trunk: Option<usize>,
}

/// Message to send.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// Path of the message.
    pub path: Path,
    /// Encoded message.
    pub bytes: Bytes,
    /// Ticket to pass to [`crate::Endpoint::transport_failed`] if sending fails.
    pub ticket: Option<Ticket>,
}

/// Identifies the transaction of a sent message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) TransactionKey);

/// Received SIP message, or a request that cannot be parsed but is answered with 400.
#[derive(Debug, Clone)]
pub struct SipMessage {
    pub(crate) content: MessageContent,
    /// The datagram of the message.
    datagram: Option<Bytes>,
}

#[derive(Debug, Clone)]
pub(crate) enum MessageContent {
    Whole(Message),
    Malformed(Malformed),
}

impl SipMessage {
    /// Parses one datagram. `None` if it gets no answer. Limits: 64 KiB in total, 8 KiB for each
    /// header, 256 headers. Line ends before the message are ignored, as in a stream (RFC 3261,
    /// section 7.5).
    pub fn from_datagram(bytes: Bytes) -> Option<Self> {
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let start = bytes.iter().position(|byte| !is_line_end(byte))?;
        let bytes = bytes.slice(start..);
        let parse = |bytes| {
            parse_datagram(bytes, &Limits::datagram())
                .ok()
                .map(MessageContent::Whole)
        };
        let repaired = || without_repeated_parameters(&bytes).and_then(parse);
        let whole = parse(bytes.clone()).or_else(repaired);
        let content = whole.or_else(|| Malformed::read(&bytes).map(MessageContent::Malformed))?;
        Some(Self {
            content,
            datagram: Some(bytes),
        })
    }

    /// Creates a message of a stream.
    fn from_stream(message: Message) -> Self {
        Self {
            content: MessageContent::Whole(message),
            datagram: None,
        }
    }

    /// Returns the text of the message: the datagram as it arrived, or a message of a stream written again. `None` if a
    /// message of a stream cannot be written.
    pub fn text(&self) -> Option<Bytes> {
        self.datagram.clone().or_else(|| match &self.content {
            MessageContent::Whole(message) => Some(message.to_bytes()),
            MessageContent::Malformed(_) => None,
        })
    }

    /// Returns the host name in place of an address in the session description, if any.
    pub fn media_host(&self) -> Option<MediaHost> {
        match &self.content {
            MessageContent::Whole(Message::Request(request)) => MediaHost::find(request.body()),
            MessageContent::Whole(Message::Response(response)) => MediaHost::find(response.body()),
            MessageContent::Malformed(_) => None,
        }
    }

    /// Writes an address in place of a host name into the session description.
    pub fn set_media_address(&mut self, host: &MediaHost, address: IpAddr) {
        match &mut self.content {
            MessageContent::Whole(Message::Request(request)) => {
                request.set_body(host.replace(request.body(), address).into());
            }
            MessageContent::Whole(Message::Response(response)) => {
                response.set_body(host.replace(response.body(), address).into());
            }
            MessageContent::Malformed(_) => {}
        }
    }

    /// Returns `true` for an INVITE.
    pub fn is_invite(&self) -> bool {
        matches!(&self.content, MessageContent::Whole(Message::Request(request)) if request.method == Method::Invite)
    }
}

/// Maximum number of bytes kept of an incomplete message, to answer it if it turns out to be
/// invalid.
const MAX_PARTIAL_BYTES: usize = 8192;

/// Splits a TCP stream into messages.
#[derive(Debug)]
pub struct Framer {
    parser: StreamParser,
    /// Beginning of the incomplete message.
    partial: Vec<u8>,
    /// The stream can no longer be read.
    broken: bool,
}

/// Error in a stream: not SIP, or beyond the size limits. The connection cannot be used any
/// further.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream is not SIP or exceeds the size limits")]
pub struct FramingError {
    /// Response to send before the connection is closed: a 400 if a request cannot be parsed.
    pub answer: Option<Bytes>,
}

impl std::fmt::Debug for FramingError {
    /// Omits the answer, which may contain numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FramingError")
            .field("answered", &self.answer.is_some())
            .finish()
    }
}

impl Framer {
    /// Creates a framer for a new stream. The limits are those of a datagram.
    pub fn new() -> Self {
        Self {
            parser: StreamParser::new(Limits::datagram()),
            partial: Vec::new(),
            broken: false,
        }
    }

    /// Adds received bytes and appends the completed messages to `messages`. An error is final for
    /// the stream; messages completed before it remain valid.
    pub fn push(
        &mut self,
        bytes: &[u8],
        messages: &mut Vec<SipMessage>,
    ) -> Result<(), FramingError> {
        // After an error at the end of a head, the parser discards completed messages. It therefore
        // gets the end of each head separately.
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
        messages.extend(complete.into_iter().map(SipMessage::from_stream));
        Ok(())
    }

    /// Restarts the parser after an error, with the message repaired. `bytes` are the end of the
    /// message.
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

    /// Stores the beginning of an incomplete message. The message continues with `bytes` if
    /// `continues` is set; otherwise it starts within them.
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

    /// Returns the number of bytes of the incomplete message.
    pub fn pending(&self) -> usize {
        self.parser.pending()
    }

    /// Returns `true` if a keep-alive ping (RFC 5626, section 4.4.1) arrived since the last call.
    /// Answer it with CRLF.
    pub fn take_ping(&mut self) -> bool {
        self.parser.take_keepalives() >= 2
    }
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

/// Block of IP addresses (CIDR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address of the block.
    pub address: IpAddr,
    /// Number of significant leading bits: up to 32, or 128 for IPv6.
    pub prefix: u8,
}

impl Network {
    /// Creates a block of a single address.
    pub fn single(address: IpAddr) -> Self {
        Self {
            address,
            prefix: if address.is_ipv4() { 32 } else { 128 },
        }
    }

    /// Returns `true` if the block contains the address. An IPv4-mapped IPv6 address counts as
    /// IPv4.
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
    fn a_network_contains_its_addresses_and_no_others() {
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
