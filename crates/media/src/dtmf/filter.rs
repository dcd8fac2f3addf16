//! Deduplication of presses that several methods report.

use std::{collections::VecDeque, time::Duration};

use crate::Digit;

/// Transport of a digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigitSource {
    /// Telephone-event in RTP (RFC 4733).
    Event,
    /// SIP INFO request (`application/dtmf-relay` or `application/dtmf`).
    Info,
    /// Tones in the audio.
    InBand,
}

/// Maximum time between the reports of a press by different methods. INFO passes through proxies
/// and is retransmitted after 500 ms.
const PAIRING_WINDOW: Duration = Duration::from_secs(1);
/// The same for a peer that has reported a press by two methods before. An INFO that is lost twice arrives after 1.5 s, one
/// that is lost three times after 3.5 s (RFC 3261, section 17.1.2.1).
const KNOWN_PAIRING_WINDOW: Duration = Duration::from_secs(4);

/// Filter that drops repeated reports of a press, and counts all reports.
///
/// A method reports each press once, so a second report by the *same* method is a second press. A
/// report by *another* method within a second is matched to an unmatched press of the same key.
/// Therefore `5` pressed twice and reported twice by two methods is `55` in any order of the four
/// reports.
///
/// A peer uses two methods either for all presses or for none. After a method has reported a press
/// alone, a report by another method is a new press, unless the filter has matched reports of these
/// methods before. INFO is reliable and keeps the order of the presses, so an INFO for a later
/// press means that the earlier ones were reported alone.
#[derive(Debug, Clone, Default)]
pub struct DigitFilter {
    recent: VecDeque<ReportedPress>,
    /// Methods that reported a press alone, as bits.
    unpaired: u8,
    /// Methods that reported the same press as another method, as bits.
    paired: u8,
    counts: DigitCounts,
}

/// Number of presses and of their reports by method. It never contains the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DigitCounts {
    /// Number of presses, each counted once.
    pub pressed: u32,
    /// Number of reports of a press that another method had reported.
    pub duplicates: u32,
    /// Number of reports by telephone-event (RFC 4733).
    pub rfc4733: u32,
    /// Number of reports by SIP INFO.
    pub info: u32,
    /// Number of reports by tones in the audio.
    pub in_band: u32,
}

#[derive(Debug, Clone, Copy)]
struct ReportedPress {
    digit: Digit,
    at: Duration,
    /// Methods that reported this press, as bits.
    reported_by: u8,
}

/// Maximum number of remembered presses, to bound the memory. No person presses more keys in the
/// window.
const MAX_RECENT_PRESSES: usize = 64;

