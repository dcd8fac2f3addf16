//! SIP over TCP and TLS, with one task per connection.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use signalling::{Framer, Network, Path, Ticket, Transmit, Transport, UnansweredRequest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use super::certificates::TlsCertificates;
use super::inbound::{CertifiedTrunks, Inbound};
use super::tls::Connector;
use crate::calls::source_address::unmapped;
use crate::metrics::METRICS;
use crate::supervision::{Part, Supervisor};

/// Maximum number of open connections. Further incoming connections are closed.
pub const MAX_CONNECTIONS: usize = 1024;
/// Maximum number of connections from sources outside the networks of all trunks, so that they cannot shut a trunk out.
pub const MAX_UNLISTED_CONNECTIONS: usize = 256;
/// Maximum number of such connections from one address.
pub const MAX_CONNECTIONS_PER_SOURCE: usize = 32;
/// Maximum number of messages queued for a slow trunk: the end of every call at once. Further messages fail.
const MAX_QUEUED_MESSAGES: usize = 16_384;
/// Maximum number of messages queued for a source outside the networks of all trunks.
const MAX_QUEUED_RESPONSES: usize = 64;
/// Maximum time from the opening of a connection to its first message.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time in which a peer acknowledges nothing (`TCP_USER_TIMEOUT`). The connection is then closed, and the next
/// message opens another.
pub const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time for the rest of a partial message, so that a peer cannot hold memory.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum idle time before a connection is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(900);
/// Time for the peer to read our last response after a framing error.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum time to open a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CHUNK_BYTES: usize = 4096;

/// Open connections.
pub(super) struct Connections {
    table: Table,
    inbound: mpsc::Sender<Inbound>,
    acceptors: Vec<tokio::task::JoinHandle<()>>,
    certificates: Arc<TlsCertificates>,
    admission: SharedAdmission,
    /// IP addresses that outgoing connections leave from, by the index of the listen address.
    sources: Vec<Option<IpAddr>>,
}

/// Listener for TCP or TLS.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) encrypted: bool,
    /// Index of the listen address.
    pub(super) local: Option<u8>,
}

/// Key of a connection in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ConnectionKey {
    transport: Transport,
    /// Remote address.
    peer: SocketAddr,
    /// Index of the listen address that the connection came to or that it leaves from.
    local: Option<u8>,
    /// Trunk of an outgoing TLS connection. Its peer has presented a certificate for this trunk.
    trunk: Option<usize>,
}

type Table = Arc<Mutex<HashMap<ConnectionKey, OpenConnection>>>;

/// Time at which the last bytes arrived over a connection. It also identifies the connection.
type LastReceived = Arc<Mutex<Instant>>;

/// Entry of a connection in the table. Dropping it ends the connection once its queue is written.
struct OpenConnection {
    queue: mpsc::Sender<Outbound>,
    /// Ends the connection at once.
    end: oneshot::Sender<()>,
    last_received: LastReceived,
}

/// Networks of the trunks, and the transports on which strangers get no response.
#[derive(Debug, Default)]
struct Admission {
    /// Networks of the trunks. A connection from elsewhere has a smaller share.
    listed: Vec<Network>,
    silent: Vec<Transport>,
}

type SharedAdmission = Arc<RwLock<Admission>>;

impl Admission {
    fn is_listed(&self, peer: IpAddr) -> bool {
        self.listed.iter().any(|network| network.contains(peer))
    }
}

struct Outbound {
    bytes: Bytes,
    ticket: Option<Ticket>,
}

/// Connection in use or being opened.
struct SipConnection {
    key: ConnectionKey,
    queue: mpsc::Receiver<Outbound>,
    /// Message taken from the queue and not yet written.
    in_progress: Option<Outbound>,
    end: oneshot::Receiver<()>,
    last_received: LastReceived,
    table: Table,
    admission: SharedAdmission,
    inbound: mpsc::Sender<Inbound>,
}

/// Returns the keys under which the connection of a path may be open, in the order of preference.
fn known_keys(path: Path) -> impl Iterator<Item = ConnectionKey> {
    let transport = path.transport;
    let key = move |peer, trunk| ConnectionKey {
        transport,
        peer,
        local: path.local,
        trunk,
    };
    let trunk = path.trunk.filter(|_| transport == Transport::Tls);
    // An accepted connection has no trunk in its key.
    let accepted = path.connection.map(|peer| key(peer, None));
    let opened = path.connection.map(|peer| key(peer, trunk));
    let to_destination = key(path.destination, trunk);
    accepted.into_iter().chain(opened).chain([to_destination])
}

