//! A request to a peer over a socket of its own, for a diagnosis.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use signalling::{Framer, Probe, ProbeStep, SipMessage, Transport};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::sockets::MAX_DATAGRAM_BYTES;
use super::tls::{TlsError, TlsPeer};

/// Interval of the first retransmission over UDP, as T1 in RFC 3261. It doubles with each one.
const RETRANSMIT_INTERVAL: Duration = Duration::from_millis(500);

/// Way of a probe to its peer.
pub(crate) struct ProbeRoute<'a> {
    pub(crate) transport: Transport,
    pub(crate) peer: SocketAddr,
    /// Local address to send from; an unspecified one lets the system choose.
    pub(crate) from: IpAddr,
    /// TLS settings of the peer, for TLS.
    pub(crate) tls: Option<&'a TlsPeer>,
}

/// Answer to a probe.
#[derive(Debug)]
pub(crate) struct ProbeAnswer {
    /// SIP status.
    pub(crate) status: u16,
    /// Time from the first request to the answer.
    pub(crate) after: Duration,
    /// Certificates of the peer, over TLS.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

/// Failure of a probe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// The request cannot be made for this peer.
    #[error("no request can be made for this address")]
    Request,
    /// Nothing came back in time.
    #[error("no answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The peer, or the network, refused the packet or the connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer ended the connection, or sent something that is not SIP.
    #[error("the connection ended without an answer")]
    Ended,
    /// The TLS settings of the peer cannot be used.
    #[error(transparent)]
    Settings(#[from] TlsError),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
}

/// Sends a request and waits for its final response. `make` gets the local address.
pub(crate) async fn send_probe(
    route: ProbeRoute<'_>,
    make: impl FnOnce(SocketAddr) -> Option<Probe>,
    timeout: Duration,
) -> Result<ProbeAnswer, ProbeError> {
    let sent = async {
        match route.transport {
            Transport::Udp => over_udp(&route, make).await,
            Transport::Tcp => {
                let stream = connect(&route).await?;
                let local = stream.local_addr()?;
                let probe = make(local).ok_or(ProbeError::Request)?;
                over_stream(stream, probe, Vec::new()).await
            }
            Transport::Tls => over_tls(&route, make).await,
        }
    };
    let answered = tokio::time::timeout(timeout, sent).await;
    answered.unwrap_or(Err(ProbeError::NoAnswer(timeout)))
}

async fn over_udp(
    route: &ProbeRoute<'_>,
    make: impl FnOnce(SocketAddr) -> Option<Probe>,
) -> Result<ProbeAnswer, ProbeError> {
    let socket = UdpSocket::bind((route.from, 0)).await?;
    // The system reports a port on which nothing listens only to a connected socket.
    socket.connect(route.peer).await?;
    let mut probe = make(socket.local_addr()?).ok_or(ProbeError::Request)?;
    let (started, mut interval) = (Instant::now(), RETRANSMIT_INTERVAL);
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    socket.send(&probe.bytes()).await?;
    loop {
        let Ok(received) = tokio::time::timeout(interval, socket.recv(&mut buffer)).await else {
            interval = interval.saturating_mul(2);
            socket.send(&probe.bytes()).await?;
            continue;
        };
        let datagram = buffer.get(..received?).unwrap_or_default();
        let message = SipMessage::from_datagram(Bytes::copy_from_slice(datagram));
        match message.map_or(ProbeStep::Wait, |message| probe.on_message(&message)) {
            ProbeStep::Wait => {}
            ProbeStep::SendAgain => drop(socket.send(&probe.bytes()).await?),
            ProbeStep::Done(status) => {
                return Ok(ProbeAnswer {
                    status,
                    after: started.elapsed(),
                    certificates: Vec::new(),
                });
            }
        }
    }
}

async fn connect(route: &ProbeRoute<'_>) -> io::Result<TcpStream> {
    let socket = match route.peer {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A connection that ends leaves no address that the server could not bind at its next start.
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    socket.bind(SocketAddr::new(route.from, 0))?;
    socket.connect(route.peer).await
}

async fn over_tls(
    route: &ProbeRoute<'_>,
    make: impl FnOnce(SocketAddr) -> Option<Probe>,
) -> Result<ProbeAnswer, ProbeError> {
    let peer = route.tls.ok_or(ProbeError::Request)?;
    let tls = peer.connector()?;
    let stream = connect(route).await?;
    let local = stream.local_addr()?;
    let stream = tls.connector.connect(tls.name, stream).await;
    let stream = stream.map_err(tls_error)?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = certificates.to_vec();
    let probe = make(local).ok_or(ProbeError::Request)?;
    over_stream(stream, probe, certificates).await
}

/// Returns the failure of a handshake, or of the connection below it.
fn tls_error(error: io::Error) -> ProbeError {
    let within = error.get_ref();
    match within.and_then(|within| within.downcast_ref::<rustls::Error>()) {
        Some(error) => ProbeError::Tls(error.clone()),
        None => ProbeError::Io(error),
    }
}

async fn over_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut probe: Probe,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<ProbeAnswer, ProbeError> {
    let started = Instant::now();
    let (mut framer, mut buffer) = (Framer::new(), vec![0; 4096]);
    send(&mut stream, probe.bytes()).await?;
    loop {
        // A client certificate that the peer refuses is reported by the first read.
        let length = stream.read(&mut buffer).await.map_err(tls_error)?;
        if length == 0 {
            return Err(ProbeError::Ended);
        }
        let mut messages = Vec::new();
        let received = buffer.get(..length).unwrap_or_default();
        let framed = framer.push(received, &mut messages);
        for message in &messages {
            match probe.on_message(message) {
                ProbeStep::Wait => {}
                ProbeStep::SendAgain => send(&mut stream, probe.bytes()).await?,
                ProbeStep::Done(status) => {
                    return Ok(ProbeAnswer {
                        status,
                        after: started.elapsed(),
                        certificates,
                    });
                }
            }
        }
        framed.map_err(|_| ProbeError::Ended)?;
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), request: Bytes) -> io::Result<()> {
    stream.write_all(&request).await?;
    stream.flush().await
}
