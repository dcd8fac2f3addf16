//! Support for `Idempotency-Key`: a repeated request gets the stored response and is not executed again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Number, Value};
use tracing::Instrument as _;

use super::body;
use super::problem::{Code, FieldError, Problem};
use super::stored_body;
use crate::http::{RequestId, Success};
use crate::store::{
    Claim, GreenpinId, IdempotentRequest, KeyClaim, StoredAnswer, TenantStore, Timestamp,
};

const KEY_HEADER: &str = "idempotency-key";
/// Maximum length of a key, in characters.
pub const MAX_KEY_LENGTH: usize = 255;
/// Maximum size of a stored response, compressed, in bytes. Every response to a write is smaller, unless a client sends
/// long random names of fields.
pub const MAX_STORED_RESPONSE_BYTES: usize = 64 * 1024;
/// Time that a client waits for the release of its key.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(250);
/// Time for which the release is tried again. The claim ends soon after.
const RELEASE_RETRY_TIMEOUT: Duration = Duration::from_secs(50);
const RELEASE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum size of a response to a request with a key, in bytes.
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

/// Allocation written by an earlier request with the same key, whose response was lost. The handler returns the stored
/// allocation and writes nothing.
#[derive(Clone)]
pub(crate) struct WrittenEarlier(pub(crate) GreenpinId);

/// Extractor for the allocation that an earlier request with the same key has written.
pub(crate) type Earlier = Option<Extension<WrittenEarlier>>;

/// Executes a request, or replays the stored response of an earlier request with the same key.
pub(crate) async fn handle(
    store: TenantStore,
    now: Timestamp,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let writes = [Method::POST, Method::PUT, Method::DELETE].contains(request.method());
    let Some(key) = key(request.headers())?.filter(|_| writes) else {
        return Ok(next.run(request).await);
    };
    let (mut parts, body) = request.into_parts();
    let bytes = body::bytes(
        &parts.headers,
        body,
        body::max_bytes_for_path(parts.uri.path()),
    )
    .await?;
    // The handler gets the decoded body.
    parts.headers.remove(header::CONTENT_ENCODING);
    let path = parts
        .uri
        .path_and_query()
        .map_or(parts.uri.path(), |path| path.as_str());
    let content = canonical_body(&bytes);
    let path = path_in_tenant(path);
    let idempotent = store.idempotent_request(&key, parts.method.as_str(), path, &content);
    match store.claim_key(&idempotent, now).await? {
        KeyClaim::Claimed(claim) => {
            parts.extensions.insert(store.claimed(&idempotent, claim));
            let request_id = parts
                .extensions
                .get::<RequestId>()
                .map(|id| id.0.clone())
                .unwrap_or_default();
            let claimed = ClaimedRequest {
                store,
                idempotent,
                claim,
                request_id,
            };
            claimed
                .run(Request::from_parts(parts, Body::from(bytes)), next)
                .await
        }
        KeyClaim::Answered(stored) => Ok(replay(stored)),
        KeyClaim::Written(written) => {
            parts.extensions.insert(WrittenEarlier(written));
            let request = Request::from_parts(parts, Body::from(bytes));
            Ok(mark_replayed(next.run(request).await))
        }
        KeyClaim::InUse => Err(Problem::plain(Code::IdempotencyKeyInUse).retry_after(1)),
        KeyClaim::Reused => Err(Problem::plain(Code::IdempotencyKeyReused)),
    }
}

/// Returns the content by which two bodies are compared: for JSON without the order of its fields, white space, and
/// spelling of texts and whole numbers.
fn canonical_body(bytes: &[u8]) -> Vec<u8> {
    let canonical = serde_json::from_slice(bytes).map(canonical);
    canonical
        .and_then(|value| serde_json::to_vec(&value))
        .unwrap_or_else(|_| bytes.to_vec())
}

fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(canonical).collect(),
        Value::Object(object) => {
            let sorted: BTreeMap<String, Value> = object
                .into_iter()
                .map(|(name, value)| (name, canonical(value)))
                .collect();
            sorted.into_iter().collect()
        }
        Value::Number(number) => whole(&number).map_or(Value::Number(number), Value::from),
        value => value,
    }
}

/// Returns a whole number that is written as a fraction or with an exponent, such as `3.0`.
#[allow(clippy::cast_possible_truncation)]
fn whole(number: &Number) -> Option<i64> {
    let fraction = number.is_f64().then(|| number.as_f64()).flatten();
    let value = fraction.filter(|value| value.fract() == 0.0)?;
    // Every whole number up to 2^53 is exact.
    let is_exact = value.abs() <= 9_007_199_254_740_992.0;
    is_exact.then_some(value as i64)
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    let valid = |text: &&str| {
        (1..=MAX_KEY_LENGTH).contains(&text.len())
            && text.bytes().all(|b| (0x20..0x7f).contains(&b))
    };
    let text = first
        .to_str()
        .ok()
        .filter(valid)
        .filter(|_| values.next().is_none());
    let fault = || FieldError {
        field: "Idempotency-Key".into(),
        code: Code::InvalidValue,
        message: "must be a single value of 1 to 255 printable ASCII characters".into(),
    };
    text.map(|text| Some(text.to_owned()))
        .ok_or_else(|| Problem::from_fields(vec![fault()]))
}