impl Connections {
    /// Starts the listeners. Dropping the result closes them and every connection.
    pub(super) fn serve(
        listeners: Vec<Listener>,
        sources: Vec<Option<IpAddr>>,
        certificates: Arc<TlsCertificates>,
        inbound: mpsc::Sender<Inbound>,
        supervisor: &Supervisor,
    ) -> Self {
        let table = Table::default();
        let admission = SharedAdmission::default();
        let acceptors = listeners
            .into_iter()
            .map(|listener| {
                let acceptor = Acceptor {
                    certificates: certificates.clone(),
                    table: table.clone(),
                    admission: admission.clone(),
                    inbound: inbound.clone(),
                    supervisor: supervisor.clone(),
                };
                supervisor.spawn(Part::SipListener, acceptor.run(listener))
            })
            .collect();
        Self {
            table,
            inbound,
            acceptors,
            certificates,
            admission,
            sources,
        }
    }

    /// Returns the IP address that a connection of a path leaves from; `None`: the one that the system chooses.
    fn source(&self, path: Path) -> Option<IpAddr> {
        let source = self.sources.get(usize::from(path.local?));
        let is_fitting = |source: &IpAddr| source.is_ipv4() == path.destination.is_ipv4();
        source.copied().flatten().filter(is_fitting)
    }

    /// Sets the networks of the trunks.
    pub(super) fn set_listed(&self, networks: Vec<Network>) {
        self.admission().listed = networks;
    }

    /// Sets the transports on which strangers get no response.
    pub(super) fn set_silent(&self, transports: Vec<Transport>) {
        self.admission().silent = transports;
    }

