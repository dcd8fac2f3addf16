//! HTTP client of commands for a server on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response};
use serde_json::Value;

use crate::config::{Http, Secret};
use crate::crypto::pinned_certificate;

/// Server on this machine, by its configuration.
#[derive(Clone)]
pub(crate) struct LocalServer {
    client: Client,
    /// Scheme and address.
    base: String,
    operator_token: Option<Secret>,
}

impl LocalServer {
    /// Creates a client for the server with this configuration; `None` if its certificate cannot be read.
    pub(crate) fn new(http: &Http, timeout: Duration) -> Option<Self> {
        let (scheme, builder) = match &http.identity {
            // The names in the certificate are those of the public address.
            Some(identity) => {
                let tls = pinned_certificate::client(&identity.certificate).ok()?;
                let builder = Client::builder().no_proxy();
                ("https", builder.tls_backend_preconfigured(tls))
            }
            None => ("http", builder()),
        };
        Some(Self {
            client: builder.timeout(timeout).build().ok()?,
            base: format!("{scheme}://{}", local(http.listen)),
            operator_token: http.operator_token.clone(),
        })
    }

    /// Returns scheme and address of the server.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Requests a path without credentials.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Result<Response> {
        let request = self.client.get(format!("{}{path}", self.base));
        request.send().await
    }

    /// Requests a path of the operator API; `None` without a token, or if the server does not answer with success.
    pub(crate) async fn operator_get(&self, path: &str) -> Option<Value> {
        let token = self.operator_token.as_ref()?;
        let request = self.client.get(format!("{}{path}", self.base));
        let answer = request.bearer_auth(token.expose()).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }
}

/// Starts a client for `http` addresses on this machine. It uses no proxy, and works on a system without CA
/// certificates.
pub(crate) fn builder() -> ClientBuilder {
    Client::builder().no_proxy().tls_certs_only([])
}

/// Returns the address of a server on this machine; an unspecified listen address becomes loopback.
fn local(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // A socket on `[::]` may take IPv6 alone.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
