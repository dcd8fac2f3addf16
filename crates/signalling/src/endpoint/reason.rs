//! Reasons for the end of a leg (RFC 3326): `Reason` in the BYE and CANCEL of the endpoint and of its peers.

use bytes::Bytes;

use super::{Endpoint, Event, LegId};
use crate::address_list;
use crate::header_value::named;
use crate::sip::{HeaderName, Headers};

/// Name of the header.
pub(super) fn header_name() -> HeaderName {
    HeaderName::parse(&Bytes::from_static(b"Reason"))
}

/// Reason for which the endpoint ends a leg. The peer learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndReason {
    /// One of the parties hung up.
    #[default]
    Normal,
    /// Another phone took the call. A phone does not show it as missed.
    CompletedElsewhere,
    /// The phone rang and nobody answered.
    NoAnswer,
    /// The peer, or its audio, has vanished.
    Lost,
}

impl EndReason {
    /// Returns the value of `Reason`. The protocols are those of the IANA registry: cause values of ITU-T Q.850, and SIP
    /// status codes.
    pub(super) fn value(self) -> &'static str {
        match self {
            Self::Normal => "Q.850;cause=16;text=\"Normal call clearing\"",
            Self::CompletedElsewhere => "SIP;cause=200;text=\"Call completed elsewhere\"",
            Self::NoAnswer => "Q.850;cause=19;text=\"No answer from the user\"",
            Self::Lost => "Q.850;cause=102;text=\"Recovery on timer expiry\"",
        }
    }
}

/// Reason that a peer gives for the end of a leg. Values out of range count as missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerReason {
    /// Cause value of ITU-T Q.850, 1 to 127.
    pub q850: Option<u8>,
    /// SIP status, 100 to 699.
    pub sip: Option<u16>,
}

/// Maximum number of values that are read from one header.
const MAX_REASON_VALUES: usize = 8;

impl PeerReason {
    fn from_headers(headers: &Headers) -> Self {
        let mut reason = Self::default();
        for header in headers.get_all(&header_name()) {
            let list = header.value();
            let values = address_list::split(&list, b',');
            for value in values.into_iter().take(MAX_REASON_VALUES) {
                reason.add(value);
            }
        }
        reason
    }

    /// Adds one value. The first of each protocol counts.
    fn add(&mut self, value: &[u8]) {
        let parts = address_list::split(value, b';');
        let (Some(protocol), parameters) = (parts.first(), parts.iter().skip(1)) else {
            return;
        };
        let mut causes = parameters.filter_map(|parameter| named(parameter, "cause"));
        let cause = causes
            .next()
            .and_then(|cause| std::str::from_utf8(cause).ok());
        let cause: Option<u16> = cause.and_then(|cause| cause.parse().ok());
        let protocol = protocol.trim_ascii();
        if protocol.eq_ignore_ascii_case(b"Q.850") {
            let cause = cause.and_then(|cause| u8::try_from(cause).ok());
            self.q850 = self
                .q850
                .or(cause.filter(|cause| (1..=127).contains(cause)));
        } else if protocol.eq_ignore_ascii_case(b"SIP") {
            self.sip = self
                .sip
                .or(cause.filter(|cause| (100..700).contains(cause)));
        }
    }
}

impl Endpoint {
    /// Reports the reason that a peer gives for the end of a leg, if it gives one.
    pub(super) fn report_peer_reason(&mut self, leg: LegId, headers: &Headers) {
        let reason = PeerReason::from_headers(headers);
        if reason != PeerReason::default() {
            self.emit(leg, Event::PeerReason { leg, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Header;

    fn read(lines: &[&str]) -> (Option<u8>, Option<u16>) {
        let mut headers = Headers::new();
        for line in lines {
            headers.push(Header::build(header_name(), (*line).to_owned()).unwrap());
        }
        let reason = PeerReason::from_headers(&headers);
        (reason.q850, reason.sip)
    }

    #[test]
    fn a_reason_is_read_by_protocol_and_only_with_a_valid_cause() {
        assert_eq!(
            read(&["Q.850;cause=16;text=\"x;cause=1, SIP;cause=5\""]),
            (Some(16), None)
        );
        assert_eq!(
            read(&["SIP ;cause=200 ;text=\"a\", q.850; Cause=\"19\""]),
            (Some(19), Some(200))
        );
        assert_eq!(
            read(&["Q.850;cause=17", "Q.850;cause=18", "sip;cause=486"]),
            (Some(17), Some(486))
        );
        for wrong in [
            "",
            ";",
            "Q.850",
            "Q.850;cause",
            "Q.850;cause=0",
            "Q.850;cause=128",
            "SIP;cause=-1",
            "SIP;cause=99999999",
            "X;cause=1",
        ] {
            assert_eq!(read(&[wrong]), (None, None), "{wrong}");
        }
    }
}
