//! `/calls/{call_sid}/recording`: the recorded audio of a call.

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use crate::http::Api;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::conditional::Validators;
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::range::{RequestedRange, parse_range};
use crate::http::openapi::problems::problems;
use crate::recordings::{ReadError, Recording};
use crate::store::{CallSid, TenantStore};

/// `Retry-After` for a recording during its upload, in seconds.
const UPLOAD_RETRY_SECONDS: u64 = 5;

problems! {
    RecordingProblems: [NotFound, RangeNotSatisfiable, RecordingNotReady];
}

/// Download a recording
///
/// Returns the audio of a call in two channels, the caller on the left and the callee on the right. The format is
/// WAV, or Ogg Opus (RFC 7845) if the operator has chosen it; see `Content-Type`. A `Range` header can request one
/// range of bytes; with `If-Range`, only of the same recording. Other forms of `Range` are ignored, as RFC 9110
/// allows. `If-None-Match` and `If-Modified-Since` give 304 if you already have the recording.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/calls/{call_sid}/recording",
    operation_id = "read_recording",
    tag = "Calls",
    params(
        ("Range" = Option<String>, Header, description = "Range of bytes (RFC 9110, section 14).", example = "bytes=0-65535"),
        ("If-Range" = Option<String>, Header, description = "`ETag` or `Last-Modified` of the part you have. If the recording is another one, the response is the whole recording.", example = "\"65a1b2c3d4e5f-1b2c\""),
        ("If-None-Match" = Option<String>, Header, description = "`ETag` of the recording you have.", example = "\"65a1b2c3d4e5f-1b2c\""),
    ),
    responses(
        AudioResponses,
        RecordingProblems,
    )
)]
pub(crate) async fn read(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, call_sid)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let call_sid = CallSid::parse(&call_sid).ok_or_else(not_found)?;
    serve(&store, &api, &call_sid, &method, &headers).await
}

/// A WAV file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary, content_media_type = "audio/wav")]
pub(crate) struct Audio(#[allow(dead_code)] Vec<u8>);

/// A recording or a part of it.
#[derive(utoipa::IntoResponses)]
#[allow(dead_code, reason = "it documents responses and is never constructed")]
pub(crate) enum AudioResponses {
    /// The whole recording.
    #[response(status = 200, content_type = "audio/wav",
        headers(
            ("Accept-Ranges" = String, description = "`bytes`"),
            ("ETag" = String, description = "Identifies this recording, for `If-Range` and `If-None-Match`."),
            ("Last-Modified" = String, description = "End of the call."),
        ))]
    Whole(#[to_schema] Audio),
    /// The requested range of bytes.
    #[response(status = 206, content_type = "audio/wav",
        headers(
            ("Accept-Ranges" = String, description = "`bytes`"),
            ("Content-Range" = String, description = "`bytes FIRST-LAST/LENGTH`"),
            ("ETag" = String, description = "Identifies this recording, for `If-Range` and `If-None-Match`."),
            ("Last-Modified" = String, description = "End of the call."),
        ))]
    Part(#[to_schema] Audio),
    /// You already have the recording (`If-None-Match`, `If-Modified-Since`).
    #[response(status = 304)]
    NotModified,
}

/// Returns the recording of a call, or the requested range. HEAD gets the headers of the whole recording.
pub(crate) async fn serve(
    store: &TenantStore,
    api: &Api,
    call_sid: &CallSid,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let record = store.call(call_sid).await?.ok_or_else(not_found)?;
    let location = record.recording.ok_or_else(not_found)?.location;
    let recording = api
        .recordings
        .open(&location, &store.recording_key().await?)
        .await?;
    let length = recording.length;
    // A recording never changes after the end of its call.
    let finished_at = record.ended_at.unwrap_or(record.started_at);
    let validators = Validators::new(finished_at.micros(), length);
    let mut response = if validators.is_not_modified(headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if method == Method::HEAD {
        audio_head(&recording, length, StatusCode::OK)
    } else {
        match requested_range(&validators, headers, length) {
            RequestedRange::Whole => {
                audio_response(recording, 0..=length.saturating_sub(1), StatusCode::OK).await?
            }
            RequestedRange::Bytes(bytes) => {
                audio_response(recording, bytes, StatusCode::PARTIAL_CONTENT).await?
            }
            RequestedRange::Unsatisfiable => return Ok(unsatisfiable(length)),
        }
    };
    validators.insert_headers(response.headers_mut());
    Ok(response)
}

fn requested_range(validators: &Validators, headers: &HeaderMap, length: u64) -> RequestedRange {
    let range = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    parse_range(range.filter(|_| validators.allows_range(headers)), length)
}

fn unsatisfiable(length: u64) -> Response {
    let mut response = Problem::plain(Code::RangeNotSatisfiable).into_response();
    let range = format!("bytes */{length}");
    insert_header(&mut response, header::CONTENT_RANGE, &range);
    response
}

async fn audio_response(
    recording: Recording,
    bytes: RangeInclusive<u64>,
    status: StatusCode,
) -> Result<Response, Problem> {
    let (first, last, length) = (*bytes.start(), *bytes.end(), recording.length);
    let count = if length == 0 {
        0
    } else {
        last.saturating_sub(first).saturating_add(1)
    };
    let mut response = audio_head(&recording, count, status);
    let stream = recording
        .read(first, count)
        .await
        .map_err(ReadError::from)?;
    *response.body_mut() = Body::from_stream(stream);
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {first}-{last}/{length}");
        insert_header(&mut response, header::CONTENT_RANGE, &range);
    }
    Ok(response)
}

/// Returns a response without a body, for `count` bytes of a recording.
fn audio_head(recording: &Recording, count: u64, status: StatusCode) -> Response {
    let mut response = status.into_response();
    insert_header(&mut response, header::CONTENT_TYPE, recording.media_type);
    insert_header(&mut response, header::ACCEPT_RANGES, "bytes");
    insert_header(&mut response, header::CONTENT_LENGTH, &count.to_string());
    response
}

fn insert_header(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone => not_found(),
            ReadError::NotUploaded => {
                let detail = "The node with the recording has not uploaded it yet. Retry later.";
                Self::new(Code::RecordingNotReady, detail).retry_after(UPLOAD_RETRY_SECONDS)
            }
            ReadError::Io(error) => {
                tracing::error!(%error, "cannot read a recording");
                Self::plain(Code::Internal)
            }
        }
    }
}
