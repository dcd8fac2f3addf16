//! Runs of digits in a text.

/// Placeholder for masked text.
pub(super) const HIDDEN: &str = "…";

/// Returns `true` if the text has a run of `limit` or more digits.
pub(super) fn has_digit_run(text: &str, limit: usize) -> bool {
    let mut length = 0_usize;
    text.bytes().any(|byte| {
        length = match byte.is_ascii_digit() {
            true => length.saturating_add(1),
            false => 0,
        };
        length >= limit
    })
}

/// Splits a text into runs of ASCII digits and the text between them.
pub(super) fn digit_runs(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_digits = rest.bytes().next()?.is_ascii_digit();
        let end = rest
            .bytes()
            .position(|byte| byte.is_ascii_digit() != is_digits)
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some((run, is_digits))
    })
}