    fn admission(&self) -> RwLockWriteGuard<'_, Admission> {
        let admission = self.admission.write();
        admission.unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection of a request without a response if nothing has arrived over it since.
    pub(super) fn end_if_silent(&mut self, unanswered: &UnansweredRequest) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = |open: &OpenConnection| {
            let last = open.last_received.lock();
            *last.unwrap_or_else(PoisonError::into_inner) <= unanswered.sent
        };
        let open = known_keys(unanswered.path).find(|key| table.contains_key(key));
        let silent = open.filter(|key| table.get(key).is_some_and(is_silent));
        if let Some((key, open)) = silent.and_then(|key| table.remove_entry(&key)) {
            tracing::warn!(peer = %key.peer, "closed a SIP connection on which nothing arrives");
            let _ = open.end.send(());
        }
    }

    /// Sends over the connection in the path, or else over a connection to the destination. The connection is opened if
    /// necessary, but not for a response to an unknown source.
    pub(super) fn send(&mut self, transmit: Transmit) -> io::Result<()> {
        let Transmit {
            path,
            bytes,
            ticket,
        } = transmit;
        let outbound = Outbound { bytes, ticket };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = match known_keys(path).find_map(|key| table.get(&key)) {
            Some(open) => open.queue.clone(),
            None if path.connection.is_some() && path.trunk.is_none() => {
                return Err(io::ErrorKind::NotConnected.into());
            }
            None if table.len() >= MAX_CONNECTIONS => {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            None => {
                let trunk = path.trunk.filter(|_| path.transport == Transport::Tls);
                let tls = match path.transport {
                    Transport::Tls => Some(self.certificates.connector(trunk)?),
                    _ => None,
                };
                let key = ConnectionKey {
                    transport: path.transport,
                    peer: path.destination,
                    local: path.local,
                    trunk,
                };
                let source = self.source(path);
                let (open, connection) = SipConnection::new(
                    key,
                    MAX_QUEUED_MESSAGES,
                    (&self.table, &self.admission),
                    &self.inbound,
                );
                let queue = open.queue.clone();
                table.insert(key, open);
                tokio::spawn(connect(connection, source, tls, self.certificates.clone()));
                queue
            }
        };
        queue
            .try_send(outbound)
            .map_err(|_| io::ErrorKind::WouldBlock.into())
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.acceptors
            .iter()
            .for_each(tokio::task::JoinHandle::abort);
        // A dropped queue ends the writer, and with it the connection.
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Accepts the connections of a listener.
struct Acceptor {
    certificates: Arc<TlsCertificates>,
    table: Table,
    admission: SharedAdmission,
    inbound: mpsc::Sender<Inbound>,
    supervisor: Supervisor,
}

impl Acceptor {
    async fn run(self, listener: Listener) {
        loop {
            let Ok((stream, peer)) = listener.socket.accept().await else {
                // The process is probably out of file descriptors, so wait before the next attempt.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let peer = unmapped(peer);
            self.supervisor.fail_point(Part::SipListener.as_str());
            let tls = listener
                .encrypted
                .then(|| self.certificates.acceptor())
                .transpose();
            // A TLS listener without certificates must not accept plain text.
            let Ok(tls) = tls else { continue };
            let transport = if listener.encrypted {
                Transport::Tls
            } else {
                Transport::Tcp
            };
            let key = ConnectionKey {
                transport,
                peer,
                local: listener.local,
                trunk: None,
            };
            let Some(connection) = self.admit(key) else {
                tracing::debug!("rejected a SIP connection: too many are open");
                METRICS.sip_connections_refused.inc();
                continue;
            };
            let certificates = self.certificates.clone();
            tokio::spawn(run_accepted(connection, stream, tls, certificates));
        }
    }

    /// Adds a connection to the table if its source may open another one.
    fn admit(&self, key: ConnectionKey) -> Option<SipConnection> {
        let admission = self.admission.read();
        let admission = admission.unwrap_or_else(PoisonError::into_inner);
        let is_listed = |peer: IpAddr| admission.is_listed(peer);
        let mut open = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let address = key.peer.ip();
        let queued = if is_listed(address) {
            MAX_QUEUED_MESSAGES
        } else {
            let unlisted = open.keys().map(|key| key.peer.ip());
            let unlisted: Vec<IpAddr> = unlisted.filter(|peer| !is_listed(*peer)).collect();
            let same = unlisted.iter().filter(|peer| **peer == address).count();
            if unlisted.len() >= MAX_UNLISTED_CONNECTIONS || same >= MAX_CONNECTIONS_PER_SOURCE {
                return None;
            }
            MAX_QUEUED_RESPONSES
        };
        if open.len() >= MAX_CONNECTIONS {
            return None;
        }
        let (entry, connection) =
            SipConnection::new(key, queued, (&self.table, &self.admission), &self.inbound);
        open.insert(key, entry);
        Some(connection)
    }
}

/// Sets the options of a connection: no delay of small messages, and a bound on unacknowledged data.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(stream);
    // Where the system does not know the option, its own timeouts apply.
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
}

/// Runs an accepted connection, after the TLS handshake if it is encrypted.
async fn run_accepted(
    connection: SipConnection,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    certificates: Arc<TlsCertificates>,
) {
    set_options(&stream);
    let Some(tls) = tls else {
        return connection
            .run(stream, false, CertifiedTrunks::default())
            .await;
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certified = certificates.certified_trunks(stream.get_ref().1.peer_certificates());
            connection.run(stream, false, certified).await;
        }
        _ => connection.close().await,
    }
}

/// Opens a connection to a peer and runs it, after the TLS handshake if it is encrypted.
async fn connect(
    connection: SipConnection,
    source: Option<IpAddr>,
    tls: Option<Connector>,
    certificates: Arc<TlsCertificates>,
) {
    let peer = connection.key.peer;
    let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, connect_from(source, peer)).await
    else {
        return connection.close().await;
    };
    set_options(&stream);
    let Some(Connector { connector, name }) = tls else {
        return connection
            .run(stream, true, CertifiedTrunks::default())
            .await;
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => {
            let certified = certificates.certified_trunks(stream.get_ref().1.peer_certificates());
            connection.run(stream, true, certified).await;
        }
        Ok(Err(error)) => {
            tracing::warn!(%peer, %error, "TLS handshake with a trunk's peer failed");
            connection.close().await;
        }
        Err(_) => connection.close().await,
    }
}

