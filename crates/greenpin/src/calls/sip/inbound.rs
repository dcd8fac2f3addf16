//! The events that the sockets hand to the user agent.

use std::net::SocketAddr;

use signalling::{SipMessage, Ticket, Transport};

/// What came in.
#[derive(Debug)]
pub(super) enum Inbound {
    /// A message.
    Message {
        transport: Transport,
        source: SocketAddr,
        message: SipMessage,
    },
    /// A message of ours could not be delivered over a connection.
    Failed(Ticket),
    /// Something that is of no use to anyone.
    Nothing,
}
