//! Certificate for HTTPS, loaded at the start and again when its files change.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::crypto::reloadable::{CertificateFiles, RELOAD_INTERVAL, Reloadable};
use crate::crypto::tls_identity::{Identity, TlsError};
use crate::metrics::METRICS;

/// Protocols in the order of preference (ALPN, RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Certificate of the HTTPS listener.
pub struct HttpCertificate {
    files: Reloadable<HttpIdentity, TlsAcceptor>,
    requested: Notify,
}

struct HttpIdentity(Identity);

impl HttpCertificate {
    /// Loads the certificate and its key.
    pub fn read(identity: Identity) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            files: Reloadable::new(HttpIdentity(identity))?,
            requested: Notify::new(),
        }))
    }

    /// Returns the acceptor for a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.files.current()
    }

    /// Requests a reload of the files, even if unchanged.
    pub fn request_reload(&self) {
        self.requested.notify_one();
    }

    /// Reloads changed files periodically. Never returns.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let requested = tokio::time::timeout(RELOAD_INTERVAL, self.requested.notified());
            let requested = requested.await.is_ok();
            let certificate = self.clone();
            let reload = move || certificate.files.reload_if_changed(requested);
            // Only a panic makes this fail, and the panic handler has logged it.
            let _ = tokio::task::spawn_blocking(reload).await;
        }
    }
}

impl CertificateFiles<TlsAcceptor> for HttpIdentity {
    fn read(&self) -> Result<TlsAcceptor, TlsError> {
        let mut config = self.0.server_config(None)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn files(&self) -> Vec<&Path> {
        self.0.files().into()
    }

    fn on_loaded(&self) {
        if let Some(expiry) = self.0.expiry() {
            METRICS.set_http_certificate_expiry(expiry);
        }
    }

    fn log_reload(&self, failure: Option<&TlsError>) {
        match failure {
            None => tracing::info!("reloaded the certificate for HTTPS"),
            Some(error) => tracing::error!(
                %error,
                "cannot reload the certificate for HTTPS; keeping the previous one"
            ),
        }
    }
}
