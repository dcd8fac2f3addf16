//! One press told by several methods counts once.

use std::time::Duration;

use crate::Digit;

/// How a digit reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigitSource {
    /// A telephone-event in RTP (RFC 4733).
    Event,
    /// A SIP INFO request (`application/dtmf-relay` or `application/dtmf`).
    Info,
    /// Tones in the audio.
    InBand,
}

/// How far apart the reports of one press by different methods may be. INFO travels through proxies and is
/// retransmitted after 500 ms; nobody presses the same key on two methods on purpose.
const WINDOW: Duration = Duration::from_millis(1500);

/// Removes what other methods report of a press that is known already.
///
/// Each method counts its own presses rightly, so a second report from the *same* method is a second press. A report
/// from *another* method is taken for one not yet matched press of the same key within 1.5 seconds: it uses that press
/// up, so `5` pressed twice and told twice by two methods is `55` however the four reports interleave.
#[derive(Debug, Clone, Default)]
pub struct DigitFilter {
    recent: Vec<Report>,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    digit: Digit,
    at: Duration,
    /// The methods that told of this press, as bits.
    told_by: u8,
}

/// More presses than anybody makes in the window; bounds the memory.
const RECENT: usize = 64;

impl DigitFilter {
    /// Takes one report; gives whether it is a new press.
    pub fn is_new(&mut self, digit: Digit, source: DigitSource, now: Duration) -> bool {
        self.recent.retain(|report| now.saturating_sub(report.at) <= WINDOW);
        let bit = source.bit();
        let known = self.recent.iter_mut().find(|report| report.digit == digit && report.told_by & bit == 0);
        if let Some(report) = known {
            report.told_by |= bit;
            return false;
        }
        if self.recent.len() == RECENT {
            self.recent.remove(0);
        }
        self.recent.push(Report { digit, at: now, told_by: bit });
        true
    }
}

impl DigitSource {
    fn bit(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Info => 2,
            Self::InBand => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DigitSource::*, *};
    use proptest::prelude::*;

    fn presses(reports: &[(char, DigitSource, u64)]) -> String {
        let mut filter = DigitFilter::default();
        let new = reports.iter().filter(|(symbol, source, at)| {
            filter.is_new(Digit::try_from(*symbol).unwrap(), *source, Duration::from_millis(*at))
        });
        new.map(|(symbol, _, _)| symbol).collect()
    }

    #[test]
    fn a_press_told_by_three_methods_is_one() {
        assert_eq!(presses(&[('5', Event, 0), ('5', InBand, 40), ('5', Info, 600)]), "5");
    }

    #[test]
    fn a_double_press_told_by_one_method_is_two() {
        assert_eq!(presses(&[('5', Event, 0), ('5', Event, 150)]), "55");
    }

    #[test]
    fn a_double_press_told_by_two_methods_is_two_in_any_order() {
        assert_eq!(presses(&[('5', Event, 0), ('5', Info, 20), ('5', Event, 300), ('5', Info, 320)]), "55");
        assert_eq!(presses(&[('5', Event, 0), ('5', Event, 300), ('5', Info, 320), ('5', Info, 620)]), "55");
    }

    #[test]
    fn different_keys_are_different_presses() {
        assert_eq!(presses(&[('1', Event, 0), ('2', Info, 10), ('1', Info, 20), ('2', Event, 30)]), "12");
    }

    #[test]
    fn after_the_window_another_method_tells_of_another_press() {
        assert_eq!(presses(&[('5', Event, 0), ('5', Info, 1501)]), "55");
    }

    proptest! {
        #[test]
        fn two_methods_telling_the_same_keys_give_the_keys(keys in "[0-9*#]{1,10}", lag in 0u64..1400) {
            let mut reports: Vec<(char, DigitSource, u64)> = Vec::new();
            for (index, symbol) in keys.chars().enumerate() {
                let at = index as u64 * 250;
                reports.extend([(symbol, Event, at), (symbol, Info, at + lag)]);
            }
            reports.sort_by_key(|report| report.2);
            prop_assert_eq!(presses(&reports), keys);
        }
    }
}
