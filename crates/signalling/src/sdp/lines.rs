//! Lines of a session description that describe media. All other lines are ignored, so that an error in them does not
//! reject the call.

use std::fmt::Write;

/// Attributes that are read.
const ATTRIBUTES: [&str; 9] = [
    "rtpmap", "fmtp", "crypto", "rtcp", "maxptime", "sendrecv", "sendonly", "recvonly", "inactive",
];
/// Lines before the media, which the parser requires and nothing reads.
const HEAD: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\n";

/// Returns a description that has only the lines to be read, in the order of RFC 8866; `None` if the text is not a
/// description. Octets that are not UTF-8 occur in texts of other character sets, which are not read.
pub(super) fn media_lines(body: &[u8]) -> Option<String> {
    let body = String::from_utf8_lossy(body);
    let mut lines = body.split(['\r', '\n', '\0']);
    let version = lines.find(|line| !line.trim().is_empty())?;
    if version.trim_end() != "v=0" {
        return None;
    }
    let mut text = HEAD.to_owned();
    let mut section = Section::default();
    let mut is_session = true;
    for line in lines {
        match line.split_at_checked(2) {
            Some(("m=", value)) => {
                section.write(&mut text, is_session);
                is_session = false;
                section = Section::default();
                let _ = write!(text, "m={}\r\n", media(value)?);
            }
            Some(("c=", value)) => section.set_connection(value),
            Some(("a=", value)) => section.add_attribute(value),
            _ => {}
        }
    }
    section.write(&mut text, is_session);
    Some(text)
}

/// Lines of the session, or of one of its streams.
#[derive(Default)]
struct Section<'a> {
    connection: Option<&'a str>,
    attributes: Vec<&'a str>,
}

impl<'a> Section<'a> {
    fn set_connection(&mut self, value: &'a str) {
        if value.split_whitespace().count() == 3 {
            self.connection.get_or_insert(value.trim());
        }
    }

    fn add_attribute(&mut self, value: &'a str) {
        let name = value.split(':').next().unwrap_or_default();
        if ATTRIBUTES.contains(&name.trim_end()) {
            self.attributes.push(value.trim_end());
        }
    }

    fn write(&self, text: &mut String, is_session: bool) {
        if let Some(connection) = self.connection {
            let _ = write!(text, "c={connection}\r\n");
        }
        text.push_str(if is_session { "t=0 0\r\n" } else { "" });
        for attribute in &self.attributes {
            let _ = write!(text, "a={attribute}\r\n");
        }
    }
}

/// Returns the value of an `m=` line. A stream whose port or formats cannot be read counts as a removed one, so that the
/// answer has a line for it. `None` if its kind or its protocol is missing.
fn media(value: &str) -> Option<String> {
    let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_graphic());
    let mut words = value.split_whitespace().filter(is_word);
    let (kind, port, protocol) = (words.next()?, words.next()?, words.next()?);
    let formats: Vec<&str> = words.collect();
    let port = port.split('/').next().and_then(|port| port.parse().ok());
    let port: u16 = port.filter(|_| !formats.is_empty()).unwrap_or(0);
    let formats = if formats.is_empty() {
        "0".to_owned()
    } else {
        formats.join(" ")
    };
    Some(format!("{kind} {port} {protocol} {formats}"))
}
