//! `/webhooks/{endpoint_id}`: a new secret for an endpoint, and an end to its being disabled.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::problem::Problem;
use crate::http::middleware::validation::Fields;
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{Moment, WebhookId};
use crate::http::tenant::allocations::allocation::not_found;
use crate::http::{Api, Success, success};
use crate::store::EndpointId;

/// Both secrets are live for so long unless the request says otherwise: a day.
pub(crate) const DEFAULT_OVERLAP: u32 = 86_400;
/// The longest that both can be live: 30 days.
pub(crate) const LONGEST_OVERLAP: u32 = 2_592_000;

problems! {
    EnableProblems: [NotFound];
    RotateProblems: [InvalidRequest, RuleViolated, NotFound] fields [UnknownField, WrongType, InvalidValue, OutOfRange];
}

/// An endpoint's new secret.
#[derive(Serialize, ToSchema)]
#[schema(description = "An endpoint's new secret.")]
struct RotatedSecret {
    #[schema(value_type = WebhookId)]
    id: String,
    /// What deliveries are signed with from now on. Shown here alone.
    #[schema(pattern = "^whsec_[A-Za-z0-9+/]+={0,2}$")]
    secret: String,
    /// Until then they are signed with the previous secret as well.
    #[schema(value_type = Moment)]
    previous_secret_expires_at: String,
}

/// Rotate an endpoint's secret
///
/// Deliveries carry two signatures, one of each secret, until `overlap` seconds have passed. A secret from before the
/// previous one is dead at once. Send an `Idempotency-Key`: an answer that is lost can then be had again.
#[utoipa::path(
    post,
    path = "/webhooks/{endpoint_id}/rotate-secret",
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
    let mut fields = Fields::new(body::json_object_or_nothing(&headers, body).await?);
    let overlap = fields.integer("overlap", 0, LONGEST_OVERLAP);
    fields.finish()?;
    let overlap = std::time::Duration::from_secs(overlap.unwrap_or(DEFAULT_OVERLAP).into());
    let until = api.now() + overlap;
    let secret = store
        .rotate_secret(&id, until)
        .await?
        .ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    let answer = RotatedSecret {
        id: id.to_string(),
        secret,
        previous_secret_expires_at: until.rfc3339(&zone),
    };
    Ok(success(StatusCode::OK, answer))
}

/// An endpoint that gets events again.
#[derive(Serialize, ToSchema)]
#[schema(description = "An endpoint that gets events again.")]
struct Enabled {
    #[schema(value_type = WebhookId)]
    id: String,
    /// Always `false`.
    disabled: bool,
}

/// Enable an endpoint
///
/// Lets an endpoint that was disabled have its events again; what waited for it goes first. One that is not disabled stays
/// as it is.
#[utoipa::path(
    post,
    path = "/webhooks/{endpoint_id}/enable",
    operation_id = "enable_webhook",
    tag = "Events",
    request_body(content = ref("#/components/schemas/Nothing"), content_type = "application/json"),
    responses(
        (status = 200, description = "It gets its events.", body = Success<Enabled>),
        EnableProblems,
    )
)]
pub(crate) async fn enable(
    Tenant(store): Tenant,
    Path((_, endpoint_id)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let id = EndpointId::parse(&endpoint_id).ok_or_else(not_found)?;
    body::nothing(body).await?;
    if !store.enable_endpoint(&id).await? {
        return Err(not_found());
    }
    Ok(success(
        StatusCode::OK,
        Enabled {
            id: id.to_string(),
            disabled: false,
        },
    ))
}
