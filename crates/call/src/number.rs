//! Telephone numbers and PINs, as types that do not print themselves.

use std::fmt;

/// A telephone number in E.164 form: a plus sign, a first digit from 1 to 9, 7 to 15 digits in all
/// (ITU-T E.164, section 6).
///
/// `Debug` and `Display` show the last two digits only; the whole number leaves through
/// [`PhoneNumber::expose`] alone, so that every place that lets one out can be searched for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(u64);

/// Why a text is not an E.164 number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The text does not start with `+`.
    #[error("must start with '+'")]
    MissingPlus,
    /// The digit after the plus sign is 0.
    #[error("the first digit after '+' must be 1 to 9")]
    LeadingZero,
    /// Something other than 0 to 9 follows the plus sign.
    #[error("must hold only digits after '+'")]
    NotADigit,
    /// Fewer than 7 or more than 15 digits.
    #[error("must have 7 to 15 digits")]
    Length,
}

impl PhoneNumber {
    /// Reads a number in E.164 form. National forms and separators are refused.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let digits = text.strip_prefix('+').ok_or(NumberError::MissingPlus)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NumberError::NotADigit);
        }
        if !(7..=15).contains(&digits.len()) {
            return Err(NumberError::Length);
        }
        if digits.starts_with('0') {
            return Err(NumberError::LeadingZero);
        }
        digits.parse().map(Self).map_err(|_| NumberError::Length)
    }

    /// The number in clear, with its plus sign. For the wire, the store and the tenant's own API answers only.
    pub fn expose(self) -> String {
        format!("+{}", self.0)
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+…{:02}", self.0 % 100)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A PIN or a block of digits that a caller keyed in: 0 to 9 only, 1 to 8 of them, leading zeros kept.
///
/// `Debug` and `Display` show nothing but its length. Comparison for a PIN try happens in the store.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pin(String);

/// A text that is not 1 to 8 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a PIN has 1 to 8 digits")]
pub struct PinError;

impl Pin {
    /// Reads 1 to 8 ASCII digits.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let valid = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| Self(text.to_owned())).ok_or(PinError)
    }

    /// The digits in clear. For the store and the tenant's own API answers only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} digits>", self.0.len())
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_form_and_prints_two_digits() {
        let number = PhoneNumber::parse("+914000000001").unwrap();
        assert_eq!(number.expose(), "+914000000001");
        assert_eq!(format!("{number} {number:?}"), "+…01 +…01");
    }

    #[test]
    fn each_rule_of_e164_has_its_error() {
        for (text, error) in [
            ("914000000001", NumberError::MissingPlus),
            ("", NumberError::MissingPlus),
            ("+014000000001", NumberError::LeadingZero),
            ("+91 4000000001", NumberError::NotADigit),
            ("+٩١٤٠٠٠٠٠٠٠", NumberError::NotADigit),
            ("+123456", NumberError::Length),
            ("+1234567890123456", NumberError::Length),
            ("+", NumberError::Length),
        ] {
            assert_eq!(PhoneNumber::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_pin_keeps_leading_zeros_and_prints_none_of_them() {
        let pin = Pin::parse("0042").unwrap();
        assert_eq!(pin.expose(), "0042");
        assert_eq!(format!("{pin} {pin:?}"), "<4 digits> <4 digits>");
        assert_eq!(Pin::parse("12a4"), Err(PinError));
        assert_eq!(Pin::parse("123456789"), Err(PinError));
        assert_eq!(Pin::parse(""), Err(PinError));
    }
}
