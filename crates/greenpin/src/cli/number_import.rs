//! `greenpin number import`

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::arguments::tenant_id;
use super::output::{CommandError, print_line};
use super::progress_bar;
use crate::http::operator::number_import::{ImportSummary, MAX_FILE_BYTES, NumberFile};
use crate::store::{OperatorStore, TenantId, Timestamp};

#[derive(Args)]
pub(super) struct Arguments {
    /// The CSV file
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// The tenant that gets the numbers
    #[arg(long, value_name = "NAME", value_parser = tenant_id)]
    tenant: TenantId,
    /// Only report the lines that would be rejected
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, store: &OperatorStore) -> Result<(), CommandError> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", arguments.file.display());
    let size = std::fs::metadata(&arguments.file)
        .map_err(|error| told(&error))?
        .len();
    if size > MAX_FILE_BYTES as u64 {
        let why = format!("has {size} bytes, at most {MAX_FILE_BYTES} are read");
        return Err(told(&why).into());
    }
    let bytes = std::fs::read(&arguments.file).map_err(|error| told(&error))?;
    let sheet = NumberFile::read(&bytes).map_err(|error| told(&error))?;
    let bar = progress_bar::bar(
        u64::try_from(sheet.lines()).ok(),
        "{bar:40} {human_pos}/{human_len} numbers  {elapsed}",
    );
    let looked_up = |numbers: usize| bar.inc(u64::try_from(numbers).unwrap_or(0));
    let imported = sheet
        .import(
            store,
            &arguments.tenant,
            arguments.dry_run,
            Timestamp::now(),
            looked_up,
        )
        .await;
    bar.finish_and_clear();
    let report = imported.map_err(|error| told(&error))?;
    print(&report, &arguments)?;
    match report.refused.len() {
        0 => Ok(()),
        refused => Err(told(&format!(
            "{refused} of {} lines are refused; nothing was added",
            report.lines
        ))
        .into()),
    }
}

fn print(report: &ImportSummary, arguments: &Arguments) -> Result<(), CommandError> {
    if arguments.json {
        let refused: Vec<Value> = report.refused.iter().map(|line| {
            json!({ "line": line.line, "field": line.field, "code": line.fault.as_str(), "message": line.message })
        }).collect();
        let line = json!({
            "tenant_id": arguments.tenant.as_str(),
            "dry_run": arguments.dry_run,
            "lines": report.lines,
            "added": report.added,
            "refused": refused,
        });
        return print_line(line);
    }
    for line in &report.refused {
        let field = if line.field.is_empty() {
            "line"
        } else {
            line.field
        };
        print_line(format_args!(
            "line {}: {field} {} ({})",
            line.line,
            line.message,
            line.fault.as_str()
        ))?;
    }
    if report.refused.is_empty() {
        let would = if arguments.dry_run {
            "could be added"
        } else {
            "added"
        };
        print_line(format_args!(
            "{} numbers {would} to {}",
            report.lines, arguments.tenant
        ))?;
    }
    Ok(())
}
