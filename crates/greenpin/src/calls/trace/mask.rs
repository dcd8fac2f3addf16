//! Masked text of SIP messages.
//!
//! The text is built from an allow-list: known header fields in a known form. Everything else is left out. Numbers keep
//! their first and last digits, digits of a PIN and secrets are never part of the text.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

use call::PhoneNumber;

use super::digits::{HIDDEN, digit_runs, has_digit_run};
use super::mask_sdp;

/// Minimum number of digits of a number: shorter runs of digits, such as ports, are shown.
const MIN_NUMBER_DIGITS: usize = 5;
/// Minimum number of digits of a PIN.
const MIN_PIN_DIGITS: usize = 4;
/// Minimum number of digits that free text of the peer hides, shorter than any PIN.
const MIN_FREE_TEXT_DIGITS: usize = 3;
/// Digits at the end of a number by which it is found in other text.
const TAIL_DIGITS: usize = 7;
/// Maximum number of numbers by which other text is searched.
const MAX_TAILS: usize = 32;
/// Maximum number of characters of an opaque value.
const MAX_OPAQUE_CHARACTERS: usize = 200;

/// Numbers of a call, and the mask that hides them.
#[derive(Debug, Clone, Default)]
pub(super) struct Mask {
    /// Last digits of the numbers of the call.
    tails: Vec<[u8; TAIL_DIGITS]>,
    /// The caller is withheld: no digit of it is shown.
    hides_caller: bool,
}

/// Kind of a header field, which decides on the form of its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    /// Addresses with URIs.
    Addresses,
    /// Addresses that name the caller.
    Caller,
    Via,
    /// One value without spaces, such as a `Call-ID`.
    Opaque,
    Number,
    CSeq,
    /// Words and quoted texts.
    Words,
    /// Words, times and versions.
    Versions,
    /// Scheme of a challenge or of credentials, without the rest.
    Secret,
    /// Computed from the masked body.
    Length,
}

/// Shown header fields: name, compact form and kind.
const FIELDS: &[(&str, &str, FieldKind)] = &[
    ("Via", "v", FieldKind::Via),
    ("From", "f", FieldKind::Caller),
    ("To", "t", FieldKind::Addresses),
    ("Call-ID", "i", FieldKind::Opaque),
    ("CSeq", "", FieldKind::CSeq),
    ("Contact", "m", FieldKind::Caller),
    ("Max-Forwards", "", FieldKind::Number),
    ("Content-Type", "c", FieldKind::Words),
    ("Content-Length", "l", FieldKind::Length),
    ("Allow", "", FieldKind::Words),
    ("Supported", "k", FieldKind::Words),
    ("User-Agent", "", FieldKind::Versions),
    ("Server", "", FieldKind::Versions),
    ("Route", "", FieldKind::Caller),
    ("Record-Route", "", FieldKind::Caller),
    ("P-Asserted-Identity", "", FieldKind::Caller),
    ("P-Preferred-Identity", "", FieldKind::Caller),
    ("Remote-Party-ID", "", FieldKind::Caller),
    ("Diversion", "", FieldKind::Caller),
    ("History-Info", "", FieldKind::Caller),
    ("P-Called-Party-ID", "", FieldKind::Addresses),
    ("Referred-By", "b", FieldKind::Caller),
    ("Session-Expires", "x", FieldKind::Versions),
    ("Min-SE", "", FieldKind::Number),
    ("Expires", "", FieldKind::Number),
    ("RSeq", "", FieldKind::Number),
    ("RAck", "", FieldKind::CSeq),
    ("Retry-After", "", FieldKind::Versions),
    ("Require", "", FieldKind::Words),
    ("Proxy-Require", "", FieldKind::Words),
    ("Unsupported", "", FieldKind::Words),
    ("Accept", "", FieldKind::Words),
    ("Accept-Encoding", "", FieldKind::Words),
    ("Accept-Language", "", FieldKind::Words),
    ("Allow-Events", "u", FieldKind::Words),
    ("Content-Disposition", "", FieldKind::Words),
    ("Content-Encoding", "e", FieldKind::Words),
    ("MIME-Version", "", FieldKind::Words),
    ("Privacy", "", FieldKind::Words),
    ("P-Early-Media", "", FieldKind::Words),
    ("Date", "", FieldKind::Versions),
    ("Reason", "", FieldKind::Words),
    ("Warning", "", FieldKind::Versions),
    ("WWW-Authenticate", "", FieldKind::Secret),
    ("Proxy-Authenticate", "", FieldKind::Secret),
    ("Authorization", "", FieldKind::Secret),
    ("Proxy-Authorization", "", FieldKind::Secret),
];

