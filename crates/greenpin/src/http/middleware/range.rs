//! `Range: bytes=…` (RFC 9110, section 14), one range at a time.

use std::ops::RangeInclusive;

/// Part of a file requested by a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestedRange {
    /// Whole file: no `Range` header, or a form of it that the server ignores.
    Whole,
    /// Inclusive range of bytes.
    Bytes(RangeInclusive<u64>),
    /// The range lies outside the file.
    Unsatisfiable,
}

/// Parses a `Range` header for a file of `length` bytes.
pub(crate) fn parse_range(header: Option<&str>, length: u64) -> RequestedRange {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return RequestedRange::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return RequestedRange::Whole;
    };
    let end = length.saturating_sub(1);
    match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") if first < length => RequestedRange::Bytes(first..=end),
        (Ok(_), "") => RequestedRange::Unsatisfiable,
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if first <= last && first < length => {
                RequestedRange::Bytes(first..=last.min(end))
            }
            Ok(last) if first <= last => RequestedRange::Unsatisfiable,
            _ => RequestedRange::Whole,
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => RequestedRange::Unsatisfiable,
            Ok(_) if length == 0 => RequestedRange::Unsatisfiable,
            Ok(count) => RequestedRange::Bytes(length.saturating_sub(count)..=end),
            Err(_) => RequestedRange::Whole,
        },
        _ => RequestedRange::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_range_is_parsed() {
        let parse = |header| parse_range(Some(header), 100);
        assert_eq!(parse("bytes=0-9"), RequestedRange::Bytes(0..=9));
        assert_eq!(parse("bytes=90-"), RequestedRange::Bytes(90..=99));
        assert_eq!(parse("bytes=-10"), RequestedRange::Bytes(90..=99));
        assert_eq!(parse("bytes=-1000"), RequestedRange::Bytes(0..=99));
        assert_eq!(parse("bytes=50-1000"), RequestedRange::Bytes(50..=99));
        assert_eq!(parse("bytes=100-"), RequestedRange::Unsatisfiable);
        assert_eq!(parse("bytes=-0"), RequestedRange::Unsatisfiable);
        for unread in [
            "bytes=9-0",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes",
        ] {
            assert_eq!(parse(unread), RequestedRange::Whole, "{unread}");
        }
    }
}
