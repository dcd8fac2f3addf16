//! Webhook receiver of the demo: verifies signatures and stores events until they are requested.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::mpsc;

use super::parties::Agent;

/// The receiver, together with the agent.
pub(super) struct Inbox {
    address: SocketAddr,
    secret: Arc<OnceLock<String>>,
    events: mpsc::UnboundedReceiver<Result<Value, String>>,
    kept: Vec<Value>,
    agent: Agent,
}

#[derive(Clone)]
struct Receiver {
    secret: Arc<OnceLock<String>>,
    events: mpsc::UnboundedSender<Result<Value, String>>,
}

impl Inbox {
    pub(super) async fn open(agent: Agent) -> Result<Self, String> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (sender, events) = mpsc::unbounded_channel();
        let secret = Arc::new(OnceLock::new());
        let receiver = Receiver {
            secret: secret.clone(),
            events: sender,
        };
        let router = Router::new()
            .route("/webhook", post(receive))
            .with_state(receiver);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            address,
            secret,
            events,
            kept: Vec::new(),
            agent,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/webhook", self.address)
    }

    pub(super) fn set_secret(&self, secret: String) {
        let _ = self.secret.set(secret);
    }

    /// Returns the first event of a type; waits for it if necessary.
    pub(super) async fn event(&mut self, wanted: &str) -> Result<Value, String> {
        let is_wanted = |event: &Value| event.get("type").and_then(Value::as_str) == Some(wanted);
        if let Some(index) = self.kept.iter().position(is_wanted) {
            return Ok(self.kept.remove(index));
        }
        loop {
            let event = self.events.recv().await.ok_or("the receiver stopped")??;
            if is_wanted(&event) {
                return Ok(event);
            }
            self.kept.push(event);
        }
    }

    pub(super) async fn agent_rings(&mut self) -> Result<String, String> {
        self.agent.wait_for_ringing().await
    }

    pub(super) async fn agent_receives_tone(&mut self) -> Result<(), String> {
        self.agent.wait_for_tone().await
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let secret = receiver
        .secret
        .get()
        .map(String::as_str)
        .unwrap_or_default();
    let event = verified(secret, &headers, &body);
    let status = if event.is_some() {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::UNAUTHORIZED
    };
    let _ = receiver
        .events
        .send(event.ok_or_else(|| "a webhook came with a wrong signature".to_owned()));
    status
}

/// Returns the event if its signature is valid by the Standard Webhooks rules.
fn verified(secret: &str, headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let key = hmac::Key::new(
        hmac::HMAC_SHA256,
        &STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?,
    );
    let signed = [
        header("webhook-id")?.as_bytes(),
        header("webhook-timestamp")?.as_bytes(),
        body,
    ]
    .join(&b'.');
    let mut signatures = header("webhook-signature")?
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"));
    let right = signatures.any(|signature| {
        STANDARD
            .decode(signature)
            .is_ok_and(|tag| hmac::verify(&key, &signed, &tag).is_ok())
    });
    right.then(|| serde_json::from_slice(body).ok())?
}
