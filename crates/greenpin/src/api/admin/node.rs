//! `/v1/admin/trunks`, `/nodes`, `/drain`, `/calls`: this process.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::problem::{Code, Problem};
use super::super::{Api, success};
use super::{Operator, utc};
use crate::store::{CallSid, TenantId};

/// `GET /trunks`: as configured. Passwords are not in it.
pub(super) async fn trunks(State(api): State<Api>) -> Response {
    let trunks: Vec<Value> = api.node.trunks.iter().map(crate::config::Trunk::shown).collect();
    success(StatusCode::OK, trunks)
}

/// `GET /nodes`: this one.
pub(super) async fn nodes(State(api): State<Api>) -> Response {
    success(StatusCode::OK, vec![this_node(&api).await])
}

/// `POST /drain`: not ready, no new allocations, no new calls; calls under way go on.
pub(super) async fn drain(Operator(store): Operator, State(api): State<Api>) -> Result<Response, Problem> {
    store.note("node.drain", Some(api.node.name.clone()), api.now()).await?;
    set_drained(&api, true);
    Ok(success(StatusCode::OK, this_node(&api).await))
}

/// `POST /undrain`
pub(super) async fn undrain(Operator(store): Operator, State(api): State<Api>) -> Result<Response, Problem> {
    store.note("node.undrain", Some(api.node.name.clone()), api.now()).await?;
    set_drained(&api, false);
    Ok(success(StatusCode::OK, this_node(&api).await))
}

/// `GET /calls`: those under way, oldest first.
pub(super) async fn calls(Operator(store): Operator, State(api): State<Api>) -> Result<Response, Problem> {
    let calls = api.node.engine.calls().await;
    let tenants: HashMap<CallSid, TenantId> = store.open_calls(&api.node.name).await?.into_iter().collect();
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

/// `DELETE /calls/{call_sid}`: hangs up on both sides.
pub(super) async fn end_call(
    Operator(store): Operator,
    State(api): State<Api>,
    Path(call_sid): Path<String>,
) -> Result<Response, Problem> {
    let not_found = || Problem::plain(Code::NotFound);
    let call_sid = CallSid::parse(&call_sid).ok_or_else(not_found)?;
    if !api.node.engine.end_call(call_sid.clone()).await {
        return Err(not_found());
    }
    store.note("call.end", Some(call_sid.to_string()), api.now()).await?;
    Ok(success(StatusCode::OK, json!({ "call_sid": call_sid.as_str(), "state": "ending" })))
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