/// Parameters of addresses, URIs and `Via` values that are shown.
const PARAMETERS: &[&str] = &[
    "tag",
    "lr",
    "transport",
    "user",
    "expires",
    "q",
    "reason",
    "cause",
    "counter",
    "index",
    "privacy",
    "screen",
    "party",
    "branch",
    "received",
    "rport",
    "maddr",
    "ttl",
    "alias",
    "ob",
    "isfocus",
];

impl Mask {
    /// Creates the mask of a call with these numbers.
    pub(super) fn new(numbers: impl Iterator<Item = PhoneNumber>, hides_caller: bool) -> Self {
        let mut mask = Self {
            tails: Vec::new(),
            hides_caller,
        };
        for number in numbers {
            mask.add_digits(number.expose().as_bytes());
        }
        mask
    }

    /// Adds a number that the text of a message names.
    fn add_digits(&mut self, text: &[u8]) {
        let mut tail = [0; TAIL_DIGITS];
        let mut digits = text.iter().rev().filter(|byte| byte.is_ascii_digit());
        for place in tail.iter_mut().rev() {
            let Some(digit) = digits.next() else { return };
            *place = *digit;
        }
        if self.tails.len() < MAX_TAILS && !self.tails.contains(&tail) {
            self.tails.push(tail);
        }
    }

    /// Adds the numbers in the addresses of a message, so that other values that repeat them are masked as well.
    pub(super) fn learn(&mut self, message: &[u8]) {
        let mut rest = message.get(..head_length(message)).unwrap_or_default();
        while let Some(colon) = rest.iter().position(|byte| *byte == b':') {
            let (before, after) = rest.split_at(colon);
            let after = after.get(1..).unwrap_or_default();
            if [&b"sip"[..], b"sips", b"tel"]
                .iter()
                .any(|scheme| before.ends_with(scheme))
            {
                let end = after.iter().position(|byte| b"@;> ,:\r".contains(byte));
                let user = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
                if std::str::from_utf8(user).is_ok_and(is_number) {
                    self.add_digits(user);
                }
            }
            rest = after;
        }
    }