/// Opens a TCP connection from a local IP address; `None`: the one that the system chooses.
async fn connect_from(source: Option<IpAddr>, peer: SocketAddr) -> io::Result<TcpStream> {
    let Some(source) = source else {
        return TcpStream::connect(peer).await;
    };
    let socket = match source {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(peer).await
}

impl SipConnection {
    /// Creates a connection and its entry in the table.
    fn new(
        key: ConnectionKey,
        capacity: usize,
        (table, admission): (&Table, &SharedAdmission),
        inbound: &mpsc::Sender<Inbound>,
    ) -> (OpenConnection, Self) {
        let (sender, queue) = mpsc::channel(capacity);
        let (end_sender, end) = oneshot::channel();
        let last_received = Arc::new(Mutex::new(Instant::now()));
        let open = OpenConnection {
            queue: sender,
            end: end_sender,
            last_received: last_received.clone(),
        };
        let connection = Self {
            key,
            queue,
            in_progress: None,
            end,
            last_received,
            table: table.clone(),
            admission: admission.clone(),
            inbound: inbound.clone(),
        };
        (open, connection)
    }

    /// Reads and writes until either direction ends.
    async fn run(
        mut self,
        stream: impl AsyncRead + AsyncWrite,
        is_outgoing: bool,
        certified: CertifiedTrunks,
    ) {
        let (reader, writer) = tokio::io::split(stream);
        let (replies, reply_queue) = mpsc::channel(4);
        let has_sent = AtomicBool::new(false);
        let reading = Reading {
            key: self.key,
            is_outgoing,
            certified,
            admission: &self.admission,
            has_sent: &has_sent,
            replies,
            inbound: &self.inbound,
            last_received: &self.last_received,
        };
        tokio::select! {
            _ = read(reader, reading) => {}
            () = write(writer, (&mut self.queue, &has_sent), &mut self.in_progress, reply_queue) => {}
            () = ended(&mut self.end) => {}
        }
        let (
            inbound,
            ConnectionKey {
                transport, peer, ..
            },
        ) = (self.inbound.clone(), self.key);
        self.close().await;
        if is_outgoing {
            let _ = inbound.send(Inbound::Closed { transport, peer }).await;
        }
    }

    /// Removes the connection from the table, and reports the messages that were not sent.
    async fn close(mut self) {
        remove(&self.table, self.key, &self.last_received);
        self.queue.close();
        if let Some(outbound) = self.in_progress {
            report(outbound, &self.inbound).await;
        }
        while let Some(outbound) = self.queue.recv().await {
            report(outbound, &self.inbound).await;
        }
    }
}

/// Waits until the connection is to end at once.
async fn ended(end: &mut oneshot::Receiver<()>) {
    // The sender of an entry that was only dropped leaves the queue to the writer.
    if end.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Removes a connection from the table, unless a newer one has its key.
fn remove(table: &Table, key: ConnectionKey, connection: &LastReceived) {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |open: &OpenConnection| Arc::ptr_eq(&open.last_received, connection);
    if table.get(&key).is_some_and(same) {
        table.remove(&key);
    }
}

/// Reading side of a connection.
struct Reading<'a> {
    key: ConnectionKey,
    is_outgoing: bool,
    certified: CertifiedTrunks,
    admission: &'a SharedAdmission,
    /// A message was sent over the connection.
    has_sent: &'a AtomicBool,
    /// Responses and pongs of the connection itself.
    replies: mpsc::Sender<Bytes>,
    inbound: &'a mpsc::Sender<Inbound>,
    last_received: &'a LastReceived,
}

impl Reading<'_> {
    /// Returns `true` if the peer is a stranger on a transport on which strangers get no response.
    fn is_silent(&self) -> bool {
        let admission = self.admission.read();
        let admission = admission.unwrap_or_else(PoisonError::into_inner);
        let is_stranger = !self.is_outgoing
            && self.certified.is_empty()
            && !admission.is_listed(self.key.peer.ip());
        is_stranger && admission.silent.contains(&self.key.transport)
    }
}

/// Reads until the peer closes the connection or breaks the framing.
async fn read(mut reader: impl AsyncRead + Unpin, reading: Reading<'_>) -> Option<()> {
    let Reading { key, replies, .. } = &reading;
    let mut framer = Framer::new();
    let mut chunk = [0; CHUNK_BYTES];
    let mut has_received = reading.is_outgoing;
    loop {
        let timeout = match (framer.pending() > 0, has_received) {
            (true, _) => MESSAGE_TIMEOUT,
            (false, true) => IDLE_TIMEOUT,
            (false, false) => FIRST_MESSAGE_TIMEOUT,
        };
        let length = tokio::time::timeout(timeout, reader.read(&mut chunk))
            .await
            .ok()?
            .ok()?;
        let bytes = chunk.get(..length).filter(|bytes| !bytes.is_empty())?;
        *reading
            .last_received
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut messages = Vec::new();
        let pushed = framer.push(bytes, &mut messages);
        has_received |= !messages.is_empty();
        for message in messages {
            let message = Inbound::Message {
                transport: key.transport,
                source: key.peer,
                local: key.local,
                certified: reading.certified.clone(),
                message,
            };
            reading.inbound.send(message).await.ok()?;
        }
        if let Err(broken) = pushed {
            tracing::debug!("closed a connection with invalid SIP framing");
            if reading.is_silent() {
                return None;
            }
            if let Some(answer) = broken.answer {
                let _ = replies.try_send(answer);
            }
            return tokio::time::timeout(LINGER_TIMEOUT, discard(reader))
                .await
                .ok();
        }
        // Strangers get a pong once they have got a response, such as a challenge.
        let may_pong = !reading.is_silent() || reading.has_sent.load(Ordering::Relaxed);
        if framer.take_ping() && may_pong {
            let _ = replies.try_send(Bytes::from_static(b"\r\n"));
        }
    }
}

