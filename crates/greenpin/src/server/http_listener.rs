//! The HTTP listener: bound before the store opens, so that a taken port has no effect, and served at the end of the start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ServerError;
use super::descriptors::http_connections;
use crate::config::Config;
use crate::http;
use crate::http::{ConnectionLimits, HttpCertificate, ServingOptions};
use crate::supervision::{Part, Supervisor};

/// Time for the requests in progress at the stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Bound listener.
pub(super) struct HttpListener {
    pub(super) address: SocketAddr,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Base of the URLs in links.
    pub(super) public_url: String,
    socket: TcpListener,
    options: ServingOptions,
}

/// Task that serves a listener.
pub(super) struct HttpTask {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    certificate: Option<Arc<HttpCertificate>>,
    watch: Option<JoinHandle<()>>,
}

impl HttpListener {
    /// Loads the certificate and binds the address. `files` is the limit of open files of the process.
    pub(super) async fn bind(config: &Config, files: Option<u64>) -> Result<Self, ServerError> {
        let certificate = config.http.identity.clone();
        let certificate = certificate.map(HttpCertificate::read).transpose()?;
        let scheme = if certificate.is_some() {
            "https"
        } else {
            "http"
        };
        let (socket, address) = listen(config.http.listen).await?;
        Ok(Self {
            address,
            scheme,
            public_url: public_url(config, address, scheme),
            socket,
            options: serving_options(config, files, certificate),
        })
    }

    /// Starts to serve connections.
    pub(super) fn serve(self, router: Router, supervisor: &Supervisor) -> HttpTask {
        let certificate = self.options.certificate.clone();
        let watch = certificate.clone().map(|certificate| {
            supervisor.spawn_restarting(Part::Certificates, move || certificate.clone().watch())
        });
        let (stop, mut stopping) = watch::channel(false);
        let graceful = async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let served = http::serve(self.socket, router, self.options, graceful);
        HttpTask {
            task: supervisor.spawn(Part::Http, served),
            stop,
            certificate,
            watch,
        }
    }
}

impl HttpTask {
    /// Reads the certificate for HTTPS again.
    pub(super) fn reload_certificate(&self) {
        if let Some(certificate) = &self.certificate {
            certificate.request_reload();
        }
    }

    /// Accepts no more connections, and waits for the requests in progress.
    pub(super) async fn stop(self) {
        self.watch.iter().for_each(JoinHandle::abort);
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.task).await;
    }
}

/// Binds the HTTP listener. Returns it with its address.
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Http { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Returns the address in links: `http.public_url`, or else the listen address. If that is no address that a client can
/// open, such as `0.0.0.0`, the public address of SIP stands in its place.
fn public_url(config: &Config, listen: SocketAddr, scheme: &str) -> String {
    if let Some(url) = &config.http.public_url {
        return url.clone();
    }
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(config.sip.public_address);
    }
    let url = format!("{}://{address}", scheme);
    if address != listen {
        tracing::warn!(
            url,
            "http.public_url is not set: links use sip.public_address, because http.listen names no address"
        );
    }
    url
}

/// Returns the settings of the HTTP server. `files` is the limit of open files of the process.
fn serving_options(
    config: &Config,
    files: Option<u64>,
    certificate: Option<Arc<HttpCertificate>>,
) -> ServingOptions {
    let configured = ConnectionLimits {
        total: config.http.max_connections,
        per_address: config.http.max_connections_per_address,
    };
    ServingOptions {
        connections: http_connections(configured, files),
        idle_timeout: config.http.idle_timeout,
        certificate,
    }
}