    /// Returns the masked text of a message.
    pub(super) fn message(&self, message: &[u8]) -> String {
        let (head, body) = split_message(message);
        let mut out = String::with_capacity(message.len().saturating_add(16));
        let mut lines = head.lines();
        self.start_line(lines.next().unwrap_or_default(), &mut out);
        let mut content_type = String::new();
        let mut hidden_fields = 0_u32;
        let mut length = false;
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with([' ', '\t'])) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let (name, value) = (name.trim(), value.trim());
            let Some((shown, _, kind)) = field(name) else {
                hidden_fields = hidden_fields.saturating_add(1);
                continue;
            };
            if *kind == FieldKind::Length {
                length = true;
                continue;
            }
            if *shown == "Content-Type" {
                content_type = value.to_ascii_lowercase();
            }
            out.push_str(shown);
            out.push_str(": ");
            self.value(*kind, value, &mut out);
            out.push_str("\r\n");
        }
        if hidden_fields > 0 {
            // Writing to a `String` does not fail.
            let _ = write!(out, "X-Hidden-Fields: {hidden_fields}\r\n");
        }
        let body = masked_body(&content_type, body);
        if length || !body.is_empty() {
            let _ = write!(out, "Content-Length: {}\r\n", body.len());
        }
        out.push_str("\r\n");
        out.push_str(&body);
        self.hide_known_numbers(out)
    }

    fn start_line(&self, line: &str, out: &mut String) {
        let mut parts = line.splitn(3, ' ');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
        if first == "SIP/2.0" {
            out.push_str("SIP/2.0 ");
            push_number(second, out);
            out.push(' ');
            free_text(third.unwrap_or_default(), MIN_FREE_TEXT_DIGITS, out);
        } else {
            let is_method = (1..=12).contains(&first.len())
                && first.bytes().all(|byte| byte.is_ascii_uppercase());
            out.push_str(if is_method { first } else { HIDDEN });
            out.push(' ');
            self.uri(second, false, out);
            out.push_str(" SIP/2.0");
        }
        out.push_str("\r\n");
    }

    fn value(&self, kind: FieldKind, value: &str, out: &mut String) {
        match kind {
            FieldKind::Addresses => self.addresses(value, false, out),
            FieldKind::Caller => self.addresses(value, self.hides_caller, out),
            FieldKind::Via => via(value, self.hides_caller, out),
            FieldKind::Opaque => opaque(value, self.hides_caller, out),
            FieldKind::Number => push_number(value, out),
            FieldKind::CSeq => sequence(value, out),
            FieldKind::Words => words(value, MIN_PIN_DIGITS, out),
            FieldKind::Versions => words(value, MIN_NUMBER_DIGITS, out),
            FieldKind::Secret => {
                let scheme = value.split(' ').next().unwrap_or_default();
                let is_word = scheme.bytes().all(|byte| byte.is_ascii_alphabetic());
                out.push_str(if is_word && scheme.len() <= 12 {
                    scheme
                } else {
                    HIDDEN
                });
                out.push_str(" …");
            }
            FieldKind::Length => {}
        }
    }

    /// Writes a list of addresses: display names are hidden, users masked, and only known parameters shown.
    fn addresses(&self, value: &str, hide: bool, out: &mut String) {
        for (index, address) in split_outside(value, ',').enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            let address = address.trim();
            if address == "*" {
                out.push('*');
                continue;
            }
            let opening = find_outside_quotes(address, '<');
            let closing = opening.and_then(|start| {
                let end = address.get(start..)?.find('>')?;
                Some((start, start.saturating_add(end)))
            });
            let parameters = match closing {
                Some((start, end)) => {
                    if !address.get(..start).unwrap_or_default().trim().is_empty() {
                        out.push_str("\"…\" ");
                    }
                    out.push('<');
                    let uri = address.get(start.saturating_add(1)..end);
                    self.uri(uri.unwrap_or_default(), hide, out);
                    out.push('>');
                    address.get(end.saturating_add(1)..).unwrap_or_default()
                }
                None => {
                    let (uri, rest) = address.split_at(address.find(';').unwrap_or(address.len()));
                    self.uri(uri, hide, out);
                    rest
                }
            };
            shown_parameters(parameters, self.hides_caller, out);
        }
    }

    /// Writes a URI: scheme, masked user, host, port and known parameters.
    fn uri(&self, uri: &str, hide: bool, out: &mut String) {
        let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
        let scheme = ["sip", "sips", "tel"]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known));
        let Some(scheme) = scheme else {
            return out.push_str(HIDDEN);
        };
        out.push_str(scheme);
        out.push(':');
        let rest = rest.split('?').next().unwrap_or_default();
        if scheme == "tel" {
            let (number, parameters) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
            user(number, hide, out);
            return shown_parameters(parameters, self.hides_caller, out);
        }
        let host = match rest.rsplit_once('@') {
            Some((user_part, host)) => {
                let end = user_part.find([':', ';']).unwrap_or(user_part.len());
                user(user_part.get(..end).unwrap_or_default(), hide, out);
                out.push('@');
                host
            }
            None => rest,
        };
        let (host, parameters) = host.split_at(host.find(';').unwrap_or(host.len()));
        host_and_port(host, out);
        shown_parameters(parameters, self.hides_caller, out);
    }

    /// Hides runs of digits that contain the end of a number of the call.
    fn hide_known_numbers(&self, text: String) -> String {
        let has_known = has_digit_run(&text, TAIL_DIGITS)
            && digit_runs(&text).any(|(run, is_digits)| is_digits && self.is_known(run));
        if !has_known {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        for (run, is_digits) in digit_runs(&text) {
            match is_digits && self.is_known(run) {
                true if self.hides_caller => out.push_str(HIDDEN),
                true => masked_digits(run, &mut out),
                false => out.push_str(run),
            }
        }
        out
    }

    fn is_known(&self, run: &str) -> bool {
        run.len() >= TAIL_DIGITS
            && run
                .as_bytes()
                .windows(TAIL_DIGITS)
                .any(|window| self.tails.iter().any(|tail| tail == window))
    }
}

/// Returns the length of the head of a message, without the empty line.
fn head_length(message: &[u8]) -> usize {
    let mut at = 0_usize;
    while let Some(rest) = message.get(at..)
        && let Some(end) = rest.iter().position(|byte| *byte == b'\n')
    {
        at = at.saturating_add(end).saturating_add(1);
        if message
            .get(at..)
            .is_some_and(|rest| rest.starts_with(b"\r\n"))
        {
            return at;
        }
    }
    message.len()
}