/// Reads and discards the remaining bytes. If unread data is left at the close, the kernel resets the connection, and
/// the peer loses our last response.
async fn discard(mut reader: impl AsyncRead + Unpin) {
    let mut chunk = [0; CHUNK_BYTES];
    while reader.read(&mut chunk).await.is_ok_and(|length| length > 0) {}
}

/// Writes the messages of the queue. `in_progress` holds a message until all of it is written.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    (queue, has_sent): (&mut mpsc::Receiver<Outbound>, &AtomicBool),
    in_progress: &mut Option<Outbound>,
    mut replies: mpsc::Receiver<Bytes>,
) {
    loop {
        tokio::select! {
            Some(replies) = replies.recv() => {
                if send(&mut writer, &replies).await.is_err() {
                    break;
                }
            }
            next = queue.recv() => {
                let Some(outbound) = next else { break };
                let bytes = in_progress.insert(outbound).bytes.clone();
                if send(&mut writer, &bytes).await.is_err() {
                    break;
                }
                has_sent.store(true, Ordering::Relaxed);
                *in_progress = None;
            }
        }
    }
}

/// Writes all bytes and flushes them.
async fn send(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn report(outbound: Outbound, inbound: &mpsc::Sender<Inbound>) {
    if let Some(ticket) = outbound.ticket {
        let _ = inbound.send(Inbound::Failed(ticket)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tls::Tls;
    use super::*;

    fn acceptor(listed: Vec<Network>) -> Acceptor {
        let (inbound, _) = mpsc::channel(1);
        Acceptor {
            certificates: Arc::new(TlsCertificates::read(Tls::default()).unwrap()),
            table: Table::default(),
            admission: Arc::new(RwLock::new(Admission {
                listed,
                silent: Vec::new(),
            })),
            inbound,
            supervisor: Supervisor::default(),
        }
    }

    fn key(address: [u8; 4], port: u16) -> ConnectionKey {
        ConnectionKey {
            transport: Transport::Tcp,
            peer: SocketAddr::from((address, port)),
            local: None,
            trunk: None,
        }
    }

    #[test]
    fn connections_of_strangers_leave_room_for_the_trunks() {
        let acceptor = acceptor(vec![Network::single([192, 0, 2, 1].into())]);
        let mut strangers = 0;
        for address in 1..=20 {
            for port in 0..100 {
                let admitted = acceptor.admit(key([198, 51, 100, address], port));
                strangers += usize::from(admitted.is_some());
                let bound = usize::from(port) < MAX_CONNECTIONS_PER_SOURCE;
                assert!(bound || admitted.is_none(), "one address has its own bound");
            }
        }
        assert_eq!(strangers, MAX_UNLISTED_CONNECTIONS);
        let of_trunk =
            (0..2000).filter(|port| acceptor.admit(key([192, 0, 2, 1], *port)).is_some());
        assert_eq!(of_trunk.count(), MAX_CONNECTIONS - MAX_UNLISTED_CONNECTIONS);
    }

    /// Connections with their inbound queue, and a listener as the peer.
    async fn to_peer() -> (Connections, mpsc::Receiver<Inbound>, TcpListener, Path) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let path = Path {
            transport: Transport::Tcp,
            destination: listener.local_addr().unwrap(),
            connection: None,
            trunk: Some(0),
            nat: false,
            local: None,
        };
        let (sender, inbound) = mpsc::channel(8);
        let certificates = Arc::new(TlsCertificates::read(Tls::default()).unwrap());
        let connections = Connections::serve(
            Vec::new(),
            Vec::new(),
            certificates,
            sender,
            &Supervisor::default(),
        );
        (connections, inbound, listener, path)
    }

    fn transmit(path: Path, bytes: &'static [u8]) -> Transmit {
        Transmit {
            path,
            bytes: Bytes::from_static(bytes),
            ticket: None,
        }
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed_and_the_next_message_opens_another() {
        let (mut connections, mut inbound, listener, path) = to_peer().await;
        connections.send(transmit(path, b"1")).unwrap();
        let (mut first, _) = listener.accept().await.unwrap();
        let earlier = Instant::now();
        assert_eq!(first.read_u8().await.unwrap(), b'1');
        first.write_all(b"\r\n\r\n").await.unwrap();
        assert_eq!(first.read_u16().await.unwrap(), 0x0d0a, "the pong");
        connections.end_if_silent(&UnansweredRequest {
            path,
            sent: earlier,
        });
        connections.send(transmit(path, b"2")).unwrap();
        assert_eq!(
            first.read_u8().await.unwrap(),
            b'2',
            "bytes have arrived since"
        );

        connections.end_if_silent(&UnansweredRequest {
            path,
            sent: Instant::now(),
        });
        connections.send(transmit(path, b"3")).unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        assert_eq!(second.read_u8().await.unwrap(), b'3');
        assert!(first.read_u8().await.is_err(), "the first one is closed");
        let closed = inbound.recv().await.unwrap();
        assert!(matches!(closed, Inbound::Closed { peer, .. } if peer == path.destination));
        connections.send(transmit(path, b"4")).unwrap();
        assert_eq!(
            second.read_u8().await.unwrap(),
            b'4',
            "the second one stays"
        );
    }

    #[tokio::test]
    async fn what_waits_to_be_written_is_reported_when_the_peer_closes() {
        const WAITING: usize = 3;
        let (mut connections, mut inbound, listener, path) = to_peer().await;
        // More than the socket buffers take while the peer does not read.
        let large = Bytes::from(vec![b'x'; 16 << 20]);
        let ticket = ticket();
        for _ in 0..WAITING {
            let transmit = Transmit {
                path,
                bytes: large.clone(),
                ticket: Some(ticket.clone()),
            };
            connections.send(transmit).unwrap();
        }
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.shutdown().await.unwrap();
        for _ in 0..WAITING {
            let failed = inbound.recv().await.unwrap();
            assert!(matches!(failed, Inbound::Failed(failed) if failed == ticket));
        }
    }

    /// Returns the ticket of a keep-alive probe.
    fn ticket() -> Ticket {
        let peer = signalling::TrunkPeer::at(Transport::Udp, ([127, 0, 0, 1], 9).into());
        let trunk = signalling::Trunk {
            peer: Some(peer),
            keep_alive: Some(Duration::from_secs(60)),
            ..signalling::Trunk::default()
        };
        let settings = signalling::EndpointSettings {
            own_addresses: Vec::new(),
            advertised: [127, 0, 0, 1].into(),
            listen: Vec::new(),
            timers: signalling::SipTimers::default(),
            trunks: vec![trunk],
        };
        let mut endpoint = signalling::Endpoint::new(settings, Box::new(|| 1));
        let now = Instant::now();
        endpoint.start(now);
        endpoint.handle_timeout(now);
        endpoint.poll_transmit().unwrap().ticket.unwrap()
    }

    #[tokio::test]
    async fn no_connection_is_opened_for_a_response_to_an_unknown_source() {
        let (mut connections, _inbound, listener, path) = to_peer().await;
        let unknown = Path {
            connection: Some(([127, 0, 0, 1], 9).into()),
            trunk: None,
            ..path
        };
        let refused = connections.send(transmit(unknown, b"x")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
        let of_trunk = Path {
            trunk: Some(0),
            ..unknown
        };
        connections.send(transmit(of_trunk, b"y")).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(
            stream.read_u8().await.unwrap(),
            b'y',
            "by the address of the Via"
        );
    }

    #[tokio::test]
    async fn the_end_of_many_calls_at_once_is_sent_over_one_connection() {
        const BYES: usize = 2000;
        let (mut connections, _inbound, listener, path) = to_peer().await;
        let bye = Bytes::from(vec![b'x'; 700]);
        for _ in 0..BYES {
            let transmit = Transmit {
                path,
                bytes: bye.clone(),
                ticket: None,
            };
            connections.send(transmit).unwrap();
        }
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = vec![0; BYES * bye.len()];
        stream.read_exact(&mut received).await.unwrap();
    }
}
