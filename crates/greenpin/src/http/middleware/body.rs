//! Reads request bodies, with limits on size, time and depth. Decodes gzip. Rejects duplicate keys in JSON.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::content_encoding::{DecodeError, Encoding};
use super::problem::{Code, Problem};
use super::validation::Fields;

/// Maximum size of a JSON body, in bytes.
pub const MAX_JSON_BYTES: usize = 64 * 1024;
/// Maximum size of an uploaded prompt, in bytes. The samples of the longest prompt take 960,000 bytes; the rest is for
/// other chunks of a WAV file.
pub const MAX_WAV_BYTES: usize = 1024 * 1024;
/// Names of UTF-8, and of its subset ASCII, in `charset`.
const UTF8_NAMES: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];
/// Maximum time to receive a whole body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Reads a body and requires a JSON object.
pub(crate) async fn json_object(
    headers: &HeaderMap,
    body: Body,
) -> Result<Map<String, Value>, Problem> {
    object(json(headers, body).await?)
}

/// Reads a body and requires a JSON array.
pub(crate) async fn json_array(headers: &HeaderMap, body: Body) -> Result<Vec<Value>, Problem> {
    match json(headers, body).await? {
        Value::Array(items) => Ok(items),
        _ => Err(Problem::new(
            Code::InvalidRequest,
            "The body must be a JSON array.",
        )),
    }
}

/// Reads a body and requires it to be empty or an object without fields.
pub(crate) async fn empty(headers: &HeaderMap, body: Body) -> Result<(), Problem> {
    let bytes = bytes(headers, body, MAX_JSON_BYTES).await?;
    if bytes.is_empty() {
        return Ok(());
    }
    Fields::new(object(parse(&bytes)?)?).finish()
}

async fn json(headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    require_json(headers)?;
    parse(&bytes(headers, body, MAX_JSON_BYTES).await?)
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    match is_json(headers) {
        true => Ok(()),
        false => Err(Problem::new(
            Code::UnsupportedMediaType,
            "The body must be application/json in UTF-8.",
        )),
    }
}

/// Reads a `text/csv` body of at most `max` bytes.
pub(crate) async fn csv(headers: &HeaderMap, body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    bytes_of_type(headers, body, &["text/csv"], max).await
}

/// Reads a WAV file of at most `max` bytes.
pub(crate) async fn wav(headers: &HeaderMap, body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    bytes_of_type(
        headers,
        body,
        &["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"],
        max,
    )
    .await
}

async fn bytes_of_type(
    headers: &HeaderMap,
    body: Body,
    types: &[&str],
    max: usize,
) -> Result<Vec<u8>, Problem> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !types
        .iter()
        .any(|expected| media_type.eq_ignore_ascii_case(expected))
    {
        let expected = types.first().copied().unwrap_or_default();
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("The body must be {expected}."),
        ));
    }
    bytes(headers, body, max).await
}

/// Returns the maximum body size for a path, in bytes.
pub(crate) fn max_bytes_for_path(path: &str) -> usize {
    if path.contains("/prompts/") {
        MAX_WAV_BYTES
    } else {
        MAX_JSON_BYTES
    }
}

/// Reads a body of at most `max` bytes, before and after decoding, without parsing it.
pub(crate) async fn bytes(headers: &HeaderMap, body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > max as u64) {
        return Err(too_large(max));
    }
    let encoding = Encoding::of(headers)?;
    let encoded = read_with_timeout(body, max).await?;
    encoding.decode(encoded, max).map_err(|error| match error {
        DecodeError::TooLarge => too_large(max),
        DecodeError::Invalid => Problem::plain(Code::InvalidEncoding),
    })
}

async fn read_with_timeout(body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    let late = |_| {
        Problem::new(
            Code::RequestTimeout,
            "The body must arrive within 20 seconds.",
        )
    };
    tokio::time::timeout(BODY_TIMEOUT, read(body, max))
        .await
        .map_err(late)?
}

