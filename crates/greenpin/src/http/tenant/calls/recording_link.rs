//! `/calls/{call_sid}/recording/link` and `/v1/recordings/{link}`: temporary links to a recording, without
//! credentials.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::recording;
use super::recording::AudioResponses;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::field::{Field, Integer, RequestBody as _, request_body};
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::Moment;
use crate::http::{Api, Success, success};
use crate::store::{CallSid, LinkError};

/// Default validity of a link, in seconds.
const DEFAULT_DURATION: u32 = 300;

request_body! {
    /// Validity of a link. The body is optional.
    LinkRecording {
        duration: Integer = Field::new(
            "duration",
            Integer {
                min: 30,
                max: 86_400,
            },
            "Validity of the link, in seconds.",
        )
        .with_default("300")
        .with_example("300"),
    }
}

problems! {
    MakeProblems: [InvalidRequest, NotFound, RuleViolated]
        fields [UnknownField, WrongType, InvalidValue, OutOfRange];
    FollowProblems: [LinkInvalid, LinkExpired, TenantSuspended, NotFound, RangeNotSatisfiable, Internal, Overloaded,
        StoreUnreachable, StoreUnavailable, RecordingNotReady];
}

/// A link to a recording.
#[derive(Serialize, ToSchema)]
struct RecordingLink {
    /// URL of the recording. Anyone with the URL can open it.
    #[schema(format = "uri")]
    url: String,
    /// Expiry of the link.
    #[schema(value_type = Moment)]
    expires_at: String,
}

/// Create a link to a recording
///
/// The link opens this recording without credentials until it expires, for example to play it in a browser. It
/// cannot be revoked, but it stops working once the recording is deleted or the tenant is suspended.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/calls/{call_sid}/recording/link",
    operation_id = "link_recording",
    tag = "Calls",
    request_body(content = ref("#/components/schemas/LinkRecording"), content_type = "application/json"),
    responses(
        (status = 200, description = "The link.", body = Success<RecordingLink>),
        MakeProblems,
    )
)]
pub(crate) async fn create(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, call_sid)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let call_sid = CallSid::parse(&call_sid).ok_or_else(not_found)?;
    let mut fields = Fields::new(body::optional_json_object(&headers, body).await?);
    let duration = LinkRecording::read(&mut fields)
        .duration
        .unwrap_or(DEFAULT_DURATION);
    fields.finish()?;
    let record = store.call(&call_sid).await?.ok_or_else(not_found)?;
    record.recording.ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    let expires_at = api.now().whole_seconds() + Duration::from_secs(duration.into());
    let link = store.recording_link(&call_sid, expires_at);
    let url = format!("{}/v1/recordings/{link}", api.node.public_url);
    Ok(success(
        StatusCode::OK,
        RecordingLink {
            url,
            expires_at: expires_at.rfc3339(&zone),
        },
    ))
}

/// Open a link to a recording
///
/// Returns the audio of a call to anyone with a valid link. A `Range` header can request one range of bytes.
#[utoipa::path(
    get,
    path = "/v1/recordings/{link}",
    operation_id = "follow_recording_link",
    tag = "Calls",
    params(
        ("Range" = Option<String>, Header, description = "Range of bytes (RFC 9110, section 14).", example = "bytes=0-65535"),
    ),
    responses(
        AudioResponses,
        FollowProblems,
    )
)]
pub(crate) async fn follow(
    State(api): State<Api>,
    Path(link): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (store, call_sid) = api.store.open_recording_link(&link, api.now())?;
    if store.suspended().await? {
        return Err(Problem::plain(Code::TenantSuspended));
    }
    let mut response = recording::serve(&store, &api, &call_sid, &method, &headers).await?;
    // Caches must not keep the recording beyond the validity of the link.
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-store"),
    );
    Ok(response)
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        Self::plain(match error {
            LinkError::Forged => Code::LinkInvalid,
            LinkError::Expired => Code::LinkExpired,
        })
    }
}