/// Request with a claimed idempotency key.
struct ClaimedRequest {
    store: TenantStore,
    idempotent: IdempotentRequest,
    claim: Claim,
    request_id: String,
}

impl ClaimedRequest {
    /// Executes the request and stores the response. It completes even if the client disconnects, because the
    /// client will retry.
    async fn run(self, request: Request, next: Next) -> Result<Response, Problem> {
        let (store, idempotent, claim) = (self.store.clone(), self.idempotent.clone(), self.claim);
        let work = async move { self.store_response(next.run(request).await).await };
        match tokio::spawn(work.in_current_span()).await {
            Ok(response) => response,
            Err(_) => {
                release(store, idempotent, claim).await;
                Err(Problem::plain(Code::Internal))
            }
        }
    }

    async fn store_response(self, mut response: Response) -> Result<Response, Problem> {
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            problem.render(&mut response, &self.request_id);
        }
        let status = response.status();
        if !is_final(status) {
            release(self.store, self.idempotent, self.claim).await;
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, MAX_RESPONSE_BYTES)
            .await
            .map_err(|_| Problem::plain(Code::Internal))?;
        let content_type = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let body = stored_body::pack(&bytes);
        let is_too_large = body.len() > MAX_STORED_RESPONSE_BYTES;
        if is_too_large && !status.is_success() {
            // Nothing was written: the request can run again.
            release(self.store, self.idempotent, self.claim).await;
            return Ok(Response::from_parts(parts, Body::from(bytes)));
        }
        if is_too_large {
            tracing::warn!(
                bytes = bytes.len(),
                "response of an idempotent request is too large; storing its status only"
            );
        }
        let stored = StoredAnswer {
            status: status.as_u16(),
            content_type: content_type.unwrap_or("application/json").to_owned(),
            body: if is_too_large { String::new() } else { body },
        };
        if let Err(error) = self
            .store
            .store_answer(&self.idempotent, self.claim, stored)
            .await
        {
            // The change is already durable. An error here would misreport it as failed.
            tracing::error!(%error, "cannot store the response of an idempotent request");
        }
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }
}

/// Releases a key, in the background if the database takes longer than [`RELEASE_TIMEOUT`]: the client has waited for it
/// once.
async fn release(store: TenantStore, idempotent: IdempotentRequest, claim: Claim) {
    let releasing = tokio::spawn(async move {
        let until = Instant::now() + RELEASE_RETRY_TIMEOUT;
        while let Err(error) = store.release_key(&idempotent, claim).await {
            if Instant::now() >= until {
                tracing::warn!(%error, "cannot release an idempotency key; it is free a minute after its use");
                return;
            }
            tokio::time::sleep(RELEASE_RETRY_INTERVAL).await;
        }
    });
    let _ = tokio::time::timeout(RELEASE_TIMEOUT, releasing).await;
}

/// Returns a function that makes the successful response to a write as it is stored with its key.
pub(crate) fn stored_success<T, R: Serialize>(
    response_of: impl Fn(&T) -> R,
) -> impl Fn(&T) -> StoredAnswer {
    move |written| {
        let response = response_of(written);
        let body = serde_json::to_vec(&Success { response }).unwrap_or_default();
        StoredAnswer {
            status: StatusCode::OK.as_u16(),
            content_type: "application/json".to_owned(),
            body: stored_body::pack(&body),
        }
    }
}

/// Returns `true` for a response that a repeated request gets again: a success, or a fault of the request itself. After
/// any other one the same request can succeed later.
fn is_final(status: StatusCode) -> bool {
    status.is_success() || [400, 422].contains(&status.as_u16())
}

/// Builds a response from a stored response.
fn replay(stored: StoredAnswer) -> Response {
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, stored_body::unpack(stored.body)).into_response();
    if let Ok(content_type) = HeaderValue::from_str(&stored.content_type) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    mark_replayed(response)
}

fn mark_replayed(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}

