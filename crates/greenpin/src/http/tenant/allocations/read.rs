//! `GET /greenpin/{greenpin_id}`: returns an allocation.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::resource::{AllocationDetails, greenpin_id};
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::problem::Problem;
use crate::http::middleware::problem::not_found;
use crate::http::openapi::problems::problems;
use crate::http::{Api, Success, success};
use crate::store::{GreenpinId, TenantStore, Timestamp};

problems! {
    ReadProblems: [NotFound];
}

/// Read an allocation
///
/// Returns the allocation with its counters, even after it has expired or been deleted.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}",
    operation_id = "read_allocation",
    tag = "Allocations",
    responses(
        (status = 200, description = "The allocation.", body = Success<AllocationDetails>),
        ReadProblems,
    )
)]
pub(crate) async fn read(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    stored(&store, &greenpin_id(&id)?, api.now()).await
}

/// Returns the response with a stored allocation.
pub(crate) async fn stored(
    store: &TenantStore,
    id: &GreenpinId,
    now: Timestamp,
) -> Result<Response, Problem> {
    let allocation = store.allocation(id).await?.ok_or_else(not_found)?;
    let zone = store.settings().await?.zone();
    Ok(success(
        StatusCode::OK,
        AllocationDetails::from_allocation(&allocation, &zone, now),
    ))
}
