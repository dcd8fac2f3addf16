//! How the demo tells what it sees: in colour on a terminal, plainly in a pipe, as JSON lines for a program.

use std::time::Instant;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Tells one step after the other.
pub(super) struct Story {
    json: bool,
    began: Instant,
    told: u32,
}

impl Story {
    pub(super) fn begin(json: bool) -> Self {
        if !json {
            anstream::println!(
                "{BOLD}greenpin demo{BOLD:#}: one masked call on this machine, start to end\n"
            );
        }
        Self {
            json,
            began: Instant::now(),
            told: 0,
        }
    }

    /// A step was seen.
    pub(super) fn seen(&mut self, step: &str, text: &str, facts: &Value) {
        self.told += 1;
        let milliseconds = self.began.elapsed().as_millis();
        if self.json {
            let line = json!({ "step": step, "ok": true, "at_ms": milliseconds, "text": text, "facts": facts });
            println!("{line}");
        } else {
            anstream::println!("{DIM}{milliseconds:>6} ms{DIM:#}  {GOOD}✓{GOOD:#} {text}");
        }
    }

    /// A step was not seen: the demo fails.
    pub(super) fn failed(&self, step: &str, reason: &str) {
        if self.json {
            let milliseconds = self.began.elapsed().as_millis();
            println!(
                "{}",
                json!({ "step": step, "ok": false, "at_ms": milliseconds, "reason": reason })
            );
        } else {
            anstream::eprintln!("\n{BAD}✗ {step}{BAD:#}: {reason}");
        }
    }

    /// Every step was seen.
    pub(super) fn end(&self) {
        if !self.json {
            let seconds = self.began.elapsed().as_secs_f64();
            anstream::println!(
                "\n{GOOD}All {} steps were seen{GOOD:#} in {seconds:.1} s.",
                self.told
            );
        }
    }

    /// Something to know that is no step.
    pub(super) fn note(&self, text: &str) {
        if !self.json {
            anstream::println!("{text}");
        }
    }
}
