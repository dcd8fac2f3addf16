//! SIP sockets: UDP sockets, and listeners for TCP and TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use signalling::{Network, SipMessage, Transmit, Transport, UnansweredRequest};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::bind::{BoundSocket, Socket, bind_all};
use super::certificates::TlsCertificates;
use super::connections::{Connections, Listener};
use super::inbound::{CertifiedTrunks, Inbound};
use super::listen::{BindError, Listen, first_address};
use super::tls::Tls;
use crate::calls::source_address::unmapped;
use crate::calls::traffic_class::Dscp;
use crate::metrics::METRICS;
use crate::supervision::Supervisor;

/// Maximum size of a UDP datagram.
pub const MAX_DATAGRAM_BYTES: usize = 65_535;
/// Maximum number of received messages in the queue. Beyond it, connections stop reading.
const MAX_WAITING_MESSAGES: usize = 1024;

/// Sockets of one user agent.
pub struct SipSockets {
    udp: Vec<UdpListener>,
    /// Socket that is read first, so that each gets its turn.
    next: usize,
    buffer: Box<[u8]>,
    /// Certified trunks of a datagram: none.
    uncertified: CertifiedTrunks,
    connections: Connections,
    certificates: Arc<TlsCertificates>,
    inbound: mpsc::Receiver<Inbound>,
    /// Bound addresses, in the order of the settings.
    addresses: Vec<Listen>,
}

/// UDP socket of a listen address.
struct UdpListener {
    socket: UdpSocket,
    /// Index of the listen address.
    local: Option<u8>,
}

impl SipSockets {
    /// Binds a UDP socket, and a TCP listener on request, within a runtime. If both ports are 0, both sockets get the same
    /// port, as peers expect of a SIP element.
    pub fn bind(udp: SocketAddr, tcp: Option<SocketAddr>) -> Result<Self, BindError> {
        let listen = |transport| move |address| Listen { transport, address };
        let udp = Some(udp).map(listen(Transport::Udp));
        let tcp = tcp.map(listen(Transport::Tcp));
        let listen: Vec<Listen> = udp.into_iter().chain(tcp).collect();
        Self::bind_with(&listen, Tls::default(), &Supervisor::default())
    }

    /// Binds a socket for each address, within a runtime. A TCP listener with port 0 gets the port of the UDP socket with the same IP
    /// address and port 0, if there is one.
    pub fn bind_with(
        listen: &[Listen],
        tls: Tls,
        supervisor: &Supervisor,
    ) -> Result<Self, BindError> {
        let certificates = Arc::new(TlsCertificates::read(tls)?);
        let bound = bind_all(listen)?;
        Ok(Self::start(bound, certificates, supervisor))
    }

    fn start(
        bound: Vec<BoundSocket>,
        certificates: Arc<TlsCertificates>,
        supervisor: &Supervisor,
    ) -> Self {
        let addresses: Vec<Listen> = bound.iter().map(|bound| bound.listen).collect();
        let sources = connection_sources(&addresses);
        let (mut udp, mut listeners) = (Vec::new(), Vec::new());
        for (index, bound) in bound.into_iter().enumerate() {
            let local = u8::try_from(index).ok();
            match bound.socket {
                Socket::Datagrams(socket) => udp.push(UdpListener { socket, local }),
                Socket::Connections(socket) => listeners.push(Listener {
                    socket,
                    encrypted: bound.listen.transport == Transport::Tls,
                    local,
                }),
            }
        }
        let (sender, inbound) = mpsc::channel(MAX_WAITING_MESSAGES);
        let connections =
            Connections::serve(listeners, sources, certificates.clone(), sender, supervisor);
        Self {
            udp,
            next: 0,
            buffer: vec![0; MAX_DATAGRAM_BYTES].into_boxed_slice(),
            uncertified: CertifiedTrunks::default(),
            connections,
            certificates,
            inbound,
            addresses,
        }
    }

    /// Marks the packets over UDP.
    pub(in crate::calls) fn mark(&self, dscp: Dscp) -> io::Result<()> {
        self.udp
            .iter()
            .try_for_each(|udp| dscp.apply(&udp.socket, udp.socket.local_addr()?))
    }

    /// Bound addresses, in the order of the settings.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// Local address of the first UDP socket.
    pub fn udp_address(&self) -> io::Result<SocketAddr> {
        let address = first_address(&self.addresses, Transport::Udp);
        address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Local address of the first TCP listener.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        first_address(&self.addresses, Transport::Tcp)
    }

