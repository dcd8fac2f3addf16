//! Conversion of numbers between E.164 and the format of a trunk.

use call::PhoneNumber;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};
use signalling::{CallerIdentity, NumberContext, NumberVerification, PresentedNumber};

use crate::numbering::{self, TrunkCaller, TrunkNumber};
use crate::store::CallerVerification;

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

/// Reads the called number of an incoming call. Accepted forms are `+` and E.164, `00` and E.164, and the forms of the
/// trunk's country: national (`09900000001`) or with the calling code (`919900000001`). Without a country, plain digits
/// are read as E.164. Returns `None` if the text is not a number.
pub(crate) fn called(number: &PresentedNumber, country: Option<Region>) -> Option<PhoneNumber> {
    // The carrier has routed the call to this server by its own domain, whose numbers are those of the country.
    let context = match (&number.context, country) {
        (Some(NumberContext::Domain), Some(_)) => None,
        (context, _) => context.as_ref(),
    };
    read(&number.text, context, country)?.read(None)
}

/// Reads the caller of an incoming call. Accepted forms are those of [`called`]. If the trunk has no country, plain
/// digits are left to the country of the tenant.
pub(crate) fn caller(identity: &CallerIdentity, country: Option<Region>) -> TrunkCaller {
    let numbers = identity.numbers.iter();
    TrunkCaller {
        numbers: numbers
            .filter_map(|number| read(&number.text, number.context.as_ref(), country))
            .collect(),
        withheld: identity.withheld,
    }
}

/// Returns the carrier's verification of the caller that [`caller`] reads; `None` if the carrier names none.
pub(crate) fn verification(
    identity: &CallerIdentity,
    country: Option<Region>,
) -> Option<CallerVerification> {
    let mut numbers = identity.numbers.iter();
    let number =
        numbers.find(|number| read(&number.text, number.context.as_ref(), country).is_some())?;
    Some(match number.verification? {
        NumberVerification::Passed => CallerVerification::Passed,
        NumberVerification::Failed => CallerVerification::Failed,
        NumberVerification::NotValidated => CallerVerification::NotValidated,
    })
}

/// Reads a number. A local number is only valid in its context (RFC 3966, section 5.1.5): one in the context of a domain
/// is not a number of the country.
fn read(
    text: &str,
    context: Option<&NumberContext>,
    country: Option<Region>,
) -> Option<TrunkNumber> {
    let international = |text: &str| {
        PhoneNumber::parse(text)
            .ok()
            .map(TrunkNumber::International)
    };
    if text.starts_with('+') {
        return international(text);
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match (context, country) {
        (Some(NumberContext::Domain), _) => None,
        _ if text.starts_with("00") => international(&text.replacen("00", "+", 1)),
        (Some(NumberContext::Prefix(prefix)), _) => {
            numbering::below_prefix(prefix, text).map(TrunkNumber::International)
        }
        (None, Some(country)) => {
            numbering::in_country(text, country).map(TrunkNumber::International)
        }
        (None, None) => Some(TrunkNumber::Local(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e164(text: &str, country: Option<Region>) -> Option<PhoneNumber> {
        called(&presented(text, None), country)
    }

    fn presented(text: &str, context: Option<NumberContext>) -> PresentedNumber {
        PresentedNumber {
            text: text.into(),
            context,
            verification: None,
        }
    }

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

    #[test]
    fn a_local_number_counts_only_in_its_context() {
        let india: Option<Region> = "IN".parse().ok();
        let prefix = |digits: &str| Some(NumberContext::Prefix(digits.into()));
        let domain = Some(NumberContext::Domain);
        for (text, context, country, as_called, as_caller) in [
            (
                "4000000001",
                prefix("91"),
                None,
                Some("+914000000001"),
                Some("+914000000001"),
            ),
            (
                "4155552671",
                prefix("1"),
                india,
                Some("+14155552671"),
                Some("+14155552671"),
            ),
            ("4155552671", domain.clone(), None, None, None),
            (
                "4000000001",
                domain.clone(),
                india,
                Some("+914000000001"),
                None,
            ),
            (
                "+914000000001",
                domain,
                india,
                Some("+914000000001"),
                Some("+914000000001"),
            ),
            (
                "00914000000001",
                prefix("1"),
                None,
                Some("+914000000001"),
                Some("+914000000001"),
            ),
        ] {
            let number = presented(text, context);
            let identity = CallerIdentity {
                numbers: vec![number.clone()],
                withheld: false,
            };
            assert_eq!(
                (
                    called(&number, country).map(PhoneNumber::expose).as_deref(),
                    caller(&identity, country)
                        .number(None)
                        .map(PhoneNumber::expose)
                        .as_deref()
                ),
                (as_called, as_caller),
                "{text}"
            );
        }
    }

    #[test]
    fn plain_digits_of_a_trunk_without_country_are_left_to_the_tenants_country() {
        let identity = CallerIdentity {
            numbers: vec![presented("08800000001", None)],
            withheld: true,
        };
        let caller = caller(&identity, None);
        assert_eq!(caller.number(None), None);
        let number = caller.number("IN".parse().ok()).map(PhoneNumber::expose);
        assert_eq!(number.as_deref(), Some("+918800000001"));
        assert!(caller.withheld);
    }
}
