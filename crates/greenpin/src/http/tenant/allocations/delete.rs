//! `DELETE /greenpin/{greenpin_id}`: deletes an allocation.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::resource::greenpin_id;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::idempotency::Earlier;
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{AllocationId, AllocationStatus, Moment};
use crate::http::{Api, Success, success};
use crate::store::{DeleteError, Status};

problems! {
    DeleteProblems: [NotFound, AlreadyDeleted];
}

/// A deleted allocation.
#[derive(Serialize, ToSchema)]
#[schema(description = "A deleted allocation.")]
struct DeletedAllocation<'a> {
    #[schema(value_type = AllocationId)]
    greenpin_id: &'a str,
    /// Always `deleted`.
    #[schema(value_type = AllocationStatus)]
    status: &'static str,
    /// Time of the deletion.
    #[schema(value_type = Moment)]
    deleted_at: String,
}

/// Delete an allocation
///
/// New calls are no longer connected; calls in progress continue. An exclusive number becomes available at once,
/// the PIN after `pin_cooloff`.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}",
    operation_id = "delete_allocation",
    tag = "Allocations",
    responses(
        (status = 200, description = "The allocation is deleted.", body = Success<DeletedAllocation>),
        DeleteProblems,
    )
)]
pub(crate) async fn delete(
    Tenant(store): Tenant,
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    earlier: Earlier,
) -> Result<Response, Problem> {
    let id = greenpin_id(&id)?;
    let deleted_earlier = match earlier {
        Some(_) => store
            .allocation(&id)
            .await?
            .and_then(|found| found.deleted_at),
        None => None,
    };
    let deleted_at = match deleted_earlier {
        Some(deleted_at) => deleted_at,
        None => store.delete_allocation(&id, api.now()).await?,
    };
    let zone = store.settings().await?.zone();
    let deleted = DeletedAllocation {
        greenpin_id: id.as_str(),
        status: Status::Deleted.as_str(),
        deleted_at: deleted_at.rfc3339(&zone),
    };
    Ok(success(StatusCode::OK, deleted))
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => not_found(),
            DeleteError::AlreadyDeleted => Self::plain(Code::AlreadyDeleted),
            DeleteError::Store(error) => error.into(),
        }
    }
}
