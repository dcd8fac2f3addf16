//! Phone numbers and PINs, masked in `Debug` and `Display`.

use std::fmt::{self, Write};

/// Phone number in E.164 form: a plus sign, a first digit from 1 to 9, and 7 to 15 digits in total
/// (ITU-T E.164, section 6).
///
/// `Debug` and `Display` show only the last two digits. The complete number is available only
/// through [`PhoneNumber::expose`], so every disclosure can be found by searching for that name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(u64);

/// Error for a text that is not an E.164 number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneNumberError {
    /// The text does not start with `+`.
    #[error("must start with '+'")]
    MissingPlus,
    /// The digit after the plus sign is 0.
    #[error("the first digit after '+' must be 1 to 9")]
    LeadingZero,
    /// A character other than 0 to 9 follows the plus sign.
    #[error("must contain only digits after '+'")]
    NotADigit,
    /// The number has fewer than 7 or more than 15 digits.
    #[error("must have 7 to 15 digits")]
    Length,
}

impl PhoneNumber {
    /// Parses a number in E.164 form. National forms and separators are rejected.
    pub fn parse(text: &str) -> Result<Self, PhoneNumberError> {
        let digits = text
            .strip_prefix('+')
            .ok_or(PhoneNumberError::MissingPlus)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PhoneNumberError::NotADigit);
        }
        if !(7..=15).contains(&digits.len()) {
            return Err(PhoneNumberError::Length);
        }
        if digits.starts_with('0') {
            return Err(PhoneNumberError::LeadingZero);
        }
        digits
            .parse()
            .map(Self)
            .map_err(|_| PhoneNumberError::Length)
    }

    /// Returns the complete number with its plus sign. Only for the wire, the store and the
    /// tenant's own API responses.
    pub fn expose(self) -> String {
        // 15 digits and the plus sign.
        let mut text = String::with_capacity(16);
        // Writing to a `String` does not fail.
        let _ = write!(text, "{}", self.exposed());
        text
    }

    /// Returns the complete number for formatting without an allocation. For the same places as
    /// [`PhoneNumber::expose`].
    pub fn exposed(self) -> ExposedNumber {
        ExposedNumber(self.0)
    }
}

/// Number whose `Display` shows it completely; see [`PhoneNumber::exposed`].
#[derive(Clone, Copy)]
pub struct ExposedNumber(u64);

impl fmt::Display for ExposedNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
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

/// PIN, or a block of digits that a caller entered: 1 to 8 digits from 0 to 9, with leading zeros.
///
/// `Debug` and `Display` show only its length. The store compares it with the PIN of an allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pin {
    /// The digits, then zeros.
    digits: [u8; MAX_PIN_LENGTH],
    length: usize,
}

/// Maximum number of digits of a PIN.
const MAX_PIN_LENGTH: usize = 8;

/// Error for a text that is not 1 to 8 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a PIN must have 1 to 8 digits")]
pub struct PinError;

impl Pin {
    /// Parses 1 to 8 ASCII digits.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let mut digits = [0; MAX_PIN_LENGTH];
        let length = text.len();
        let is_valid = length > 0 && text.bytes().all(|byte| byte.is_ascii_digit());
        let start = digits.get_mut(..length).filter(|_| is_valid);
        start.ok_or(PinError)?.copy_from_slice(text.as_bytes());
        Ok(Self { digits, length })
    }

    /// Returns the digits in clear. Only for the store and the tenant's own API responses.
    pub fn expose(&self) -> &str {
        let digits = self.digits.get(..self.length).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or_default()
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} digits>", self.length)
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
    fn a_number_keeps_its_form_and_prints_only_two_digits() {
        let number = PhoneNumber::parse("+914000000001").unwrap();
        assert_eq!(number.expose(), "+914000000001");
        assert_eq!(format!("{number} {number:?}"), "+…01 +…01");
    }

    #[test]
    fn each_rule_of_e164_has_its_error() {
        for (text, error) in [
            ("914000000001", PhoneNumberError::MissingPlus),
            ("", PhoneNumberError::MissingPlus),
            ("+014000000001", PhoneNumberError::LeadingZero),
            ("+91 4000000001", PhoneNumberError::NotADigit),
            ("+٩١٤٠٠٠٠٠٠٠", PhoneNumberError::NotADigit),
            ("+123456", PhoneNumberError::Length),
            ("+1234567890123456", PhoneNumberError::Length),
            ("+", PhoneNumberError::Length),
        ] {
            assert_eq!(PhoneNumber::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_pin_keeps_leading_zeros_and_prints_no_digit() {
        let pin = Pin::parse("0042").unwrap();
        assert_eq!(pin.expose(), "0042");
        assert_eq!(format!("{pin} {pin:?}"), "<4 digits> <4 digits>");
        assert_eq!(Pin::parse("12a4"), Err(PinError));
        assert_eq!(Pin::parse("123456789"), Err(PinError));
        assert_eq!(Pin::parse(""), Err(PinError));
    }
}
