//! `/calls/{call_sid}/recording`: the recorded audio of a call.

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use crate::http::Api;
use crate::http::middleware::auth::Tenant;
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
/// range of bytes. Other forms of `Range` are ignored, as RFC 9110 allows.
#[utoipa::path(
    get,
    path = "/calls/{call_sid}/recording",
    operation_id = "read_recording",
    tag = "Calls",
    params(
        ("Range" = Option<String>, Header, description = "Range of bytes (RFC 9110, section 14).", example = "bytes=0-65535"),
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
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let call_sid = CallSid::parse(&call_sid).ok_or_else(not_found)?;
    serve(&store, &api, &call_sid, &headers).await
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
        headers(("Accept-Ranges" = String, description = "`bytes`")))]
    Whole(#[to_schema] Audio),
    /// The requested range of bytes.
    #[response(status = 206, content_type = "audio/wav",
        headers(
            ("Accept-Ranges" = String, description = "`bytes`"),
            ("Content-Range" = String, description = "`bytes FIRST-LAST/LENGTH`"),
        ))]
    Part(#[to_schema] Audio),
}

/// Returns the recording of a call, or the requested range.
pub(crate) async fn serve(
    store: &TenantStore,
    api: &Api,
    call_sid: &CallSid,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let record = store.call(call_sid).await?.ok_or_else(not_found)?;
    let location = record.recording.ok_or_else(not_found)?.location;
    let recording = api
        .recordings
        .open(&location, &store.recording_key().await?)
        .await?;
    let length = recording.length;
    let range = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    match parse_range(range, length) {
        RequestedRange::Whole => {
            audio_response(recording, 0..=length.saturating_sub(1), StatusCode::OK).await
        }
        RequestedRange::Bytes(bytes) => {
            audio_response(recording, bytes, StatusCode::PARTIAL_CONTENT).await
        }
        RequestedRange::Unsatisfiable => {
            let mut response = Problem::plain(Code::RangeNotSatisfiable).into_response();
            insert_header(
                &mut response,
                header::CONTENT_RANGE,
                &format!("bytes */{length}"),
            );
            Ok(response)
        }
    }
}

async fn audio_response(
    recording: Recording,
    bytes: RangeInclusive<u64>,
    status: StatusCode,
) -> Result<Response, Problem> {
    let (first, last, length) = (*bytes.start(), *bytes.end(), recording.length);
    let media_type = recording.media_type;
    let count = if length == 0 {
        0
    } else {
        last.saturating_sub(first).saturating_add(1)
    };
    let stream = recording
        .read(first, count)
        .await
        .map_err(ReadError::from)?;
    let mut response = (status, Body::from_stream(stream)).into_response();
    insert_header(&mut response, header::CONTENT_TYPE, media_type);
    insert_header(&mut response, header::ACCEPT_RANGES, "bytes");
    insert_header(&mut response, header::CONTENT_LENGTH, &count.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        insert_header(
            &mut response,
            header::CONTENT_RANGE,
            &format!("bytes {first}-{last}/{length}"),
        );
    }
    Ok(response)
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
