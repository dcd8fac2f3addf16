//! One attempt: the POST and its outcome.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use url::Url;

use super::client::WebhookClient;
use super::target;
use super::{RESPONSE_TIMEOUT, Resolver, flat, signature};
use crate::store::{Attempt, AttemptError, Delivery, EndpointFormat, Timestamp};

/// Bytes of a response body that are stored.
pub const MAX_STORED_BYTES: usize = 512;
/// Bytes of a response body that are read, so that its connection can be reused.
pub const MAX_READ_BYTES: usize = 16 * 1024;
/// Time limit for the body of a response. The body does not decide the outcome.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum `Retry-After` of a receiver that is respected.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Sender of events.
pub(super) struct Poster {
    client: WebhookClient,
    allow_private: bool,
}

/// Attempt with the wish of the receiver.
pub(super) struct Posted {
    pub(super) attempt: Attempt,
    /// Pause that the receiver asks for (RFC 9110, section 10.2.3).
    pub(super) retry_after: Option<Duration>,
}

impl Poster {
    pub(super) fn new(allow_private: bool, resolver: Option<Resolver>) -> Self {
        Self {
            client: WebhookClient::new(resolver, allow_private),
            allow_private,
        }
    }

    /// Sends one event. Only a status from 200 to 299 is a success.
    pub(super) async fn post(&self, delivery: &Delivery) -> Posted {
        let (begun_at, begun) = (Timestamp::now(), Instant::now());
        let sending = self.send(delivery, begun_at);
        let sent = tokio::time::timeout(RESPONSE_TIMEOUT, sending).await;
        let latency = begun.elapsed();
        let attempt = Attempt {
            begun_at,
            latency,
            status: None,
            error: None,
            answer: String::new(),
        };
        match sent.unwrap_or(Err(AttemptError::Timeout)) {
            Ok(response) => Posted {
                retry_after: retry_after(response.headers(), SystemTime::now()),
                attempt: Attempt {
                    status: Some(response.status().as_u16()),
                    answer: read_beginning(response).await,
                    ..attempt
                },
            },
            Err(error) => Posted {
                retry_after: None,
                attempt: Attempt {
                    error: Some(error),
                    ..attempt
                },
            },
        }
    }

    async fn send(
        &self,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Response<Incoming>, AttemptError> {
        let url = Url::parse(&delivery.url).map_err(|_| AttemptError::NotSent)?;
        if !self.allow_private && !target::is_public(&url) {
            return Err(AttemptError::AddressRefused);
        }
        let request = request(delivery, &url, now).ok_or(AttemptError::NotSent)?;
        self.client.send(request).await
    }
}

/// Builds the request of a delivery.
fn request(delivery: &Delivery, url: &Url, now: Timestamp) -> Option<Request<Full<Bytes>>> {
    let id = delivery.event_id.as_str();
    let timestamp = (now.micros() / 1_000_000).to_string();
    let body = match delivery.format {
        EndpointFormat::Standard => delivery.body.clone(),
        EndpointFormat::Flat => flat::body(&delivery.body)?,
    };
    let signatures = signature::sign_all(&delivery.secrets, id, &timestamp, &body)?;
    let mut address = url.clone();
    address.set_fragment(None);
    let request = Request::builder()
        .method(Method::POST)
        .uri(address.as_str())
        .header(USER_AGENT, concat!("greenpin/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signatures);
    request.body(Full::from(body)).ok()
}

/// Reads `Retry-After`: a number of seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A number that does not fit stands for the greatest (RFC 9111, section 1.2.2).
        Err(_) if is_number => Duration::MAX,
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

/// Returns the first bytes of a response body that arrive in time.
async fn read_beginning(response: Response<Incoming>) -> String {
    let (mut kept, mut read) = (Vec::new(), 0_usize);
    let mut body = response.into_body();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            read = read.saturating_add(chunk.len());
            let room = MAX_STORED_BYTES.saturating_sub(kept.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_that_a_receiver_asks_for_is_seconds_or_a_date_up_to_a_day() {
        let now = httpdate::parse_http_date("Fri, 27 Nov 2026 10:00:00 GMT").unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Fri, 27 Nov 2026 10:05:00 GMT", Some(300)),
            ("Fri, 27 Nov 2026 09:00:00 GMT", Some(0)),
            ("Fri, 27 Nov 2099 10:00:00 GMT", Some(86_400)),
            ("18446744073709551615", Some(86_400)),
            ("18446744073709551616", Some(86_400)),
            ("-1", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
