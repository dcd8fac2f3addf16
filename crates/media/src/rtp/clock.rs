//! Conversion of RTP clocks faster than 8 kHz.

/// Converts the timestamps of a stream to samples of 8 kHz. Fractions of a sample are truncated and
/// do not accumulate.
#[derive(Debug, Clone, Copy, Default)]
pub struct InboundClock {
    /// Last converted timestamp, truncated to a whole sample, and its sample.
    last: Option<(u32, u32)>,
}

impl InboundClock {
    /// Returns the sample of a timestamp in a clock with this number of ticks per sample
    /// ([`crate::Codec::ticks`]). The first sample is the first timestamp itself. A wrap of the
    /// clock causes no jump.
    pub fn sample(&mut self, timestamp: u32, ticks: u32) -> u32 {
        let (raw, sample) = self.last.unwrap_or((timestamp, timestamp));
        let ticks = i32::try_from(ticks.max(1)).unwrap_or(1);
        let step = (timestamp.wrapping_sub(raw) as i32).div_euclid(ticks);
        let place = (
            raw.wrapping_add_signed(step.wrapping_mul(ticks)),
            sample.wrapping_add_signed(step),
        );
        self.last = Some(place);
        place.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_of_48_khz_converts_to_8_khz_across_its_wrap() {
        let mut clock = InboundClock::default();
        let first = clock.sample(u32::MAX - 959, 6);
        let samples: Vec<u32> = [0u32, 960, 1923, 1920, 1926, 960]
            .map(|raw| clock.sample(raw, 6).wrapping_sub(first))
            .to_vec();
        assert_eq!(samples, [160, 320, 480, 480, 481, 320]);
    }

    proptest! {
        #[test]
        fn a_clock_of_8_khz_is_unchanged(raws in proptest::collection::vec(any::<u32>(), 1..20)) {
            let mut clock = InboundClock::default();
            for raw in raws {
                prop_assert_eq!(clock.sample(raw, 1), raw);
            }
        }

        #[test]
        fn truncated_fractions_do_not_accumulate(steps in proptest::collection::vec(0u32..10_000, 1..100), start in any::<u32>()) {
            let mut clock = InboundClock::default();
            let (first, mut raw, mut sum) = (clock.sample(start, 6), start, 0);
            for step in steps {
                raw = raw.wrapping_add(step);
                sum += step;
                prop_assert_eq!(clock.sample(raw, 6).wrapping_sub(first), sum / 6);
            }
        }
    }
}
