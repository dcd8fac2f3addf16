//! `/prompts`: the tenant's own audio for callers.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::Moment;
use crate::http::tenant::calls::recording::Audio;
use crate::http::{Api, Success, success};
use crate::prompt_file;
use crate::prompt_file::{NAMES, SAMPLE_RATE};
use crate::store::TenantPrompt;

problems! {
    PutProblems: [InvalidPrompt, NotFound];
    ReadProblems: [NotFound];
}

/// A prompt.
#[derive(Serialize, ToSchema)]
#[schema(description = "A prompt.")]
struct PromptState {
    /// Name of the prompt.
    #[schema(examples("enter_pin"))]
    name: &'static str,
    /// `true` if the tenant has uploaded its own audio.
    own: bool,
    /// Length of the tenant's own audio, in seconds.
    #[schema(required, minimum = 0, maximum = 60)]
    duration: Option<f64>,
    /// Time of the upload.
    #[schema(value_type = Option<Moment>, required)]
    updated_at: Option<String>,
}

/// List prompts
///
/// Lists every prompt. A prompt without the tenant's own audio uses the built-in audio in the language of the
/// settings.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/prompts",
    operation_id = "list_prompts",
    tag = "Settings",
    responses((status = 200, description = "The prompts.", body = Success<Vec<PromptState>>))
)]
pub(crate) async fn list(Tenant(store): Tenant) -> Result<Response, Problem> {
    let own = store.prompts().await?;
    let zone = store.settings().await?.zone();
    let prompts = NAMES.map(|name| {
        let own = own.0.get(name);
        PromptState {
            name,
            own: own.is_some(),
            duration: own.map(seconds),
            updated_at: own.map(|own| own.updated_at.rfc3339(&zone)),
        }
    });
    Ok(success(StatusCode::OK, prompts.as_slice()))
}

/// Upload a prompt
///
/// Accepts a WAV file with 8 kHz, mono, 16-bit PCM, of at most 60 seconds. New calls use it at once.
#[utoipa::path(
    put,
    path = "/v1/tenants/{tenant_id}/prompts/{name}",
    operation_id = "put_prompt",
    tag = "Settings",
    request_body(content = inline(Audio), content_type = "audio/wav"),
    responses(
        (status = 200, description = "The prompt.", body = Success<PromptState>),
        PutProblems,
    )
)]
pub(crate) async fn put(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = parse_name(&name)?;
    let file = body::wav(&headers, body, body::MAX_WAV_BYTES).await?;
    let samples = prompt_file::read(&file).map_err(|rule| {
        let must = "A prompt must be a WAV file of 8 kHz, mono, 16-bit PCM, at most 60 seconds";
        Problem::new(Code::InvalidPrompt, format!("{must}; this file {rule}."))
    })?;
    let now = api.now();
    store.put_prompt(name, &samples, now).await?;
    let zone = store.settings().await?.zone();
    let own = TenantPrompt {
        samples,
        updated_at: now,
    };
    let updated_at = Some(now.rfc3339(&zone));
    Ok(success(
        StatusCode::OK,
        PromptState {
            name,
            own: true,
            duration: Some(seconds(&own)),
            updated_at,
        },
    ))
}

/// Download a prompt
///
/// Returns the tenant's own audio.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/prompts/{name}",
    operation_id = "read_prompt",
    tag = "Settings",
    responses(
        (status = 200, description = "The audio.", content_type = "audio/wav", body = inline(Audio)),
        ReadProblems,
    )
)]
pub(crate) async fn read(
    Tenant(store): Tenant,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let own = store.prompts().await?;
    let own = own.0.get(parse_name(&name)?).ok_or_else(not_found)?;
    let file = prompt_file::write(&own.samples).map_err(|error| {
        tracing::error!(%error, "cannot encode a prompt");
        Problem::plain(Code::Internal)
    })?;
    let mut response = file.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("audio/wav"));
    Ok(response)
}

/// Delete a prompt
///
/// Deletes the tenant's own audio and restores the built-in prompt.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant_id}/prompts/{name}",
    operation_id = "delete_prompt",
    tag = "Settings",
    responses(
        (status = 200, description = "The prompt.", body = Success<PromptState>),
        ReadProblems,
    )
)]
pub(crate) async fn delete(
    Tenant(store): Tenant,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let name = parse_name(&name)?;
    match store.delete_prompt(name).await? {
        true => Ok(success(
            StatusCode::OK,
            PromptState {
                name,
                own: false,
                duration: None,
                updated_at: None,
            },
        )),
        false => Err(not_found()),
    }
}

fn parse_name(name: &str) -> Result<&'static str, Problem> {
    NAMES
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(not_found)
}

fn seconds(own: &TenantPrompt) -> f64 {
    let millis = own.samples.len() * 1000 / SAMPLE_RATE as usize;
    millis as f64 / 1000.0
}
