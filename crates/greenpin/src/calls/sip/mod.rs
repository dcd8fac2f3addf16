//! Sockets under the SIP endpoint of the [`signalling`] crate.

mod bind;
pub(super) mod certificates;
pub(super) mod connections;
mod inbound;
pub(super) mod listen;
pub(super) mod media_hosts;
mod probe;
pub(super) mod sockets;
mod tls;

use std::time::Instant;

use hickory_resolver::TokioResolver;
use signalling::{
    Arrival, Endpoint, EndpointSettings, Event, RefusedInvite, TargetGroup, Transport,
};
use tokio::sync::mpsc;

use self::inbound::Inbound;
use self::media_hosts::{MediaHostLookups, Received};
use crate::calls::trace::{CallTracer, MessageArrival};
use crate::crypto::random;
use crate::metrics::METRICS;
use crate::supervision::isolate;

pub(crate) use self::bind::{BoundSocket, SOCKET_BUFFER_BYTES, Socket, bind_each};
pub use self::certificates::TlsCertificates;
pub(crate) use self::listen::first_address;
pub use self::listen::{BindError, Listen};
pub(crate) use self::probe::{ProbeAnswer, ProbeError, ProbeRoute, send_probe};
pub use self::sockets::SipSockets;
pub(crate) use self::tls::is_named;
pub use self::tls::{Identity, Tls, TlsError, TlsPeer, TlsServer};

/// SIP user agent: an [`Endpoint`] with its sockets, clock and source of randomness.
pub struct UserAgent {
    endpoint: Endpoint,
    sockets: SipSockets,
    media_hosts: MediaHostLookups,
    /// Traces of the calls; `None` for a phone.
    tracer: Option<CallTracer>,
    refused: Option<mpsc::Sender<RefusedInvite>>,
}

impl UserAgent {
    /// Creates a user agent on bound sockets.
    pub fn new(settings: EndpointSettings, sockets: SipSockets) -> Self {
        let mut endpoint = Endpoint::new(settings, Box::new(random::u64));
        endpoint.start(Instant::now());
        let agent = Self {
            endpoint,
            sockets,
            media_hosts: MediaHostLookups::default(),
            tracer: None,
            refused: None,
        };
        agent.list_networks();
        agent
    }

    /// Leaves rejected requests from strangers without a response on these transports.
    pub fn with_silence(mut self, transports: Vec<Transport>) -> Self {
        self.sockets.set_silent(transports.clone());
        self.endpoint.set_silent(transports);
        self
    }

    /// Resolves host names in the session descriptions of trunks with this resolver. Without one they are rejected.
    pub fn with_resolver(self, resolver: Option<TokioResolver>) -> Self {
        Self {
            media_hosts: MediaHostLookups::new(resolver),
            ..self
        }
    }

    /// Records the messages of calls.
    pub(super) fn with_tracer(self, tracer: CallTracer) -> Self {
        Self {
            tracer: Some(tracer),
            ..self
        }
    }

    /// Returns the traces of the calls.
    pub(super) fn tracer(&mut self) -> Option<&mut CallTracer> {
        self.tracer.as_mut()
    }

    /// Sets the targets of a trunk, as resolved from DNS.
    pub fn set_targets(&mut self, trunk: usize, transport: Transport, targets: Vec<TargetGroup>) {
        self.command(|endpoint, now| endpoint.set_targets(trunk, transport, targets, now));
        self.list_networks();
    }

    /// Replaces the settings of the trunks: [`Endpoint::set_trunks`].
    pub fn set_trunks(&mut self, trunks: Vec<signalling::Trunk>) {
        self.endpoint.set_trunks(trunks);
        self.list_networks();
    }

    fn list_networks(&self) {
        let trunks = 0..self.endpoint.trunks();
        let networks = trunks.flat_map(|trunk| self.endpoint.networks(trunk));
        self.sockets.set_listed(networks.collect());
    }

    /// Runs a command on the endpoint at the present time. The next call of [`UserAgent::event`] or
    /// [`UserAgent::flush`] sends the resulting messages.
    pub fn command<T>(&mut self, command: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        command(&mut self.endpoint, Instant::now())
    }

    /// Reports each INVITE that the endpoint refuses itself, unless the receiver is too slow.
    pub(super) fn report_refused(&mut self, receiver: mpsc::Sender<RefusedInvite>) {
        self.refused = Some(receiver);
    }

    /// Returns the number of objects in the endpoint.
    pub fn load(&self) -> signalling::EndpointLoad {
        self.endpoint.load()
    }

