//! Session description in the body of a message, alone or as a part of a multipart body (RFC 5621).

use crate::header_value;
use crate::sdp;
use crate::sip::{HeaderName, Headers};

/// Maximum number of parts that are read.
const MAX_PARTS: usize = 16;

/// Returns the session description of a body; `None` if the body is empty or optional. Fails if the body has another
/// required type, which a request is rejected for with 415.
pub(crate) fn description<'a>(
    headers: &Headers,
    body: &'a [u8],
) -> Result<Option<&'a [u8]>, UnsupportedType> {
    if body.is_empty() {
        return Ok(None);
    }
    let content_type = headers.value(&HeaderName::ContentType).unwrap_or_default();
    let disposition = headers.value(&HeaderName::ContentDisposition);
    let disposition = disposition.unwrap_or_default();
    if is_description(&content_type) {
        Ok(Some(body))
    } else if let Some(boundary) = boundary(&content_type) {
        in_parts(body, &boundary)
    } else if handling(&disposition).eq_ignore_ascii_case(b"optional") {
        Ok(None)
    } else {
        Err(UnsupportedType)
    }
}

/// Type of a body that is not supported.
#[derive(Debug)]
pub(crate) struct UnsupportedType;

/// Returns the session description of a response, whose type is often missing; `None` if it has none.
pub(crate) fn answer<'a>(headers: &Headers, body: &'a [u8]) -> Option<&'a [u8]> {
    let content_type = headers.value(&HeaderName::ContentType).unwrap_or_default();
    match boundary(&content_type) {
        Some(boundary) => in_parts(body, &boundary).ok().flatten(),
        None => Some(body).filter(|body| !body.is_empty()),
    }
}

/// Returns the session description among parts. Parts of other types, such as the ISUP message or the location of the
/// caller, are ignored, unless the sender explicitly requires them.
fn in_parts<'a>(body: &'a [u8], boundary: &[u8]) -> Result<Option<&'a [u8]>, UnsupportedType> {
    let mut found = None;
    for part in parts(body, boundary).into_iter().take(MAX_PARTS) {
        if is_description(part.header("Content-Type")) {
            found = found.or(Some(part.content));
        } else if handling(part.header("Content-Disposition")).eq_ignore_ascii_case(b"required") {
            return Err(UnsupportedType);
        }
    }
    found.map(Some).ok_or(UnsupportedType)
}

struct Part<'a> {
    headers: &'a [u8],
    content: &'a [u8],
}

impl<'a> Part<'a> {
    fn header(&self, name: &str) -> &'a [u8] {
        let mut lines = self.headers.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (found, value) = line.split_at_checked(colon)?;
            found
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value.strip_prefix(b":"))?
        });
        value.unwrap_or_default().trim_ascii()
    }
}

/// Splits a multipart body (RFC 2046, section 5.1.1). The last delimiter may be missing.
fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<Part<'a>> {
    let delimiter = [b"--", boundary].concat();
    let mut parts = Vec::new();
    let mut rest = delimited(body, &delimiter).map(|(_, rest)| rest);
    while let Some(text) = rest.filter(|text| !text.starts_with(b"--")) {
        let (part, after) = match delimited(text, &delimiter) {
            Some((part, after)) => (part, Some(after)),
            None => (text, None),
        };
        rest = after;
        let blank_line = [&b"\r\n\r\n"[..], b"\n\n"]
            .into_iter()
            .find_map(|blank| split_at(part, blank));
        parts.extend(blank_line.map(|(headers, content)| Part { headers, content }));
    }
    parts
}

/// Splits a text at a delimiter that begins a line.
fn delimited<'a>(text: &'a [u8], delimiter: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    if let Some(rest) = text.strip_prefix(delimiter) {
        return Some((&[], rest));
    }
    split_at(text, &[b"\n", delimiter].concat())
}

fn split_at<'a>(text: &'a [u8], delimiter: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text
        .windows(delimiter.len())
        .position(|window| window == delimiter)?;
    let (before, rest) = text.split_at_checked(at)?;
    Some((before, rest.strip_prefix(delimiter)?))
}

fn is_description(content_type: &[u8]) -> bool {
    header_value::without_parameters(content_type)
        .eq_ignore_ascii_case(sdp::CONTENT_TYPE.as_bytes())
}

/// Returns the boundary of a multipart type; `None` for another type.
fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let multipart = header_value::without_parameters(content_type)
        .get(..10)
        .is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"));
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
    boundary.filter(|_| multipart).map(<[u8]>::to_vec)
}

fn handling(disposition: &[u8]) -> &[u8] {
    parameter(disposition, "handling").unwrap_or_default()
}

/// Returns a parameter of a header value, without quotes.
fn parameter<'a>(value: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut parameters = value.split(|byte| *byte == b';').skip(1);
    parameters.find_map(|parameter| header_value::named(parameter, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Limits, Message, parse_datagram};

    fn read(headers: &str, body: &str) -> Result<Option<String>, ()> {
        let text = format!("INVITE sip:a@b SIP/2.0\r\n{headers}\r\n{body}");
        let Ok(Message::Request(request)) = parse_datagram(text.into(), &Limits::datagram()) else {
            panic!("expected a request");
        };
        description(&request.headers, request.body())
            .map(|found| found.map(|found| String::from_utf8(found.to_vec()).unwrap()))
            .map_err(|_| ())
    }

    #[test]
    fn the_description_is_found_among_the_parts_of_a_body() {
        let sdp = "Content-Type: application/sdp\r\n\r\nv=0\r\n";
        let isup = "Content-Type: application/isup;version=itu-t92+\r\n\
                    Content-Disposition: signal;handling=optional\r\n\r\n\u{1}--y";
        for (content_type, body) in [
            (
                "multipart/mixed;boundary=x",
                format!("--x\r\n{sdp}\r\n--x\r\n{isup}\r\n--x--\r\n"),
            ),
            (
                "multipart/mixed;boundary=x",
                format!("preamble\r\n--x\r\n{isup}\r\n--x\r\n{sdp}\r\n--x--"),
            ),
            (
                "Multipart/Related; Boundary=\"x\"",
                format!("--x\r\n{isup}\r\n--x\r\n{sdp}\r\n"),
            ),
            (
                "multipart/mixed;boundary=x",
                format!("--x\r\n\r\ntext\r\n--x\r\n{sdp}\r\n--x--"),
            ),
        ] {
            let found = read(&format!("Content-Type: {content_type}\r\n"), &body);
            let found = found.unwrap().unwrap();
            assert_eq!(found.trim_end(), "v=0", "{body}");
        }
        let isup = isup.replace("optional", "required");
        for body in [
            format!("--x\r\n{sdp}\r\n--x\r\n{isup}\r\n--x--"),
            "--x\r\n\r\ntext\r\n--x--".into(),
            "--x--\r\n".into(),
            "x".into(),
        ] {
            let found = read("Content-Type: multipart/mixed;boundary=x\r\n", &body);
            assert_eq!(found, Err(()), "{body}");
        }
    }

    #[test]
    fn a_body_of_another_type_is_ignored_only_if_it_is_optional() {
        assert_eq!(read("Content-Type: application/sdp\r\n", ""), Ok(None));
        assert_eq!(read("Content-Type: text/plain\r\n", "a"), Err(()));
        assert_eq!(read("", "a"), Err(()));
        let optional = "Content-Type: text/plain\r\nContent-Disposition: x; Handling=optional\r\n";
        assert_eq!(read(optional, "a"), Ok(None));
    }
}
