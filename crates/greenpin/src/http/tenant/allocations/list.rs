//! `GET /greenpin`: lists allocations, newest first.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::resource::AllocationDetails;
use crate::http::Api;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::paging::{
    Page, invalid_parameter, page_request, phone_number, split_page, timestamp,
};
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::schemas::{AllocationStatus, E164};
use crate::store::{AllocationFilter, GreenpinId, Status};

/// Filters of the list of allocations.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Return only allocations with this status.
    #[param(value_type = AllocationStatus, required = false)]
    status: Option<String>,
    /// Return only allocations on this virtual number.
    #[param(value_type = E164, required = false)]
    virtual_number: Option<String>,
    /// Return only allocations with this number in `from` or `to`.
    #[param(value_type = E164, required = false)]
    party: Option<String>,
    /// Return only allocations with exactly this `custom_field`.
    #[param(value_type = String, required = false)]
    custom_field: Option<String>,
    /// Return only allocations created at or after this time.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-06-15T10:30:00+05:30")]
    created_after: Option<String>,
    /// Return only allocations created before this time.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-06-16T10:30:00+05:30")]
    created_before: Option<String>,
    /// Maximum number of items to return.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^gp_[0-9a-hjkmnp-tv-z]{26}$")]
    cursor: Option<String>,
}

/// List allocations
///
/// Lists allocations, newest first. New allocations do not disturb the pagination.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/greenpin",
    operation_id = "list_allocations",
    tag = "Allocations",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of allocations.", body = Page<AllocationDetails>),
        QueryProblems,
    )
)]
pub(crate) async fn list(
    Tenant(store): Tenant,
    State(api): State<Api>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        let known =
            "status, virtual_number, party, custom_field, created_after, created_before, limit, cursor";
        Problem::new(Code::InvalidRequest, format!("The query accepts these parameters, each at most once: {known}."))
    })?;
    let page = page_request(
        query.limit.as_deref(),
        query.cursor.as_deref(),
        GreenpinId::parse,
    )?;
    let filter = query.filter()?;
    let now = api.now();
    let found = store
        .allocations(filter, page.cursor, page.limit + 1, now)
        .await?;
    let zone = store.settings().await?.zone();
    let (found, next_cursor) = split_page(&found, page.limit, |last| last.greenpin_id.to_string());
    Ok(Page::json_response(
        found
            .iter()
            .map(|allocation| AllocationDetails::from_allocation(allocation, &zone, now))
            .collect(),
        next_cursor,
    ))
}

impl ListQuery {
    fn filter(self) -> Result<AllocationFilter, Problem> {
        let status = match self.status.as_deref() {
            None => None,
            Some("active") => Some(Status::Active),
            Some("expired") => Some(Status::Expired),
            Some("deleted") => Some(Status::Deleted),
            Some(_) => {
                return Err(invalid_parameter(
                    "status",
                    "must be active, expired or deleted",
                ));
            }
        };
        Ok(AllocationFilter {
            status,
            virtual_number: phone_number("virtual_number", self.virtual_number)?,
            party: phone_number("party", self.party)?,
            custom_field: self.custom_field,
            created_after: timestamp("created_after", self.created_after)?,
            created_before: timestamp("created_before", self.created_before)?,
        })
    }
}