/// Splits a message into its head, as text with folded lines joined, and its body.
fn split_message(message: &[u8]) -> (Cow<'_, str>, &[u8]) {
    let end = head_length(message);
    let body = message.get(end.saturating_add(2)..).unwrap_or_default();
    let head = String::from_utf8_lossy(message.get(..end).unwrap_or_default());
    let is_folded = head.contains("\n ") || head.contains("\n\t");
    let head = match is_folded {
        true => Cow::Owned(head.replace("\r\n ", " ").replace("\r\n\t", " ")),
        false => head,
    };
    (head, body)
}

fn field(name: &str) -> Option<&'static (&'static str, &'static str, FieldKind)> {
    FIELDS.iter().find(|(full, compact, _)| {
        let own = if name.len() == 1 { compact } else { full };
        own.eq_ignore_ascii_case(name)
    })
}

/// Returns the body as it is shown: a session description, or the form of a digit without the digit.
fn masked_body(content_type: &str, body: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    let body = String::from_utf8_lossy(body);
    if content_type.starts_with("application/sdp") {
        mask_sdp::description(&body)
    } else if content_type.starts_with("application/dtmf") {
        format!("Signal={HIDDEN}\r\n")
    } else {
        String::new()
    }
}

/// Splits a value at a separator outside of quotes and angle brackets.
fn split_outside(value: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    let mut depth = 0_u32;
    value.split(move |character: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match character {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => depth = depth.saturating_add(1),
            '>' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == separator && !quoted && depth == 0
    })
}

fn find_outside_quotes(value: &str, wanted: char) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in value.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == wanted && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Writes `;name=value` for each shown parameter. Values may hold no number.
fn shown_parameters(parameters: &str, hide: bool, out: &mut String) {
    for parameter in parameters.split(';').skip(1) {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (parameter.trim(), None),
        };
        let Some(name) = PARAMETERS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(name))
        else {
            continue;
        };
        out.push(';');
        out.push_str(name);
        let Some(value) = value else { continue };
        out.push('=');
        match *name {
            "tag" | "branch" => opaque(value, hide, out),
            "received" | "maddr" => host_and_port(value, out),
            "rport" => port(value, out),
            _ => free_text(value, MIN_FREE_TEXT_DIGITS.saturating_add(2), out),
        }
    }
}

/// Writes `Via` values: protocol, host, port and known parameters.
fn via(value: &str, hide: bool, out: &mut String) {
    for (index, hop) in split_outside(value, ',').enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        let (sent, parameters) = hop.split_at(hop.find(';').unwrap_or(hop.len()));
        let (protocol, host) = sent.trim().split_once(' ').unwrap_or(("", ""));
        let transport = protocol.strip_prefix("SIP/2.0/").unwrap_or_default();
        let is_word =
            transport.len() <= 8 && transport.bytes().all(|byte| byte.is_ascii_alphabetic());
        out.push_str("SIP/2.0/");
        out.push_str(if is_word { transport } else { HIDDEN });
        out.push(' ');
        host_and_port(host.trim(), out);
        shown_parameters(parameters, hide, out);
    }
}

/// Writes a host with an optional port. An address is shown as it is.
fn host_and_port(text: &str, out: &mut String) {
    if is_address(text) {
        return out.push_str(text);
    }
    let (host, number) = match text.rsplit_once(':') {
        Some((host, number)) => (host, Some(number)),
        None => (text, None),
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if is_address(host) {
        out.push_str(host);
    } else if host.bytes().all(is_part) {
        free_text(host, MIN_NUMBER_DIGITS, out);
    } else {
        out.push_str(HIDDEN);
    }
    if let Some(number) = number {
        out.push(':');
        port(number, out);
    }
}

/// Returns `true` for an IP address, which may stand in brackets.
fn is_address(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text).parse::<IpAddr>().is_ok()
}

