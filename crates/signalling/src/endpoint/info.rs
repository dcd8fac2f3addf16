//! Key presses in INFO requests.
//!
//! No RFC specifies these bodies. The parser accepts the forms that phones and gateways send, in any
//! of the content types: `Signal=5` with other lines, `d=5`, and the bare key.

use std::time::Instant;

use super::{Endpoint, Event, LegId, LegState};
use crate::header_value::without_parameters;
use crate::sip::{HeaderName, Request, TransactionKey};

/// Content types of an INFO with key presses, as the value of `Accept`.
pub(super) const KEY_CONTENT_TYPES: &str = "application/dtmf-relay, application/dtmf, \
     application/vnd.nortelnetworks.digits, audio/telephone-event, text/plain";
/// Maximum number of keys in one INFO.
const MAX_INFO_KEYS: usize = 32;
/// Symbols of the event codes 0 to 15 (RFC 4733, table 3).
const SYMBOLS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];
/// Event code of the hook flash. It is valid, but not a key.
const FLASH: u8 = 16;

/// Content of a body with key presses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFormat {
    /// One key for each field or line.
    Keys,
    /// Several keys in one field: the digits that a gateway collected.
    Collected,
    /// As text, or as payload of RFC 4733.
    Event,
}

impl Endpoint {
    /// Handles an INFO with key presses. An empty INFO is a keep-alive.
    pub(super) fn on_info(
        &mut self,
        id: LegId,
        key: &TransactionKey,
        request: &Request,
        now: Instant,
    ) {
        let format = content_type(request);
        let keys = match format {
            Some(format) => parse_keys(format, request.body()).ok_or(400),
            None if request.body().is_empty() => Ok(Vec::new()),
            None => Err(415),
        };
        match keys {
            Ok(keys) => {
                self.respond_status(key, request, 200, now);
                // Keys before the answer of the called party mean nothing.
                let state = self.legs.get(&id).map(|leg| &leg.state);
                if matches!(state, Some(LegState::Outgoing(_))) {
                    return;
                }
                for key in keys {
                    self.emit(id, Event::Key { leg: id, key });
                }
            }
            Err(status) => self.respond_status(key, request, status, now),
        }
    }
}

/// Returns the format of the body; `None` for an unknown content type.
fn content_type(request: &Request) -> Option<BodyFormat> {
    let value = request.headers.value(&HeaderName::ContentType)?;
    match without_parameters(&value).to_ascii_lowercase().as_slice() {
        b"application/dtmf-relay" | b"application/dtmf" | b"text/plain" => Some(BodyFormat::Keys),
        b"application/vnd.nortelnetworks.digits" => Some(BodyFormat::Collected),
        b"audio/telephone-event" => Some(BodyFormat::Event),
        _ => None,
    }
}

/// Returns the keys of a body. A hook flash is valid and yields no key. Returns `None` if the body
/// cannot be read.
fn parse_keys(format: BodyFormat, body: &[u8]) -> Option<Vec<char>> {
    if format == BodyFormat::Event
        && let [code @ 0..=16, _, _, _] = body
    {
        return Some(
            SYMBOLS
                .get(usize::from(*code))
                .copied()
                .into_iter()
                .collect(),
        );
    }
    let body = std::str::from_utf8(body).ok()?;
    let lines = || {
        body.split(['\r', '\n', '\0'])
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let fields: Vec<&str> = lines().filter_map(signal).collect();
    let bare = || lines().filter(|line| !line.contains('=')).collect();
    let values: Vec<&str> = if fields.is_empty() { bare() } else { fields };
    let mut keys = Vec::new();
    for value in &values {
        match parse_code(value) {
            Some(code) => keys.extend(SYMBOLS.get(usize::from(code))),
            None if format == BodyFormat::Collected && !value.is_empty() => {
                keys.extend(value.chars().map(symbol).collect::<Option<Vec<char>>>()?);
            }
            None => return None,
        }
    }
    (!values.is_empty() && keys.len() <= MAX_INFO_KEYS).then_some(keys)
}

/// Returns the value of a line that names a key, such as `Signal=5` or `d=5`.
fn signal(line: &str) -> Option<&str> {
    let (name, value) = line.split_once('=')?;
    let is_key = ["signal", "d"]
        .iter()
        .any(|key| name.trim().eq_ignore_ascii_case(key));
    // Some senders put the duration on the same line.
    let value = value.trim().split([' ', '\t', ';', ',']).next()?;
    is_key.then(|| value.trim_matches('"'))
}

/// Returns the event code of one key, given as its symbol or its code, or of the hook flash.
fn parse_code(value: &str) -> Option<u8> {
    let mut symbols = value.chars();
    match (symbols.next()?, symbols.next()) {
        ('!', None) => Some(FLASH),
        (key, None) => {
            let key = symbol(key)?;
            let position = SYMBOLS.iter().position(|known| *known == key)?;
            u8::try_from(position).ok()
        }
        _ if value.eq_ignore_ascii_case("flash") || value.eq_ignore_ascii_case("hf") => Some(FLASH),
        _ if value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_digit()) => {
            value.parse().ok().filter(|code| *code <= FLASH)
        }
        _ => None,
    }
}

