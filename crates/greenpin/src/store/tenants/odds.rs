//! Limit of the probability that strangers guess a PIN.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Resolution of a stored limit.
const BILLION: f64 = 1e9;

/// Limit of the odds, above 0 and at most 1, exact to nine decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuessOdds {
    billionths: u32,
}

impl GuessOdds {
    /// Returns a limit; `None` if it is not above 0 and at most 1 after rounding to nine decimals.
    pub fn new(odds: f64) -> Option<Self> {
        let billionths = (odds * BILLION).round();
        // The range is checked before the cast.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let in_range = (1.0..=BILLION).contains(&billionths);
        in_range.then_some(Self {
            billionths: billionths as u32,
        })
    }

    /// Returns the limit as a number from 0 to 1.
    pub fn value(self) -> f64 {
        f64::from(self.billionths) / BILLION
    }
}

impl fmt::Display for GuessOdds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.value(), f)
    }
}

impl Serialize for GuessOdds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

impl<'de> Deserialize<'de> for GuessOdds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let odds = f64::deserialize(deserializer)?;
        Self::new(odds)
            .ok_or_else(|| serde::de::Error::custom("odds must be above 0 and at most 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_keeps_nine_decimals() {
        for odds in [1e-9, 0.01, 0.123_456_789, 1.0] {
            let limit = GuessOdds::new(odds).unwrap();
            let stored = serde_json::to_string(&limit).unwrap();
            assert_eq!(serde_json::from_str::<GuessOdds>(&stored).unwrap(), limit);
            assert!((limit.value() - odds).abs() < f64::EPSILON);
        }
        for odds in [0.0, -0.01, 1e-10, 1.000_000_001, f64::NAN, f64::INFINITY] {
            assert_eq!(GuessOdds::new(odds), None, "{odds}");
        }
    }
}
