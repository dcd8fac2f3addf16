//! Masking of responses to the web console: telephone numbers and PINs leave the server only by a reveal.

use axum::body::{Body, to_bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::problem::{Code, Problem};

/// Maximum size of a response to mask, in bytes. No response of the API reaches it.
const MAX_MASKED_BYTES: usize = 16 * 1024 * 1024;
/// Fields with numbers that are public: they belong to greenpin, not to a party.
const PUBLIC_FIELDS: &[&str] = &["virtual_number", "caller_id_number"];
/// Fewest and most digits of a telephone number.
const MIN_DIGITS: usize = 7;
const MAX_DIGITS: usize = 15;
/// A masked PIN. It does not show the length.
const MASKED_PIN: &str = "••••";
/// Country codes of two digits (ITU-T E.164). `1` and `7` have one digit, all others three.
const TWO_DIGIT_COUNTRIES: &[&str] = &[
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47",
    "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65",
    "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
];

/// Masks the body of a response in JSON. Other responses, such as recordings, are unchanged.
pub(crate) async fn mask_response(response: Response) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|media_type| media_type == "application/json");
    if !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let masked = to_bytes(body, MAX_MASKED_BYTES)
        .await
        .ok()
        .and_then(|bytes| mask_json(&bytes));
    let Some(masked) = masked else {
        tracing::error!("cannot mask a response");
        return Problem::plain(Code::Internal).into_response();
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::ETAG);
    Response::from_parts(parts, Body::from(masked))
}

/// Returns a JSON document with every number and PIN masked; `None` if it is no JSON.
pub(crate) fn mask_json(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut value = serde_json::from_slice(bytes).ok()?;
    mask_value("", &mut value);
    serde_json::to_vec(&value).ok()
}

fn mask_value(field: &str, value: &mut Value) {
    match value {
        Value::String(text) => mask_field(field, text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask_value(field, item)),
        Value::Object(fields) => fields
            .iter_mut()
            .for_each(|(name, value)| mask_value(name, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn mask_field(field: &str, text: &mut String) {
    match field {
        "pin" => MASKED_PIN.clone_into(text),
        // The number in it is the virtual number.
        "dial_uri" => {
            if let Some((number, _)) = text.split_once(',') {
                *text = format!("{number},,{MASKED_PIN}");
            }
        }
        public if PUBLIC_FIELDS.contains(&public) => {}
        _ if text.contains('+') => *text = mask_numbers(text),
        _ => {}
    }
}

/// Masks every telephone number in a text.
fn mask_numbers(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(plus) = rest.find('+') {
        let (before, number) = rest.split_at(plus);
        masked.push_str(before);
        let after = number.get(1..).unwrap_or_default();
        let length = after
            .bytes()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, next) = after.split_at(length);
        if (MIN_DIGITS..=MAX_DIGITS).contains(&length) {
            masked.push_str(&mask_digits(digits));
        } else {
            masked.push('+');
            masked.push_str(digits);
        }
        rest = next;
    }
    masked + rest
}

/// Masks the digits of a number: `+91 98…01`. A short number shows less.
fn mask_digits(digits: &str) -> String {
    let country = match digits.get(..2) {
        Some(start) if start.starts_with(['1', '7']) => 1,
        Some(start) if TWO_DIGIT_COUNTRIES.contains(&start) => 2,
        _ => 3,
    };
    let (country, rest) = digits.split_at(country.min(digits.len()));
    let first = if digits.len() < 10 { 0 } else { 2 };
    let start = rest.get(..first).unwrap_or_default();
    let end = rest.get(rest.len().saturating_sub(2)..).unwrap_or_default();
    format!("+{country} {start}…{end}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masked(value: Value) -> Value {
        let masked = mask_json(&serde_json::to_vec(&value).unwrap()).unwrap();
        serde_json::from_slice(&masked).unwrap()
    }

    #[test]
    fn numbers_of_parties_and_pins_are_masked_and_virtual_numbers_are_not() {
        let allocation = json!({ "response": {
            "virtual_number": "+914000000001", "pin": "4821", "from": ["+919900000001"], "to": "+18005550123",
            "dial_uri": "tel:+914000000001,,4821", "custom_field": "call +35312345678 first", "created_at": "2026-06-15T10:30:00+05:30",
        } });
        let expected = json!({ "response": {
            "virtual_number": "+914000000001", "pin": "••••", "from": ["+91 99…01"], "to": "+1 80…23",
            "dial_uri": "tel:+914000000001,,••••", "custom_field": "call +353 12…78 first", "created_at": "2026-06-15T10:30:00+05:30",
        } });
        assert_eq!(masked(allocation), expected);
    }

    #[test]
    fn a_number_inside_any_text_of_any_field_is_masked() {
        let text = "INVITE sip:+918800000001@192.0.2.1 via +4912345 and +12345678901234567890";
        let expected = "INVITE sip:+91 88…01@192.0.2.1 via +49 …45 and +12345678901234567890";
        assert_eq!(
            masked(json!([{ "answer": text }])),
            json!([{ "answer": expected }])
        );
        assert_eq!(mask_numbers("a+b + +"), "a+b + +");
    }

    #[test]
    fn every_country_code_is_recognized() {
        for (digits, expected) in [
            ("79001234567", "+7 90…67"),
            ("971501234567", "+971 50…67"),
            ("1234567", "+1 …67"),
        ] {
            assert_eq!(mask_digits(digits), expected);
        }
    }
}
