//! SIP over TCP and TLS, with one task per connection.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use signalling::{Framer, Ticket, Transmit, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::certificates::TlsCertificates;
use super::inbound::Inbound;
use super::tls::Connector;
use crate::supervision::{Part, Supervisor};

/// Maximum number of open connections. Further incoming connections are closed.
pub const MAX_CONNECTIONS: usize = 1024;
/// Maximum number of messages queued for a slow peer. Further messages fail.
const MAX_QUEUED_MESSAGES: usize = 256;
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
        let acceptors = listeners
            .into_iter()
            .map(|listener| {
                let (certificates, table) = (certificates.clone(), table.clone());
                let accepting = accept(
                    listener,
                    certificates,
                    table,
                    inbound.clone(),
                    supervisor.clone(),
                );
                supervisor.spawn(Part::SipListener, accepting)
            })
            .collect();
        Self {
            table,
            inbound,
            acceptors,
            certificates,
        }
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

async fn accept(
    listener: Listener,
    certificates: Arc<TlsCertificates>,
    table: Table,
    inbound: mpsc::Sender<Inbound>,
    supervisor: Supervisor,
) {
    let transport = if listener.encrypted {
        Transport::Tls
    } else {
        Transport::Tcp
    };
    loop {
        let Ok((stream, peer)) = listener.socket.accept().await else {
            // The process is probably out of file descriptors, so wait before the next attempt.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        supervisor.fail_point(Part::SipListener.as_str());
        let tls = listener
            .encrypted
            .then(|| certificates.acceptor())
            .transpose();
        // A TLS listener without certificates must not accept plain text.
        let Ok(tls) = tls else { continue };
        let key = ConnectionKey {
            transport,
            peer,
            trunk: None,
        };
        let (sender, queue) = mpsc::channel(MAX_QUEUED_MESSAGES);
        {
            let mut open = table.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= MAX_CONNECTIONS {
                tracing::warn!("rejected a SIP connection: {MAX_CONNECTIONS} are open");
                continue;
            }
            open.insert(key, sender);
        }
        let connection = SipConnection {
            key,
            queue,
            table: table.clone(),
            inbound: inbound.clone(),
        };
        tokio::spawn(run_accepted(connection, stream, tls));
    }
}

/// Runs an accepted connection, after the TLS handshake if it is encrypted.
async fn run_accepted(connection: SipConnection, stream: TcpStream, tls: Option<TlsAcceptor>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return connection.run(stream).await;
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection.run(stream).await,
        _ => connection.fail().await,
    }
}

/// Opens a connection to a peer and runs it, after the TLS handshake if it is encrypted.
async fn connect(connection: SipConnection, tls: Option<Connector>) {
    let peer = connection.key.peer;
    let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(peer)).await
    else {
        return connection.fail().await;
    };
    let _ = stream.set_nodelay(true);
    let Some(Connector { connector, name }) = tls else {
        return connection.run(stream).await;
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => connection.run(stream).await,
        Ok(Err(error)) => {
            tracing::warn!(%peer, %error, "TLS handshake with a trunk's peer failed");
            connection.fail().await;
        }
        Err(_) => connection.fail().await,
    }
}

impl SipConnection {
    /// Reads and writes until either direction ends.
    async fn run(self, stream: impl AsyncRead + AsyncWrite) {
        let Self {
            key,
            queue,
            table,
            inbound,
        } = self;
        let (reader, writer) = tokio::io::split(stream);
        let (replies, reply_queue) = mpsc::channel(4);
        tokio::select! {
            _ = read(reader, key, replies, &inbound) => {}
            () = write(writer, queue, reply_queue, &inbound) => {}
        }
        remove(&table, key);
    }

    async fn fail(mut self) {
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
    replies: mpsc::Sender<Bytes>,
    inbound: &mpsc::Sender<Inbound>,
) -> Option<()> {
    let mut framer = Framer::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let timeout = if framer.pending() > 0 {
            MESSAGE_TIMEOUT
        } else {
            IDLE_TIMEOUT
        };
        let length = tokio::time::timeout(timeout, reader.read(&mut chunk))
            .await
            .ok()?
            .ok()?;
        let bytes = chunk.get(..length).filter(|bytes| !bytes.is_empty())?;
        let mut messages = Vec::new();
        let pushed = framer.push(bytes, &mut messages);
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
    mut queue: mpsc::Receiver<Outbound>,
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
    queue.close();
    report_unsent(queue, inbound).await;
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
