//! `Range: bytes=…` (RFC 9110, section 14), one range at a time.

use std::ops::RangeInclusive;

/// Which part of a file an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: no range was asked for, or one that this server may leave unread.
    Whole,
    /// These bytes.
    Bytes(RangeInclusive<u64>),
    /// None of the bytes asked for exist.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `length` bytes.
pub(crate) fn part(header: Option<&str>, length: u64) -> Part {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Part::Whole;
    };
    let end = length.saturating_sub(1);
    match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") if first < length => Part::Bytes(first..=end),
        (Ok(_), "") => Part::Unsatisfiable,
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if first <= last && first < length => Part::Bytes(first..=last.min(end)),
            Ok(last) if first <= last => Part::Unsatisfiable,
            _ => Part::Whole,
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => Part::Unsatisfiable,
            Ok(_) if length == 0 => Part::Unsatisfiable,
            Ok(count) => Part::Bytes(length.saturating_sub(count)..=end),
            Err(_) => Part::Whole,
        },
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_range_is_read() {
        let part = |header| part(Some(header), 100);
        assert_eq!(part("bytes=0-9"), Part::Bytes(0..=9));
        assert_eq!(part("bytes=90-"), Part::Bytes(90..=99));
        assert_eq!(part("bytes=-10"), Part::Bytes(90..=99));
        assert_eq!(part("bytes=-1000"), Part::Bytes(0..=99));
        assert_eq!(part("bytes=50-1000"), Part::Bytes(50..=99));
        assert_eq!(part("bytes=100-"), Part::Unsatisfiable);
        assert_eq!(part("bytes=-0"), Part::Unsatisfiable);
        for unread in [
            "bytes=9-0",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes",
        ] {
            assert_eq!(part(unread), Part::Whole, "{unread}");
        }
    }
}
