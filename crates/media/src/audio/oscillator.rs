//! Sine waves.

use std::f64::consts::TAU;

use crate::SAMPLE_RATE;

/// Level of a full-scale sine in dBm0 (ITU-T G.711, A-law).
#[allow(clippy::approx_constant)]
const FULL_SCALE: f64 = 3.14;

/// Sine generator. Each sample costs one multiplication by the recurrence `2 cos ω · y₁ − y₂`.
#[derive(Debug, Clone, Copy)]
pub struct Oscillator {
    coefficient: f64,
    last: f64,
    before: f64,
}

impl Oscillator {
    /// Creates a sine of `frequency` Hz at `level` dBm0, with phase 0. Full scale is 3.14 dBm0
    /// (ITU-T G.711).
    pub fn new(frequency: f64, level: f64) -> Self {
        let amplitude = 32_767.0 * 10f64.powf((level.min(FULL_SCALE) - FULL_SCALE) / 20.0);
        let step = TAU * frequency / f64::from(SAMPLE_RATE);
        Self {
            coefficient: 2.0 * step.cos(),
            last: -amplitude * step.sin(),
            before: -amplitude * (2.0 * step).sin(),
        }
    }

    /// Returns the next sample, unrounded.
    pub fn next_sample(&mut self) -> f64 {
        let next = self.coefficient * self.last - self.before;
        self.before = self.last;
        self.last = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_has_its_level_and_frequency() {
        let mut oscillator = Oscillator::new(1000.0, FULL_SCALE - 20.0);
        let samples: Vec<f64> = (0..8000).map(|_| oscillator.next_sample()).collect();
        let peak = samples
            .iter()
            .fold(0.0f64, |peak, sample| peak.max(sample.abs()));
        assert!((peak - 3276.7).abs() < 1.0, "{peak}");
        let upward = samples
            .windows(2)
            .filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0)
            .count();
        assert!((999..=1000).contains(&upward), "{upward}");
    }

    #[test]
    fn a_tone_keeps_its_level_for_an_hour() {
        let mut oscillator = Oscillator::new(425.0, FULL_SCALE);
        (0..3600 * 8000).for_each(|_| _ = oscillator.next_sample());
        let peak = (0..8000)
            .map(|_| oscillator.next_sample().abs())
            .fold(0.0, f64::max);
        assert!((peak - 32_767.0).abs() < 100.0, "{peak}");
    }
}
