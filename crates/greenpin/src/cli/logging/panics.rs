//! Panics in the log, instead of on standard error, where a reader that stalls would block the thread.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::thread;

/// Shortest run of digits that is masked in a message, the length of a short PIN.
const MIN_MASKED_DIGITS: usize = 4;

/// Logs every panic from now on.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let location = location.unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    let reason = reason(panic);
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(location, thread, reason, %backtrace, "panic");
    } else {
        tracing::error!(location, thread, reason, "panic");
    }
}

/// Returns the message of a panic. Our own types mask numbers, the text of a library may contain one.
fn reason(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    mask_digits(text.or(formatted).unwrap_or_default())
}

/// Replaces runs of digits that could be a number or a PIN.
fn mask_digits(text: &str) -> String {
    let (mut masked, mut rest) = (String::new(), text);
    while let Some(start) = rest.find(|character: char| character.is_ascii_digit()) {
        let (before, digits) = rest.split_at(start);
        let end = digits.find(|character: char| !character.is_ascii_digit());
        let (run, after) = digits.split_at(end.unwrap_or(digits.len()));
        masked.push_str(before);
        let is_short = run.len() < MIN_MASKED_DIGITS;
        masked.push_str(if is_short { run } else { "####" });
        rest = after;
    }
    masked + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_of_digits_that_could_be_a_number_or_a_pin_are_masked() {
        for (text, masked) in [
            ("", ""),
            ("no digits", "no digits"),
            (
                "the len is 3 but the index is 512",
                "the len is 3 but the index is 512",
            ),
            ("inside `+919900000001`", "inside `+####`"),
            ("4821 and 123, 00000", "#### and 123, ####"),
        ] {
            assert_eq!(mask_digits(text), masked);
        }
    }
}
