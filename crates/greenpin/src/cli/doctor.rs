//! `greenpin doctor`

use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::json;

use super::output::{CommandError, exit_code, fail, print_line};
use crate::doctor::{self, Finding, Outcome, Report};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();
const BOLD: Style = Style::new().bold();

/// Width of the columns before the reason.
const RESULT_WIDTH: usize = 8;
/// Maximum width of the column of subjects. Longer ones move the reason.
const MAX_SUBJECT_WIDTH: usize = 44;

#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Examines the installation. Exit code 1: at least one fault.
pub(super) async fn run(arguments: Arguments, file: Option<&Path>) -> ExitCode {
    let report = match doctor::examine(file).await {
        Ok(report) => report,
        Err(error) => return fail(error),
    };
    let printed = match arguments.json {
        true => print_line(json!(report)),
        false => print(&report),
    };
    match (printed, report.faults) {
        (Ok(()), 1..) => ExitCode::FAILURE,
        // A reader that has closed the output may still use the exit code.
        (Err(CommandError::OutputClosed), 1..) => ExitCode::FAILURE,
        (printed, _) => exit_code(printed),
    }
}

fn print(report: &Report) -> Result<(), CommandError> {
    let widths = report
        .checks
        .iter()
        .map(|finding| finding.subject.chars().count());
    let width = widths.max().unwrap_or(0).min(MAX_SUBJECT_WIDTH);
    let mut area = None;
    for finding in &report.checks {
        if area != Some(finding.check) {
            area = Some(finding.check);
            let name = finding.check.as_str();
            print_line(format_args!("{BOLD}{name}{BOLD:#}"))?;
        }
        print_finding(finding, width)?;
    }
    let Report {
        ok,
        warnings,
        faults,
        ..
    } = report;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    print_line(format_args!(
        "\n{ok} ok, {warnings} warning{}, {faults} fault{}",
        plural(*warnings),
        plural(*faults)
    ))
}

fn print_finding(finding: &Finding, width: usize) -> Result<(), CommandError> {
    let style = match finding.outcome {
        Outcome::Ok => GOOD,
        Outcome::Warning => DOUBTFUL,
        Outcome::Fault => BAD,
    };
    let word = finding.outcome.as_str();
    let (subject, reason) = (&finding.subject, &finding.reason);
    print_line(format_args!(
        "{style}{word:<RESULT_WIDTH$}{style:#} {subject:<width$}  {reason}"
    ))?;
    if let Some(remedy) = &finding.remedy {
        print_line(format_args!("{:RESULT_WIDTH$} -> {remedy}", ""))?;
    }
    Ok(())
}
