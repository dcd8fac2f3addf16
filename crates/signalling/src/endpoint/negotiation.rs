//! Offer/answer of a leg, and the extensions required by a request.

use super::media_rule::MediaRule;
use crate::body;
use crate::header_value::without_parameters;
use crate::sdes::SrtpMode;
use crate::sdp::{self, Description, LocalMedia, RemoteMedia, SdpError};
use crate::sip::{HeaderName, Method, Request, Response};

/// Returns the offer of a request, `None` if the request has none, or the status that rejects an
/// unusable offer.
pub(super) fn parse_offer(
    request: &Request,
    rule: MediaRule<'_>,
) -> Result<Option<Description>, u16> {
    parse_offer_with(request, rule, Description::parse)
}

/// Returns the offer of a request within a call, like [`parse_offer`].
pub(super) fn parse_later_offer(
    request: &Request,
    rule: MediaRule<'_>,
) -> Result<Option<Description>, u16> {
    parse_offer_with(request, rule, Description::parse_later_offer)
}

fn parse_offer_with(
    request: &Request,
    rule: MediaRule<'_>,
    parse: fn(&[u8]) -> Result<Description, SdpError>,
) -> Result<Option<Description>, u16> {
    if !accepts_description(request) {
        return Err(406);
    }
    let body = match body::description(&request.headers, request.body()) {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(None),
        Err(body::UnsupportedType) => return Err(415),
    };
    match parse(body).and_then(|offer| rule.apply(offer)) {
        Ok(description) => Ok(Some(description)),
        Err(SdpError::Malformed) => Err(400),
        Err(
            SdpError::NoAudio | SdpError::AddressNotAllowed | SdpError::NoCodec | SdpError::NoKey,
        ) => Err(488),
    }
}

/// Returns `true` if the response may contain a session description (RFC 3261, section 20.1). A
/// request without `Accept` allows it.
fn accepts_description(request: &Request) -> bool {
    let mut accepted = request.headers.get_all(&HeaderName::Accept).peekable();
    let description = |range: &[u8]| {
        let range = without_parameters(range);
        let acceptable = [sdp::CONTENT_TYPE.as_bytes(), b"application/*", b"*/*"];
        acceptable
            .iter()
            .any(|accepted| range.eq_ignore_ascii_case(accepted))
    };
    accepted.peek().is_none()
        || accepted.any(|header| header.value().split(|byte| *byte == b',').any(description))
}

/// Returns the audio named by the answer to a local offer.
pub(super) fn parse_answer(
    ack: &Request,
    local: Option<&LocalMedia>,
    rule: MediaRule<'_>,
) -> Option<RemoteMedia> {
    let body = body::answer(&ack.headers, ack.body())?;
    negotiated_media(Description::parse(body).ok()?, local, rule)
}

/// Returns the session description of a response; `None` if it has none.
pub(super) fn response_description(response: &Response) -> Option<Result<Description, SdpError>> {
    let body = body::answer(&response.headers, response.body());
    body.map(Description::parse)
}

/// Returns the audio named by the answer to a local offer. Returns `None` if the answer does not
/// match the offer.
pub(super) fn negotiated_media(
    answer: Description,
    local: Option<&LocalMedia>,
    rule: MediaRule<'_>,
) -> Option<RemoteMedia> {
    let answer = rule.apply(answer).ok()?;
    let crypto = answer.answered_key(local?).ok()?;
    let remote = answer.answered();
    let events = remote.telephone_event;
    Some(RemoteMedia {
        crypto,
        offered_telephone_event: events.map(|events| sdp::offered_telephone_event(events.rate)),
        ..remote
    })
}

/// Makes SRTP mandatory for a leg whose peer asked for it. It stays mandatory for later offers of
/// either side.
pub(super) fn preserve_srtp(local: LocalMedia, offer: Option<&Description>) -> LocalMedia {
    let srtp = if offer.is_some_and(Description::is_secure) {
        SrtpMode::Required
    } else {
        local.srtp
    };
    LocalMedia { srtp, ..local }
}

/// Returns the required extensions that the endpoint does not know (RFC 3261, section 8.2.2.3).
/// `100rel` needs no support, because the endpoint sends no provisional response except 100.
pub(super) fn unsupported_extensions(request: &Request) -> Option<String> {
    let mut unknown = Vec::new();
    for header in request.headers.get_all(&HeaderName::Require) {
        for option in header.value().split(|byte| *byte == b',') {
            let option = String::from_utf8_lossy(option.trim_ascii()).into_owned();
            let known = ["timer", "100rel", ""];
            if !known.iter().any(|name| option.eq_ignore_ascii_case(name)) {
                unknown.push(option);
            }
        }
    }
    (!unknown.is_empty() && request.method != Method::Ack).then(|| unknown.join(", "))
}
