//! `/v1/admin/nodes`, `/drain`, `/undrain`, `/calls`: the nodes of the database, and the calls of this process.

use std::collections::HashMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Operator, parse_query, utc};
use crate::http::middleware::paging::{Page, invalid_parameter, page_request, split_page};
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{CallCauseWord, CallId, EndedCallState, LiveCallState, Moment};
use crate::http::{Api, Success, success};
use crate::store::{
    CallCause, CallRecord, CallSid, DialledLeg, EndedCallFilter, NodeRow, OperatorStore, TenantId,
};

problems! {
    EndCallProblems: [NotFound];
    NodeProblems: [NotFound];
    EndedCallsProblems: [InvalidRequest] fields [InvalidValue];
}

/// List nodes
///
/// Lists the nodes on this database, by name. The calls and the drain of other nodes are those of their last heartbeat.
#[utoipa::path(
    get,
    path = "/nodes",
    operation_id = "list_nodes",
    tag = "Node",
    responses(
        (status = 200, description = "The nodes.", body = Success<Vec<NodeDetails>>),
    )
)]
pub(crate) async fn nodes(
    Operator(store): Operator,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    Ok(success(StatusCode::OK, all_nodes(&store, &api).await?))
}

/// Drain this node
///
/// The node stops accepting new calls and allocations and reports not ready. Calls in progress continue.
#[utoipa::path(
    post,
    path = "/drain",
    operation_id = "drain",
    tag = "Node",
    responses(
        (status = 200, description = "The node.", body = Success<NodeDetails>),
        NodeProblems,
    )
)]
pub(crate) async fn drain(operator: Operator, api: State<Api>) -> Result<Response, Problem> {
    let name = api.node.name.clone();
    set_drained(operator, api, name, true).await
}

/// Undrain this node
///
/// The node accepts new calls and allocations again.
#[utoipa::path(
    post,
    path = "/undrain",
    operation_id = "undrain",
    tag = "Node",
    responses(
        (status = 200, description = "The node.", body = Success<NodeDetails>),
        NodeProblems,
    )
)]
pub(crate) async fn undrain(operator: Operator, api: State<Api>) -> Result<Response, Problem> {
    let name = api.node.name.clone();
    set_drained(operator, api, name, false).await
}

/// Drain a node
///
/// The node stops accepting new calls and allocations and reports not ready. Calls in progress continue. Another node than
/// the one that serves the request follows with its next heartbeat, within a fifth of its `node.lease`. A restart ends the
/// drain.
#[utoipa::path(
    post,
    path = "/nodes/{node}/drain",
    operation_id = "drain_node",
    tag = "Node",
    responses(
        (status = 200, description = "The node.", body = Success<NodeDetails>),
        NodeProblems,
    )
)]
pub(crate) async fn drain_node(
    operator: Operator,
    api: State<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    set_drained(operator, api, name, true).await
}

/// Undrain a node
///
/// The node accepts new calls and allocations again. Another node than the one that serves the request follows with its
/// next heartbeat.
#[utoipa::path(
    post,
    path = "/nodes/{node}/undrain",
    operation_id = "undrain_node",
    tag = "Node",
    responses(
        (status = 200, description = "The node.", body = Success<NodeDetails>),
        NodeProblems,
    )
)]
pub(crate) async fn undrain_node(
    operator: Operator,
    api: State<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    set_drained(operator, api, name, false).await
}

/// List active calls
///
/// Lists the calls on this node, oldest first.
#[utoipa::path(
    get,
    path = "/calls",
    operation_id = "list_live_calls",
    tag = "Node",
    responses(
        (status = 200, description = "The calls.", body = Success<Vec<LiveCall>>),
    )
)]
pub(crate) async fn calls(
    Operator(store): Operator,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    let calls = api.node.engine.calls().await;
    let tenants: HashMap<CallSid, TenantId> = store
        .open_calls(&api.node.name)
        .await?
        .into_iter()
        .collect();
    // A call has no tenant until its number is looked up.
    let live = calls.iter().map(|call| LiveCall {
        call_sid: call.call_sid.to_string(),
        tenant_id: tenants.get(&call.call_sid).map(ToString::to_string),
        state: call.state.as_str(),
        since: utc(call.since),
    });
    Ok(success(StatusCode::OK, live.collect::<Vec<_>>()))
}

/// Query parameters of the list of ended calls.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndedCallsQuery {
    /// Maximum number of items to return.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^call_[0-9a-hjkmnp-tv-z]{26}$")]
    cursor: Option<String>,
    /// Only calls of this tenant.
    #[param(value_type = String, required = false, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    tenant_id: Option<String>,
    /// Only calls with this reason for the result.
    #[param(value_type = CallCauseWord, required = false)]
    cause: Option<String>,
    /// Only calls from this trunk.
    #[param(value_type = String, required = false)]
    trunk: Option<String>,
}