/// Returns a key in upper case; `None` for other characters.
fn symbol(key: char) -> Option<char> {
    let key = key.to_ascii_uppercase();
    SYMBOLS.contains(&key).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(format: BodyFormat, body: &str) -> Option<String> {
        parse_keys(format, body.as_bytes()).map(|keys| keys.into_iter().collect())
    }

    #[test]
    fn one_key_is_read_in_every_form() {
        for format in [BodyFormat::Keys, BodyFormat::Collected, BodyFormat::Event] {
            for (body, expected) in [
                ("Signal=5\r\nDuration=160\r\n", "5"),
                ("Signal= 5\r\nDuration= 160\r\n", "5"),
                ("Duration=250\nSIGNAL = 5\n", "5"),
                ("signal=5", "5"),
                ("Signal=\"5\" Duration=160", "5"),
                ("Signal=*\r\nDuration=100", "*"),
                ("Signal=#", "#"),
                ("Signal=10", "*"),
                ("Signal=11", "#"),
                ("Signal=12\r\n", "A"),
                ("Signal=05", "5"),
                ("Signal=d", "D"),
                ("d=5\r\n", "5"),
                (
                    "p=Digit-Collection\r\ny=Digits\r\ns=success\r\nv=2.0\r\nd=7\r\n",
                    "7",
                ),
                ("5", "5"),
                (" 5 \r\n", "5"),
                ("10\r\n", "*"),
                ("d", "D"),
            ] {
                assert_eq!(keys(format, body).as_deref(), Some(expected), "{body:?}");
            }
        }
    }

    #[test]
    fn several_keys_of_a_body_are_read_in_order() {
        let lines = "Signal=1\r\nDuration=100\r\nSignal=1\r\nDuration=100\r\nSignal=2\r\n";
        assert_eq!(keys(BodyFormat::Keys, lines).as_deref(), Some("112"));
        let collected = "p=Digit-Collection\r\ny=Digits\r\nd=4085#\r\n";
        assert_eq!(
            keys(BodyFormat::Collected, collected).as_deref(),
            Some("4085#")
        );
        let many = "5".repeat(MAX_INFO_KEYS);
        assert_eq!(
            keys(BodyFormat::Collected, &format!("d={many}")),
            Some(many.clone())
        );
        assert_eq!(keys(BodyFormat::Collected, &format!("d={many}5")), None);
    }

    #[test]
    fn a_hook_flash_is_valid_without_a_key() {
        for body in [
            "Signal=16",
            "Signal=!",
            "flash",
            "Signal=hf\r\nDuration=100",
        ] {
            assert_eq!(
                keys(BodyFormat::Keys, body).as_deref(),
                Some(""),
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_body_that_names_no_key_cannot_be_read() {
        for format in [BodyFormat::Keys, BodyFormat::Collected, BodyFormat::Event] {
            for body in [
                "",
                "\r\n",
                "Signal=",
                "Signal=x",
                "Signal=1\r\nSignal=x",
                "Duration=160",
                "hello",
                "+1",
                "5é",
            ] {
                assert_eq!(keys(format, body), None, "{body:?}");
            }
        }
        for body in ["Signal=17", "Signal=99", "1234"] {
            assert_eq!(keys(BodyFormat::Keys, body), None, "one key or its code");
        }
        assert_eq!(parse_keys(BodyFormat::Keys, &[0xff, 0xfe]), None);
    }

    #[test]
    fn an_event_is_also_read_as_its_payload() {
        let parse = |body: &[u8]| parse_keys(BodyFormat::Event, body);
        assert_eq!(parse(&[5, 0x8a, 3, 0x20]), Some(vec!['5']));
        assert_eq!(parse(&[11, 10, 0, 160]), Some(vec!['#']));
        assert_eq!(parse(&[16, 10, 0, 160]), Some(vec![]));
        assert_eq!(parse(&[200, 10, 0, 160]), None);
    }
}
