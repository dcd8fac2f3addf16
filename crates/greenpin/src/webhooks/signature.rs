//! Signatures by the Standard Webhooks rules.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Returns one signature for each live secret, separated by blanks; `None` if a secret is
/// malformed.
pub(super) fn sign_all(
    secrets: &[String],
    id: &str,
    timestamp: &str,
    body: &str,
) -> Option<String> {
    let signed: Option<Vec<_>> = secrets
        .iter()
        .map(|secret| sign(secret, id, timestamp, body))
        .collect();
    signed
        .filter(|signed| !signed.is_empty())
        .map(|signed| signed.join(" "))
}

/// Returns `v1,` and the base64 of HMAC-SHA-256 over `id.timestamp.body` under a `whsec_…` secret;
/// `None` if the secret is malformed.
fn sign(secret: &str, id: &str, timestamp: &str, body: &str) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [id, timestamp, body].join(".");
    Some(format!(
        "v1,{}",
        STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_the_standards_own_example() {
        // From the test vectors of the Standard Webhooks reference libraries.
        let signed = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signed.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
        assert_eq!(sign("secret", "a", "b", "c"), None);
    }

    #[test]
    fn two_live_secrets_make_two_signatures() {
        let secrets = ["whsec_AAAA".to_owned(), "whsec_BBBB".to_owned()];
        let signed = sign_all(&secrets, "id", "1", "{}").unwrap();
        let each: Vec<_> = secrets
            .iter()
            .map(|secret| sign(secret, "id", "1", "{}").unwrap())
            .collect();
        assert_eq!(signed.split(' ').collect::<Vec<_>>(), each);
        assert_eq!(sign_all(&[], "id", "1", "{}"), None);
    }
}