    /// TLS certificates of these sockets.
    pub fn certificates(&self) -> Arc<TlsCertificates> {
        self.certificates.clone()
    }

    pub(super) async fn receive(&mut self) -> Inbound {
        let (udp, next, buffer) = (&self.udp, &mut self.next, &mut self.buffer);
        let (local, received) = tokio::select! {
            received = receive_datagram(udp, next, buffer) => received,
            Some(inbound) = self.inbound.recv() => return inbound,
        };
        match received {
            Ok((length, source)) => self.datagram(length, unmapped(source), local),
            // ICMP error for an earlier datagram. The timers of its transaction handle the loss.
            Err(_) => Inbound::Nothing,
        }
    }

    fn datagram(&self, length: usize, source: SocketAddr, local: Option<u8>) -> Inbound {
        let bytes = self.buffer.get(..length).unwrap_or_default();
        // Keep-alives (RFC 5626, section 3.5.1) consist of a few bytes of white space.
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Inbound::Nothing;
        }
        match SipMessage::from_datagram(Bytes::copy_from_slice(bytes)) {
            Some(message) => Inbound::Message {
                certified: self.uncertified.clone(),
                transport: Transport::Udp,
                source,
                local,
                message,
            },
            None => {
                METRICS.sip_dropped.inc();
                tracing::debug!(bytes = length, "dropped a datagram that is not SIP");
                Inbound::Nothing
            }
        }
    }

    /// Sets the networks of the trunks, whose connections have the larger share.
    pub(super) fn set_listed(&self, networks: Vec<Network>) {
        self.connections.set_listed(networks);
    }

    /// Sets the transports on which strangers get no response.
    pub(super) fn set_silent(&self, transports: Vec<Transport>) {
        self.connections.set_silent(transports);
    }

    /// Ends the connection of a request without a response if nothing has arrived over it since.
    pub(super) fn end_if_silent(&mut self, unanswered: &UnansweredRequest) {
        self.connections.end_if_silent(unanswered);
    }

    /// Returns the UDP socket of a listen address, or else the first one.
    fn udp_socket(&self, local: Option<u8>) -> io::Result<&UdpSocket> {
        let mut sockets = self.udp.iter();
        let found = sockets.find(|udp| udp.local == local);
        let udp = found.or(self.udp.first());
        udp.map(|udp| &udp.socket)
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Sends a message, or queues it for its connection.
    pub(super) fn send(&mut self, transmit: Transmit) -> io::Result<()> {
        match transmit.path.transport {
            Transport::Udp => {
                let socket = self.udp_socket(transmit.path.local)?;
                match socket.try_send_to(&transmit.bytes, transmit.path.destination) {
                    // A full buffer equals a lost datagram, and SIP retransmits.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    other => other.map(drop),
                }
            }
            Transport::Tcp | Transport::Tls => self.connections.send(transmit),
        }
    }
}

/// Returns the IP address that outgoing connections leave from, for each listen address. The system chooses it while a
/// transport has one address.
fn connection_sources(addresses: &[Listen]) -> Vec<Option<IpAddr>> {
    let source = |listen: &Listen| {
        let of_transport = |other: &&Listen| other.transport == listen.transport;
        let count = addresses.iter().filter(of_transport).count();
        let ip = listen.address.ip();
        (count > 1 && !ip.is_unspecified()).then_some(ip)
    };
    addresses.iter().map(source).collect()
}

/// Waits for a datagram on any socket. Returns the index of its listen address. Dropping the future loses nothing.
async fn receive_datagram(
    sockets: &[UdpListener],
    next: &mut usize,
    buffer: &mut [u8],
) -> (Option<u8>, io::Result<(usize, SocketAddr)>) {
    std::future::poll_fn(|context| {
        for offset in 0..sockets.len() {
            let index = next.wrapping_add(offset).checked_rem(sockets.len());
            let Some(udp) = index.and_then(|index| sockets.get(index)) else {
                continue;
            };
            let mut datagram = ReadBuf::new(buffer);
            if let Poll::Ready(received) = udp.socket.poll_recv_from(context, &mut datagram) {
                *next = index.unwrap_or(0).wrapping_add(1);
                let length = datagram.filled().len();
                return Poll::Ready((udp.local, received.map(|source| (length, source))));
            }
        }
        Poll::Pending
    })
    .await
}
