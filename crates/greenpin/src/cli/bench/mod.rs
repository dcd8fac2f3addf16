//! `greenpin bench`: the figures that users ask for, measured on a real server in its own process.

mod api;
mod baseline;
mod bridged;
mod calls;
mod child;
mod delay_proxy;
mod flood;
mod load;
mod webhooks;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use self::child::BenchStore;
use super::output::{CommandError, exit_code, note, print_line};

pub(super) use self::baseline::serve as serve_baseline;

#[derive(Args)]
pub(super) struct Arguments {
    /// Measure only this
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Duration of each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// PIN calls a second
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// Bridged calls at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    calls: u32,
    /// INVITEs a second in the flood
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    flood: u32,
    /// Stored allocations for a second measurement of the API; 0: only one measurement, with 1,000
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    stored: u32,
    /// Size of the webhook backlog to drain
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    backlog: u32,
    /// An empty PostgreSQL database for the API, calls or webhooks, instead of a temporary SQLite file
    #[arg(
        long,
        value_name = "URL",
        env = "GREENPIN_BENCH_STORE",
        hide_env_values = true
    )]
    store: Option<String>,
    /// Round trip between the server and the database of --store, in milliseconds, made by a proxy
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = round_trip)]
    round_trip: f64,
    /// Print each figure as a line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Creates and reads over HTTP, beside a bare server
    Api,
    /// Calls through the PIN to an agent
    Calls,
    /// Audio of bridged calls, without and with recording
    Bridged,
    /// Webhooks to a local receiver: their delay, and the speed of draining a backlog
    Webhooks,
    /// Live calls while strangers flood the server with INVITEs
    Flood,
}

/// All measurements. One database serves one measurement.
const PARTS: [Part; 5] = [
    Part::Api,
    Part::Calls,
    Part::Bridged,
    Part::Webhooks,
    Part::Flood,
];

/// One measured figure.
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Goal,
}

/// Goal of a figure.
#[derive(Clone, Copy)]
enum Goal {
    /// No goal: the figure is for comparison.
    Open,
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn limit(self) -> Option<f64> {
        match self {
            Self::Open => None,
            Self::AtLeast(limit) | Self::AtMost(limit) => Some(limit),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Open => String::new(),
            Self::AtLeast(limit) => format!("{limit} or more"),
            Self::AtMost(limit) => format!("{limit} or less"),
        }
    }
}

impl Figure {
    fn new(name: impl Into<String>, value: f64, unit: &'static str, goal: Goal) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            goal,
        }
    }

    /// Returns the value as a share of the goal, if there is one.
    fn ratio(&self) -> Option<f64> {
        self.goal
            .limit()
            .filter(|limit| *limit > 0.0)
            .map(|limit| self.value / limit)
    }

    fn print(&self, json: bool) -> Result<(), CommandError> {
        let Self {
            name,
            value,
            unit,
            goal,
        } = self;
        if json {
            let ratio = self.ratio();
            let line = json!({ "figure": name, "value": value, "unit": unit, "goal": goal.words(), "ratio": ratio });
            print_line(line)
        } else {
            let ratio = self
                .ratio()
                .map(|ratio| format!("{ratio:.2}"))
                .unwrap_or_default();
            let line = format!(
                "{name:<44} {value:>12.2} {unit:<6} {:<14} {ratio:>8}",
                goal.words()
            );
            print_line(line.trim_end())
        }
    }
}

fn round_trip(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok();
    parsed
        .filter(|milliseconds| (0.0..=1000.0).contains(milliseconds))
        .ok_or_else(|| "must be a number of milliseconds from 0 to 1000".to_owned())
}

/// Prints progress on a terminal; a pipe gets the figures only.
fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        note(format_args!("{what} …"));
    }
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    exit_code(measure(&arguments).await)
}

async fn measure(arguments: &Arguments) -> Result<(), CommandError> {
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let time = Duration::from_secs(arguments.seconds);
    let store = BenchStore {
        url: arguments.store.clone(),
        round_trip: Duration::from_secs_f64(arguments.round_trip / 1000.0),
    };
    let mut figures = Vec::new();
    for part in PARTS.into_iter().filter(|part| wanted(*part)) {
        let measured = match part {
            Part::Api => api::measure(time, arguments.stored, &store).await,
            Part::Calls => calls::measure(time, arguments.rate, &store).await,
            Part::Webhooks => webhooks::measure(time, arguments.backlog, &store).await,
            Part::Bridged => bridged::measure(time, arguments.calls).await,
            Part::Flood => flood::measure(time, arguments.flood).await,
        };
        figures.extend(measured?);
    }
    if !arguments.json {
        print_line(format_args!(
            "{:<44} {:>12} {:<6} {:<14} {:>8}",
            "figure", "value", "unit", "goal", "of it"
        ))?;
    }
    figures
        .iter()
        .try_for_each(|figure| figure.print(arguments.json))
}
