//! Requests that cannot be parsed, and the 400 sent in response (RFC 3261, section 8.2.6; test
//! cases of RFC 4475, sections 3.1.2 and 3.3.1).
//!
//! The response repeats the headers found in the request.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use crate::sip::{HeaderName, Request, Via, first_hop_end};

/// Maximum size of the repeated header values, in bytes.
const MAX_REPEATED_BYTES: usize = 8192;

/// Headers of a request that its response repeats.
#[derive(Clone)]
pub(crate) struct Malformed {
    vias: Vec<Bytes>,
    /// `From`, `To`, `Call-ID`, `CSeq`.
    identity: [Option<Bytes>; 4],
}

impl std::fmt::Debug for Malformed {
    /// Omits the header values, which may contain numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Malformed").finish_non_exhaustive()
    }
}

const REPEATED_NAMES: [&str; 4] = ["From", "To", "Call-ID", "CSeq"];

impl Malformed {
    /// Reads the header lines of a request that the parser rejected. Returns `None` if it must not
    /// be answered: it is a response, an ACK, or not SIP.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut lines = unfolded(bytes).into_iter();
        let start = lines.next()?;
        let start = start.trim_ascii();
        let method = start.split(|byte| *byte == b' ').next()?;
        let version = start.rsplit(|byte| *byte == b' ').next()?;
        if !version.starts_with(b"SIP/") || method.starts_with(b"SIP/") || method == b"ACK" {
            return None;
        }
        let mut headers = Self {
            vias: Vec::new(),
            identity: [const { None }; 4],
        };
        for line in lines {
            headers.add_header_line(&line);
        }
        headers.answerable()
    }

    /// Returns `true` if the `CSeq` names an INVITE.
    pub(crate) fn is_invite(&self) -> bool {
        let [.., sequence] = &self.identity;
        let sequence = sequence.as_deref().unwrap_or_default();
        sequence.trim_ascii_end().ends_with(b"INVITE")
    }

    /// Reads the headers of a parsed request in which a required header is missing or invalid.
    pub(crate) fn from_request(request: &Request) -> Option<Self> {
        let headers = &request.headers;
        let vias = headers
            .get_all(&HeaderName::Via)
            .map(|via| Bytes::from(via.value().into_owned()));
        let names = [
            HeaderName::From,
            HeaderName::To,
            HeaderName::CallId,
            HeaderName::CSeq,
        ];
        let identity = names.map(|name| {
            headers
                .value(&name)
                .map(|value| Bytes::from(value.into_owned()))
        });
        Self {
            vias: vias.collect(),
            identity,
        }
        .answerable()
    }

    fn add_header_line(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let slot = match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"via" | b"v" => return self.vias.push(Bytes::copy_from_slice(value)),
            b"from" | b"f" => 0,
            b"to" | b"t" => 1,
            b"call-id" | b"i" => 2,
            b"cseq" => 3,
            _ => return,
        };
        if let Some(slot) = self.identity.get_mut(slot)
            && slot.is_none()
        {
            *slot = Some(Bytes::copy_from_slice(value));
        }
    }

    /// Returns `None` if the request has no `Via`, is too large, or has a value that must not be
    /// repeated.
    fn answerable(self) -> Option<Self> {
        let values = || self.vias.iter().chain(self.identity.iter().flatten());
        let length: usize = values().map(Bytes::len).sum();
        let short = length <= MAX_REPEATED_BYTES && values().all(|value| is_repeatable(value));
        (short && !self.vias.is_empty()).then_some(self)
    }

    /// Returns the destination port of the response over UDP (RFC 3261, section 18.2.2; RFC 3581).
    /// It is the source port if the topmost `Via` has `rport` or is invalid.
    pub(crate) fn port(&self, source: u16) -> u16 {
        let top = self
            .vias
            .first()
            .and_then(|via| via.get(..first_hop_end(via)));
        match top.map(Via::parse_one) {
            Some(Ok(via)) if via.rport().is_none() => via.port.unwrap_or(5060),
            _ => source,
        }
    }

    /// Builds a 400.
    pub(crate) fn bad_request(&self) -> Bytes {
        self.response(400, "Bad Request")
    }

    /// Builds a response. If `To` has no tag, the tag is derived from the headers, so that copies
    /// of a request get the same tag (RFC 3261, section 8.2.7).
    pub(crate) fn response(&self, status: u16, reason: &str) -> Bytes {
        let mut hasher = DefaultHasher::new();
        (&self.vias, &self.identity).hash(&mut hasher);
        let tag = format!("{:016x}", hasher.finish());
        let mut answer = format!("SIP/2.0 {status} {reason}\r\n").into_bytes();
        let mut line = |name: &str, value: &[u8], more: &str| {
            answer.extend([name.as_bytes(), b": ", value, more.as_bytes(), b"\r\n"].concat());
        };
        self.vias.iter().for_each(|via| line("Via", via, ""));
        for (name, value) in REPEATED_NAMES.into_iter().zip(&self.identity) {
            let Some(value) = value else { continue };
            let tagged = value
                .to_ascii_lowercase()
                .windows(4)
                .any(|window| window == b"tag=");
            let tag = if name == "To" && !tagged {
                format!(";tag={tag}")
            } else {
                String::new()
            };
            line(name, value, &tag);
        }
        line("Content-Length", b"0", "");
        answer.extend(b"\r\n");
        Bytes::from(answer)
    }
}