/// Returns a path without `/v1/tenants/{tenant_id}`. Stored requests have this form.
fn path_in_tenant(path: &str) -> &str {
    let start = path.match_indices('/').nth(3).map_or(0, |(start, _)| start);
    path.get(start..).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing;
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;

    use super::*;
    use crate::store::{Database, NewTenant, Store, StoreOptions, TenantId, TenantSettings};

    /// Handler with a count of its executions and a signal to continue.
    #[derive(Default)]
    struct Handler {
        ran: AtomicU32,
        running: Notify,
        go_on: Notify,
    }

    async fn tenant(folder: &TempDir) -> TenantStore {
        let path = folder.path().join("greenpin.db");
        let key_file = folder.path().join("master.key");
        let store = Store::open(&StoreOptions::new(Database::File(path), key_file)).unwrap();
        let tenant_id = TenantId::parse("acme").unwrap();
        let new = NewTenant {
            tenant_id: tenant_id.clone(),
            account_sid: "AC1".into(),
            token: None,
            settings: TenantSettings::default(),
            webhooks: Vec::new(),
        };
        store
            .create_tenant(new, Timestamp::now())
            .await
            .map_err(|error| error.to_string())
            .unwrap();
        store.tenant(tenant_id)
    }

    /// Starts a server: the first request fails as its path describes, later requests succeed.
    async fn server(store: TenantStore, handler: Arc<Handler>) -> SocketAddr {
        let first = move |handler: Arc<Handler>| handler.ran.fetch_add(1, Ordering::SeqCst) == 0;
        let (refused, panicked, slow) = (handler.clone(), handler.clone(), handler);
        let router = Router::new()
            .route(
                "/refused",
                routing::post(move || async move {
                    if first(refused) {
                        StatusCode::SERVICE_UNAVAILABLE
                    } else {
                        StatusCode::CREATED
                    }
                }),
            )
            .route(
                "/panicked",
                routing::post(move || async move {
                    assert!(!first(panicked), "simulated panic");
                    StatusCode::CREATED
                }),
            )
            .route(
                "/slow",
                routing::post(move || async move {
                    first(slow.clone());
                    slow.running.notify_one();
                    slow.go_on.notified().await;
                    StatusCode::CREATED
                }),
            )
            .layer(from_fn(move |request, next| {
                handle(store.clone(), Timestamp::now(), request, next)
            }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(crate::http::serve(
            listener,
            router,
            crate::http::ServingOptions::default(),
            std::future::pending(),
        ));
        address
    }

    async fn send(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    #[test]
    fn bodies_are_compared_as_json() {
        let same = |one: &str, other: &str| {
            canonical_body(one.as_bytes()) == canonical_body(other.as_bytes())
        };
        let body = r#"{"a":1,"b":[true,{"c":"x","d":null}]}"#;
        for other in [
            r#" { "b" : [ true, { "d":null, "c":"\u0078" } ],
 "a": 1.0 } "#,
            r#"{"a":10e-1,"b":[true,{"c":"x","d":null}]}"#,
        ] {
            assert!(same(body, other), "{other}");
        }
        for other in [
            r#"{"a":1.5,"b":[true,{"c":"x","d":null}]}"#,
            r#"{"a":"1","b":[true,{"c":"x","d":null}]}"#,
            r#"{"a":1,"b":[{"c":"x","d":null},true]}"#,
            r#"{"a":1,"b":[true,{"c":"x"}]}"#,
            "not JSON",
            "",
        ] {
            assert!(!same(body, other), "{other}");
        }
        assert!(same("not JSON", "not JSON") && !same("not JSON", "not  JSON"));
        assert!(!same("9007199254740993", "9007199254740992"));
    }

    async fn post(address: SocketAddr, path: &str) -> String {
        let mut response = String::new();
        send(address, path)
            .await
            .read_to_string(&mut response)
            .await
            .unwrap();
        response
    }

    #[tokio::test]
    async fn a_server_error_is_not_stored() {
        for (path, first) in [("/refused", "503"), ("/panicked", "500")] {
            let folder = tempfile::tempdir().unwrap();
            let handler = Arc::new(Handler::default());
            let address = server(tenant(&folder).await, handler.clone()).await;
            assert!(
                post(address, path)
                    .await
                    .starts_with(&format!("HTTP/1.1 {first}"))
            );
            for replayed in [false, true] {
                let response = post(address, path).await;
                assert!(response.starts_with("HTTP/1.1 201"), "{response}");
                assert_eq!(response.contains("idempotency-replayed: true"), replayed);
            }
            assert_eq!(handler.ran.load(Ordering::SeqCst), 2);
        }
    }

    #[tokio::test]
    async fn a_response_is_stored_even_if_the_client_disconnects() {
        let folder = tempfile::tempdir().unwrap();
        let handler = Arc::new(Handler::default());
        let address = server(tenant(&folder).await, handler.clone()).await;
        let gone = send(address, "/slow").await;
        handler.running.notified().await;
        drop(gone);
        assert!(
            post(address, "/slow").await.starts_with("HTTP/1.1 409"),
            "the first request is in progress"
        );
        handler.go_on.notify_one();
        let mut response = post(address, "/slow").await;
        while response.starts_with("HTTP/1.1 409") {
            response = post(address, "/slow").await;
        }
        assert!(
            response.starts_with("HTTP/1.1 201") && response.contains("idempotency-replayed: true"),
            "{response}"
        );
        assert_eq!(handler.ran.load(Ordering::SeqCst), 1);
    }
}
