//! HTTP server with limits on connections, on the size of heads, and on the time that a client may take.
//!
//! - `admission`: numbers of connections, in all and of each source.
//! - `activity`: which side a connection waits for, and its time-outs.
//! - `connection`: a connection from its start to its end, with `stream` and `request` below the HTTP library.
//! - `certificate`: the certificate for HTTPS.
//! - `refusal`: responses to heads that cannot be read; `linger`: closing after an early response.

mod activity;
mod admission;
mod certificate;
mod connection;
mod linger;
mod refusal;
mod request;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use self::activity::{Activity, Timeouts};
pub use self::admission::ConnectionLimits;
use self::admission::{ConnectionTable, Refusal};
pub use self::certificate::HttpCertificate;
use self::connection::Connection;
pub use self::connection::MAX_STREAMS;
pub(super) use self::refusal::{has_valid_host, refuse_unreadable};
use crate::limits::log_limit::LogLimit;
use crate::metrics::METRICS;

/// Time for a client to send the head of a request, all of it.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a client reads nothing of a response that waits for it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of request headers, in bytes. The server answers larger ones with 431.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Delay before the next `accept` after a failure, such as a lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Bytes of a response that the kernel holds beyond those on their way. A client that reads slowly is seen to make
/// progress.
const UNSENT_BYTES: u32 = 128 * 1024;

/// Limits the log lines about refused connections.
static LOG_LIMIT: LogLimit = LogLimit::new();

/// Settings of the HTTP server.
#[derive(Clone)]
pub struct ServingOptions {
    /// Maximum numbers of open connections.
    pub connections: ConnectionLimits,
    /// Time between two requests after which a connection is closed.
    pub idle_timeout: Duration,
    /// Certificate for HTTPS; `None`: HTTP without TLS.
    pub certificate: Option<Arc<HttpCertificate>>,
}

impl Default for ServingOptions {
    fn default() -> Self {
        Self {
            connections: ConnectionLimits {
                total: 4096,
                per_address: 1024,
            },
            idle_timeout: Duration::from_secs(75),
            certificate: None,
        }
    }
}

/// Serves connections until `stop` resolves, then completes the requests in progress.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServingOptions,
    stop: impl Future<Output = ()>,
) {
    let table = ConnectionTable::new(options.connections);
    let timeouts = Timeouts {
        head: HEADER_TIMEOUT,
        idle: options.idle_timeout,
        write: WRITE_TIMEOUT,
    };
    let (stopping, stop_receiver) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        let activity = Activity::new();
        let slot = match table.admit(peer.ip(), activity.clone()) {
            Ok(slot) => slot,
            Err(refusal) => {
                report_refusal(refusal);
                continue;
            }
        };
        if slot.has_evicted() {
            // The evicted connection closes its descriptor before the next one is accepted.
            tokio::task::yield_now().await;
        }
        prepare(&stream);
        let connection = Connection {
            peer: peer.ip(),
            router: router.clone(),
            activity,
            timeouts,
            stop: stop_receiver.clone(),
        };
        let certificate = options.certificate.as_ref();
        let acceptor = certificate.map(|certificate| certificate.acceptor());
        tokio::spawn(async move {
            match acceptor {
                Some(acceptor) => connection.serve_tls(stream, acceptor).await,
                None => connection.serve(stream).await,
            }
            drop(slot);
        });
    }
    drop(stop_receiver);
    let _ = stopping.send(true);
    // Each connection holds a receiver until its end.
    stopping.closed().await;
}

fn prepare(stream: &TcpStream) {
    // Responses are small, so delaying them to fill packets gains nothing. A failure costs only speed.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
    // What a closed connection leaves in the kernel ends, too.
    let _ = socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT.saturating_mul(2)));
}

fn report_refusal(refusal: Refusal) {
    METRICS.count_http_connection_refused(refusal.as_str());
    if let Some(suppressed) = LOG_LIMIT.allow() {
        let limit = refusal.as_str();
        tracing::warn!(limit, suppressed, "refused an HTTP connection");
    }
}

#[cfg(test)]
mod tests;
