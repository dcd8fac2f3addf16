//! Connections to receivers: only to allowed addresses, with a bound on the size of a response.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::target::{self, NoPublicAddress, Resolver};

/// Maximum number of bytes received for one request, including the TLS records.
pub const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// Error for a name that does not resolve.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub(super) struct NameUnknown;

/// Connector to allowed addresses. The connection uses the checked addresses, so that a name cannot change to a private
/// address between check and use.
#[derive(Clone)]
pub(super) struct Connector(HttpConnector<CheckedResolver>);

impl Connector {
    pub(super) fn new(resolver: Option<Resolver>, allow_private: bool) -> Self {
        let mut connector = HttpConnector::new_with_resolver(CheckedResolver {
            resolver: resolver.unwrap_or_else(target::system),
            allow_private,
        });
        // The TLS connector around this one gets `https` addresses.
        connector.enforce_http(false);
        connector.set_nodelay(true);
        Self(connector)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<ReceiverStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            Ok(TokioIo::new(ReceiverStream {
                stream: connecting.await?.into_inner(),
                usage: ConnectionUsage::default(),
                received: 0,
            }))
        })
    }
}

/// Resolver that returns allowed addresses only.
#[derive(Clone)]
pub(super) struct CheckedResolver {
    pub(super) resolver: Resolver,
    pub(super) allow_private: bool,
}

impl CheckedResolver {
    /// Returns the allowed addresses of a name.
    pub(super) async fn resolve(
        self,
        name: String,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found = (self.resolver)(name).await.map_err(|_| NameUnknown)?;
        let is_known = !found.is_empty();
        let allowed = |address: &IpAddr| self.allow_private || target::is_public_address(*address);
        let allowed = found.into_iter().filter(allowed);
        let allowed: Vec<_> = allowed.map(|address| SocketAddr::new(address, 0)).collect();
        match (is_known, allowed.is_empty()) {
            (false, _) => Err(NameUnknown.into()),
            (true, true) => Err(NoPublicAddress.into()),
            (true, false) => Ok(allowed),
        }
    }
}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.clone().resolve(name.as_str().to_owned());
        Box::pin(async move { Ok(resolving.await?.into_iter()) })
    }
}

/// Usage of a connection, shared with the requests over it.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionUsage(Arc<AtomicBool>);

impl ConnectionUsage {
    /// Notes that a response has arrived over the connection.
    pub(super) fn note_response(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if a response has arrived over the connection.
    pub(super) fn had_response(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stream to a receiver. Reading fails beyond [`MAX_RESPONSE_BYTES`] after the last write.
pub(super) struct ReceiverStream {
    stream: TcpStream,
    usage: ConnectionUsage,
    /// Bytes received since the last write.
    received: usize,
}

impl Connection for ReceiverStream {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.usage.clone())
    }
}

impl AsyncRead for ReceiverStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().len().saturating_sub(before);
        self.received = self.received.saturating_add(new);
        if self.received > MAX_RESPONSE_BYTES {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, "the response is too large");
            return Poll::Ready(Err(error));
        }
        polled
    }
}

impl AsyncWrite for ReceiverStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.received = 0;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
