//! Rules for dialled numbers: prefixes that are allowed or denied.

mod built_in;

use std::fmt;
use std::str::FromStr;

use call::PhoneNumber;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Maximum number of prefixes in one list.
pub const MAX_PREFIXES: usize = 100;
/// Digits of the longest E.164 number.
const E164_DIGITS: usize = 15;

/// Prefix of E.164 numbers: `+` and 0 to 15 digits, the first not 0. `+` alone is a prefix of every number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^\\+([1-9][0-9]{0,14})?$", examples("+91"))]
pub struct NumberPrefix(String);

/// Error for a text that is not a prefix of E.164 numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be '+' and up to 15 digits, the first not 0")]
pub struct NumberPrefixError;

impl NumberPrefix {
    /// Returns `true` if the number starts with this prefix.
    pub fn is_prefix_of(&self, number: PhoneNumber) -> bool {
        let exposed = number.expose();
        exposed.trim_start_matches('+').starts_with(&self.0)
    }
}

impl FromStr for NumberPrefix {
    type Err = NumberPrefixError;

    fn from_str(text: &str) -> Result<Self, NumberPrefixError> {
        let digits = text.strip_prefix('+').ok_or(NumberPrefixError)?;
        let is_valid = digits.len() <= E164_DIGITS
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        is_valid
            .then(|| Self(digits.to_owned()))
            .ok_or(NumberPrefixError)
    }
}

impl TryFrom<String> for NumberPrefix {
    type Error = NumberPrefixError;

    fn try_from(text: String) -> Result<Self, NumberPrefixError> {
        text.parse()
    }
}

impl From<NumberPrefix> for String {
    fn from(prefix: NumberPrefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for NumberPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

/// Rules for the numbers that a tenant may dial. The operator sets them.
///
/// Of all prefixes of a number the longest decides. The built-in list of satellite and premium-rate prefixes counts as
/// denied, unless `allow` has the same or a longer prefix. Without a matching prefix, a number is allowed if `allow` is
/// empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DestinationRules {
    /// Allowed prefixes. If the list is not empty, numbers without a prefix in it are denied.
    #[schema(required, max_items = 100)]
    pub allow: Vec<NumberPrefix>,
    /// Denied prefixes.
    #[schema(required, max_items = 100)]
    pub deny: Vec<NumberPrefix>,
    /// Maximum number of dialled legs per country, hour and node; `null`: no limit.
    #[schema(required, minimum = 1)]
    pub max_calls_per_country_hour: Option<u32>,
}

impl DestinationRules {
    /// Returns `true` if the number may be dialled.
    pub fn permit(&self, number: PhoneNumber) -> bool {
        decide(number, &self.allow, &self.deny, built_in::contains)
    }
}

/// Change of the rules of a tenant. `None` leaves a value unchanged.
#[derive(Debug, Clone, Default)]
pub struct DestinationChange {
    /// New list of allowed prefixes.
    pub allow: Option<Vec<NumberPrefix>>,
    /// New list of denied prefixes.
    pub deny: Option<Vec<NumberPrefix>>,
    /// New limit of dialled legs per country, hour and node; the inner `None` removes it.
    pub max_calls_per_country_hour: Option<Option<u32>>,
}

impl DestinationChange {
    /// Applies the change.
    pub fn apply(&self, rules: &mut DestinationRules) {
        if let Some(allow) = &self.allow {
            rules.allow.clone_from(allow);
        }
        if let Some(deny) = &self.deny {
            rules.deny.clone_from(deny);
        }
        if let Some(limit) = self.max_calls_per_country_hour {
            rules.max_calls_per_country_hour = limit;
        }
    }
}

/// Prefixes of numbers that a trunk takes. Of all prefixes of a number the longest decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrunkDestinations {
    /// Allowed prefixes. If the list is not empty, the trunk takes no numbers without a prefix in it.
    pub allow: Vec<NumberPrefix>,
    /// Denied prefixes.
    pub deny: Vec<NumberPrefix>,
}

impl TrunkDestinations {
    /// Returns `true` if the trunk takes calls to the number.
    pub fn permit(&self, number: PhoneNumber) -> bool {
        decide(number, &self.allow, &self.deny, |_| false)
    }
}

