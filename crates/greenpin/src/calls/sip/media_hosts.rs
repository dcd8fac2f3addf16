//! Lookups of host names in session descriptions, before the endpoint processes the message.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use signalling::{MediaHost, SipMessage, Transport};
use tokio::task::JoinSet;

use super::inbound::CertifiedTrunks;

/// Timeout of a lookup. Afterwards the message is processed with its name, and rejected.
pub const MEDIA_HOST_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of lookups at once. Beyond it, messages with a name are rejected.
pub const MAX_MEDIA_HOST_LOOKUPS: usize = 64;

/// Received SIP message with its source.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) transport: Transport,
    pub(super) source: SocketAddr,
    pub(super) local: Option<u8>,
    pub(super) certified: CertifiedTrunks,
    pub(super) message: SipMessage,
}

/// Lookups in progress, each with the message that waits for it.
#[derive(Default)]
pub(super) struct MediaHostLookups {
    resolver: Option<TokioResolver>,
    waiting: JoinSet<Received>,
}

impl MediaHostLookups {
    /// Creates lookups with a resolver. Without one, no message waits.
    pub(super) fn new(resolver: Option<TokioResolver>) -> Self {
        Self {
            resolver,
            waiting: JoinSet::new(),
        }
    }

    /// Starts the lookup of the host name in a message. Returns the message if it has none or cannot wait.
    pub(super) fn start(&mut self, received: Received) -> Option<Received> {
        let host = received.message.media_host();
        let (Some(host), Some(resolver)) = (host, &self.resolver) else {
            return Some(received);
        };
        if self.waiting.len() >= MAX_MEDIA_HOST_LOOKUPS {
            return Some(received);
        }
        self.waiting
            .spawn(look_up(resolver.clone(), host, received));
        None
    }

    /// Returns the next message whose lookup has ended. Waits forever if there is none. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Received {
        loop {
            match self.waiting.join_next().await {
                Some(Ok(received)) => return received,
                Some(Err(error)) => tracing::error!(%error, "lookup of a media host failed"),
                None => std::future::pending().await,
            }
        }
    }
}

/// Replaces the host name in a message by its address. A name without an address stays.
async fn look_up(resolver: TokioResolver, host: MediaHost, mut received: Received) -> Received {
    let name = format!("{}.", host.name.trim_end_matches('.'));
    let lookup = tokio::time::timeout(MEDIA_HOST_TIMEOUT, resolver.lookup_ip(name));
    let found = lookup.await.ok().and_then(Result::ok);
    let address = found.and_then(|found| found.iter().find(|address| host.accepts(*address)));
    match address {
        Some(address) => received.message.set_media_address(&host, address),
        None => tracing::warn!("a session description names a host without a usable address"),
    }
    received
}
