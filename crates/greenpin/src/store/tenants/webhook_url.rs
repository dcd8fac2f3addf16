//! URL of a webhook endpoint: the rules for it, and its canonical form.

use reqwest::Url;

/// Maximum length of the URL of a webhook endpoint, in bytes.
const MAX_URL_LENGTH: usize = 2048;

/// Rule that [`canonical_webhook_url`] checks, for error messages.
pub const WEBHOOK_URL_RULE: &str =
    "must be an http or https URL of at most 2048 bytes, without credentials, and not of port 0";

/// Returns the canonical form of a webhook URL, in which each endpoint has one spelling (WHATWG URL): host in lower case
/// and punycode, no default port, no fragment. `None` if the URL breaks [`WEBHOOK_URL_RULE`].
pub fn canonical_webhook_url(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    // A fragment is not sent, so it does not make another endpoint.
    url.set_fragment(None);
    let valid = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.port() != Some(0)
        && url.username().is_empty()
        && url.password().is_none();
    let canonical = String::from(url);
    (valid && text.len().max(canonical.len()) <= MAX_URL_LENGTH).then_some(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_one_spelling() {
        for (text, canonical) in [
            ("https://hooks.example.com", "https://hooks.example.com/"),
            (
                "HTTPS://Hooks.Example.com:443/a/../b",
                "https://hooks.example.com/b",
            ),
            (
                "http://example.com:80/x?a=1#part",
                "http://example.com/x?a=1",
            ),
            ("http://bücher.example/", "http://xn--bcher-kva.example/"),
            ("http://127.1:8080/", "http://127.0.0.1:8080/"),
            ("http://[0:0::1]/", "http://[::1]/"),
        ] {
            assert_eq!(canonical_webhook_url(text).as_deref(), Some(canonical));
            assert_eq!(canonical_webhook_url(canonical).as_deref(), Some(canonical));
        }
    }

    #[test]
    fn a_url_that_breaks_the_rule_is_refused() {
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL_LENGTH));
        for text in [
            "ftp://example.com/",
            "https://",
            "example.com",
            "https://user@example.com/",
            "https://user:password@example.com/",
            "https://example.com:0/",
            "https://example.com:65536/",
            &long,
        ] {
            assert_eq!(canonical_webhook_url(text), None, "{text}");
        }
    }
}