/// Maximum number of URI parameters. URIs with more are left unchanged.
const MAX_URI_PARAMETERS: usize = 32;

/// Removes repeated parameters from the Request-URI and keeps the first of each name. Returns
/// `None` if none is repeated.
///
/// RFC 3261, section 19.1.1 forbids repeated parameters. Some peers nevertheless add a second
/// `transport` to the endpoint's `Contact`. Without the repair their ACK would be lost, because an
/// ACK cannot be rejected.
pub(crate) fn without_repeated_parameters(message: &[u8]) -> Option<Bytes> {
    let end = message
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let (line, rest) = message.split_at_checked(end)?;
    let [method, uri, version] = line
        .split(|byte| *byte == b' ')
        .collect::<Vec<_>>()
        .try_into()
        .ok()?;
    // The user part may contain semicolons.
    let host = uri.iter().rposition(|byte| *byte == b'@').unwrap_or(0);
    let (user, host) = uri.split_at_checked(host)?;
    let parameters: Vec<&[u8]> = host
        .split(|byte| *byte == b';')
        .take(MAX_URI_PARAMETERS)
        .collect();
    let name = |parameter: &[u8]| {
        parameter
            .split(|byte| *byte == b'=')
            .next()
            .map(<[u8]>::to_ascii_lowercase)
    };
    let mut unique: Vec<&[u8]> = Vec::new();
    for parameter in &parameters {
        if !unique.iter().any(|other| name(other) == name(parameter)) {
            unique.push(parameter);
        }
    }
    let repaired = || [method, b" ", user, &unique.join(&b';'), b" ", version, rest].concat();
    (unique.len() < parameters.len() && parameters.len() < MAX_URI_PARAMETERS)
        .then(|| Bytes::from(repaired()))
}

/// Returns `true` if a response may repeat the value: it has no control characters except quoted
/// ones (`quoted-pair` of RFC 3261, section 25.1).
pub(crate) fn is_repeatable(value: &[u8]) -> bool {
    let mut quoted = false;
    value.iter().all(|byte| {
        let allowed = match byte {
            b'\t' => true,
            b'\r' | b'\n' => false,
            other => quoted || !other.is_ascii_control(),
        };
        quoted = *byte == b'\\' && !quoted;
        allowed
    })
}

