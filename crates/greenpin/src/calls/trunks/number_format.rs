//! Conversion of numbers between E.164 and the format of a trunk.

use call::PhoneNumber;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};

/// Format of numbers on a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NumberFormat {
    /// `+919900000001`
    #[default]
    E164,
    /// `919900000001`
    Digits,
    /// `00919900000001`
    DoubleZero,
    /// National format of the trunk's country, `09900000001`. Numbers of other countries are written as
    /// [`Self::DoubleZero`].
    National,
}

impl NumberFormat {
    /// Formats a number for a trunk in this country. The result holds only digits, with a leading `+` in E.164.
    pub(crate) fn write(self, number: PhoneNumber, country: Option<Region>) -> String {
        let e164 = number.expose();
        let digits = e164.trim_start_matches('+');
        match self {
            Self::E164 => e164,
            Self::Digits => digits.to_owned(),
            Self::DoubleZero => format!("00{digits}"),
            Self::National => {
                let national = country.and_then(|country| national(&e164, country));
                national.unwrap_or_else(|| format!("00{digits}"))
            }
        }
    }
}

/// Formats a number as dialled within its country; `None` if it belongs to another country.
fn national(e164: &str, country: Region) -> Option<String> {
    let parsed = PHONE_NUMBER_UTIL.parse(e164, None).ok()?;
    if PHONE_NUMBER_UTIL.get_country_code_for_region(country) != Some(parsed.country_code) {
        return None;
    }
    let written = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::National);
    Some(written.chars().filter(char::is_ascii_digit).collect())
}

/// Parses a number from a trunk. Accepted forms are `+` and E.164, `00` and E.164, and the forms of the trunk's
/// country: national (`09900000001`) or with the calling code (`919900000001`). Without a country, plain digits are
/// read as E.164. Returns `None` if the text is not a number.
///
/// Only the shape is checked, not the assignment: numbering plans do not list valid virtual numbers.
pub(crate) fn e164(text: &str, country: Option<Region>) -> Option<PhoneNumber> {
    let international = text.strip_prefix("00").map(|rest| format!("+{rest}"));
    let text = international.as_deref().unwrap_or(text);
    if text.starts_with('+') {
        return PhoneNumber::parse(text).ok();
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let Some(country) = country else {
        return PhoneNumber::parse(&format!("+{text}")).ok();
    };
    let parsed = PHONE_NUMBER_UTIL.parse(text, Some(country)).ok()?;
    PhoneNumber::parse(&format!(
        "+{}{}",
        parsed.country_code, parsed.national_number
    ))
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_number_parses_to_the_same_number() {
        let india = "IN".parse().ok();
        assert!(india.is_some());
        for form in [
            "+919900000001",
            "00919900000001",
            "919900000001",
            "09900000001",
            "9900000001",
        ] {
            assert_eq!(
                e164(form, india).map(PhoneNumber::expose).as_deref(),
                Some("+919900000001"),
                "{form}"
            );
        }
        assert_eq!(
            e164("914000000001", None)
                .map(PhoneNumber::expose)
                .as_deref(),
            Some("+914000000001")
        );
    }

    #[test]
    fn a_number_in_the_format_of_a_trunk_parses_back_to_the_same_number() {
        let country: Region = "IN".parse().unwrap();
        let (own, foreign) = ("+919900000001", "+442079460001");
        for (format, own_form, foreign_form) in [
            (NumberFormat::E164, own, foreign),
            (NumberFormat::Digits, "919900000001", "442079460001"),
            (NumberFormat::DoubleZero, "00919900000001", "00442079460001"),
            (NumberFormat::National, "09900000001", "00442079460001"),
        ] {
            for (number, form) in [(own, own_form), (foreign, foreign_form)] {
                let number = PhoneNumber::parse(number).unwrap();
                assert_eq!(format.write(number, Some(country)), form);
                let country = Some(country).filter(|_| format != NumberFormat::Digits);
                assert_eq!(e164(form, country), Some(number), "{format:?}");
            }
        }
    }

    #[test]
    fn text_that_is_not_a_number_is_rejected() {
        for text in [
            "",
            "+",
            "alice",
            "+91abc",
            "0",
            "00",
            "+1234567890123456",
            "१२३४५६७८",
        ] {
            assert_eq!(e164(text, "IN".parse().ok()), None, "{text}");
        }
    }
}
