//! SIP over TCP and TLS, with one task per connection.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use signalling::{Framer, Network, Ticket, Transmit, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::certificates::TlsCertificates;
use super::inbound::Inbound;
use super::tls::Connector;
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
    listed: ListedNetworks,
}

/// Listener for TCP or TLS.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) encrypted: bool,
}

/// Key of a connection in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ConnectionKey {
    transport: Transport,
    /// Remote address.
    peer: SocketAddr,
    /// Trunk of an outgoing TLS connection. Its peer has presented a certificate for this trunk.
    trunk: Option<usize>,
}

type Table = Arc<Mutex<HashMap<ConnectionKey, mpsc::Sender<Outbound>>>>;

/// Networks of the trunks. A connection from elsewhere has a smaller share.
pub(super) type ListedNetworks = Arc<RwLock<Vec<Network>>>;

struct Outbound {
    bytes: Bytes,
    ticket: Option<Ticket>,
}

/// Connection in use or being opened.
struct SipConnection {
    key: ConnectionKey,
    queue: mpsc::Receiver<Outbound>,
    table: Table,
    inbound: mpsc::Sender<Inbound>,
}

impl Connections {
    /// Starts the listeners. Dropping the result closes them and every connection.
    pub(super) fn serve(
        listeners: Vec<Listener>,
        certificates: Arc<TlsCertificates>,
        inbound: mpsc::Sender<Inbound>,
        supervisor: &Supervisor,
    ) -> Self {
        let table = Table::default();
        let listed = ListedNetworks::default();
        let acceptors = listeners
            .into_iter()
            .map(|listener| {
                let acceptor = Acceptor {
                    certificates: certificates.clone(),
                    table: table.clone(),
                    listed: listed.clone(),
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
            listed,
        }
    }

    /// Sets the networks of the trunks.
    pub(super) fn set_listed(&self, networks: Vec<Network>) {
        *self.listed.write().unwrap_or_else(PoisonError::into_inner) = networks;
    }

    /// Sends over the connection in the path, or else over a connection to the destination. The connection is opened if
    /// necessary.
    pub(super) fn send(&mut self, transmit: Transmit) -> io::Result<()> {
        let Transmit {
            path,
            bytes,
            ticket,
        } = transmit;
        let outbound = Outbound { bytes, ticket };
        let transport = path.transport;
        let trunk = path.trunk.filter(|_| transport == Transport::Tls);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // An accepted connection has no trunk in its key.
        let accepted = path.connection.map(|peer| ConnectionKey {
            transport,
            peer,
            trunk: None,
        });
        let value = path.connection.map(|peer| ConnectionKey {
            transport,
            peer,
            trunk,
        });
        let key = ConnectionKey {
            transport,
            peer: path.destination,
            trunk,
        };
        let known = [accepted, value, Some(key)].into_iter().flatten();
        let queue = match known.into_iter().find_map(|key| table.get(&key)) {
            Some(queue) => queue.clone(),
            None if table.len() >= MAX_CONNECTIONS => {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            None => {
                let tls = match transport {
                    Transport::Tls => Some(self.certificates.connector(trunk)?),
                    _ => None,
                };
                let (sender, queue) = mpsc::channel(MAX_QUEUED_MESSAGES);
                table.insert(key, sender.clone());
                let (table, inbound) = (self.table.clone(), self.inbound.clone());
                tokio::spawn(connect(
                    SipConnection {
                        key,
                        queue,
                        table,
                        inbound,
                    },
                    tls,
                ));
                sender
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
    listed: ListedNetworks,
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
                trunk: None,
            };
            let Some(queue) = self.admit(key) else {
                tracing::debug!("rejected a SIP connection: too many are open");
                METRICS.sip_connections_refused.inc();
                continue;
            };
            let connection = SipConnection {
                key,
                queue,
                table: self.table.clone(),
                inbound: self.inbound.clone(),
            };
            tokio::spawn(run_accepted(connection, stream, tls));
        }
    }

    /// Adds a connection to the table if its source may open another one.
    fn admit(&self, key: ConnectionKey) -> Option<mpsc::Receiver<Outbound>> {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        let is_listed = |peer: IpAddr| listed.iter().any(|network| network.contains(peer));
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
        let (sender, queue) = mpsc::channel(queued);
        open.insert(key, sender);
        Some(queue)
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
async fn run_accepted(connection: SipConnection, stream: TcpStream, tls: Option<TlsAcceptor>) {
    set_options(&stream);
    let Some(tls) = tls else {
        return connection.run(stream, false).await;
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection.run(stream, false).await,
        _ => connection.close().await,
    }
}

/// Opens a connection to a peer and runs it, after the TLS handshake if it is encrypted.
async fn connect(connection: SipConnection, tls: Option<Connector>) {
    let peer = connection.key.peer;
    let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(peer)).await
    else {
        return connection.close().await;
    };
    set_options(&stream);
    let Some(Connector { connector, name }) = tls else {
        return connection.run(stream, true).await;
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => connection.run(stream, true).await,
        Ok(Err(error)) => {
            tracing::warn!(%peer, %error, "TLS handshake with a trunk's peer failed");
            connection.close().await;
        }
        Err(_) => connection.close().await,
    }
}

impl SipConnection {
    /// Reads and writes until either direction ends.
    async fn run(mut self, stream: impl AsyncRead + AsyncWrite, is_outgoing: bool) {
        let (reader, writer) = tokio::io::split(stream);
        let (replies, reply_queue) = mpsc::channel(4);
        tokio::select! {
            _ = read(reader, self.key, (replies, is_outgoing), &self.inbound) => {}
            () = write(writer, &mut self.queue, reply_queue, &self.inbound) => {}
        }
        self.close().await;
    }

    /// Removes the connection from the table, and reports the messages that were not sent.
    async fn close(mut self) {
        remove(&self.table, self.key);
        self.queue.close();
        report_unsent(self.queue, &self.inbound).await;
    }
}

fn remove(table: &Table, key: ConnectionKey) {
    table
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&key);
}

/// Reads until the peer closes the connection or breaks the framing. `replies` takes the responses and pongs of the
/// connection itself.
async fn read(
    mut reader: impl AsyncRead + Unpin,
    key: ConnectionKey,
    (replies, is_outgoing): (mpsc::Sender<Bytes>, bool),
    inbound: &mpsc::Sender<Inbound>,
) -> Option<()> {
    let mut framer = Framer::new();
    let mut chunk = [0; CHUNK_BYTES];
    let mut has_received = is_outgoing;
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
        let mut messages = Vec::new();
        let pushed = framer.push(bytes, &mut messages);
        has_received |= !messages.is_empty();
        for message in messages {
            let message = Inbound::Message {
                transport: key.transport,
                source: key.peer,
                message,
            };
            inbound.send(message).await.ok()?;
        }
        if let Err(broken) = pushed {
            tracing::debug!("closed a connection with invalid SIP framing");
            if let Some(answer) = broken.answer {
                let _ = replies.try_send(answer);
            }
            return tokio::time::timeout(LINGER_TIMEOUT, discard(reader))
                .await
                .ok();
        }
        if framer.take_ping() {
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

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    queue: &mut mpsc::Receiver<Outbound>,
    mut replies: mpsc::Receiver<Bytes>,
    inbound: &mpsc::Sender<Inbound>,
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
                if send(&mut writer, &outbound.bytes).await.is_err() {
                    report(outbound, inbound).await;
                    break;
                }
            }
        }
    }
}

/// Writes all bytes and flushes them.
async fn send(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn report_unsent(mut queue: mpsc::Receiver<Outbound>, inbound: &mpsc::Sender<Inbound>) {
    while let Some(outbound) = queue.recv().await {
        report(outbound, inbound).await;
    }
}

async fn report(outbound: Outbound, inbound: &mpsc::Sender<Inbound>) {
    if let Some(ticket) = outbound.ticket {
        let _ = inbound.send(Inbound::Failed(ticket)).await;
    }
}

#[cfg(test)]
mod tests {
    use signalling::Path;

    use super::super::tls::Tls;
    use super::*;

    fn acceptor(listed: Vec<Network>) -> Acceptor {
        let (inbound, _) = mpsc::channel(1);
        Acceptor {
            certificates: Arc::new(TlsCertificates::read(Tls::default()).unwrap()),
            table: Table::default(),
            listed: Arc::new(RwLock::new(listed)),
            inbound,
            supervisor: Supervisor::default(),
        }
    }

    fn key(address: [u8; 4], port: u16) -> ConnectionKey {
        ConnectionKey {
            transport: Transport::Tcp,
            peer: SocketAddr::from((address, port)),
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

    #[tokio::test]
    async fn the_end_of_many_calls_at_once_is_sent_over_one_connection() {
        const BYES: usize = 2000;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = listener.local_addr().unwrap();
        let (inbound, _received) = mpsc::channel(1);
        let certificates = Arc::new(TlsCertificates::read(Tls::default()).unwrap());
        let supervisor = Supervisor::default();
        let mut connections = Connections::serve(Vec::new(), certificates, inbound, &supervisor);
        let bye = Bytes::from(vec![b'x'; 700]);
        for _ in 0..BYES {
            let path = Path {
                transport: Transport::Tcp,
                destination,
                connection: None,
                trunk: None,
                nat: false,
            };
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
