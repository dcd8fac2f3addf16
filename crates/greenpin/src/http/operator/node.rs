//! `/v1/admin/trunks`, `/nodes`, `/drain`, `/calls`: this process.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::{Operator, utc};
use crate::config::trunk;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::problems;
use crate::http::{Api, success};
use crate::store::{CallSid, TenantId};

problems! {
    EndCallProblems: [NotFound];
}

/// List trunks
///
/// As they are configured, and how they are.
#[utoipa::path(
    get,
    path = "/trunks",
    operation_id = "list_trunks",
    tag = "Node",
    responses(
        (status = 200, description = "The trunks.", body = ref("#/components/schemas/Success_Vec_Trunk"), content_type = "application/json"),
    )
)]
pub(crate) async fn trunks(State(api): State<Api>) -> Response {
    let states = api.node.engine.trunks().await;
    let states = states.into_iter().map(Some).chain(std::iter::repeat(None));
    let trunks: Vec<Value> = api
        .node
        .trunks
        .iter()
        .zip(states)
        .map(|(trunk, state)| trunk::shown(trunk, state))
        .collect();
    success(StatusCode::OK, trunks)
}

/// List nodes
///
/// This one.
#[utoipa::path(
    get,
    path = "/nodes",
    operation_id = "list_nodes",
    tag = "Node",
    responses(
        (status = 200, description = "The nodes.", body = ref("#/components/schemas/Success_Vec_Node"), content_type = "application/json"),
    )
)]
pub(crate) async fn nodes(State(api): State<Api>) -> Response {
    success(StatusCode::OK, vec![this_node(&api).await])
}

/// Drain this node
///
/// Not ready, no new allocations, no new calls; calls under way go on.
#[utoipa::path(
    post,
    path = "/drain",
    operation_id = "drain",
    tag = "Node",
    responses(
        (status = 200, description = "The node.", body = ref("#/components/schemas/Success_Node"), content_type = "application/json"),
    )
)]
pub(crate) async fn drain(
    Operator(store): Operator,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    store
        .audit("node.drain", Some(api.node.name.clone()), api.now())
        .await?;
    set_drained(&api, true);
    Ok(success(StatusCode::OK, this_node(&api).await))
}

/// Undrain this node
#[utoipa::path(
    post,
    path = "/undrain",
    operation_id = "undrain",
    tag = "Node",
    responses(
        (status = 200, description = "The node.", body = ref("#/components/schemas/Success_Node"), content_type = "application/json"),
    )
)]
pub(crate) async fn undrain(
    Operator(store): Operator,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    store
        .audit("node.undrain", Some(api.node.name.clone()), api.now())
        .await?;
    set_drained(&api, false);
    Ok(success(StatusCode::OK, this_node(&api).await))
}

/// List calls under way
///
/// On this node, oldest first.
#[utoipa::path(
    get,
    path = "/calls",
    operation_id = "list_live_calls",
    tag = "Node",
    responses(
        (status = 200, description = "The calls.", body = ref("#/components/schemas/Success_Vec_LiveCall"), content_type = "application/json"),
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
    // A call whose number was not looked up yet is nobody's.
    let shown = calls.iter().map(|call| {
        json!({
            "call_sid": call.call_sid.as_str(),
            "tenant_id": tenants.get(&call.call_sid).map(TenantId::as_str),
            "state": call.state.as_str(),
            "since": utc(call.since),
        })
    });
    Ok(success(StatusCode::OK, shown.collect::<Vec<_>>()))
}

/// End a call
///
/// Hangs up on both sides.
#[utoipa::path(
    delete,
    path = "/calls/{call_sid}",
    operation_id = "end_call",
    tag = "Node",
    responses(
        (status = 200, description = "It ends.", body = ref("#/components/schemas/Success_EndedCall"), content_type = "application/json"),
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
        json!({ "call_sid": call_sid.as_str(), "state": "ending" }),
    ))
}

fn set_drained(api: &Api, drained: bool) {
    api.readiness.set_drained(drained);
    api.node.engine.admit(!drained);
}

async fn this_node(api: &Api) -> Value {
    json!({
        "name": api.node.name,
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": utc(api.node.started_at),
        "calls": api.node.engine.calls().await.len(),
        "draining": api.readiness.is_draining(),
    })
}
