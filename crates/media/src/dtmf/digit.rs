//! Keys of a telephone keypad.

use std::fmt;

const SYMBOLS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];

/// Key of a telephone keypad: 0 to 9, `*`, `#`, A to D.
///
/// Digits are parts of PINs, so `Debug` and `Display` never show the key. It is available only
/// through [`Digit::expose`] and [`Digit::event`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digit(u8);

/// Error for a character that is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of 0 to 9, *, #, A to D")]
pub struct NotADigit;

impl Digit {
    /// Returns the digit of a telephone-event code (RFC 4733, table 3); `None` for a code above 15.
    pub fn from_event(code: u8) -> Option<Self> {
        (code < 16).then_some(Self(code))
    }

    /// Returns the telephone-event code, 0 to 15 (RFC 4733, table 3).
    pub fn event(self) -> u8 {
        self.0
    }

    /// Returns the key in clear. Only for the call machine and the wire, never for a log.
    pub fn expose(self) -> char {
        SYMBOLS.get(usize::from(self.0)).copied().unwrap_or('0')
    }
}

impl TryFrom<char> for Digit {
    type Error = NotADigit;

    fn try_from(symbol: char) -> Result<Self, NotADigit> {
        let upper = symbol.to_ascii_uppercase();
        SYMBOLS
            .iter()
            .zip(0..)
            .find_map(|(known, code)| (*known == upper).then_some(Self(code)))
            .ok_or(NotADigit)
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<digit>")
    }
}

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<digit>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_converts_to_its_event_code_and_back() {
        for (code, symbol) in SYMBOLS.into_iter().enumerate() {
            let digit = Digit::try_from(symbol).unwrap();
            assert_eq!(usize::from(digit.event()), code);
            assert_eq!(Digit::from_event(digit.event()), Some(digit));
            assert_eq!(digit.expose(), symbol);
        }
        assert_eq!(Digit::try_from('d').unwrap().expose(), 'D');
    }

    #[test]
    fn a_character_that_is_not_a_key_is_rejected() {
        assert_eq!(Digit::try_from('E'), Err(NotADigit));
        assert_eq!(Digit::try_from('٣'), Err(NotADigit));
        assert_eq!(Digit::from_event(16), None);
    }

    #[test]
    fn a_digit_is_masked_in_output() {
        let seven = Digit::try_from('7').unwrap();
        assert_eq!(
            format!("{seven} {seven:?} {:?}", Some(seven)),
            "<digit> <digit> Some(<digit>)"
        );
    }
}