/// Returns a prefix that both lists contain, which is an error.
pub(crate) fn in_both<'a>(
    allow: &'a [NumberPrefix],
    deny: &[NumberPrefix],
) -> Option<&'a NumberPrefix> {
    allow.iter().find(|prefix| deny.contains(prefix))
}

/// Finds the longest prefix of a number in the lists.
fn decide(
    number: PhoneNumber,
    allow: &[NumberPrefix],
    deny: &[NumberPrefix],
    is_built_in: fn(&str) -> bool,
) -> bool {
    let exposed = number.expose();
    let digits = exposed.trim_start_matches('+');
    let holds = |list: &[NumberPrefix], prefix: &str| list.iter().any(|item| item.0 == prefix);
    for length in (0..=digits.len()).rev() {
        let prefix = digits.get(..length).unwrap_or_default();
        if holds(allow, prefix) {
            return true;
        }
        if holds(deny, prefix) || is_built_in(prefix) {
            return false;
        }
    }
    allow.is_empty()
}

#[cfg(test)]
mod tests {
    use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType, Region};

    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> DestinationRules {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        DestinationRules {
            allow: list(allow),
            deny: list(deny),
            max_calls_per_country_hour: None,
        }
    }

    fn permits(rules: &DestinationRules, number: &str) -> bool {
        rules.permit(PhoneNumber::parse(number).unwrap())
    }

    #[test]
    fn the_longest_prefix_decides() {
        let none = rules(&[], &[]);
        assert!(permits(&none, "+919900000001"));
        let listed = rules(&["+91", "+9199000"], &["+9199", "+91990000000"]);
        for (number, expected) in [
            ("+918800000001", true),
            ("+919911000001", false),
            ("+919900000001", false),
            ("+919900099999", true),
            ("+4915550000001", false),
        ] {
            assert_eq!(permits(&listed, number), expected, "{number}");
        }
        let denied = rules(&[], &["+7"]);
        assert!(permits(&denied, "+919900000001") && !permits(&denied, "+79990000001"));
    }

    #[test]
    fn satellite_and_premium_numbers_must_be_opened_on_purpose() {
        let expensive = [
            "+881600000001",
            "+19005550100",
            "+2470000001",
            "+979100000001",
        ];
        for opened in [rules(&[], &[]), rules(&["+"], &[]), rules(&["+1"], &[])] {
            for number in expensive {
                assert!(!permits(&opened, number), "{number} with {opened:?}");
            }
        }
        let opened = rules(&["+", "+8816", "+1900"], &[]);
        let open = expensive.map(|number| permits(&opened, number));
        assert_eq!(open, [true, true, false, false]);
        assert!(permits(&opened, "+919900000001"));
    }

    /// Regions with a premium-rate range that shares its prefix with ordinary numbers.
    const MIXED: &[&str] = &["KH", "MY", "PM"];

    fn example(region: Region, kind: PhoneNumberType) -> Option<PhoneNumber> {
        let example = PHONE_NUMBER_UTIL
            .get_example_number_for_type_and_region(region, kind)
            .ok()?;
        let text = PHONE_NUMBER_UTIL.format(&example, PhoneNumberFormat::E164);
        PhoneNumber::parse(&text).ok()
    }

    /// Returns the regions whose example number is permitted without rules, or is not.
    fn regions_with(kind: PhoneNumberType, permitted: bool) -> Vec<String> {
        let none = rules(&[], &[]);
        let regions = PHONE_NUMBER_UTIL.get_supported_regions();
        let differing = regions.filter(|region| {
            example(*region, kind).is_some_and(|number| none.permit(number) == permitted)
        });
        let mut names: Vec<String> = differing.map(|region| region.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_built_in_list_follows_the_numbering_plans() {
        assert_eq!(regions_with(PhoneNumberType::PremiumRate, true), MIXED);
        for kind in [PhoneNumberType::FixedLine, PhoneNumberType::Mobile] {
            assert_eq!(regions_with(kind, false), ["AC", "IO"], "{kind:?}");
        }
    }

    #[test]
    fn a_prefix_is_a_plus_sign_and_digits() {
        for text in ["+", "+1", "+919900000001"] {
            let prefix: NumberPrefix = text.parse().unwrap();
            assert_eq!(prefix.to_string(), text);
        }
        for text in ["", "91", "+0", "+91x", "+1234567890123456", " +91"] {
            assert!(text.parse::<NumberPrefix>().is_err(), "{text}");
        }
    }
}