impl DigitFilter {
    /// Handles a report and returns `true` if it is a new press.
    pub fn is_new(&mut self, digit: Digit, source: DigitSource, now: Duration) -> bool {
        self.drop_expired(now);
        self.counts.count_report(source);
        let bit = source.bit();
        if source == DigitSource::Info {
            self.mark_skipped_presses(digit, bit);
        }
        let (unpaired, paired) = (self.unpaired, self.paired);
        let pairs = |reported_by: u8| reported_by & unpaired == 0 || reported_by & paired != 0;
        let mut known = self
            .recent
            .iter_mut()
            .filter(|report| report.digit == digit && report.reported_by & bit == 0);
        if let Some(report) = known.find(|report| pairs(report.reported_by | bit)) {
            report.reported_by |= bit;
            self.paired |= report.reported_by;
            self.counts.duplicates = self.counts.duplicates.saturating_add(1);
            return false;
        }
        if self.recent.len() == MAX_RECENT_PRESSES {
            self.recent.pop_front();
        }
        self.recent.push_back(ReportedPress {
            digit,
            at: now,
            reported_by: bit,
        });
        self.counts.pressed = self.counts.pressed.saturating_add(1);
        true
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> DigitCounts {
        self.counts
    }

    /// Marks the presses before the first match of this INFO as reported alone.
    fn mark_skipped_presses(&mut self, digit: Digit, bit: u8) {
        let first = self
            .recent
            .iter()
            .position(|report| report.digit == digit && report.reported_by & bit == 0);
        let before = self.recent.iter().take(first.unwrap_or(0));
        let unpaired = before
            .filter(|report| report.reported_by.is_power_of_two() && report.reported_by & bit == 0);
        self.unpaired |= unpaired.fold(0, |unpaired, report| unpaired | report.reported_by);
    }

    /// Returns `true` if the peer has reported a press by both methods before, and probably reports all so.
    pub fn pairs(&self, one: DigitSource, other: DigitSource) -> bool {
        let both = one.bit() | other.bit();
        self.paired & both == both
    }

    fn drop_expired(&mut self, now: Duration) {
        let window = match self.paired {
            0 => PAIRING_WINDOW,
            _ => KNOWN_PAIRING_WINDOW,
        };
        while let Some(oldest) = self
            .recent
            .front()
            .filter(|oldest| now.saturating_sub(oldest.at) > window)
        {
            if oldest.reported_by.is_power_of_two() {
                self.unpaired |= oldest.reported_by;
            }
            self.recent.pop_front();
        }
    }
}

impl DigitCounts {
    fn count_report(&mut self, source: DigitSource) {
        let count = match source {
            DigitSource::Event => &mut self.rfc4733,
            DigitSource::Info => &mut self.info,
            DigitSource::InBand => &mut self.in_band,
        };
        *count = count.saturating_add(1);
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
            filter.is_new(
                Digit::try_from(*symbol).unwrap(),
                *source,
                Duration::from_millis(*at),
            )
        });
        new.map(|(symbol, _, _)| symbol).collect()
    }

    #[test]
    fn a_late_info_of_a_peer_that_uses_two_methods_is_no_second_press() {
        let known = [('1', Event, 0), ('1', Info, 50)];
        let slow = [('2', Event, 2000), ('2', Info, 5500), ('2', Event, 9000)];
        let reports = [&known[..], &slow].concat();
        assert_eq!(presses(&reports), "122");
        assert_eq!(presses(&slow), "222", "the peer is not known to use both");
        let mut filter = DigitFilter::default();
        for (symbol, source, at) in known {
            let digit = Digit::try_from(symbol).unwrap();
            filter.is_new(digit, source, Duration::from_millis(at));
        }
        assert!(filter.pairs(Info, Event) && !filter.pairs(Info, InBand));
    }

    #[test]
    fn a_press_reported_by_three_methods_is_one_press() {
        assert_eq!(
            presses(&[('5', Event, 0), ('5', InBand, 40), ('5', Info, 600)]),
            "5"
        );
    }

    #[test]
    fn a_double_press_reported_by_one_method_is_two_presses() {
        assert_eq!(presses(&[('5', Event, 0), ('5', Event, 150)]), "55");
    }

    #[test]
    fn a_double_press_reported_by_two_methods_is_two_presses_in_any_order() {
        assert_eq!(
            presses(&[
                ('5', Event, 0),
                ('5', Info, 20),
                ('5', Event, 300),
                ('5', Info, 320)
            ]),
            "55"
        );
        assert_eq!(
            presses(&[
                ('5', Event, 0),
                ('5', Event, 300),
                ('5', Info, 320),
                ('5', Info, 620)
            ]),
            "55"
        );
    }

    #[test]
    fn different_keys_are_different_presses() {
        assert_eq!(
            presses(&[
                ('1', Event, 0),
                ('2', Info, 10),
                ('1', Info, 20),
                ('2', Event, 30)
            ]),
            "12"
        );
    }

    #[test]
    fn after_the_window_another_method_reports_a_new_press() {
        assert_eq!(presses(&[('5', Event, 0), ('5', Info, 1001)]), "55");
    }

    #[test]
    fn single_reports_of_a_peer_by_mixed_methods_all_count() {
        let pin = [
            ('5', Event, 0),
            ('1', Event, 300),
            ('2', Event, 600),
            ('2', Event, 900),
        ];
        assert_eq!(presses(&[&pin[..], &[('2', Info, 1200)]].concat()), "51222");
        assert_eq!(
            presses(&[&pin[..], &[('2', InBand, 1200)]].concat()),
            "51222"
        );
        assert_eq!(
            presses(&[('1', Info, 0), ('2', Event, 2000), ('2', Info, 2300)]),
            "122"
        );
    }

    #[test]
    fn an_info_that_skips_a_press_is_a_new_press_within_the_window() {
        let pin = [
            ('5', Event, 0),
            ('1', Event, 100),
            ('2', Event, 200),
            ('3', Event, 300),
        ];
        assert_eq!(presses(&[&pin[..], &[('3', Info, 400)]].concat()), "51233");
        assert_eq!(
            presses(&[&pin[..], &[('1', Info, 400), ('1', Info, 500)]].concat()),
            "512311"
        );
        // INFO reports from the first press on can come from a phone that reports each press twice.
        assert_eq!(
            presses(&[&pin[..], &[('5', Info, 400), ('1', Info, 500)]].concat()),
            "5123"
        );
    }

    #[test]
    fn a_second_report_by_the_same_method_is_a_new_press() {
        for source in [Event, Info, InBand] {
            let pin = [('5', source, 0), ('1', source, 100), ('1', source, 200)];
            assert_eq!(
                presses(&[&pin[..], &[('1', source, 300), ('5', source, 400)]].concat()),
                "51115"
            );
        }
    }

    #[test]
    fn a_peer_with_matched_reports_may_lose_a_report() {
        let first = [
            ('5', Event, 0),
            ('5', Info, 90),
            ('1', Event, 300),
            ('2', Event, 1400),
        ];
        assert_eq!(presses(&[&first[..], &[('2', Info, 1500)]].concat()), "512");
    }

    #[test]
    fn reports_are_counted_by_method_and_never_by_key() {
        let mut filter = DigitFilter::default();
        for (symbol, source, at) in [
            ('1', Event, 0),
            ('1', Info, 50),
            ('2', Event, 400),
            ('3', InBand, 500),
        ] {
            filter.is_new(
                Digit::try_from(symbol).unwrap(),
                source,
                Duration::from_millis(at),
            );
        }
        let expected = DigitCounts {
            pressed: 3,
            duplicates: 1,
            rfc4733: 2,
            info: 1,
            in_band: 1,
        };
        assert_eq!(filter.counts(), expected);
    }

    proptest! {
        #[test]
        fn two_methods_that_report_the_same_keys_yield_the_keys_once(keys in "[0-9*#]{1,10}", lag in 0u64..1000) {
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
