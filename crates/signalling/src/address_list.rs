//! Values of an address header, read one by one: a value that cannot be read does not affect the others.
//!
//! The list parser of the library rejects the whole header for a display name that is not quoted properly. Such names
//! are common, because gateways copy them from other networks.

use bytes::Bytes;

use crate::header_value;
use crate::sip::Uri;

/// Address of a header value.
#[derive(Debug)]
pub(crate) struct ListedAddress {
    pub(crate) uri: Uri,
    /// Parameters of the value, with the leading `;`.
    parameters: Vec<u8>,
}

impl ListedAddress {
    /// Returns the values of all parameters of this name, without quotes.
    pub(crate) fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let parameters = split(&self.parameters, b';').into_iter();
        parameters.filter_map(move |parameter| header_value::named(parameter, name))
    }
}

/// Reads the values of a header line. An element is `None` if its value cannot be read.
///
/// The text before `<` is a display name, which the caller may have chosen. Therefore a value without angle brackets
/// counts only if no bracket follows it: otherwise it may be the part of a display name before a comma.
pub(crate) fn read(line: &[u8]) -> Vec<Option<ListedAddress>> {
    let values = split(line, b',');
    let last_bracket = values.iter().rposition(|value| value.contains(&b'<'));
    values
        .iter()
        .enumerate()
        .map(|(index, value)| match bracket(value) {
            Some(at) => bracketed(value, at),
            None if last_bracket.is_some_and(|last| index < last) => None,
            None => bare(value),
        })
        .collect()
}

/// Reads `DISPLAY-NAME <URI>;PARAMETERS`. `at` is the position of the bracket.
fn bracketed(value: &[u8], at: usize) -> Option<ListedAddress> {
    let rest = value.get(at..)?.strip_prefix(b"<")?;
    let end = rest.iter().position(|byte| *byte == b'>')?;
    let (uri, rest) = rest.split_at_checked(end)?;
    let parameters = rest.strip_prefix(b">")?.trim_ascii();
    if !parameters.is_empty() && (!parameters.starts_with(b";") || bracket(parameters).is_some()) {
        return None;
    }
    let uri = Uri::parse(Bytes::copy_from_slice(uri.trim_ascii())).ok()?;
    Some(ListedAddress {
        uri,
        parameters: parameters.to_vec(),
    })
}

/// Reads a URI without angle brackets. Its parameters belong to the header (RFC 3261, section 20), but many senders
/// mean those of the URI, so they count as both.
fn bare(value: &[u8]) -> Option<ListedAddress> {
    let value = value.trim_ascii();
    let uri = Uri::parse(Bytes::copy_from_slice(value)).ok()?;
    let parameters = value.iter().position(|byte| *byte == b';');
    let parameters = parameters.and_then(|at| value.get(at..));
    Some(ListedAddress {
        uri,
        parameters: parameters.unwrap_or_default().to_vec(),
    })
}

/// Returns the position of the first angle bracket outside quotes.
fn bracket(value: &[u8]) -> Option<usize> {
    let mut nesting = Nesting::default();
    let mut bytes = value.iter();
    bytes.position(|byte| nesting.is_outside(*byte) && *byte == b'<')
}

/// Splits a text at a separator outside quotes and angle brackets.
pub(crate) fn split(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut nesting = Nesting::default();
    text.split(|byte| nesting.is_outside(*byte) && *byte == separator)
        .collect()
}

/// Position within quotes or angle brackets while a text is read from its start.
#[derive(Default)]
enum Nesting {
    #[default]
    Outside,
    Quoted,
    /// After a backslash within quotes.
    Escaped,
    Bracketed,
}

impl Nesting {
    /// Advances by one byte. Returns `true` if the byte is outside quotes and brackets, or opens them.
    fn is_outside(&mut self, byte: u8) -> bool {
        let was_outside = matches!(self, Self::Outside);
        *self = match (&self, byte) {
            (Self::Outside, b'"') | (Self::Escaped, _) => Self::Quoted,
            (Self::Outside, b'<') => Self::Bracketed,
            (Self::Quoted, b'"') | (Self::Bracketed, b'>') => Self::Outside,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Outside, _) => Self::Outside,
            (Self::Quoted, _) => Self::Quoted,
            (Self::Bracketed, _) => Self::Bracketed,
        };
        was_outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(line: &[u8]) -> Vec<Option<String>> {
        let text = |address: ListedAddress| String::from_utf8(address.uri.to_bytes().to_vec());
        read(line)
            .into_iter()
            .map(|address| address.map(|address| text(address).unwrap()))
            .collect()
    }

    #[test]
    fn values_are_read_whatever_the_display_name() {
        for name in [
            &b""[..],
            b"Jane ",
            b"J\xf6rg",
            b"\"J\xf6rg\" ",
            b"\"Doe, <Jane>\" ",
            b"O'Brien & Co (Ltd) ",
            b"\"\"A\"\" ",
            b"\"a \\\" <sip:b@c>\"",
        ] {
            let line = [name, b"<sip:a@b>;screen=yes"].concat();
            assert_eq!(uris(&line), [Some("sip:a@b".into())], "{line:?}");
        }
        assert_eq!(
            uris(b"Doe, Jane <sip:a@b>"),
            [None, Some("sip:a@b".into())],
            "a comma without quotes"
        );
    }

    #[test]
    fn values_that_cannot_be_read_are_skipped() {
        for bad in [
            "",
            "<<<",
            "<>",
            "<sip:>",
            "<+14155552671>",
            "<sip:a@b> <sip:c@d>",
            "<sip:a@b>;x <sip:c@d>",
            "<sip:a@b> x",
        ] {
            assert_eq!(uris(bad.as_bytes()), [None], "{bad}");
            let two = format!("{bad}, <tel:+14155552671>");
            assert_eq!(
                uris(two.as_bytes()).last().cloned().flatten().as_deref(),
                (bad != "<<<").then_some("tel:+14155552671"),
                "{bad}"
            );
        }
        assert_eq!(uris(b"\"A <sip:a@b>"), [None], "a quote that is not closed");
    }

    #[test]
    fn a_value_without_brackets_counts_unless_it_may_be_part_of_a_display_name() {
        assert_eq!(
            uris(b"sip:a@b;user=phone, tel:+14155552671"),
            [
                Some("sip:a@b;user=phone".into()),
                Some("tel:+14155552671".into())
            ]
        );
        assert_eq!(
            uris(b"tel:+14155552671, Jane <sip:a@b>"),
            [None, Some("sip:a@b".into())]
        );
    }

    #[test]
    fn parameters_of_a_value_are_found_without_quotes() {
        let line = b"<sip:a@b;party=x>;PARTY=\"calling\" ; privacy=\"a;b\";privacy=full;screen";
        let [Some(address)] = &read(line)[..] else {
            panic!("one value");
        };
        let values = |name| address.parameters(name).collect::<Vec<_>>();
        assert_eq!(values("party"), [b"calling"]);
        assert_eq!(values("privacy"), [&b"a;b"[..], b"full"]);
        assert!(values("screen").is_empty());
    }
}
