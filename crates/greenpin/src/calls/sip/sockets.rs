//! SIP sockets: one UDP socket, and listeners for TCP and TLS.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use signalling::{Network, SipMessage, Transmit, Transport, UnansweredRequest};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use super::certificates::TlsCertificates;
use super::connections::{Connections, Listener};
use super::inbound::{CertifiedTrunks, Inbound};
use super::tls::{Tls, TlsError};
use crate::calls::source_address::unmapped;
use crate::calls::traffic_class::Dscp;
use crate::metrics::METRICS;
use crate::supervision::Supervisor;

/// Maximum size of a UDP datagram.
pub const MAX_DATAGRAM_BYTES: usize = 65_535;
/// Maximum number of attempts to find a port that is free for both UDP and TCP.
const MAX_PORT_ATTEMPTS: u32 = 16;
/// Maximum number of received messages in the queue. Beyond it, connections stop reading.
const MAX_WAITING_MESSAGES: usize = 1024;
/// Size of the UDP socket buffers, for bursts while the engine is busy.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

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

/// Sockets of one user agent.
pub struct SipSockets {
    udp: UdpSocket,
    buffer: Box<[u8]>,
    /// Certified trunks of a datagram: none.
    uncertified: CertifiedTrunks,
    connections: Connections,
    certificates: Arc<TlsCertificates>,
    inbound: mpsc::Receiver<Inbound>,
    tcp_address: Option<SocketAddr>,
    tls_address: Option<SocketAddr>,
}

/// Bound sockets before the start of their tasks.
struct Bound {
    udp: UdpSocket,
    tcp: Option<TcpListener>,
}

impl SipSockets {
    /// Binds a UDP socket, and a TCP listener on request. If both ports are 0, both sockets get the same port, as peers
    /// expect of a SIP element.
    pub async fn bind(udp: SocketAddr, tcp: Option<SocketAddr>) -> Result<Self, BindError> {
        Self::bind_with(udp, tcp, Tls::default(), &Supervisor::default()).await
    }

    /// Binds the sockets of [`SipSockets::bind`] and a TLS listener.
    pub async fn bind_with(
        udp: SocketAddr,
        tcp: Option<SocketAddr>,
        tls: Tls,
        supervisor: &Supervisor,
    ) -> Result<Self, BindError> {
        let bound = Self::bind_both(udp, tcp).await?;
        let mut listeners = Vec::new();
        if let Some(listen) = &tls.listen {
            let failed = |source| BindError::Address {
                listen: Listen {
                    transport: Transport::Tls,
                    address: listen.address,
                },
                source,
            };
            let socket = TcpListener::bind(listen.address).await.map_err(failed)?;
            listeners.push(Listener {
                socket,
                encrypted: true,
            });
        }
        Ok(Self::start(
            bound,
            listeners,
            Arc::new(TlsCertificates::read(tls)?),
            supervisor,
        ))
    }

    fn start(
        bound: Bound,
        mut listeners: Vec<Listener>,
        certificates: Arc<TlsCertificates>,
        supervisor: &Supervisor,
    ) -> Self {
        let address = |socket: &TcpListener| socket.local_addr().ok();
        let tls_address = listeners
            .first()
            .and_then(|listener| address(&listener.socket));
        let tcp_address = bound.tcp.as_ref().and_then(address);
        listeners.extend(bound.tcp.map(|socket| Listener {
            socket,
            encrypted: false,
        }));
        let (sender, inbound) = mpsc::channel(MAX_WAITING_MESSAGES);
        let connections = Connections::serve(listeners, certificates.clone(), sender, supervisor);
        let buffer = vec![0; MAX_DATAGRAM_BYTES].into_boxed_slice();
        Self {
            udp: bound.udp,
            buffer,
            uncertified: CertifiedTrunks::default(),
            connections,
            certificates,
            inbound,
            tcp_address,
            tls_address,
        }
    }

    async fn bind_both(udp: SocketAddr, tcp: Option<SocketAddr>) -> Result<Bound, BindError> {
        let any_port = udp.port() == 0 && tcp.is_some_and(|tcp| tcp.port() == 0);
        let mut attempts = if any_port { MAX_PORT_ATTEMPTS } else { 1 };
        loop {
            attempts = u32::saturating_sub(attempts, 1);
            match Self::bind_pair(udp, tcp).await {
                // Another program uses the TCP port with the number chosen for UDP.
                Err(_) if attempts > 0 => {}
                bound => return bound,
            }
        }
    }

    async fn bind_pair(udp: SocketAddr, tcp: Option<SocketAddr>) -> Result<Bound, BindError> {
        let failed = |transport, address| {
            move |source| BindError::Address {
                listen: Listen { transport, address },
                source,
            }
        };
        let socket = bind_udp(udp).map_err(failed(Transport::Udp, udp))?;
        let port = socket
            .local_addr()
            .map_err(failed(Transport::Udp, udp))?
            .port();
        let tcp = tcp.map(|tcp| {
            if tcp.port() == 0 {
                SocketAddr::new(tcp.ip(), port)
            } else {
                tcp
            }
        });
        let listener = match tcp {
            Some(tcp) => Some(
                TcpListener::bind(tcp)
                    .await
                    .map_err(failed(Transport::Tcp, tcp))?,
            ),
            None => None,
        };
        Ok(Bound {
            udp: socket,
            tcp: listener,
        })
    }

    /// Marks the packets over UDP.
    pub(in crate::calls) fn mark(&self, dscp: Dscp) -> io::Result<()> {
        dscp.apply(&self.udp, self.udp.local_addr()?)
    }

    /// Local address of the UDP socket.
    pub fn udp_address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Local address of the TCP listener.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp_address
    }

    /// Local address of the TLS listener.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// TLS certificates of these sockets.
    pub fn certificates(&self) -> Arc<TlsCertificates> {
        self.certificates.clone()
    }

    pub(super) async fn receive(&mut self) -> Inbound {
        tokio::select! {
            received = self.udp.recv_from(&mut self.buffer) => match received {
                Ok((length, source)) => self.datagram(length, unmapped(source)),
                // ICMP error for an earlier datagram. The timers of its transaction handle the loss.
                Err(_) => Inbound::Nothing,
            },
            Some(inbound) = self.inbound.recv() => inbound,
        }
    }

    fn datagram(&self, length: usize, source: SocketAddr) -> Inbound {
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

    /// Ends the connection of a request without a response if nothing has arrived over it since.
    pub(super) fn end_if_silent(&mut self, unanswered: &UnansweredRequest) {
        self.connections.end_if_silent(unanswered);
    }

    /// Sends a message, or queues it for its connection.
    pub(super) fn send(&mut self, transmit: Transmit) -> io::Result<()> {
        match transmit.path.transport {
            Transport::Udp => match self
                .udp
                .try_send_to(&transmit.bytes, transmit.path.destination)
            {
                // A full buffer equals a lost datagram, and SIP retransmits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                other => other.map(drop),
            },
            Transport::Tcp | Transport::Tls => self.connections.send(transmit),
        }
    }
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let reference = socket2::SockRef::from(&socket);
    // The system may grant less.
    reference.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    reference.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    UdpSocket::from_std(socket)
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
