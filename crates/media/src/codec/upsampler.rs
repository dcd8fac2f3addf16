//! Upsampling from 8 to 16 kHz.

/// Samples on each side of an interpolated sample.
const HALF_TAPS: usize = 6;

/// Doubles the sample rate. A half-band filter interpolates between two samples from the twelve
/// samples around. The output has a delay of six samples of 8 kHz (0.75 ms).
#[derive(Debug, Clone)]
pub(crate) struct Upsampler {
    weights: [f32; HALF_TAPS],
    /// Input samples, oldest first.
    history: [f32; HALF_TAPS * 2],
}

impl Default for Upsampler {
    fn default() -> Self {
        Self {
            weights: half_band_weights(),
            history: [0.0; HALF_TAPS * 2],
        }
    }
}

impl Upsampler {
    /// Adds a sample and returns the next two of the output: an earlier sample, and the
    /// interpolated one after it.
    pub(crate) fn push(&mut self, sample: i16) -> [i16; 2] {
        self.history.rotate_left(1);
        if let Some(newest) = self.history.last_mut() {
            *newest = f32::from(sample);
        }
        let (before, after) = self.history.split_at(HALF_TAPS);
        let pairs = before.iter().rev().zip(after);
        let between: f32 = pairs
            .zip(&self.weights)
            .map(|((before, after), weight)| (before + after) * weight)
            .sum();
        // `as` saturates at the range of i16.
        [
            before.last().copied().unwrap_or(0.0) as i16,
            between.round() as i16,
        ]
    }
}

/// Returns an ideal half-band filter with a Hamming window, scaled to a gain of 1 for a constant.
fn half_band_weights() -> [f32; HALF_TAPS] {
    let raw: [f64; HALF_TAPS] = std::array::from_fn(|index| {
        let odd = (2 * index + 1) as f64;
        let sign = if index.is_multiple_of(2) { 1.0 } else { -1.0 };
        let window = 0.54 + 0.46 * (std::f64::consts::PI * odd / (4 * HALF_TAPS) as f64).cos();
        sign / odd * window
    });
    let sum: f64 = raw.iter().sum();
    raw.map(|weight| (weight / sum / 2.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubled(samples: impl Iterator<Item = i16>) -> Vec<i16> {
        let mut upsampler = Upsampler::default();
        samples.flat_map(|sample| upsampler.push(sample)).collect()
    }

    #[test]
    fn a_constant_is_unchanged_and_the_extremes_do_not_overflow() {
        for value in [0, 1000, i16::MIN, i16::MAX] {
            let out = doubled(std::iter::repeat_n(value, 100));
            assert!(
                out[40..].iter().all(|sample| sample.abs_diff(value) <= 1),
                "{value}"
            );
        }
        doubled((0..100).map(|index| if index % 3 == 0 { i16::MIN } else { i16::MAX }));
    }

    #[test]
    fn a_tone_is_the_same_at_the_doubled_rate() {
        let wave = |index: f64, rate: f64, hertz: f64| {
            (10_000.0 * (std::f64::consts::TAU * hertz * index / rate).sin()) as i16
        };
        for hertz in [300.0, 1000.0, 2500.0, 3000.0] {
            let out = doubled((0..400).map(|index| wave(f64::from(index), 8000.0, hertz)));
            for (index, sample) in out.iter().enumerate().skip(100) {
                let expected = wave(index as f64 - 12.0, 16_000.0, hertz);
                assert!(
                    sample.abs_diff(expected) < 600,
                    "{hertz} {index} {sample} {expected}"
                );
            }
        }
    }
}