fn port(text: &str, out: &mut String) {
    let is_port = is_decimal(text) && text.parse::<u16>().is_ok();
    out.push_str(if is_port { text } else { HIDDEN });
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes the user part of a URI. Digits of a number are masked; a name is shown without long runs of digits.
fn user(text: &str, hide: bool, out: &mut String) {
    let text = match text.contains('%') {
        true => Cow::Owned(text.replace("%2B", "+").replace("%2b", "+")),
        false => Cow::Borrowed(text),
    };
    if hide || text.contains('%') {
        out.push_str(HIDDEN);
    } else if is_number(&text) {
        if text.starts_with('+') {
            out.push('+');
        }
        masked_digits(&text, out);
    } else {
        free_text(&text, MIN_FREE_TEXT_DIGITS, out);
    }
}

/// Returns `true` for digits with the separators of numbers.
fn is_number(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || b"+-.()*#,pPwW ".contains(&byte);
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().all(is_part)
}

/// Returns a number as the trace shows it: `+9198…01`. At least five digits are hidden.
pub(in crate::calls) fn masked_number(number: PhoneNumber) -> String {
    let mut out = String::from("+");
    masked_digits(&number.expose(), &mut out);
    out
}

/// Returns the masked user part of a URI; `None` if it is empty.
pub(in crate::calls) fn masked_user(text: &str) -> Option<String> {
    let mut out = String::new();
    let start: String = text.chars().take(MAX_OPAQUE_CHARACTERS).collect();
    user(&start, false, &mut out);
    Some(out).filter(|out| !out.is_empty())
}

fn masked_digits(text: &str, out: &mut String) {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let count = digits.len();
    if count < TAIL_DIGITS {
        return out.push_str(HIDDEN);
    }
    let shown = count.saturating_sub(8).min(4);
    out.push_str(digits.get(..shown).unwrap_or_default());
    out.push_str(HIDDEN);
    out.push_str(digits.get(count.saturating_sub(2)..).unwrap_or_default());
}

/// Writes an identifier such as a `Call-ID` or a tag. A run of digits with the length of a number that stands for itself is
/// masked, or hidden.
fn opaque(value: &str, hide: bool, out: &mut String) {
    let is_plain =
        value.len() <= MAX_OPAQUE_CHARACTERS && value.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain && !has_digit_run(value, TAIL_DIGITS) {
        return out.push_str(value);
    }
    let value: String = value
        .chars()
        .take(MAX_OPAQUE_CHARACTERS)
        .map(|character| {
            if character.is_ascii_graphic() {
                character
            } else {
                '?'
            }
        })
        .collect();
    let mut before = None;
    let mut runs = digit_runs(&value).peekable();
    while let Some((run, is_digits)) = runs.next() {
        let joins = |character: Option<char>| {
            character.is_some_and(|character| character.is_ascii_alphabetic())
        };
        let after = runs.peek().and_then(|(next, _)| next.chars().next());
        let is_alone = !joins(before) && !joins(after);
        match is_digits && is_alone && (TAIL_DIGITS..=15).contains(&run.len()) {
            true if hide => out.push_str(HIDDEN),
            true => masked_digits(run, out),
            false => out.push_str(run),
        }
        before = run.chars().last();
    }
}

fn push_number(value: &str, out: &mut String) {
    let is_number = is_decimal(value) && value.parse::<u32>().is_ok();
    out.push_str(if is_number { value } else { HIDDEN });
}

/// Writes numbers and a method, such as a `CSeq`.
fn sequence(value: &str, out: &mut String) {
    for (index, part) in value.split_ascii_whitespace().take(3).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let is_method = part.len() <= 12 && part.bytes().all(|byte| byte.is_ascii_uppercase());
        match is_method {
            true => out.push_str(part),
            false => push_number(part, out),
        }
    }
}

/// Writes words of a header without runs of `limit` or more digits. Quoted text is free text of the peer and shows fewer.
fn words(value: &str, limit: usize, out: &mut String) {
    for (index, part) in value.split('"').enumerate() {
        let is_quoted = index % 2 == 1;
        if index > 0 {
            out.push('"');
        }
        free_text(
            part,
            if is_quoted {
                MIN_FREE_TEXT_DIGITS
            } else {
                limit
            },
            out,
        );
    }
}

/// Writes text without control characters, and without runs of `limit` or more digits.
fn free_text(text: &str, limit: usize, out: &mut String) {
    if !has_digit_run(text, limit) && !text.bytes().any(|byte| byte.is_ascii_control()) {
        return out.push_str(text);
    }
    for (run, is_digits) in digit_runs(text) {
        match is_digits && run.len() >= limit {
            true => out.push_str(HIDDEN),
            false => out.extend(run.chars().map(|character| match character.is_control() {
                true => '?',
                false => character,
            })),
        }
    }
}
