//! One connection from its start to its end.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::MAX_HEADER_BYTES;
use super::activity::{Activity, Expiry, Timeouts};
use super::linger;
use super::refusal;
use super::request::ConnectionService;
use super::stream::TrackedStream;
use crate::http::middleware::problem::Code;
use crate::metrics::METRICS;

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

impl Connection {
    /// Serves HTTP/1.1 until the client or the server ends the connection.
    pub(super) async fn serve_http1<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = ConnectionService::new(self.router.clone(), self.peer, self.activity.clone());
        let stream = TrackedStream::http1(stream, self.activity.clone());
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let end = {
            let mut withdrawn = pin!(self.withdrawn());
            let mut is_ending = false;
            let mut timer = Timer::new();
            poll_fn(|context| {
                if let Poll::Ready(result) = connection.poll_without_shutdown(context) {
                    return Poll::Ready(End::Done(result));
                }
                if !is_ending && withdrawn.as_mut().poll(context).is_ready() {
                    if self.activity.is_waiting() {
                        return Poll::Ready(End::Withdrawn);
                    }
                    is_ending = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                timer
                    .poll_expired(&self.activity, &self.timeouts, context)
                    .map(End::Expired)
            })
            .await
        };
        let (stream, withheld) = connection.into_parts().io.into_inner().into_parts();
        self.finish_http1(stream, end, withheld).await;
    }

    async fn finish_http1<S>(self, stream: S, end: End, withheld: Option<u16>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let code = match end {
            End::Done(result) => {
                let unreadable = result.is_err_and(|error| error.is_parse());
                let other = (unreadable && self.activity.is_waiting()).then_some(400);
                withheld.or(other).map(refusal::code_of)
            }
            End::Expired(expiry) => {
                count_expiry(expiry);
                let partial = expiry == Expiry::Head && self.activity.has_partial_head();
                match partial {
                    true => Some(Code::RequestTimeout),
                    false => return,
                }
            }
            End::Withdrawn => return,
        };
        let response = code.map(|code| refusal::respond(code, self.peer));
        let response = response.unwrap_or_default();
        if !response.is_empty() || self.activity.has_unread_body() {
            tokio::select! {
                () = linger::close(stream, &response) => {}
                () = self.withdrawn() => {}
            }
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
