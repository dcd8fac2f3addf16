//! Conversion of numbers that a trunk presents to E.164.
//!
//! Only the shape is checked, not the assignment: numbering plans do not list valid virtual numbers.

use std::fmt;

use call::PhoneNumber;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};

/// Number that a trunk presents.
#[derive(Clone, PartialEq, Eq)]
pub enum TrunkNumber {
    /// Number in E.164.
    International(PhoneNumber),
    /// Digits that the trunk presents without a country.
    Local(String),
}

impl TrunkNumber {
    /// Returns the number in E.164. Local digits are read in the country, or as E.164 without `+` if there is none.
    /// Returns `None` if they are not a number.
    pub fn read(&self, country: Option<Region>) -> Option<PhoneNumber> {
        match (self, country) {
            (Self::International(number), _) => Some(*number),
            (Self::Local(digits), Some(country)) => in_country(digits, country),
            (Self::Local(digits), None) => PhoneNumber::parse(&format!("+{digits}")).ok(),
        }
    }
}

impl fmt::Debug for TrunkNumber {
    /// Omits the digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::International(number) => f.debug_tuple("International").field(number).finish(),
            Self::Local(_) => f.write_str("Local"),
        }
    }
}

/// Identity of a caller, as the trunk presents it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrunkCaller {
    /// Numbers in the order of the trunk. The first that can be read counts. Empty if the caller is unknown.
    pub numbers: Vec<TrunkNumber>,
    /// The number is not shown to the called party.
    pub withheld: bool,
}

impl TrunkCaller {
    /// Returns the number of the caller; `None` if it is unknown. `country` applies to local numbers.
    pub fn number(&self, country: Option<Region>) -> Option<PhoneNumber> {
        self.numbers.iter().find_map(|number| number.read(country))
    }
}

impl From<Option<PhoneNumber>> for TrunkCaller {
    fn from(number: Option<PhoneNumber>) -> Self {
        Self {
            numbers: number.map(TrunkNumber::International).into_iter().collect(),
            withheld: false,
        }
    }
}

/// Reads the ISO 3166-1 code of a country, two capital letters; `None` if the country has no telephone numbers.
pub(crate) fn country(code: &str) -> Option<Region> {
    let capitals = code.bytes().all(|byte| byte.is_ascii_uppercase());
    let country: Region = code.parse().ok().filter(|_| capitals)?;
    PHONE_NUMBER_UTIL
        .get_country_code_for_region(country)
        .map(|_| country)
}

/// Returns the country of a number; `None` if its prefix belongs to no country.
pub(crate) fn region(number: PhoneNumber) -> Option<Region> {
    let parsed = PHONE_NUMBER_UTIL
        .parse(number.expose(), None::<Region>)
        .ok()?;
    let region = PHONE_NUMBER_UTIL.get_region_for_number(&parsed);
    // A number outside the numbering plan belongs to the main country of its calling code.
    region.or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(parsed.country_code))
}

/// Reads digits as dialled in a country: national (`09900000001`), or with the calling code (`919900000001`).
pub(crate) fn in_country(digits: &str, country: Region) -> Option<PhoneNumber> {
    parse(digits, Some(country))
}

/// Reads a local number that is valid below a prefix of international numbers (RFC 3966, section 5.1.5). Drops a
/// national prefix, which is not part of the international number.
pub(crate) fn below_prefix(prefix: &str, digits: &str) -> Option<PhoneNumber> {
    let whole = format!("+{prefix}{digits}");
    parse(&whole, None).or_else(|| PhoneNumber::parse(&whole).ok())
}

fn parse(text: &str, country: Option<Region>) -> Option<PhoneNumber> {
    let parsed = PHONE_NUMBER_UTIL.parse(text, country).ok()?;
    // Italian numbers keep their leading zero, so the text is taken and not the digits as a number.
    let written = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164);
    PhoneNumber::parse(&written).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed(number: Option<PhoneNumber>) -> Option<String> {
        number.map(PhoneNumber::expose)
    }

    #[test]
    fn local_numbers_are_read_in_the_country() {
        for (code, digits, number) in [
            ("IN", "08800000001", Some("+918800000001")),
            ("IN", "918800000001", Some("+918800000001")),
            ("DE", "03012345678", Some("+493012345678")),
            ("IT", "0612345678", Some("+390612345678")),
            ("IN", "0", None),
            ("IN", "123", None),
        ] {
            let local = TrunkNumber::Local(digits.into());
            assert_eq!(
                exposed(local.read(country(code))).as_deref(),
                number,
                "{digits}"
            );
        }
        let digits = TrunkNumber::Local("918800000001".into());
        assert_eq!(exposed(digits.read(None)).as_deref(), Some("+918800000001"));
        assert_eq!(country("in"), None);
        assert_eq!(country("XX"), None);
    }

    #[test]
    fn a_local_number_is_read_below_its_prefix() {
        for (prefix, digits, number) in [
            ("91", "4000000001", Some("+914000000001")),
            ("1415", "5552671", Some("+14155552671")),
            ("41", "0791234567", Some("+41791234567")),
            ("39", "0612345678", Some("+390612345678")),
            ("999", "12345678", Some("+99912345678")),
            ("91", "", None),
        ] {
            assert_eq!(
                exposed(below_prefix(prefix, digits)).as_deref(),
                number,
                "{prefix}"
            );
        }
    }

    #[test]
    fn the_first_number_that_can_be_read_is_the_callers() {
        let caller = TrunkCaller {
            numbers: ["1001", "08800000001", "08800000002"]
                .map(|digits| TrunkNumber::Local(digits.into()))
                .into(),
            withheld: true,
        };
        let number = caller.number(country("IN"));
        assert_eq!(exposed(number).as_deref(), Some("+918800000001"));
        assert!(!format!("{caller:?}").contains("0000"), "{caller:?}");
    }
}
