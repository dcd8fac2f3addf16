//! Display names without quotes (RFC 3261, section 25.1) that contain other characters than a token: Latin-1, brackets.
//!
//! The grammar rejects them, but many peers send them. Nothing depends on the name, so it gets its quotes here.

use bytes::Bytes;

use crate::sip::{Header, HeaderName, Headers};

/// Puts quotes around the display names in `From`, `To` and `Contact` that need them.
pub(crate) fn quote_display_names(headers: &mut Headers) {
    for name in [HeaderName::From, HeaderName::To, HeaderName::Contact] {
        let quoted = headers.value(&name).and_then(|value| quoted(&value));
        let header = quoted.and_then(|quoted| Header::build(name.clone(), quoted).ok());
        if let Some(header) = header {
            headers.remove_first(&name);
            headers.push_front(header);
        }
    }
}

/// Returns the value with a quoted display name, `None` if it needs no quotes or cannot be repaired. A comma is not
/// repaired (RFC 4475, section 3.1.2.15): it may separate two values.
fn quoted(value: &[u8]) -> Option<Bytes> {
    let bracket = value.iter().position(|byte| *byte == b'<')?;
    let (name, uri) = value.split_at_checked(bracket)?;
    let name = name.trim_ascii();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~ \t".contains(byte);
    let is_text = |byte: &u8| !byte.is_ascii_control() && !b"\",;\\".contains(byte);
    let repairable = !name.iter().all(is_token) && name.iter().all(is_text);
    repairable.then(|| Bytes::from([b"\"", name, b"\" ", uri].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_no_token_and_no_list_gets_quotes() {
        for (name, expected) in [
            (&b"Jos\xe9 [Sales]"[..], &b"\"Jos\xe9 [Sales]\" "[..]),
            (b" (100) ", b"\"(100)\" "),
            (b"a@b:c", b"\"a@b:c\" "),
            ("Zoë".as_bytes(), "\"Zoë\" ".as_bytes()),
        ] {
            let value = [name, b"<sip:a@b>;tag=[1]"].concat();
            let expected = [expected, b"<sip:a@b>;tag=[1]"].concat();
            assert_eq!(quoted(&value).as_deref(), Some(&expected[..]));
        }
        for other in [
            "<sip:a@b>",
            "Alice B. <sip:a@b>",
            "\"Jo [x]\" <sip:a@b>",
            "Bell, Alexander [x] <sip:a@b>",
            "x[;y <sip:a@b>",
            "a\\[ <sip:a@b>",
            "sip:a@[::1]",
            "*",
            "",
        ] {
            assert_eq!(quoted(other.as_bytes()), None, "{other}");
        }
    }
}