/// Reads an optional body. A body that is present must be a JSON object.
pub(crate) async fn optional_json_object(
    headers: &HeaderMap,
    body: Body,
) -> Result<Map<String, Value>, Problem> {
    let bytes = bytes(headers, body, MAX_JSON_BYTES).await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    require_json(headers)?;
    object(parse(&bytes)?)
}

fn too_large(max: usize) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("The body must have at most {max} bytes."),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            let charset = value.trim_matches('"');
            UTF8_NAMES
                .iter()
                .any(|name| charset.eq_ignore_ascii_case(name))
        }
        _ => true,
    });
    json && utf8
}

async fn read(mut body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let frame = frame.map_err(|_| Problem::new(Code::InvalidJson, "The body ended early."))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len().saturating_add(data.len()) > max {
                return Err(too_large(max));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let read = serde_json::from_slice(bytes).map(|StrictValue(value)| value);
    // The parser's message contains no content of the body.
    read.map_err(|error| {
        Problem::new(
            Code::InvalidJson,
            format!("The body is not valid JSON: {error}."),
        )
    })
}

fn object(value: Value) -> Result<Map<String, Value>, Problem> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Problem::new(
            Code::InvalidRequest,
            "The body must be a JSON object.",
        )),
    }
}

/// JSON value without duplicate keys. JSON does not define the meaning of a duplicate key.
struct StrictValue(Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(StrictValue)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(StrictValue(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let StrictValue(value) = entries.next_value()?;
            if object.insert(key, value).is_some() {
                return Err(serde::de::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_key_is_rejected_at_any_depth() {
        assert!(parse(br#"{"a": 1, "b": [{"c": null}]}"#).is_ok());
        assert!(parse(br#"{"a": 1, "a": 1}"#).is_err());
        assert!(parse(br#"{"b": [{"c": 1, "c": 2}]}"#).is_err());
    }

    #[test]
    fn a_value_other_than_a_json_object_is_rejected() {
        let deep = "[".repeat(60_000);
        for text in [
            "",
            "{",
            "[]",
            "1",
            "{} {}",
            "{\"a\": NaN}",
            "{'a': 1}",
            &deep,
        ] {
            assert!(parse(text.as_bytes()).and_then(object).is_err());
        }
        assert!(parse(b"{\"a\": \"\xff\"}").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_times_out() {
        let body = || {
            Body::from_stream(futures_util::stream::pending::<
                Result<Vec<u8>, std::io::Error>,
            >())
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        let late = Problem::new(
            Code::RequestTimeout,
            "The body must arrive within 20 seconds.",
        );
        assert_eq!(json_object(&headers, body()).await, Err(late.clone()));
        assert_eq!(empty(&headers, body()).await, Err(late));
    }

    #[test]
    fn each_spelling_of_utf_8_is_json() {
        let is_json = |content_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            super::is_json(&headers)
        };
        for json in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=utf8",
            "application/json; charset=\"utf-8\"",
            "application/json; profile=x; charset=us-ascii",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["application/json; charset=latin1", "text/json", ""] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[tokio::test]
    async fn an_optional_body_can_be_empty_with_any_content_type() {
        let read = async |content_type: Option<&str>, body: &'static str| {
            let mut headers = HeaderMap::new();
            if let Some(content_type) = content_type {
                headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            }
            let body =
                Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(body)]));
            let read = optional_json_object(&headers, body).await;
            read.map(|object| object.len())
                .map_err(|problem| problem.code())
        };
        for content_type in [None, Some("application/json"), Some("text/plain")] {
            assert_eq!(read(content_type, "").await, Ok(0));
        }
        assert_eq!(read(Some("application/json"), "{\"a\": 1}").await, Ok(1));
        let refused = Err(Code::UnsupportedMediaType);
        assert_eq!(read(None, "{}").await, refused);
        assert_eq!(read(Some("text/plain"), "{}").await, refused);
    }
}
