//! The sockets under a SIP endpoint: what [`signalling`] wants sent is sent, what comes in is handed to it.

mod certificates;
mod connections;
mod inbound;
mod sockets;
mod tls;

use std::time::Instant;

use signalling::{Endpoint, EndpointSettings, Event};

use self::inbound::Inbound;
use crate::crypto::random;
use crate::metrics::METRICS;

pub use self::certificates::TlsCertificates;
pub use self::sockets::{BindError, Listen, SipSockets};
pub use self::tls::{Identity, Tls, TlsError, TlsListen, TlsPeer};

/// A SIP user agent on real sockets: an [`Endpoint`] with its sockets, clock and source of randomness.
pub struct UserAgent {
    endpoint: Endpoint,
    sockets: SipSockets,
}

impl UserAgent {
    /// A user agent on sockets that are bound already.
    pub fn new(settings: EndpointSettings, sockets: SipSockets) -> Self {
        let mut endpoint = Endpoint::new(settings, Box::new(random::u64));
        endpoint.start(Instant::now());
        Self { endpoint, sockets }
    }

    /// Gives a command to the endpoint at the present time. What it sends goes out with the next
    /// [`UserAgent::event`].
    pub fn command<T>(&mut self, command: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        command(&mut self.endpoint, Instant::now())
    }

    /// How much the endpoint holds.
    pub fn load(&self) -> signalling::EndpointLoad {
        self.endpoint.load()
    }

    /// Where a trunk's calls, and its audio, may come from.
    pub fn networks(&self, trunk: usize) -> Vec<signalling::Network> {
        self.endpoint.networks(trunk)
    }

    /// Whether no trunk has a registration of ours any more.
    pub fn is_unregistered(&self) -> bool {
        self.endpoint.is_unregistered()
    }

    /// Sends, receives and keeps time until something happened. Dropping the future loses nothing.
    pub async fn event(&mut self) -> Event {
        loop {
            self.flush();
            if let Some(event) = self.endpoint.poll_event() {
                return event;
            }
            let deadline = self.endpoint.poll_timeout();
            tokio::select! {
                inbound = self.sockets.receive() => self.on_inbound(inbound),
                () = until(deadline) => self.endpoint.handle_timeout(Instant::now()),
            }
        }
    }

    fn on_inbound(&mut self, inbound: Inbound) {
        let now = Instant::now();
        match inbound {
            Inbound::Message {
                transport,
                source,
                message,
            } => {
                self.endpoint.receive(transport, source, message, now);
            }
            Inbound::Failed(ticket) => self.endpoint.transport_failed(&ticket, now),
            Inbound::Nothing => {}
        }
    }

    /// Sends all that waits. A message that cannot be sent fails its transaction.
    pub fn flush(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let ticket = transmit.ticket.clone();
            METRICS.count_sip_message(&transmit.bytes);
            if self.sockets.send(transmit).is_err()
                && let Some(ticket) = ticket
            {
                self.endpoint.transport_failed(&ticket, Instant::now());
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
