//! Output of the demo: in colour on a terminal, plain in a pipe, JSON lines for a program.

use std::time::Instant;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::cli::output::{CommandError, Lines, note};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Prints the steps of the demo.
pub(super) struct Progress {
    json: bool,
    started_at: Instant,
    steps: u32,
    lines: Lines,
}

impl Progress {
    /// Prints the heading.
    pub(super) fn start(json: bool) -> Self {
        let mut lines = Lines::default();
        if !json {
            lines.print(format_args!(
                "{BOLD}greenpin demo{BOLD:#}: one masked call on this machine, start to end\n"
            ));
        }
        Self {
            json,
            started_at: Instant::now(),
            steps: 0,
            lines,
        }
    }

    /// Prints a step that was seen.
    pub(super) fn seen(&mut self, step: &str, text: &str, facts: &Value) {
        self.steps += 1;
        let milliseconds = self.started_at.elapsed().as_millis();
        if self.json {
            let line = json!({ "step": step, "ok": true, "at_ms": milliseconds, "text": text, "facts": facts });
            self.lines.print(line);
        } else {
            self.lines.print(format_args!(
                "{DIM}{milliseconds:>6} ms{DIM:#}  {GOOD}✓{GOOD:#} {text}"
            ));
        }
    }

    /// Prints the step that was not seen.
    pub(super) fn failed(&mut self, step: &str, reason: &str) {
        if self.json {
            let milliseconds = self.started_at.elapsed().as_millis();
            let line =
                json!({ "step": step, "ok": false, "at_ms": milliseconds, "reason": reason });
            self.lines.print(line);
        } else {
            note(format_args!("\n{BAD}✗ {step}{BAD:#}: {reason}"));
        }
    }

    /// Prints the summary after the last step.
    pub(super) fn end(&mut self) {
        if !self.json {
            let seconds = self.started_at.elapsed().as_secs_f64();
            self.lines.print(format_args!(
                "\n{GOOD}All {} steps were seen{GOOD:#} in {seconds:.1} s.",
                self.steps
            ));
        }
    }

    /// Prints how to reach the server that stays up: `text` for people, `facts` for a program.
    pub(super) fn staying(&mut self, text: &str, facts: &Value) {
        if self.json {
            self.lines
                .print(json!({ "step": "keep", "ok": true, "facts": facts }));
        } else {
            self.lines.print(text);
        }
    }

    /// Returns whether every line so far was printed.
    pub(super) fn is_printed(&self) -> bool {
        self.lines.is_printed()
    }

    /// Returns the error of the first line that was not printed.
    pub(super) fn finish(&mut self) -> Result<(), CommandError> {
        self.lines.finish()
    }
}
