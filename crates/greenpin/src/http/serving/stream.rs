//! Byte stream of a connection that records its activity, and withholds the responses that the HTTP library writes of
//! its own accord.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// Byte stream of a connection.
pub(super) struct TrackedStream<S> {
    inner: S,
    activity: Arc<Activity>,
    /// HTTP/1.1: bytes between two requests are a head or a response of the library, which is withheld. HTTP/2 has other
    /// frames there.
    is_http1: bool,
    withheld_status: Option<u16>,
}

impl<S> TrackedStream<S> {
    /// Returns a stream of HTTP/1.1, which withholds the library's own responses.
    pub(super) fn http1(inner: S, activity: Arc<Activity>) -> Self {
        Self {
            inner,
            activity,
            is_http1: true,
            withheld_status: None,
        }
    }

    /// Returns a stream of HTTP/2.
    pub(super) fn http2(inner: S, activity: Arc<Activity>) -> Self {
        Self {
            is_http1: false,
            ..Self::http1(inner, activity)
        }
    }

    /// Returns the inner stream, and the status of a withheld response.
    pub(super) fn into_parts(self) -> (S, Option<u16>) {
        (self.inner, self.withheld_status)
    }

    /// Takes bytes that belong to no request. The library writes such a response to a head that it cannot parse.
    fn withhold(&mut self, bytes: &[u8]) -> bool {
        if !self.is_http1 || bytes.is_empty() || !self.activity.is_waiting() {
            return false;
        }
        self.withheld_status = self.withheld_status.or_else(|| status(bytes));
        true
    }

    /// Records progress. With HTTP/2 bytes can be answers to a client's own frames, and the bodies record it.
    fn record_sent(&self, written: &io::Result<usize>) {
        if self.is_http1 && written.as_ref().is_ok_and(|count| *count > 0) {
            self.activity.on_sent();
        }
    }
}

/// Returns the status of a response (RFC 9112, section 4).
fn status(response: &[u8]) -> Option<u16> {
    let status = response.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        if self.is_http1 && buffer.filled().len() > before {
            self.activity.on_received();
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.withhold(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes));
        self.record_sent(&written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if first.is_some_and(|first| self.withhold(first)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, slices));
        self.record_sent(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        self.activity.on_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_http1 {
            // The owner of the stream shuts it down, after a response of its own if there is one.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_start_of_a_response_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 431 Request Header"), Some(431));
        for other in [&b"HTTP/1.1 4"[..], b"HTTP/1.1 4x1 ", b"{}", b""] {
            assert_eq!(status(other), None);
        }
    }
}
