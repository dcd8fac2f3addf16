//! Webhook receiver that stores all webhooks.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use serde_json::Value;

use super::documented_events::assert_documented;
use super::server::TIMEOUT;

/// A received webhook.
pub struct ReceivedWebhook {
    /// Headers, with names in lower case.
    pub headers: HashMap<String, String>,
    /// Unchanged body.
    pub body: String,
}

impl ReceivedWebhook {
    /// Parses the event. Unless it has the flat format, it must be as the OpenAPI document says.
    pub fn event(&self) -> Value {
        let event: Value = serde_json::from_str(&self.body).unwrap();
        if event["data"].is_object() {
            assert_documented(&event);
        }
        event
    }
}

/// Receiver that responds to every request with 204.
pub struct WebhookInbox {
    /// URL of the receiver.
    pub url: String,
    webhooks: Receiver<ReceivedWebhook>,
    /// Webhooks returned or skipped so far, in order.
    pub received: Vec<ReceivedWebhook>,
}

impl WebhookInbox {
    /// Starts a receiver.
    pub fn open() -> Self {
        super::time_limit::watch();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, webhooks) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream, &sender));
            }
        });
        Self {
            url,
            webhooks,
            received: Vec::new(),
        }
    }

    /// Waits for the next webhook.
    pub fn next_webhook(&mut self) -> &ReceivedWebhook {
        let webhook = self
            .webhooks
            .recv_timeout(TIMEOUT)
            .expect("no webhook received");
        self.received.push(webhook);
        self.received.last().expect("just pushed")
    }

    /// Waits for the next event of a type. Skips other events.
    pub fn wait_for_event(&mut self, wanted: &str) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let types = || {
                self.received
                    .iter()
                    .map(|webhook| webhook.event()["type"].to_string())
                    .collect::<Vec<_>>()
            };
            let webhook = self.webhooks.recv_timeout(left);
            let webhook =
                webhook.unwrap_or_else(|_| panic!("no {wanted}; received: {:?}", types()));
            let event = webhook.event();
            self.received.push(webhook);
            if event["type"] == wanted {
                return event;
            }
        }
    }
}

fn serve(stream: TcpStream, webhooks: &Sender<ReceivedWebhook>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut headers = HashMap::new();
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        // Sent before the response, so that consequences of the response arrive later.
        webhooks
            .send(ReceivedWebhook {
                headers,
                body: String::from_utf8(body).ok()?,
            })
            .ok()?;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

/// Returns `true` if a webhook has a valid Standard Webhooks signature.
pub fn is_signed(webhook: &ReceivedWebhook, secret: &str) -> bool {
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    let header = |name: &str| webhook.headers[name].as_str();
    let signed = format!(
        "{}.{}.{}",
        header("webhook-id"),
        header("webhook-timestamp"),
        webhook.body
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(tag.as_ref()));
    header("webhook-signature")
        .split(' ')
        .any(|signature| signature == expected)
}
