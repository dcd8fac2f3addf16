//! Connections under the requests of the endpoint: those that stay silent, and those that end.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Endpoint, Purpose};
use crate::sip::TransactionKey;
use crate::wire::{Path, Transport};

/// Request over TCP or TLS that got no response in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnansweredRequest {
    /// Path of the request.
    pub path: Path,
    /// Time at which it was sent.
    pub sent: Instant,
}

impl Endpoint {
    /// Returns the next request without a response. If nothing has arrived over its connection since it was sent, the
    /// connection is dead: close it, and send the next message over a new one.
    pub fn poll_unanswered(&mut self) -> Option<UnansweredRequest> {
        let mut unanswered = self.unanswered.pop_front()?;
        unanswered.path.local = self.local_index(unanswered.path);
        Some(unanswered)
    }

    /// Notes that a request of the endpoint got no response.
    pub(super) fn note_unanswered(&mut self, key: &TransactionKey) {
        if let Some(transaction) = self.transactions.get(key)
            && transaction.path.transport.is_stream()
            && !matches!(transaction.purpose, Purpose::PeerRequest(_))
        {
            self.unanswered.push_back(UnansweredRequest {
                path: transaction.path,
                sent: transaction.started,
            });
        }
    }

    /// Reports the end of a connection that was opened to a peer. A registration that was sent over it is renewed
    /// (RFC 5626, section 4.3).
    pub fn connection_closed(&mut self, transport: Transport, remote: SocketAddr, now: Instant) {
        self.last_leg = None;
        for trunk in 0..self.trunk_states.len() {
            self.on_flow_closed(trunk, (transport, remote), now);
        }
    }
}
