//! HTTP client for a server on this machine.

use reqwest::{Client, ClientBuilder};

/// Starts a client for `http` addresses on this machine. It uses no proxy, and works on a system without CA
/// certificates.
pub(super) fn builder() -> ClientBuilder {
    Client::builder().no_proxy().tls_certs_only([])
}
