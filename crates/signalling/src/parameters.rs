//! Parameters of an authentication header (`auth-param` in RFC 3261, section 25.1).

/// Returns the names and unquoted values after a scheme. `None` for a different scheme or invalid
/// text.
pub(crate) fn parse_parameters(value: &[u8], scheme: &str) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (named, mut rest) = text.split_once(' ')?;
    if !named.eq_ignore_ascii_case(scheme) {
        return None;
    }
    let mut parameters = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => after
                .split_once(',')
                .map_or((after.trim().to_owned(), ""), |(value, after)| {
                    (value.trim().to_owned(), after)
                }),
        };
        parameters.push((name.trim_matches([',', ' ', '\t']).to_owned(), value));
        rest = after;
    }
    Some(parameters)
}

/// Returns a quoted text and the rest after its closing quote. `None` if the quote is not closed.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(index..)?.get(1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, String)>> {
        parse_parameters(text.as_bytes(), "Digest")
    }

    #[test]
    fn quotes_commas_and_spaces_are_parsed() {
        let text = r#"digest username="a \"b\", c" , realm = "r",nc=00000001,qop=auth, cnonce="""#;
        let expected = [
            ("username", "a \"b\", c"),
            ("realm", "r"),
            ("nc", "00000001"),
            ("qop", "auth"),
            ("cnonce", ""),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read(text), Some(expected.to_vec()));
    }

    #[test]
    fn anything_except_a_digest_is_none() {
        for text in [
            "",
            "Digest",
            "Basic YTpi",
            "Digest nonce=\"unfinished",
            "Digest nonce=\"\\",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
