//! `GET /v1/admin/refused`: the last refused INVITEs of this node.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::utc;
use crate::calls::RefusedInvite;
use crate::http::openapi::schemas::Moment;
use crate::http::{Api, Success, success};

/// List refused INVITEs
///
/// Lists the INVITEs that this node refused since its start, newest first: the last 100 of each trunk, and the last 100 of each
/// of at most 64 unknown sources. Called numbers are masked.
#[utoipa::path(
    get,
    path = "/refused",
    operation_id = "list_refused_invites",
    tag = "Node",
    responses(
        (status = 200, description = "The refused INVITEs.", body = Success<Vec<RefusedDetails>>),
    )
)]
pub(crate) async fn list(State(api): State<Api>) -> Response {
    let refused = api.node.engine.refused().await;
    let details: Vec<_> = refused.into_iter().map(RefusedDetails::new).collect();
    success(StatusCode::OK, details)
}

/// A refused INVITE.
#[derive(Serialize, ToSchema)]
#[schema(as = RefusedInvite)]
struct RefusedDetails {
    /// Time of the refusal.
    #[schema(value_type = Moment)]
    at: String,
    /// Source address.
    #[schema(examples("198.51.100.7"))]
    source: String,
    /// Trunk; `null`: the source is unknown.
    #[schema(required)]
    trunk: Option<String>,
    /// SIP status of the response. To an unknown source with `sip.silence`, no response was sent.
    #[schema(minimum = 400, maximum = 699)]
    status: u16,
    /// Reason, for people.
    #[schema(examples("unknown source"))]
    reason: &'static str,
    /// Masked called number; `null`: the INVITE names none.
    #[schema(required, examples("+9140…01"))]
    virtual_number: Option<String>,
}

impl RefusedDetails {
    fn new(refused: RefusedInvite) -> Self {
        Self {
            at: utc(refused.at),
            source: refused.source.to_string(),
            trunk: refused.trunk,
            status: refused.status,
            reason: refused.reason,
            virtual_number: refused.number,
        }
    }
}
