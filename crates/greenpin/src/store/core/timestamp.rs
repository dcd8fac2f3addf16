//! Time in the store.

use std::fmt::{self, Write};
use std::ops::Add;
use std::time::Duration;

use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::{DateTimePrinter, Pieces};
use jiff::tz::{Offset, TimeZone};

const SECOND: i64 = 1_000_000;
/// Last year of RFC 3339.
const LAST_YEAR: i16 = 9999;
/// Length of `2026-06-15T10:30:00+05:30`.
const RFC3339_LENGTH: usize = 25;
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
const PRECISE_PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// Time in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the current time of the system clock.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }

    /// Creates a time from microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Parses a time of RFC 3339. The last hours of the year 9999, which the calendar library does not have, become its
    /// latest time.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = text.parse().ok().or_else(|| {
            let pieces = Pieces::parse(text).ok()?;
            let is_time = pieces.time().is_some() && pieces.offset().is_some();
            (is_time && pieces.date().year() == LAST_YEAR).then_some(jiff::Timestamp::MAX)
        });
        time.map(|time: jiff::Timestamp| Self(time.as_microsecond()))
    }

    /// Returns the microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Returns the time without its fraction of a second.
    pub fn whole_seconds(self) -> Self {
        Self(self.0.div_euclid(SECOND).saturating_mul(SECOND))
    }

    /// Returns the duration from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns the time as RFC 3339 in whole seconds with the offset of the zone, such as `2026-06-15T10:30:00+05:30`.
    pub fn rfc3339(self, zone: &TimeZone) -> String {
        let mut text = String::with_capacity(RFC3339_LENGTH);
        // Writing to a `String` does not fail.
        let _ = write!(text, "{}", self.in_zone(zone));
        text
    }

    /// Returns the time as [`Timestamp::rfc3339`], in microseconds.
    pub fn rfc3339_micros(self, zone: &TimeZone) -> String {
        let mut text = String::new();
        let LocalTime(moment, offset) = self.in_zone(zone);
        // Writing to a `String` does not fail.
        let _ = PRECISE_PRINTER.print_timestamp_with_offset(&moment, offset, &mut text);
        text
    }

    /// Returns the time for formatting as in [`Timestamp::rfc3339`], without an allocation.
    pub fn in_zone(self, zone: &TimeZone) -> LocalTime {
        // Out of range are only times before the year -9999 or after 9999.
        let moment = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        LocalTime(moment, zone.to_offset(moment))
    }
}

/// Time with the offset of a zone. `Display` shows it as RFC 3339 in whole seconds.
#[derive(Debug, Clone, Copy)]
pub struct LocalTime(jiff::Timestamp, Offset);

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PRINTER
            .print_timestamp_with_offset(&self.0, self.1, StdFmtWrite(f))
            .map_err(|_| fmt::Error)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_of_rfc_3339_is_read_up_to_its_last_second() {
        let parse = Timestamp::parse_rfc3339;
        let latest = Timestamp::from_micros(jiff::Timestamp::MAX.as_microsecond());
        for last in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999-23:59"] {
            assert_eq!(parse(last), Some(latest), "{last}");
        }
        assert_eq!(
            parse("1970-01-01T00:00:01Z"),
            Some(Timestamp::from_micros(1_000_000))
        );
        let first = parse("0000-01-01T00:00:00+23:59").unwrap();
        assert!(first < parse("0000-01-01T00:00:00-23:59").unwrap());
        for wrong in [
            "9999-12-31",
            "9999-12-31T23:59:59",
            "9999-13-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_is_formatted_in_its_zone_in_whole_seconds() {
        let moment = Timestamp::from_micros(1_781_499_600_999_999);
        let zone = |name| TimeZone::get(name).unwrap();
        assert_eq!(
            moment.rfc3339(&zone("Asia/Kolkata")),
            "2026-06-15T10:30:00+05:30"
        );
        assert_eq!(moment.rfc3339(&zone("UTC")), "2026-06-15T05:00:00+00:00");
        assert_eq!(
            moment.rfc3339(&zone("America/New_York")),
            "2026-06-15T01:00:00-04:00"
        );
        assert_eq!(moment.whole_seconds().micros(), 1_781_499_600_000_000);
    }
}
