//! `GET /calls`: call records, newest first.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::read::CallDetails;
use crate::http::middleware::auth::Tenant;
use crate::http::middleware::paging::{
    Page, invalid_parameter, page_request, phone_number, split_page, timestamp,
};
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::schemas::{AllocationId, CallKind, CallProgress, E164};
use crate::store::{CallFilter, CallSid, CallType, GreenpinId};

/// Filters of the list of calls.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CallsQuery {
    /// Return only calls in progress (`active`) or only completed ones (`ended`).
    #[param(value_type = CallProgress, required = false)]
    status: Option<String>,
    /// Return only calls with this `call_type`.
    #[param(value_type = CallKind, required = false)]
    call_type: Option<String>,
    /// Return only calls to this virtual number.
    #[param(value_type = E164, required = false)]
    virtual_number: Option<String>,
    /// Return only calls of this allocation.
    #[param(value_type = AllocationId, required = false)]
    greenpin_id: Option<String>,
    /// Return only calls with this number as caller or dialled number.
    #[param(value_type = E164, required = false)]
    party: Option<String>,
    /// Return only calls started at or after this time.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-06-15T10:30:00+05:30")]
    started_after: Option<String>,
    /// Return only calls started before this time.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-06-16T10:30:00+05:30")]
    started_before: Option<String>,
    /// Maximum number of items to return.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^call_[0-9a-hjkmnp-tv-z]{26}$")]
    cursor: Option<String>,
}

/// List calls
///
/// Lists call records, newest first, including calls in progress.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/calls",
    operation_id = "list_calls",
    tag = "Calls",
    params(CallsQuery),
    responses(
        (status = 200, description = "A page of call records.", body = Page<CallDetails>),
        QueryProblems,
    )
)]
pub(crate) async fn list(
    Tenant(store): Tenant,
    query: Result<Query<CallsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        let known = "status, call_type, virtual_number, greenpin_id, party, started_after, started_before, \
                     limit, cursor";
        Problem::new(Code::InvalidRequest, format!("The query accepts these parameters, each at most once: {known}."))
    })?;
    let page = page_request(
        query.limit.as_deref(),
        query.cursor.as_deref(),
        CallSid::parse,
    )?;
    let records = store
        .calls(query.filter()?, page.cursor, page.limit + 1)
        .await?;
    let zone = store.settings().await?.zone();
    let (records, next_cursor) = split_page(&records, page.limit, |last| last.call_sid.to_string());
    Ok(Page::json_response(
        records
            .iter()
            .map(|record| CallDetails::from_record(record, &store, &zone))
            .collect(),
        next_cursor,
    ))
}

impl CallsQuery {
    fn filter(self) -> Result<CallFilter, Problem> {
        let ended = match self.status.as_deref() {
            None => None,
            Some("active") => Some(false),
            Some("ended") => Some(true),
            Some(_) => return Err(invalid_parameter("status", "must be active or ended")),
        };
        let call_type = match self.call_type.as_deref() {
            None => None,
            Some("completed") => Some(CallType::Completed),
            Some("incomplete") => Some(CallType::Incomplete),
            Some("call-attempt") => Some(CallType::CallAttempt),
            Some("client-hangup") => Some(CallType::ClientHangup),
            Some(_) => {
                let rule = "must be completed, incomplete, call-attempt or client-hangup";
                return Err(invalid_parameter("call_type", rule));
            }
        };
        let greenpin_id = self.greenpin_id.map(|id| GreenpinId::parse(&id).ok_or(()));
        Ok(CallFilter {
            ended,
            call_type,
            virtual_number: phone_number("virtual_number", self.virtual_number)?,
            greenpin_id: greenpin_id
                .transpose()
                .map_err(|()| invalid_parameter("greenpin_id", "must be an allocation id"))?,
            party: phone_number("party", self.party)?,
            started_after: timestamp("started_after", self.started_after)?,
            started_before: timestamp("started_before", self.started_before)?,
        })
    }
}
