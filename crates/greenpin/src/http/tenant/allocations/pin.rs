//! `POST /greenpin/{id}/unlock` and `/rotate-pin`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::read::stored;
use super::resource::{AllocationDetails, greenpin_id};
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::body;
use crate::http::middleware::idempotency::Earlier;
use crate::http::middleware::problem::Problem;
use crate::http::openapi::problems::problems;
use crate::http::{Api, Success, success};

problems! {
    UnlockProblems: [NotFound, AllocationNotActive];
    RotateProblems: [NotFound, AllocationNotActive, PinSpaceExhausted];
}

/// Unlock an allocation
///
/// Resets `failed_pin_attempts` to 0.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}/unlock",
    operation_id = "unlock_allocation",
    tag = "Allocations",
    request_body(content = ref("#/components/schemas/Nothing"), content_type = "application/json"),
    responses(
        (status = 200, description = "The changed allocation.", body = Success<AllocationDetails>),
        UnlockProblems,
    )
)]
pub(crate) async fn unlock(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    earlier: Earlier,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    body::empty(&headers, body).await?;
    let now = api.now();
    if earlier.is_some() {
        return stored(&store, &id, now).await;
    }
    let allocation = store.unlock_allocation(&id, now).await?;
    let zone = store.settings().await?.zone();
    Ok(success(
        StatusCode::OK,
        AllocationDetails::from_allocation(&allocation, &zone, now),
    ))
}

/// Rotate a PIN
///
/// Draws a new PIN and invalidates the old one. `failed_pin_attempts` does not change: a locked allocation stays
/// locked.
#[utoipa::path(
    post,
    path = "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}/rotate-pin",
    operation_id = "rotate_pin",
    tag = "Allocations",
    request_body(content = ref("#/components/schemas/Nothing"), content_type = "application/json"),
    responses(
        (status = 200, description = "The allocation with its new PIN.", body = Success<AllocationDetails>),
        RotateProblems,
    )
)]
pub(crate) async fn rotate(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    earlier: Earlier,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    body::empty(&headers, body).await?;
    let now = api.now();
    if earlier.is_some() {
        return stored(&store, &id, now).await;
    }
    let allocation = store.rotate_pin(&id, now).await?;
    let zone = store.settings().await?.zone();
    Ok(success(
        StatusCode::OK,
        AllocationDetails::from_allocation(&allocation, &zone, now),
    ))
}
