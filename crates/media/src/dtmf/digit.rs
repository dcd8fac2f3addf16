//! One key of a telephone keypad.

use std::fmt;

const SYMBOLS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];

/// One key of a telephone keypad: 0 to 9, `*`, `#`, A to D.
///
/// Keyed digits are PINs: `Debug` and `Display` never show which key it was. It leaves through [`Digit::expose`] and
/// [`Digit::event`] alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digit(u8);

/// A character that is on no telephone keypad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of 0 to 9, *, #, A to D")]
pub struct NotADigit;

impl Digit {
    /// The digit of a telephone-event code (RFC 4733, table 3); `None` above 15.
    pub fn from_event(code: u8) -> Option<Self> {
        (code < 16).then_some(Self(code))
    }

    /// Its telephone-event code, 0 to 15 (RFC 4733, table 3).
    pub fn event(self) -> u8 {
        self.0
    }

    /// The key in clear. For the call machine and the wire only, never for a log.
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
    fn every_key_goes_to_its_event_code_and_back() {
        for (code, symbol) in SYMBOLS.into_iter().enumerate() {
            let digit = Digit::try_from(symbol).unwrap();
            assert_eq!(usize::from(digit.event()), code);
            assert_eq!(Digit::from_event(digit.event()), Some(digit));
            assert_eq!(digit.expose(), symbol);
        }
        assert_eq!(Digit::try_from('d').unwrap().expose(), 'D');
    }

    #[test]
    fn what_is_on_no_keypad_is_refused() {
        assert_eq!(Digit::try_from('E'), Err(NotADigit));
        assert_eq!(Digit::try_from('٣'), Err(NotADigit));
        assert_eq!(Digit::from_event(16), None);
    }

    #[test]
    fn a_digit_never_prints_itself() {
        let seven = Digit::try_from('7').unwrap();
        assert_eq!(
            format!("{seven} {seven:?} {:?}", Some(seven)),
            "<digit> <digit> Some(<digit>)"
        );
    }
}