/// Returns the lines up to the first empty one, with folded lines joined (RFC 3261, section 7.3.1).
fn unfolded(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.first(), lines.last_mut()) {
            (None, None) => {}
            (None, Some(_)) => break,
            (Some(b' ' | b'\t'), Some(last)) => {
                last.push(b' ');
                last.extend_from_slice(line.trim_ascii());
            }
            _ => lines.push(line.to_vec()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &str) -> Option<String> {
        let read = Malformed::read(request.as_bytes())?;
        Some(String::from_utf8(read.bad_request().to_vec()).unwrap())
    }

    #[test]
    fn the_headers_present_are_repeated_in_the_order_of_a_response() {
        let request = "INVITE <sip:a@b> SIP/2.0\r\nt: <sip:a@b>\r\nCSEQ :1\r\n INVITE\r\nv: SIP/2.0/UDP b\r\nf: x\r\n\r\n\
                       Via: of the body";
        let answer = answer(request).unwrap();
        let (before, after) = answer.split_once(";tag=").unwrap();
        assert_eq!(
            before,
            "SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/UDP b\r\nFrom: x\r\nTo: <sip:a@b>"
        );
        assert_eq!(
            &after[16..],
            "\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        let debug = format!("{:?}", Malformed::read(request.as_bytes()));
        assert!(!debug.contains("sip:"), "{debug}");
    }

    #[test]
    fn anything_except_a_request_gets_no_answer() {
        let via = "Via: SIP/2.0/UDP b\r\n\r\n";
        for start in [
            "SIP/2.0 999999 OK",
            "ACK <sip:a@b> SIP/2.0",
            "GET / HTTP/1.1",
            "",
            "x",
        ] {
            assert_eq!(answer(&format!("{start}\r\n{via}")), None, "{start}");
        }
        assert_eq!(
            answer("INVITE  x SIP/2.0\r\nFrom: x\r\n\r\n"),
            None,
            "no Via"
        );
        assert_eq!(
            answer("INVITE  x SIP/2.0\r\nVia: \x01\r\n\r\n"),
            None,
            "unsafe to repeat"
        );
        assert_eq!(
            answer(&format!(
                "INVITE  x SIP/2.0\r\nVia: {}\r\n\r\n",
                "x".repeat(9000)
            )),
            None,
            "too large"
        );
    }

    #[test]
    fn the_first_of_repeated_request_uri_parameters_is_kept() {
        let read = |uri: &str| {
            let repaired = without_repeated_parameters(
                format!("ACK {uri} SIP/2.0\r\nTo: x;y;y\r\n").as_bytes(),
            );
            repaired.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        let whole = |uri: &str| Some(format!("ACK {uri} SIP/2.0\r\nTo: x;y;y\r\n"));
        assert_eq!(
            read("sip:a;b;b@c;transport=tcp;lr;Transport=udp"),
            whole("sip:a;b;b@c;transport=tcp;lr")
        );
        assert_eq!(
            read("sip:192.0.2.1:5060;lr;lr;lr"),
            whole("sip:192.0.2.1:5060;lr")
        );
        let many: String = (0..MAX_URI_PARAMETERS)
            .map(|number| format!(";p{number}"))
            .collect();
        for uri in [
            "sip:a@b",
            "sip:a;b;b@c;lr",
            "a b;c;c",
            "",
            &format!("sip:a{many};p0"),
        ] {
            assert_eq!(read(uri), None, "{uri}");
        }
        assert_eq!(
            without_repeated_parameters(b"ACK sip:a;b;b SIP/2.0"),
            None,
            "incomplete line"
        );
    }

    #[test]
    fn the_answer_goes_to_the_port_of_a_readable_via() {
        let port = |via: &str| {
            Malformed::read(format!("INVITE  x SIP/2.0\r\nVia: {via}\r\n\r\n").as_bytes())
                .unwrap()
                .port(7)
        };
        assert_eq!(port("SIP/2.0/UDP b:5070;branch=z9hG4bK1"), 5070);
        assert_eq!(port("SIP/2.0/UDP b, SIP/2.0/UDP c:9"), 5060);
        assert_eq!(port("SIP/2.0/UDP b:5070;rport"), 7);
        assert_eq!(port("SIP/2.0/UDP 192.0.2.15;;,;,,"), 7);
    }
}
