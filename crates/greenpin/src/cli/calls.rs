//! `greenpin calls`

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::arguments::{call_sid, tenant_id};
use super::output::{CommandError, print_line};
use crate::http::operator::node::CallLegsDetails;
use crate::store::{Actor, CallCause, CallRecord, CallSid, EndedCallFilter, Store, TenantId};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List ended calls, newest first
    #[command(
        after_help = "Example:\n  greenpin calls list --cause wrong_pin\n  greenpin calls list --json | jq .why"
    )]
    List(List),
    /// Show an ended call with the reason for its result and every attempt
    #[command(after_help = "Example:\n  greenpin calls show call_06f2n7c8sd3k2q9w4m1x5z0ba7")]
    Show(Show),
}

#[derive(Args)]
pub(super) struct List {
    /// Only calls of this tenant [default: all tenants]
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: Option<TenantId>,
    /// Only calls with this cause, as in call records
    #[arg(long, value_name = "CAUSE", value_parser = cause)]
    cause: Option<CallCause>,
    /// Only calls from this trunk
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    /// Maximum number of calls to print
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Print JSON, one call per line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Show {
    /// The id of the call
    #[arg(value_name = "CALL_SID", value_parser = call_sid)]
    call_sid: CallSid,
    /// Fail unless the call belongs to this tenant
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: Option<TenantId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn cause(text: &str) -> Result<CallCause, String> {
    text.parse()
        .map_err(|error: call::UnknownWord| error.to_string())
}

pub(super) async fn run(command: Command, store: Store) -> Result<(), CommandError> {
    match command {
        Command::List(list) => self::list(list, &store).await,
        Command::Show(show) => {
            let record = find(&store, &show.call_sid, show.tenant.as_ref()).await?;
            match show.json {
                true => print_json(&record),
                false => print(&record),
            }
        }
    }
}

/// Returns a call of any tenant, or of this one.
pub(super) async fn find(
    store: &Store,
    call_sid: &CallSid,
    tenant: Option<&TenantId>,
) -> Result<CallRecord, CommandError> {
    let operator = store.operator(Actor::command_line());
    let found = operator.call(call_sid).await;
    let found = found.map_err(|error| error.to_string())?;
    let found = found.filter(|call| tenant.is_none_or(|tenant| call.tenant_id == *tenant));
    Ok(found.ok_or_else(|| format!("call {call_sid}: there is no such call"))?)
}

async fn list(list: List, store: &Store) -> Result<(), CommandError> {
    let operator = store.operator(Actor::command_line());
    if let Some(name) = &list.tenant {
        let exists = store.tenant_exists(name).await;
        if !exists.map_err(|error| error.to_string())? {
            return Err(format!("tenant {name}: there is no such tenant").into());
        }
    }
    let filter = EndedCallFilter {
        tenant_id: list.tenant,
        cause: list.cause,
        trunk: list.trunk,
    };
    let calls = operator.ended_calls(filter, None, list.limit).await;
    for record in calls.map_err(|error| error.to_string())? {
        match list.json {
            true => print_json(&record)?,
            false => print_line(format_args!(
                "{}  {}  {}  {}  {}  {}",
                record.started_at.rfc3339(&TimeZone::UTC),
                record.call_sid,
                record.tenant_id,
                record.trunk,
                record.cause.map_or("-", CallCause::as_str),
                record.why().as_deref().unwrap_or("-"),
            ))?,
        }
    }
    Ok(())
}

fn print_json(record: &CallRecord) -> Result<(), CommandError> {
    let details = CallLegsDetails::from_record(record);
    print_line(serde_json::to_string(&details).map_err(|error| error.to_string())?)
}

fn print(record: &CallRecord) -> Result<(), CommandError> {
    let utc = TimeZone::UTC;
    let ended_at = record.ended_at.map(|ended_at| ended_at.rfc3339(&utc));
    let fields = [
        ("id", record.call_sid.to_string()),
        ("tenant", record.tenant_id.to_string()),
        ("started", record.started_at.rfc3339(&utc)),
        ("ended", ended_at.unwrap_or_else(|| "-".to_owned())),
        ("trunk", record.trunk.clone()),
        ("node", record.node.clone()),
        (
            "cause",
            record.cause.map_or("-", CallCause::as_str).to_owned(),
        ),
        ("why", record.why().unwrap_or_else(|| "-".to_owned())),
    ];
    for (name, value) in fields {
        print_line(format_args!("{name:<8} {value}"))?;
    }
    for leg in &record.legs.attempts {
        let status = leg.sip_status.map(|status| format!("  SIP {status}"));
        print_line(format_args!(
            "attempt  {}  {}  {} to {}  {}{}",
            leg.number,
            leg.trunk.as_deref().unwrap_or("(not dialled)"),
            leg.started_at.rfc3339(&utc),
            leg.ended_at.rfc3339(&utc),
            leg.cause.as_str(),
            status.unwrap_or_default(),
        ))?;
    }
    Ok(())
}
