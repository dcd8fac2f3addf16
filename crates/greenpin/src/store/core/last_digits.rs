//! Last digits of a number, as a search for it.

use call::PhoneNumber;

/// Last digits of a number. No index has them: each number is compared in clear.
#[derive(Clone)]
pub struct LastDigits(String);

impl LastDigits {
    /// Creates a search for numbers that end with these digits.
    pub fn new(digits: &str) -> Self {
        Self(digits.to_owned())
    }

    /// Returns whether a number ends with the digits.
    pub(crate) fn match_number(&self, number: PhoneNumber) -> bool {
        number.expose().ends_with(&self.0)
    }
}
