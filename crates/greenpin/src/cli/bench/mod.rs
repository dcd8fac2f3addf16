//! `greenpin bench`: the figures that users ask for, measured on a real server in a process of its own.

mod bridged;
mod calls;
mod child;
mod creates;
mod floor;
mod load;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::fail;

pub(super) use floor::serve as serve_floor;

#[derive(Args)]
pub(super) struct Arguments {
    /// Measure only this
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// How long each measurement lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// PIN calls a second
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// Bridged calls at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    calls: u32,
    /// Print each figure as a line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Allocations over HTTP, beside a bare server's floor
    Creates,
    /// Calls through the PIN to an agent
    Calls,
    /// Audio of bridged calls, without and with recording
    Bridged,
}

/// One measured figure.
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// What it should be, in words.
    goal: &'static str,
}

impl Figure {
    fn new(name: &'static str, value: f64, unit: &'static str, goal: &'static str) -> Self {
        Self { name, value, unit, goal }
    }

    fn tell(&self, json: bool) {
        let Self { name, value, unit, goal } = self;
        if json {
            println!("{}", json!({ "figure": name, "value": value, "unit": unit, "goal": goal }));
        } else {
            println!("{name:<44} {value:>12.2} {unit:<10} {goal}");
        }
    }
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let time = Duration::from_secs(arguments.seconds);
    let mut figures = Vec::new();
    for part in [Part::Creates, Part::Calls, Part::Bridged].into_iter().filter(|part| wanted(*part)) {
        let measured = match part {
            Part::Creates => creates::measure(time).await,
            Part::Calls => calls::measure(time, arguments.rate).await,
            Part::Bridged => bridged::measure(time, arguments.calls).await,
        };
        match measured {
            Ok(measured) => figures.extend(measured),
            Err(error) => return fail(error),
        }
    }
    if !arguments.json {
        println!("{:<44} {:>12} {:<10} goal", "figure", "value", "unit");
    }
    figures.iter().for_each(|figure| figure.tell(arguments.json));
    ExitCode::SUCCESS
}
