//! Masked session descriptions: known lines in a known form, without keys, names and free text.

use std::fmt::Write;
use std::net::IpAddr;

use super::digits::{HIDDEN, digit_runs};

/// Attributes without a value of the peer.
const FLAGS: &[&str] = &[
    "sendrecv",
    "sendonly",
    "recvonly",
    "inactive",
    "rtcp-mux",
    "rtcp-rsize",
];
/// Attributes whose value is shown if it has only short runs of digits.
const VALUES: &[&str] = &[
    "rtpmap",
    "fmtp",
    "ptime",
    "maxptime",
    "rtcp",
    "silenceSupp",
    "setup",
    "mid",
];
/// Clock rates.
const CLOCK_RATES: &[&str] = &[
    "8000", "12000", "16000", "24000", "32000", "44100", "48000", "90000",
];

/// Returns a masked session description.
pub(super) fn description(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (kind, value) = line.split_once('=').unwrap_or((line, ""));
        match kind {
            "v" => out.push_str("v=0\r\n"),
            "o" => {
                out.push_str("o=- 0 0 ");
                connection(value.splitn(4, ' ').nth(3).unwrap_or_default(), &mut out);
            }
            "s" => out.push_str("s=-\r\n"),
            "t" => out.push_str("t=0 0\r\n"),
            "c" => {
                out.push_str("c=");
                connection(value, &mut out);
            }
            "m" => media(value, &mut out),
            "a" => attribute(value, &mut out),
            _ => {}
        }
    }
    out
}

/// Writes `IN IP4 ADDRESS`.
fn connection(value: &str, out: &mut String) {
    let address = value.split_ascii_whitespace().nth(2).unwrap_or_default();
    let address = address.split('/').next().unwrap_or_default();
    let (family, shown) = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => ("IN IP4 ", address),
        Ok(IpAddr::V6(_)) => ("IN IP6 ", address),
        Err(_) => ("IN IP4 ", HIDDEN),
    };
    for part in [family, shown, "\r\n"] {
        out.push_str(part);
    }
}

/// Writes `audio PORT PROTOCOL FORMATS`.
fn media(value: &str, out: &mut String) {
    out.push_str("m=");
    for (index, word) in value.split_ascii_whitespace().take(40).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = word.len() <= 20
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || byte == b'/');
        let is_shown = match index {
            1 => is_number && word.parse::<u16>().is_ok(),
            _ => is_name || (is_number && word.len() <= 3),
        };
        out.push_str(if is_shown { word } else { HIDDEN });
    }
    out.push_str("\r\n");
}

fn attribute(value: &str, out: &mut String) {
    let (name, value) = value.split_once(':').unwrap_or((value, ""));
    if FLAGS.contains(&name) {
        let _ = write!(out, "a={name}\r\n");
    } else if VALUES.contains(&name) {
        let _ = write!(out, "a={name}:");
        for (run, is_digits) in digit_runs(value) {
            // A port of RTCP has five digits as well.
            let is_port = name == "rtcp" && run.parse::<u16>().is_ok();
            let is_shown = !is_digits || run.len() <= 3 || CLOCK_RATES.contains(&run) || is_port;
            out.push_str(if is_shown { run } else { HIDDEN });
        }
        out.push_str("\r\n");
    } else if name == "crypto" {
        let mut words = value.split_ascii_whitespace();
        let tag = words
            .next()
            .and_then(|tag| tag.parse::<u8>().ok())
            .unwrap_or(1);
        let suite = words.next().unwrap_or_default();
        let is_suite = suite.len() <= 40
            && suite
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && digit_runs(suite).all(|(run, is_digits)| !is_digits || run.len() <= 3);
        let suite = if is_suite { suite } else { HIDDEN };
        let _ = write!(out, "a=crypto:{tag} {suite} inline:{HIDDEN}\r\n");
    }
}
