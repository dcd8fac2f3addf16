//! E.164 out of what a trunk presents.

use call::PhoneNumber;
use rlibphonenumber::{PHONE_NUMBER_UTIL, Region};

/// Reads a number as a trunk writes it: `+` and E.164, `00` and E.164, or a form of the trunk's country, national
/// (`09900000001`) or with its calling code (`919900000001`). Without a country, digits alone are taken as E.164.
/// `None`: not a number.
///
/// The shape alone decides, not whether the number is assigned: valid virtual numbers are unknown to numbering plans.
pub(crate) fn e164(text: &str, country: Option<Region>) -> Option<PhoneNumber> {
    let international = text.strip_prefix("00").map(|rest| format!("+{rest}"));
    let text = international.as_deref().unwrap_or(text);
    if text.starts_with('+') {
        return PhoneNumber::parse(text).ok();
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let Some(country) = country else { return PhoneNumber::parse(&format!("+{text}")).ok() };
    let parsed = PHONE_NUMBER_UTIL.parse(text, Some(country)).ok()?;
    PhoneNumber::parse(&format!("+{}{}", parsed.country_code, parsed.national_number)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_number_is_the_same_number() {
        let india = "IN".parse().ok();
        assert!(india.is_some());
        for form in ["+919900000001", "00919900000001", "919900000001", "09900000001", "9900000001"] {
            assert_eq!(
                e164(form, india).map(PhoneNumber::expose).as_deref(),
                Some("+919900000001"),
                "{form}"
            );
        }
        assert_eq!(e164("914000000001", None).map(PhoneNumber::expose).as_deref(), Some("+914000000001"));
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "+", "alice", "+91abc", "0", "00", "+1234567890123456", "१२३४५६७८"] {
            assert_eq!(e164(text, "IN".parse().ok()), None, "{text}");
        }
    }
}
