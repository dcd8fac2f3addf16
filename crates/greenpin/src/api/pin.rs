//! `POST /greenpin/{id}/unlock` and `/rotate-pin`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::auth::Tenant;
use super::greenpin::{Resource, greenpin_id};
use super::problem::Problem;
use super::{Api, body, success};

/// `POST /greenpin/{id}/unlock`
pub(super) async fn unlock(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    body::nothing(body).await?;
    let now = api.now();
    let allocation = store.unlock_allocation(&id, now).await?;
    let zone = store.settings().await?.zone();
    Ok(success(StatusCode::OK, Resource::of(&allocation, &zone, now)))
}

/// `POST /greenpin/{id}/rotate-pin`
pub(super) async fn rotate(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    body::nothing(body).await?;
    let now = api.now();
    let allocation = store.rotate_pin(&id, now).await?;
    let zone = store.settings().await?.zone();
    Ok(success(StatusCode::OK, Resource::of(&allocation, &zone, now)))
}
