//! `/webhooks/{endpoint_id}`: rotates the secret of an endpoint and enables a disabled one.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::field::{Field, Integer, RequestBody as _, request_body};
use crate::http::middleware::idempotency::stored_success;
use crate::http::middleware::problem::Problem;
use crate::http::middleware::problem::not_found;
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{Moment, WebhookId};
use crate::http::{Api, Success, success};
use crate::store::EndpointId;

/// Default time during which both secrets are valid, in seconds: one day.
const DEFAULT_OVERLAP: u32 = 86_400;

request_body! {
    /// Overlap of both secrets. The body is optional.
    RotateSecret {
        overlap: Integer = Field::new(
            "overlap",
            Integer {
                min: 0,
                max: 2_592_000,
            },
            "Seconds during which deliveries are also signed with the previous secret; 0: the previous secret becomes invalid at once.",
        )
        .with_default("86400")
        .with_example("86400"),
    }
}

problems! {
    EnableProblems: [NotFound];
    RotateProblems: [InvalidRequest, RuleViolated, NotFound] fields [UnknownField, WrongType, InvalidValue, OutOfRange];
}

/// New secret of an endpoint.
#[derive(Clone, Serialize, ToSchema)]
#[schema(description = "New secret of an endpoint.")]
struct RotatedSecret {
    #[schema(value_type = WebhookId)]
    id: String,
    /// Signing secret of new deliveries. Only this response contains it.
    #[schema(pattern = "^whsec_[A-Za-z0-9+/]+={0,2}$")]
    secret: String,
    /// End of the time during which deliveries are also signed with the previous secret.
    #[schema(value_type = Moment)]
    previous_secret_expires_at: String,
}

/// Rotate an endpoint's secret
///
/// Deliveries carry two signatures, one with each secret, for `overlap` seconds. Any older secret becomes invalid
/// at once. Send an `Idempotency-Key`, so that you can repeat the request if its response is lost.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/webhooks/{endpoint_id}/rotate-secret",
    operation_id = "rotate_webhook_secret",
    tag = "Events",
    request_body(content = ref("#/components/schemas/RotateSecret"), content_type = "application/json"),
    responses(
        (status = 200, description = "The new secret.", body = Success<RotatedSecret>),
        RotateProblems,
    )
)]
pub(crate) async fn rotate(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, endpoint_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = EndpointId::parse(&endpoint_id).ok_or_else(not_found)?;
    let mut fields = Fields::new(body::optional_json_object(&headers, body).await?);
    let overlap = RotateSecret::read(&mut fields).overlap;
    fields.finish()?;
    let overlap = std::time::Duration::from_secs(overlap.unwrap_or(DEFAULT_OVERLAP).into());
    let until = api.now() + overlap;
    let until_text = until.rfc3339(&store.settings().await?.zone());
    let rotated = {
        let id = id.to_string();
        move |secret: &String| RotatedSecret {
            id: id.clone(),
            secret: secret.clone(),
            previous_secret_expires_at: until_text.clone(),
        }
    };
    let answer = stored_success(rotated.clone());
    let secret = store.rotate_secret(&id, until, answer).await?;
    let secret = secret.ok_or_else(not_found)?;
    Ok(success(StatusCode::OK, rotated(&secret)))
}

/// An enabled endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = Enabled, description = "An enabled endpoint.")]
struct EnabledEndpoint {
    #[schema(value_type = WebhookId)]
    id: String,
    /// Always `false`.
    disabled: bool,
}

/// Enable an endpoint
///
/// Resumes deliveries to a disabled endpoint, starting with the pending ones. Has no effect on an enabled
/// endpoint.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/webhooks/{endpoint_id}/enable",
    operation_id = "enable_webhook",
    tag = "Events",
    request_body(content = ref("#/components/schemas/Nothing"), content_type = "application/json"),
    responses(
        (status = 200, description = "The endpoint is enabled.", body = Success<EnabledEndpoint>),
        EnableProblems,
    )
)]
pub(crate) async fn enable(
    Tenant(store): Tenant,
    Path((_, endpoint_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = EndpointId::parse(&endpoint_id).ok_or_else(not_found)?;
    body::empty(&headers, body).await?;
    if !store.enable_endpoint(&id).await? {
        return Err(not_found());
    }
    Ok(success(
        StatusCode::OK,
        EnabledEndpoint {
            id: id.to_string(),
            disabled: false,
        },
    ))
}
