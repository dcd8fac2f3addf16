//! HTTP client of the deliveries, with bounds on what a receiver can make it do.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Notify;
use tokio_rustls::rustls;

use super::Resolver;
use super::connector::{ConnectionUsage, Connector, NameUnknown};
use super::target::NoPublicAddress;
use crate::crypto::tls_roots::{self, TrustError};
use crate::store::AttemptError;

/// Maximum number of interim (`1xx`) responses to a request.
pub const MAX_INTERIM_RESPONSES: usize = 8;
/// Maximum number of repetitions of a request whose kept connection the receiver has closed meanwhile.
const MAX_KEPT_CONNECTION_RETRIES: usize = 2;

/// Client for `http` and `https`. Connections are kept for further requests.
pub(super) struct WebhookClient {
    connector: Connector,
    clear: Client<Connector, Full<Bytes>>,
    /// `None` until the CA certificates of the system can be used.
    encrypted: Mutex<Option<EncryptedClient>>,
}

type EncryptedClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// Failed request.
struct Failure {
    error: AttemptError,
    /// The receiver closed a kept connection before it answered: it may not have read the request.
    on_kept_connection: bool,
}

impl From<AttemptError> for Failure {
    fn from(error: AttemptError) -> Self {
        Self {
            error,
            on_kept_connection: false,
        }
    }
}

impl WebhookClient {
    pub(super) fn new(resolver: Option<Resolver>, allow_private: bool) -> Self {
        let connector = Connector::new(resolver, allow_private);
        let client = Self {
            clear: builder().build(connector.clone()),
            connector,
            encrypted: Mutex::default(),
        };
        if let Err(error) = client.encrypted() {
            tracing::error!(%error, "webhooks to https addresses fail until the system has CA certificates");
        }
        client
    }

    /// Sends a request and returns the head of the response. The caller limits the time.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, AttemptError> {
        let mut retries = 0;
        loop {
            match self.send_once(request.clone()).await {
                Err(failure)
                    if failure.on_kept_connection && retries < MAX_KEPT_CONNECTION_RETRIES =>
                {
                    retries += 1;
                }
                other => return other.map_err(|failure| failure.error),
            }
        }
    }

    async fn send_once(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let interim = InterimLimit::attach(&mut request);
        let connection = capture_connection(&mut request);
        let sending = match request.uri().scheme_str() {
            Some("https") => {
                let client = self.encrypted();
                client
                    .map_err(|_| AttemptError::NoCaCertificates)?
                    .request(request)
            }
            _ => self.clear.request(request),
        };
        let usage = || {
            let mut extras = hyper::http::Extensions::new();
            let metadata = connection.connection_metadata();
            metadata
                .iter()
                .for_each(|connected| connected.get_extras(&mut extras));
            extras.remove::<ConnectionUsage>().unwrap_or_default()
        };
        let response = tokio::select! {
            response = sending => response,
            () = interim.exceeded() => return Err(AttemptError::BrokenAnswer.into()),
        };
        match response {
            Ok(response) => {
                usage().note_response();
                Ok(response)
            }
            Err(error) => Err(Failure {
                error: kind(&error),
                on_kept_connection: closed_without_response(&error) && usage().had_response(),
            }),
        }
    }

    /// Returns the client for `https`. Reads the CA certificates of the system again if they were not usable before.
    fn encrypted(&self) -> Result<EncryptedClient, TrustError> {
        let mut encrypted = self
            .encrypted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*encrypted {
            return Ok(client.clone());
        }
        let config = tls_roots::client(None)?.with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(self.connector.clone());
        Ok(encrypted.insert(builder().build(connector)).clone())
    }
}

fn builder() -> legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new());
    builder.timer(TokioTimer::new());
    builder
}

/// Count of the interim responses to a request.
struct InterimLimit(Arc<Notify>);

impl InterimLimit {
    fn attach(request: &mut Request<Full<Bytes>>) -> Self {
        let exceeded = Arc::new(Notify::new());
        let (count, notify) = (AtomicUsize::new(0), exceeded.clone());
        hyper::ext::on_informational(request, move |_| {
            if count.fetch_add(1, Ordering::Relaxed) == MAX_INTERIM_RESPONSES {
                notify.notify_one();
            }
        });
        Self(exceeded)
    }

    async fn exceeded(&self) {
        self.0.notified().await;
    }
}

/// Returns the reason for which a request has no response.
fn kind(error: &legacy::Error) -> AttemptError {
    let causes = Causes(Some(error));
    for cause in causes {
        if cause.is::<NoPublicAddress>() {
            return AttemptError::AddressRefused;
        }
        if cause.is::<NameUnknown>() {
            return AttemptError::NameNotResolved;
        }
        if is_tls(cause) {
            return AttemptError::TlsFailed;
        }
    }
    match error.is_connect() {
        true => AttemptError::NoConnection,
        false => AttemptError::BrokenAnswer,
    }
}

/// Returns `true` if the connection ended before a response began.
fn closed_without_response(error: &legacy::Error) -> bool {
    Causes(Some(error)).any(|cause| {
        cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_incomplete_message() || error.is_canceled())
            || cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
                use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
                matches!(error.kind(), ConnectionReset | BrokenPipe)
            })
    })
}

/// Returns `true` for an error of TLS. An I/O error does not name the error within it as its source.
fn is_tls(cause: &(dyn Error + 'static)) -> bool {
    let within = cause
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    cause.is::<rustls::Error>() || within.is_some_and(|within| within.is::<rustls::Error>())
}

/// An error and its sources.
struct Causes<'a>(Option<&'a (dyn Error + 'static)>);

impl<'a> Iterator for Causes<'a> {
    type Item = &'a (dyn Error + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let cause = self.0?;
        self.0 = cause.source();
        Some(cause)
    }
}