/// List ended calls
///
/// Lists the ended calls of all tenants and nodes, newest first, with the reason for the result and every attempt. Numbers
/// are not shown.
#[utoipa::path(
    get,
    path = "/call-records",
    operation_id = "list_ended_calls",
    tag = "Node",
    params(EndedCallsQuery),
    responses(
        (status = 200, description = "A page of ended calls.", body = Page<CallLegsDetails>),
        EndedCallsProblems,
    )
)]
pub(crate) async fn ended_calls(
    Operator(store): Operator,
    query: Result<Query<EndedCallsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = parse_query(query, "limit, cursor, tenant_id, cause, trunk")?;
    let page = page_request(
        query.limit.as_deref(),
        query.cursor.as_deref(),
        CallSid::parse,
    )?;
    let tenant = query.tenant_id.as_deref().map(|text| {
        TenantId::parse(text)
            .ok_or_else(|| invalid_parameter("tenant_id", "must be the name of a tenant"))
    });
    let cause = query.cause.as_deref().map(|word| {
        word.parse()
            .map_err(|_| invalid_parameter("cause", "must be a cause of a call record"))
    });
    let filter = EndedCallFilter {
        tenant_id: tenant.transpose()?,
        cause: cause.transpose()?,
        trunk: query.trunk,
    };
    let records = store
        .ended_calls(filter, page.cursor, page.limit + 1)
        .await?;
    let (records, next_cursor) = split_page(&records, page.limit, |last| last.call_sid.to_string());
    let calls = records.iter().map(CallLegsDetails::from_record);
    Ok(Page::json_response(calls.collect(), next_cursor))
}

/// Read the legs of a call
///
/// Returns the `Call-ID` of each leg, for the carrier, and the reason for the result. Numbers of the call are masked. The
/// legs are known once the call has ended.
#[utoipa::path(
    get,
    path = "/calls/{call_sid}",
    operation_id = "read_call_legs",
    tag = "Node",
    responses(
        (status = 200, description = "The legs.", body = Success<CallLegsDetails>),
        EndCallProblems,
    )
)]
pub(crate) async fn call(
    Operator(store): Operator,
    Path(call_sid): Path<String>,
) -> Result<Response, Problem> {
    let not_found = || Problem::plain(Code::NotFound);
    let call_sid = CallSid::parse(&call_sid).ok_or_else(not_found)?;
    let record = store.call(&call_sid).await?.ok_or_else(not_found)?;
    Ok(success(
        StatusCode::OK,
        CallLegsDetails::from_record(&record),
    ))
}

/// End a call
///
/// Hangs up both legs.
#[utoipa::path(
    delete,
    path = "/calls/{call_sid}",
    operation_id = "end_call",
    tag = "Node",
    responses(
        (status = 200, description = "The call is being ended.", body = Success<EndedCall>),
        EndCallProblems,
    )
)]
pub(crate) async fn end_call(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(call_sid): Path<String>,
) -> Result<Response, Problem> {
    let not_found = || Problem::plain(Code::NotFound);
    let call_sid = CallSid::parse(&call_sid).ok_or_else(not_found)?;
    if !api.node.engine.end_call(call_sid.clone()).await {
        return Err(not_found());
    }
    store
        .audit("call.end", Some(call_sid.to_string()), api.now())
        .await?;
    Ok(success(
        StatusCode::OK,
        EndedCall {
            call_sid: call_sid.to_string(),
            state: "ending",
        },
    ))
}

/// The legs of a call, without numbers.
#[derive(Serialize, ToSchema)]
#[schema(as = OperatorCall)]
pub(crate) struct CallLegsDetails {
    /// Id of the call.
    #[schema(value_type = CallId)]
    call_sid: String,
    /// Tenant of the call.
    tenant_id: String,
    /// Node of the call.
    node: String,
    /// Time of the incoming call.
    #[schema(value_type = Moment)]
    start_time: String,
    /// End of the call; `null` while in progress.
    #[schema(value_type = Option<Moment>, required)]
    end_time: Option<String>,
    /// Reason for the result; `null` while in progress.
    #[schema(value_type = Option<CallCauseWord>, required)]
    cause: Option<&'static str>,
    /// Sentence that explains the result; `null` while in progress.
    #[schema(required)]
    why: Option<String>,
    /// Trunk of the incoming call.
    trunk: String,
    /// `Call-ID` of the caller's leg.
    #[schema(required)]
    call_id: Option<String>,
    /// Attempts to reach a number, oldest first.
    #[schema(max_items = 50)]
    attempts: Vec<OperatorAttempt>,
}

/// An attempt to reach a number, without the number.
#[derive(Serialize, ToSchema)]
struct OperatorAttempt {
    /// Outgoing trunk; `null`: the number was not dialled.
    #[schema(required)]
    trunk: Option<String>,
    /// `Call-ID` of the leg.
    #[schema(required)]
    call_id: Option<String>,
    /// Start of the attempt.
    #[schema(value_type = Moment)]
    start_time: String,
    /// End of the leg.
    #[schema(value_type = Moment)]
    end_time: String,
    /// Final SIP status of a rejected leg.
    #[schema(required, minimum = 300, maximum = 699)]
    sip_status: Option<u16>,
    /// Reason for the end of the leg.
    #[schema(value_type = CallCauseWord)]
    cause: &'static str,
}

