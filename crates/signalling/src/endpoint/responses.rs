//! Construction of responses.

use super::{ALLOW, info};
use crate::sip::{HeaderName, Method, Request, ResponseBuilder, StatusCode, To};

/// Starts a response to a request, with a tag in its `To` (RFC 3261, section 8.2.6.2).
pub(super) fn response(request: &Request, status: u16, tag: &str) -> Option<ResponseBuilder> {
    let status = StatusCode::new(status)?;
    let mut builder =
        ResponseBuilder::to_request(request, status, reason_phrase(status.code())).ok()?;
    if let Some((name, value)) = required_header(request, status.code()) {
        builder = builder.header(name, value).ok()?;
    }
    let tagged = request
        .headers
        .typed::<To>()
        .is_some_and(|to| to.is_ok_and(|to| to.tag().is_some()));
    if tagged {
        return Some(builder);
    }
    let to = [
        &request.headers.value(&HeaderName::To)?[..],
        b";tag=",
        tag.as_bytes(),
    ]
    .concat();
    builder.set_header(&HeaderName::To, to).ok()
}

/// Returns the header that a 405 or 415 must have. It lists the accepted values (RFC 3261, sections
/// 21.4.6 and 21.4.13).
fn required_header(request: &Request, status: u16) -> Option<(HeaderName, &'static str)> {
    match status {
        405 => Some((HeaderName::Allow, ALLOW)),
        415 if request.method == Method::Info => {
            Some((HeaderName::Accept, info::KEY_CONTENT_TYPES))
        }
        415 => Some((HeaderName::Accept, crate::sdp::CONTENT_TYPE)),
        _ => None,
    }
}

pub(super) fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        603 => "Decline",
        _ => "Unspecified",
    }
}
