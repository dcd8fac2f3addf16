//! One attempt: the POST and its outcome.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::{Client, Response, Url};

use super::target::{self, NoPublicAddress};
use super::{RESPONSE_TIMEOUT, Resolver, flat, signature};
use crate::store::{Attempt, AttemptError, Delivery, EndpointFormat, Timestamp};

/// Bytes of a response body that are stored.
pub const MAX_STORED_BYTES: usize = 512;
/// Bytes of a response body that are read, so that its connection can be reused.
pub const MAX_READ_BYTES: usize = 16 * 1024;
/// Time limit for the body of a response. The body does not decide the outcome.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Sender of events.
pub(super) struct Poster {
    /// `None` if the system has no usable certificates; deliveries wait then.
    client: Option<Client>,
    allow_private: bool,
}

impl Poster {
    pub(super) fn new(allow_private: bool, resolver: Option<Resolver>) -> Self {
        let builder = Client::builder()
            .timeout(RESPONSE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("greenpin/", env!("CARGO_PKG_VERSION")));
        let builder = match resolver {
            Some(resolver) => builder.dns_resolver(target::CheckedResolver {
                resolver,
                allow_private,
            }),
            None if allow_private => builder,
            None => builder.dns_resolver(target::CheckedResolver {
                resolver: target::system(),
                allow_private,
            }),
        };
        let client = builder.build();
        let client = client
            .inspect_err(|error| tracing::error!(%error, "webhooks cannot be sent: no usable CA certificates"))
            .ok();
        Self {
            client,
            allow_private,
        }
    }

    /// Sends one event. Only a status from 200 to 299 is a success.
    pub(super) async fn post(&self, delivery: &Delivery) -> Attempt {
        let (begun_at, begun) = (Timestamp::now(), Instant::now());
        let sent = self.send(delivery, begun_at).await;
        let latency = begun.elapsed();
        match sent {
            Ok(response) => {
                let status = Some(response.status().as_u16());
                Attempt {
                    begun_at,
                    latency,
                    status,
                    error: None,
                    answer: read_beginning(response).await,
                }
            }
            Err(error) => Attempt {
                begun_at,
                latency,
                status: None,
                error: Some(error),
                answer: String::new(),
            },
        }
    }

    async fn send(&self, delivery: &Delivery, now: Timestamp) -> Result<Response, AttemptError> {
        let client = self.client.as_ref().ok_or(AttemptError::NotSent)?;
        let url = Url::parse(&delivery.url).map_err(|_| AttemptError::NotSent)?;
        if !self.allow_private && !target::is_public(&url) {
            return Err(AttemptError::AddressRefused);
        }
        let id = delivery.event_id.as_str();
        let timestamp = (now.micros() / 1_000_000).to_string();
        let body = match delivery.format {
            EndpointFormat::Standard => delivery.body.clone(),
            EndpointFormat::Flat => flat::body(&delivery.body).ok_or(AttemptError::NotSent)?,
        };
        let signatures = signature::sign_all(&delivery.secrets, id, &timestamp, &body);
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                signatures.ok_or(AttemptError::NotSent)?,
            )
            .body(body);
        request.send().await.map_err(|error| kind(&error))
    }
}

fn kind(error: &reqwest::Error) -> AttemptError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(one) = cause {
        if one.is::<NoPublicAddress>() {
            return AttemptError::AddressRefused;
        }
        cause = one.source();
    }
    match error {
        error if error.is_timeout() => AttemptError::Timeout,
        error if error.is_connect() => AttemptError::NoConnection,
        _ => AttemptError::BrokenAnswer,
    }
}

/// Returns the first bytes of a response body that arrive in time.
async fn read_beginning(mut response: Response) -> String {
    let (mut kept, mut read) = (Vec::new(), 0);
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            let room = MAX_STORED_BYTES - kept.len();
            kept.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if read >= MAX_READ_BYTES {
                break;
            }
        }
    };
    // A partial body is good enough for the record of the attempt.
    let _ = tokio::time::timeout(BODY_TIMEOUT, reading).await;
    String::from_utf8_lossy(&kept).into_owned()
}