impl CallLegsDetails {
    pub(crate) fn from_record(record: &CallRecord) -> Self {
        let attempt = |leg: &DialledLeg| OperatorAttempt {
            trunk: leg.trunk.clone(),
            call_id: leg.call_id.clone(),
            start_time: utc(leg.started_at),
            end_time: utc(leg.ended_at),
            sip_status: leg.sip_status,
            cause: leg.cause.as_str(),
        };
        Self {
            call_sid: record.call_sid.to_string(),
            tenant_id: record.tenant_id.to_string(),
            node: record.node.clone(),
            start_time: utc(record.started_at),
            end_time: record.ended_at.map(utc),
            cause: record.cause.map(CallCause::as_str),
            why: record.why(),
            trunk: record.trunk.clone(),
            call_id: record
                .legs
                .caller_call_id
                .as_ref()
                .map(|call_id| without_numbers(call_id, record)),
            attempts: record.legs.attempts.iter().map(attempt).collect(),
        }
    }
}

/// Digits at the end of a number by which it is found in a text.
const COMPARED_DIGITS: usize = 9;

/// Returns a `Call-ID` of the carrier with the numbers of the call masked, if it contains them.
fn without_numbers(call_id: &str, record: &CallRecord) -> String {
    let dialled = record.legs.attempts.iter().map(|leg| leg.number);
    let numbers = [record.caller, Some(record.virtual_number), record.dialled];
    let numbers = numbers.into_iter().flatten().chain(dialled);
    numbers.fold(call_id.to_owned(), |text, number| {
        let exposed = number.expose();
        let digits = exposed.trim_start_matches('+');
        let end = digits.len().saturating_sub(COMPARED_DIGITS);
        let tail = digits.get(end..).unwrap_or(digits);
        text.replace(digits, "***").replace(tail, "***")
    })
}

/// Requests or ends the drain of a node. On this node it takes effect at once.
async fn set_drained(
    Operator(store): Operator,
    State(api): State<Api>,
    name: String,
    is_drained: bool,
) -> Result<Response, Problem> {
    let is_this = name == api.node.name;
    let is_known = !name.contains('\0') && store.want_drain(&name, is_drained, api.now()).await?;
    if is_this {
        api.readiness.set_drained(is_drained);
        api.node.engine.admit(!is_drained);
    }
    let nodes = all_nodes(&store, &api).await?;
    let node = nodes.into_iter().find(|node| node.name == name);
    match node {
        Some(node) if is_known || is_this => Ok(success(StatusCode::OK, node)),
        _ => Err(Problem::plain(Code::NotFound)),
    }
}

/// A greenpin process.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub(crate) struct NodeDetails {
    /// Name in call records.
    pub(crate) name: String,
    /// Version of greenpin; empty for a node of an earlier version.
    pub(crate) version: String,
    /// Time of the start.
    #[schema(value_type = Moment)]
    started_at: String,
    /// Time of the last heartbeat, by the clock of the node.
    #[schema(value_type = Moment)]
    pub(crate) last_heartbeat: String,
    /// Seconds without a heartbeat after which other nodes close the calls of the node; `null` for a node of an earlier
    /// version.
    #[schema(required, minimum = 3, maximum = 300)]
    lease: Option<i64>,
    /// Number of active calls.
    pub(crate) calls: u64,
    /// `true` if the node rejects new calls and allocations.
    pub(crate) draining: bool,
}

impl From<NodeRow> for NodeDetails {
    fn from(row: NodeRow) -> Self {
        Self {
            name: row.node,
            version: row.version,
            started_at: utc(row.started_at),
            last_heartbeat: utc(row.seen_at),
            lease: row.lease_seconds,
            calls: row.calls,
            draining: row.draining,
        }
    }
}

/// An active call.
#[derive(Serialize, ToSchema)]
struct LiveCall {
    /// Id of the call.
    #[schema(value_type = CallId)]
    call_sid: String,
    /// Tenant of the called number; `null` while the number is looked up.
    #[schema(required)]
    tenant_id: Option<String>,
    /// Progress of the call.
    #[schema(value_type = LiveCallState)]
    state: &'static str,
    /// Time of the INVITE.
    #[schema(value_type = Moment)]
    since: String,
}

/// A call after a hangup request.
#[derive(Serialize, ToSchema)]
struct EndedCall {
    /// Id of the call.
    #[schema(value_type = CallId)]
    call_sid: String,
    /// Always `ending`.
    #[schema(value_type = EndedCallState)]
    state: &'static str,
}

/// Returns the nodes on the database. This one is listed by its own state.
async fn all_nodes(store: &OperatorStore, api: &Api) -> Result<Vec<NodeDetails>, Problem> {
    let calls = api.node.engine.calls().await.len();
    let rows = store.nodes().await?.into_iter();
    let mut nodes: Vec<NodeDetails> = rows.map(NodeDetails::from).collect();
    if let Some(this) = nodes.iter_mut().find(|node| node.name == api.node.name) {
        this.calls = u64::try_from(calls).unwrap_or(u64::MAX);
        this.draining = api.readiness.is_draining();
    }
    Ok(nodes)
}
