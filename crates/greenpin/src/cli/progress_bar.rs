//! Progress bar of commands that take long, on a terminal only.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::backup::{Progress, Step};

/// Returns a bar with a template of the library; it stays hidden in a pipe.
pub(super) fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(length, target);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Bar of a backup or a restoration.
pub(super) struct CopyBar(ProgressBar);

impl CopyBar {
    pub(super) fn new() -> Self {
        Self(bar(
            None,
            "{msg:12} {bar:40} {binary_bytes}/{binary_total_bytes}  {elapsed}",
        ))
    }

    pub(super) fn show(&self, progress: Progress) {
        self.0.set_message(match progress.step {
            Step::Database => "database",
            Step::Recordings => "recordings",
            Step::Verification => "verification",
        });
        self.0.set_length(progress.total.max(progress.bytes));
        self.0.set_position(progress.bytes);
    }
}

impl Drop for CopyBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
