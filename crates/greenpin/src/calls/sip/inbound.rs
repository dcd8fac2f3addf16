//! Events from the sockets to the user agent.

use std::net::SocketAddr;
use std::sync::Arc;

use signalling::{SipMessage, Ticket, Transport};

/// Indexes of the trunks that the certificate of a connection names.
pub(super) type CertifiedTrunks = Arc<[usize]>;

/// Event from a socket. Nearly every one is a message.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(super) enum Inbound {
    /// Received SIP message.
    Message {
        transport: Transport,
        source: SocketAddr,
        /// Index of the address that it came to.
        local: Option<u8>,
        certified: CertifiedTrunks,
        message: SipMessage,
    },
    /// A message could not be delivered over a connection.
    Failed(Ticket),
    /// A connection that was opened to a peer has ended.
    Closed {
        transport: Transport,
        peer: SocketAddr,
    },
    /// Nothing to process, such as a keep-alive.
    Nothing,
}
