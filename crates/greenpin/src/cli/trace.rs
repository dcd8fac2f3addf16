//! `greenpin trace`

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{call_sid, tenant_id};
use super::output::{CommandError, print_line};
use crate::http::tenant::calls::trace::{TraceDetails, TraceEntryDetails};
use crate::http::tenant::calls::trace_pcap;
use crate::store::{CallRecord, CallSid, CallTrace, Store, TenantId};

/// Width of the column of leg keys.
const LEG_WIDTH: usize = 9;

#[derive(Args)]
pub(super) struct Arguments {
    /// The id of the call
    #[arg(value_name = "CALL_SID", value_parser = call_sid)]
    call_sid: CallSid,
    /// Fail unless the call belongs to this tenant
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: Option<TenantId>,
    /// Write the SIP messages to this file, for Wireshark
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Print the trace as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, store: Store) -> Result<(), CommandError> {
    let sid = &arguments.call_sid;
    let record = super::calls::find(&store, sid, arguments.tenant.as_ref()).await?;
    let tenant = store.tenant(record.tenant_id.clone());
    let trace = tenant.trace(sid).await.map_err(|error| error.to_string())?;
    let trace = trace.ok_or_else(|| {
        format!(
            "call {sid}: there is no trace; it is written within two seconds after the end of the call, and kept for \
             retention.trace days"
        )
    })?;
    if let Some(file) = &arguments.pcap {
        write_capture(file, &trace, &record)?;
    }
    let details = TraceDetails::of(&tenant, &record, &trace).await;
    let details = details.map_err(|error| error.to_string())?;
    if arguments.json {
        let text = serde_json::to_string(&details).map_err(|error| error.to_string())?;
        return print_line(text);
    }
    print_ladder(&details, &record)
}

fn write_capture(file: &Path, trace: &CallTrace, record: &CallRecord) -> Result<(), CommandError> {
    let capture = trace_pcap::capture(trace, record.started_at);
    fs::write(file, capture)
        .map_err(|error| format!("cannot write {}: {error}", file.display()).into())
}

fn print_ladder(details: &TraceDetails, record: &CallRecord) -> Result<(), CommandError> {
    print_line(format_args!(
        "{}  {}  {}",
        details.call_sid, record.tenant_id, details.start_time
    ))?;
    if let Some(why) = record.why() {
        print_line(why)?;
    }
    print_line("")?;
    for leg in &details.legs {
        let number = leg.number.as_deref().unwrap_or("(withheld or unknown)");
        let peer = leg.peer.as_deref().unwrap_or("-");
        print_line(format_args!(
            "{:LEG_WIDTH$}  {number}  trunk {}  {peer}",
            leg.leg, leg.trunk
        ))?;
    }
    print_line("")?;
    for entry in &details.entries {
        print_line(ladder_line(entry))?;
    }
    if details.truncated {
        print_line("The trace has reached its limit; the rest is missing.")?;
    }
    Ok(())
}

/// Returns the line of an entry: seconds since the start, leg, direction, text.
fn ladder_line(entry: &TraceEntryDetails) -> String {
    let seconds = entry.offset_ms / 1000.0;
    let leg = entry.leg.as_deref().unwrap_or("");
    let arrow = match entry.direction {
        Some("in") => "-->",
        Some(_) => "<--",
        None => " . ",
    };
    format!("{seconds:>10.3}  {leg:LEG_WIDTH$} {arrow} {}", entry.text)
}
