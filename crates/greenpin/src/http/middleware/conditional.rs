//! Conditional requests for a file that never changes (RFC 9110, section 13): `If-None-Match`, `If-Modified-Since` and
//! `If-Range`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

/// Validators of a file: `ETag` and `Last-Modified`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators {
    etag: String,
    /// Time of the last change, in whole seconds.
    modified_at: jiff::Timestamp,
}

impl Validators {
    /// Returns the validators of a file that was finished at a time (microseconds since 1970) and has a length in
    /// bytes.
    pub(crate) fn new(finished_micros: i64, length: u64) -> Self {
        let seconds = finished_micros.div_euclid(1_000_000);
        Self {
            etag: format!("\"{finished_micros:x}-{length:x}\""),
            modified_at: jiff::Timestamp::from_second(seconds).unwrap_or_default(),
        }
    }

    /// Returns `true` if the client already has the file: `If-None-Match`, or else `If-Modified-Since`.
    pub(crate) fn is_not_modified(&self, headers: &HeaderMap) -> bool {
        let mut tags = headers.get_all(header::IF_NONE_MATCH).iter().peekable();
        if tags.peek().is_some() {
            return tags.any(|tags| {
                tags.to_str().unwrap_or_default().split(',').any(|tag| {
                    let tag = tag.trim();
                    tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag
                })
            });
        }
        self.date(headers, header::IF_MODIFIED_SINCE)
            .is_some_and(|since| self.modified_at <= since)
    }

    /// Returns `true` if a range can be served: `If-Range` is absent or names this file.
    pub(crate) fn allows_range(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::IF_RANGE) {
            None => true,
            Some(tag) if tag.as_bytes() == self.etag.as_bytes() => true,
            Some(_) => self.date(headers, header::IF_RANGE) == Some(self.modified_at),
        }
    }

    fn date(&self, headers: &HeaderMap, name: HeaderName) -> Option<jiff::Timestamp> {
        let date = headers.get(name)?.to_str().ok()?;
        // A date that cannot be read counts as absent (RFC 9110, section 13.1.3).
        DateTimeParser::new().parse_timestamp(date).ok()
    }

    /// Adds `ETag` and `Last-Modified` to the headers of a response.
    pub(crate) fn insert_headers(&self, headers: &mut HeaderMap) {
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&self.modified_at);
        for (name, value) in [
            (header::ETAG, Some(self.etag.clone())),
            (header::LAST_MODIFIED, date.ok()),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-27T12:00:00.5Z
    const FINISHED: i64 = 1_795_780_800_500_000;
    const DATE: &str = "Fri, 27 Nov 2026 12:00:00 GMT";

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    fn validators() -> (Validators, String) {
        let validators = Validators::new(FINISHED, 1000);
        let mut shown = HeaderMap::new();
        validators.insert_headers(&mut shown);
        assert_eq!(shown[header::LAST_MODIFIED], DATE);
        let etag = shown[header::ETAG].to_str().unwrap().to_owned();
        (validators, etag)
    }

    #[test]
    fn a_client_that_has_the_file_gets_it_no_second_time() {
        let (file, etag) = validators();
        let other = Validators::new(FINISHED, 1001).etag;
        let by_tag = |tags: &str| file.is_not_modified(&headers(header::IF_NONE_MATCH, tags));
        for tags in [
            &etag,
            "*",
            &format!("W/{etag}"),
            &format!("{other}, {etag}"),
        ] {
            assert!(by_tag(tags), "{tags}");
        }
        assert!(!by_tag(&other) && !by_tag("nonsense"));
        let by_date = |date| file.is_not_modified(&headers(header::IF_MODIFIED_SINCE, date));
        assert!(by_date(DATE) && by_date("Sat, 28 Nov 2026 12:00:00 GMT"));
        assert!(!by_date("Fri, 27 Nov 2026 11:59:59 GMT") && !by_date("yesterday"));
        let mut both = headers(header::IF_NONE_MATCH, &other);
        both.extend(headers(header::IF_MODIFIED_SINCE, DATE));
        assert!(!file.is_not_modified(&both), "the tag decides");
        assert!(!file.is_not_modified(&HeaderMap::new()));
    }

    #[test]
    fn a_range_is_served_only_of_the_same_file() {
        let (file, etag) = validators();
        let allows = |value: &str| file.allows_range(&headers(header::IF_RANGE, value));
        assert!(file.allows_range(&HeaderMap::new()));
        assert!(allows(&etag) && allows(DATE));
        for other in [
            "\"1-1\"",
            &format!("W/{etag}"),
            "Sat, 28 Nov 2026 12:00:00 GMT",
            "x",
        ] {
            assert!(!allows(other), "{other}");
        }
    }
}
