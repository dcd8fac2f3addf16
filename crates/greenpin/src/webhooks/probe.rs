//! Connection to a receiver without a request, for a diagnosis.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use url::Url;

use super::connector::CheckedResolver;
use super::target::{self, NoPublicAddress};
use crate::crypto::tls_roots::{self, TrustError};

/// Reason for which a receiver cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreachableReceiver {
    /// All addresses of the receiver are private.
    #[error("the address is private, and webhooks.allow_private is false")]
    Private,
    /// The name has no address.
    #[error("the name does not resolve")]
    NameUnknown,
    /// No address accepts a connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The CA certificates of the system cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Connects to a receiver as a delivery does, and sends no request. Returns its certificates, for `https`.
pub(crate) async fn connect(
    url: &Url,
    allow_private: bool,
) -> Result<Vec<CertificateDer<'static>>, UnreachableReceiver> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    let stream = open(&addresses(url, host, allow_private).await?, port).await?;
    if url.scheme() != "https" {
        return Ok(Vec::new());
    }
    let config = tls_roots::client(None)?.with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(UnreachableReceiver::Tls)?;
    let certificates = stream.get_ref().1.peer_certificates();
    Ok(certificates.unwrap_or_default().to_vec())
}

/// Returns the addresses of a receiver that webhooks may be sent to.
async fn addresses(
    url: &Url,
    host: &str,
    allow_private: bool,
) -> Result<Vec<IpAddr>, UnreachableReceiver> {
    if let Ok(address) = host.parse() {
        let is_allowed = allow_private || target::is_public(url);
        return is_allowed
            .then(|| vec![address])
            .ok_or(UnreachableReceiver::Private);
    }
    let resolver = CheckedResolver {
        resolver: target::system(),
        allow_private,
    };
    match resolver.resolve(host.to_owned()).await {
        Ok(found) => Ok(found.iter().map(SocketAddr::ip).collect()),
        Err(error) if error.is::<NoPublicAddress>() => Err(UnreachableReceiver::Private),
        Err(_) => Err(UnreachableReceiver::NameUnknown),
    }
}

/// Connects to the first address that accepts.
async fn open(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("no address");
    for address in addresses {
        match TcpStream::connect((*address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
