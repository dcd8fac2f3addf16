//! One connection from its start to its end.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::MAX_HEADER_BYTES;
use super::activity::{Activity, Expiry, Timeouts};
use super::linger;
use super::refusal;
use super::request::ConnectionService;
use super::stream::TrackedStream;
use crate::http::middleware::problem::Code;
use crate::metrics::METRICS;

/// Maximum number of concurrent requests of an HTTP/2 connection.
pub const MAX_STREAMS: u32 = 100;
/// Bytes of a response that the server buffers for each HTTP/2 stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Time for a client to acknowledge the end of an HTTP/2 connection.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);
/// The same for a connection whose place another one has.
const EVICTED_GOAWAY_TIMEOUT: Duration = Duration::from_millis(20);

/// Accepted connection, and what its requests need.
pub(super) struct Connection {
    pub(super) peer: IpAddr,
    pub(super) router: Router,
    pub(super) activity: Arc<Activity>,
    pub(super) timeouts: Timeouts,
    /// Becomes `true` when the server stops.
    pub(super) stop: watch::Receiver<bool>,
}

/// Reason for which a connection ends.
enum End {
    /// The HTTP library is done with it.
    Done(hyper::Result<()>),
    Expired(Expiry),
    /// The server stops, or another connection needs the place.
    Withdrawn,
}

/// Connection of the HTTP library, of either version.
trait Protocol {
    /// Serves requests until the connection ends.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>>;

    /// Ends the connection after the requests in progress.
    fn end_gracefully(&mut self);
}

/// Byte stream of a client, encrypted or not.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {}

type Http1<S> = http1::Connection<TokioIo<TrackedStream<S>>, ConnectionService>;
type Http2<S> = http2::Connection<TokioIo<TrackedStream<S>>, ConnectionService, TokioExecutor>;

impl<S: ByteStream> Protocol for Http1<S> {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        // It flushes the last response, and then shuts the stream down, which the stream leaves to `linger`.
        Pin::new(self).poll(context)
    }

    fn end_gracefully(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

impl<S: ByteStream> Protocol for Pin<Box<Http2<S>>> {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.as_mut().poll(context)
    }

    fn end_gracefully(&mut self) {
        self.as_mut().graceful_shutdown();
    }
}

impl Connection {
    /// Serves a connection without TLS.
    pub(super) async fn serve(self, stream: TcpStream) {
        self.serve_http1(stream).await;
    }

    /// Serves a connection with TLS, in the version of HTTP that the client and the server agree on.
    pub(super) async fn serve_tls(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let accepted = tokio::select! {
            accepted = timeout(self.timeouts.head, acceptor.accept(stream)) => accepted,
            () = self.withdrawn() => return,
        };
        match accepted {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.serve_http2(stream).await;
            }
            Ok(Ok(stream)) => self.serve_http1(stream).await,
            // The client speaks no TLS, or does not accept the certificate.
            Ok(Err(_)) => {}
            Err(_) => count_expiry(Expiry::Head),
        }
    }

    fn service(&self) -> ConnectionService {
        ConnectionService::new(self.router.clone(), self.peer, self.activity.clone())
    }

    /// Serves HTTP/1.1 until the client or the server ends the connection.
    async fn serve_http1<S: ByteStream>(self, stream: S) {
        let stream = TrackedStream::http1(stream, self.activity.clone());
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), self.service());
        let end = self.run(&mut connection).await;
        let (stream, withheld) = connection.into_parts().io.into_inner().into_parts();
        self.finish_http1(stream, end, withheld).await;
    }

    /// Serves HTTP/2 until the client or the server ends the connection.
    async fn serve_http2<S: ByteStream>(self, stream: S) {
        let stream = TrackedStream::http2(stream, self.activity.clone());
        let headers = u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX);
        let connection = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(headers)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), self.service());
        let mut connection = Box::pin(connection);
        match self.run(&mut connection).await {
            End::Done(_) => {}
            End::Expired(expiry @ (Expiry::Head | Expiry::Write)) => count_expiry(expiry),
            End::Expired(Expiry::Idle) | End::Withdrawn => {
                // GOAWAY tells the client which requests were not processed (RFC 9113, section 6.8).
                connection.end_gracefully();
                let limit = match self.activity.must_end() {
                    true => EVICTED_GOAWAY_TIMEOUT,
                    false => GOAWAY_TIMEOUT,
                };
                let _ = timeout(limit, connection).await;
            }
        }
    }

    /// Drives a connection until it ends, a time-out expires, or its place is needed.
    async fn run(&self, connection: &mut impl Protocol) -> End {
        let mut withdrawn = pin!(self.withdrawn());
        let mut is_ending = false;
        let mut timer = Timer::new();
        poll_fn(|context| {
            if let Poll::Ready(result) = connection.poll_end(context) {
                return Poll::Ready(End::Done(result));
            }
            if !is_ending && withdrawn.as_mut().poll(context).is_ready() {
                if self.activity.is_waiting() {
                    return Poll::Ready(End::Withdrawn);
                }
                is_ending = true;
                connection.end_gracefully();
            }
            // A client that takes long to read a response must not keep the place that another one got.
            if self.activity.must_end() {
                return Poll::Ready(End::Withdrawn);
            }
            timer
                .poll_expired(&self.activity, &self.timeouts, context)
                .map(End::Expired)
        })
        .await
    }

    async fn finish_http1<S: ByteStream>(self, stream: S, end: End, withheld: Option<u16>) {
        let code = match end {
            End::Done(result) => {
                let unreadable = result.is_err_and(|error| error.is_parse());
                let other = (unreadable && self.activity.is_waiting()).then_some(400);
                withheld.or(other).map(refusal::code_of)
            }
            End::Expired(expiry) => {
                count_expiry(expiry);
                let partial = expiry == Expiry::Head && self.activity.has_partial_head();
                partial.then_some(Code::RequestTimeout)
            }
            End::Withdrawn if self.activity.must_end() => return,
            End::Withdrawn => None,
        };
        let response = code.map(|code| refusal::respond(code, self.peer));
        let response = response.unwrap_or_default();
        if response.is_empty() && !self.activity.has_unread_body() {
            return linger::shut_down(stream).await;
        }
        tokio::select! {
            () = linger::close(stream, &response) => {}
            () = self.withdrawn() => {}
        }
    }

    /// Waits until the server stops or another connection needs the place of this one.
    async fn withdrawn(&self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.activity.evicted() => {}
        }
    }
}

fn count_expiry(expiry: Expiry) {
    match expiry {
        Expiry::Head => METRICS.count_http_connection_ended("head_timeout"),
        Expiry::Write => METRICS.count_http_connection_ended("write_timeout"),
        Expiry::Idle => {}
    }
}

/// Timer of the time-out that applies to a connection. It is set again only when it fires or for an earlier deadline.
struct Timer(Pin<Box<Sleep>>);

impl Timer {
    fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now())))
    }

    fn poll_expired(
        &mut self,
        activity: &Activity,
        timeouts: &Timeouts,
        context: &mut Context<'_>,
    ) -> Poll<Expiry> {
        loop {
            let Some((deadline, expiry)) = activity.deadline(timeouts) else {
                return Poll::Pending;
            };
            if deadline <= Instant::now() {
                return Poll::Ready(expiry);
            }
            if self.0.is_elapsed() || deadline < self.0.deadline() {
                self.0.as_mut().reset(deadline);
            }
            ready!(self.0.as_mut().poll(context));
        }
    }
}
