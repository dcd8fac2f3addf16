//! Events from the sockets to the user agent.

use std::net::SocketAddr;

use signalling::{SipMessage, Ticket, Transport};

/// Event from a socket.
#[derive(Debug)]
pub(super) enum Inbound {
    /// Received SIP message.
    Message {
        transport: Transport,
        source: SocketAddr,
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