    /// Returns the `Call-ID` of a leg.
    pub fn call_id(&self, leg: signalling::LegId) -> Option<String> {
        self.endpoint.call_id(leg)
    }

    /// Returns the index of the listen address that a leg uses.
    pub fn local_of_leg(&self, leg: signalling::LegId) -> Option<u8> {
        self.endpoint.local_of_leg(leg)
    }

    /// Returns the index of the listen address that calls to a trunk leave from.
    pub fn local_of_trunk(&self, trunk: usize) -> Option<u8> {
        self.endpoint.local_of_trunk(trunk)
    }

    /// Returns the networks from which a trunk's calls and media may arrive.
    pub fn networks(&self, trunk: usize) -> Vec<signalling::Network> {
        self.endpoint.networks(trunk)
    }

    /// Returns `true` if no trunk holds a registration of ours.
    pub fn is_unregistered(&self) -> bool {
        self.endpoint.is_unregistered()
    }

    /// Sends, receives and runs timers until the next event. Dropping the future loses nothing.
    pub async fn event(&mut self) -> Event {
        loop {
            self.flush();
            if let Some(event) = self.endpoint.poll_event() {
                return event;
            }
            let deadline = self.endpoint.poll_timeout();
            tokio::select! {
                inbound = self.sockets.receive() => self.on_inbound(inbound),
                received = self.media_hosts.next() => self.receive(received),
                () = until(deadline) => self.isolate(|endpoint, now| endpoint.handle_timeout(now)),
            }
        }
    }

    fn on_inbound(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Message {
                transport,
                source,
                local,
                certified,
                message,
            } => {
                let received = Received {
                    transport,
                    source,
                    local,
                    certified,
                    message,
                };
                let has_name = received.message.media_host().is_some();
                let ready = match has_name && self.is_from_peer(&received) {
                    true => self.media_hosts.start(received),
                    false => Some(received),
                };
                ready
                    .into_iter()
                    .for_each(|received| self.receive(received));
            }
            Inbound::Failed(ticket) => {
                self.isolate(|endpoint, now| endpoint.transport_failed(&ticket, now));
            }
            Inbound::Closed { transport, peer } => self.isolate(|endpoint, now| {
                endpoint.connection_closed(transport, peer, now);
            }),
            Inbound::Nothing => {}
        }
    }

    /// Returns `true` for a message from a trunk's networks or of a call. Others cause no lookups.
    fn is_from_peer(&self, received: &Received) -> bool {
        let source = received.source.ip();
        let mut trunks = 0..self.endpoint.trunks();
        self.endpoint.belongs_to_leg(&received.message)
            || trunks.any(|trunk| {
                let networks = self.endpoint.networks(trunk);
                networks.iter().any(|network| network.contains(source))
            })
    }

    fn receive(&mut self, received: Received) {
        let Received {
            transport,
            source,
            local,
            certified,
            message,
        } = received;
        if let Some(tracer) = &mut self.tracer {
            let arrival = MessageArrival {
                transport,
                source,
                local,
            };
            tracer.on_received(arrival, &message);
        }
        let arrival = Arrival {
            transport,
            source,
            local,
            certified: &certified,
        };
        self.isolate(|endpoint, now| endpoint.receive_at(arrival, message, now));
    }

    /// Processes one message or timer. A panic ends the leg that it concerns, and nothing else.
    fn isolate(&mut self, process: impl FnOnce(&mut Endpoint, Instant)) {
        let now = Instant::now();
        let endpoint = &mut self.endpoint;
        if isolate(|| process(endpoint, now)).is_some() {
            return;
        }
        tracing::error!("processing of a SIP message or timer failed");
        if let Some(leg) = endpoint.last_leg()
            && isolate(|| endpoint.end_lost_leg(leg, now)).is_none()
        {
            tracing::error!("a leg could not be ended");
        }
    }

    /// Ends connections that turned out to be dead, then sends every pending message. A failed send fails its transaction.
    pub fn flush(&mut self) {
        while let Some(unanswered) = self.endpoint.poll_unanswered() {
            self.sockets.end_if_silent(&unanswered);
        }
        while let Some(refused) = self.endpoint.poll_refused() {
            if let Some(receiver) = &self.refused {
                // The list of refused INVITEs may miss some in a flood.
                let _ = receiver.try_send(refused);
            }
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let ticket = transmit.ticket.clone();
            METRICS.count_sip_message(&transmit.bytes);
            if let Some(tracer) = &mut self.tracer {
                tracer.on_sent(&transmit);
            }
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
