//! SIP over TCP: a task for each connection that reads, and one that writes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use signalling::{Framer, Ticket, Transmit, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::sockets::Inbound;

/// Connections open at once; more are closed as they come.
const MOST_CONNECTIONS: usize = 1024;
/// Messages that wait for a slow peer; more fail.
const WAITING_TO_SEND: usize = 256;
/// A message that was begun must be whole within this time: no peer holds memory for nothing.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing was said for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(900);
/// How long a connection on which something broken was said stays open for our answers.
const LAST_WORD_TIMEOUT: Duration = Duration::from_millis(500);
/// How long we try to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CHUNK: usize = 4096;

/// Open connections by the peer's end.
pub(super) struct Connections {
    table: Table,
    inbound: mpsc::Sender<Inbound>,
    acceptor: Option<tokio::task::JoinHandle<()>>,
}

type Table = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Outbound>>>>;

struct Outbound {
    bytes: Bytes,
    ticket: Option<Ticket>,
}

impl Connections {
    /// Opens connections, and accepts them where there is a listener, for as long as this lives.
    pub(super) fn serve(listener: Option<TcpListener>, inbound: mpsc::Sender<Inbound>) -> Self {
        let table = Table::default();
        let acceptor =
            listener.map(|listener| tokio::spawn(accept(listener, table.clone(), inbound.clone())));
        Self { table, inbound, acceptor }
    }

    /// Sends over the connection that the path names, else over one to its destination, opened where needed.
    pub(super) fn send(&mut self, transmit: Transmit) -> io::Result<()> {
        let outbound = Outbound { bytes: transmit.bytes, ticket: transmit.ticket };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let known = [transmit.path.connection, Some(transmit.path.destination)];
        let open = known.into_iter().flatten().find_map(|peer| table.get(&peer));
        let queue = match open {
            Some(queue) => queue.clone(),
            None if table.len() >= MOST_CONNECTIONS => return Err(io::ErrorKind::QuotaExceeded.into()),
            None => {
                let (sender, queue) = mpsc::channel(WAITING_TO_SEND);
                let peer = transmit.path.destination;
                table.insert(peer, sender.clone());
                tokio::spawn(connect(peer, queue, self.table.clone(), self.inbound.clone()));
                sender
            }
        };
        queue.try_send(outbound).map_err(|_| io::ErrorKind::WouldBlock.into())
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.acceptor.iter().for_each(tokio::task::JoinHandle::abort);
        // Dropping the queues ends the writers, and with them the connections.
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn forget(table: &Table, peer: SocketAddr) {
    table.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
}

async fn accept(listener: TcpListener, table: Table, inbound: mpsc::Sender<Inbound>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of file descriptors, most likely: let some go before trying again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (sender, queue) = mpsc::channel(WAITING_TO_SEND);
        {
            let mut open = table.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= MOST_CONNECTIONS {
                tracing::warn!("refused a SIP connection: {MOST_CONNECTIONS} are open");
                continue;
            }
            open.insert(peer, sender);
        }
        tokio::spawn(converse(stream, peer, queue, table.clone(), inbound.clone()));
    }
}

async fn connect(
    peer: SocketAddr,
    mut queue: mpsc::Receiver<Outbound>,
    table: Table,
    inbound: mpsc::Sender<Inbound>,
) {
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => converse(stream, peer, queue, table, inbound).await,
        _ => {
            forget(&table, peer);
            queue.close();
            report_unsent(queue, &inbound).await;
        }
    }
}

/// Reads and writes until either direction ends.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    queue: mpsc::Receiver<Outbound>,
    table: Table,
    inbound: mpsc::Sender<Inbound>,
) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (own, owned) = mpsc::channel(4);
    tokio::select! {
        _ = read(reader, peer, own, &inbound) => {}
        () = write(writer, queue, owned, &inbound) => {}
    }
    forget(&table, peer);
}

/// Reads until the peer closes or says something broken. `own`: what the connection itself has to say.
async fn read(
    mut reader: OwnedReadHalf,
    peer: SocketAddr,
    own: mpsc::Sender<Bytes>,
    inbound: &mpsc::Sender<Inbound>,
) -> Option<()> {
    let mut framer = Framer::new();
    let mut chunk = [0; CHUNK];
    loop {
        let patience = if framer.pending() > 0 { MESSAGE_TIMEOUT } else { IDLE_TIMEOUT };
        let length = tokio::time::timeout(patience, reader.read(&mut chunk)).await.ok()?.ok()?;
        let bytes = chunk.get(..length).filter(|bytes| !bytes.is_empty())?;
        let mut messages = Vec::new();
        let pushed = framer.push(bytes, &mut messages);
        for message in messages {
            let message = Inbound::Message { transport: Transport::Tcp, source: peer, message };
            inbound.send(message).await.ok()?;
        }
        if let Err(broken) = pushed {
            tracing::debug!("closed a connection that does not speak SIP");
            if let Some(answer) = broken.answer {
                let _ = own.try_send(answer);
            }
            return tokio::time::timeout(LAST_WORD_TIMEOUT, pass_over(reader)).await.ok();
        }
        if framer.take_ping() {
            let _ = own.try_send(Bytes::from_static(b"\r\n"));
        }
    }
}

/// Reads on for nothing: closed with something unread, the kernel would take our last words back.
async fn pass_over(mut reader: OwnedReadHalf) {
    let mut chunk = [0; CHUNK];
    while reader.read(&mut chunk).await.is_ok_and(|length| length > 0) {}
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Outbound>,
    mut own: mpsc::Receiver<Bytes>,
    inbound: &mpsc::Sender<Inbound>,
) {
    loop {
        tokio::select! {
            Some(own) = own.recv() => {
                if writer.write_all(&own).await.is_err() {
                    break;
                }
            }
            next = queue.recv() => {
                let Some(outbound) = next else { break };
                if writer.write_all(&outbound.bytes).await.is_err() {
                    report(outbound, inbound).await;
                    break;
                }
            }
        }
    }
    queue.close();
    report_unsent(queue, inbound).await;
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
