//! Parts of a header value before and behind its semicolons (RFC 3261, section 7.3.1).

/// Returns the value without its parameters, such as a media type.
pub(crate) fn without_parameters(value: &[u8]) -> &[u8] {
    let mut parts = value.split(|byte| *byte == b';');
    parts.next().unwrap_or_default().trim_ascii()
}

/// Returns the value of a parameter `NAME=VALUE` without quotes; `None` if it has another name.
pub(crate) fn named<'a>(parameter: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = parameter.iter().position(|byte| *byte == b'=')?;
    let (found, value) = parameter.split_at_checked(at)?;
    let value = value.strip_prefix(b"=")?.trim_ascii();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let value = value.strip_suffix(b"\"").unwrap_or(value);
    found
        .trim_ascii()
        .eq_ignore_ascii_case(name.as_bytes())
        .then_some(value)
}
