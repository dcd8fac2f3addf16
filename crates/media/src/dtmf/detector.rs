//! Detection of keys as tones in the audio (ITU-T Q.23 and Q.24).

use std::f32::consts::TAU;

use super::tones::{COLUMNS, KEYPAD, ROWS};
use crate::{Digit, SAMPLE_RATE};

/// Samples per block: 12.75 ms, so a tone of 40 ms fills at least two blocks.
const BLOCK_SAMPLES: usize = 102;
/// Minimum energy of a tone in a block: -33 dBm0. Weaker tones are noise or echo.
const MIN_TONE_ENERGY: f32 = 6.8e8;
/// Maximum ratio of column to row energy: 8 dB. The reverse ratio ("reverse twist") is limited to 6
/// dB.
const MAX_TWIST: f32 = 6.3;
const MAX_REVERSE_TWIST: f32 = 4.0;
/// Minimum ratio of the strongest row or column to all others: 8 dB.
const MIN_PEAK_RATIO: f32 = 6.3;
/// Minimum share of the two tones in the total energy. Speech does not reach it for long.
const MIN_TONE_SHARE: f32 = 0.70;
/// Maximum ratio of the second harmonic of the column to the column itself. A voice has harmonics,
/// a tone has none.
const MAX_HARMONIC_RATIO: f32 = 0.05;

/// Detects keys in the audio of a peer without telephone-events. Goertzel filters measure the eight
/// frequencies. Limits on level, twist, share of the total energy and harmonics reject speech.
///
/// A key counts after two equal blocks (25 ms), and again only after two blocks without it.
#[derive(Debug, Clone)]
pub struct ToneDetector {
    block: [i16; BLOCK_SAMPLES],
    filled: usize,
    last: Option<Digit>,
    current: Option<Digit>,
}

impl Default for ToneDetector {
    fn default() -> Self {
        Self {
            block: [0; BLOCK_SAMPLES],
            filled: 0,
            last: None,
            current: None,
        }
    }
}

impl ToneDetector {
    /// Processes samples in order and calls `pressed` for each key that starts in them.
    pub fn process(&mut self, samples: &[i16], mut pressed: impl FnMut(Digit)) {
        for sample in samples {
            if let Some(slot) = self.block.get_mut(self.filled) {
                *slot = *sample;
            }
            self.filled += 1;
            if self.filled >= BLOCK_SAMPLES {
                self.filled = 0;
                self.classify_block().into_iter().for_each(&mut pressed);
            }
        }
    }

    fn classify_block(&mut self) -> Option<Digit> {
        let key = detect_key(&self.block);
        let stable = key == self.last;
        self.last = key;
        if !stable || key == self.current {
            return None;
        }
        self.current = key;
        key
    }
}

fn detect_key(block: &[i16; BLOCK_SAMPLES]) -> Option<Digit> {
    let total: f32 = block
        .iter()
        .map(|sample| f32::from(*sample) * f32::from(*sample))
        .sum();
    if total * (BLOCK_SAMPLES as f32 / 2.0) < 2.0 * MIN_TONE_ENERGY {
        return None;
    }
    let (row, row_energy) = strongest(&ROWS, block)?;
    let (column, column_energy) = strongest(&COLUMNS, block)?;
    let twisted =
        column_energy > row_energy * MAX_TWIST || row_energy > column_energy * MAX_REVERSE_TWIST;
    let share = (row_energy + column_energy) / (total * BLOCK_SAMPLES as f32 / 2.0);
    if twisted || share < MIN_TONE_SHARE {
        return None;
    }
    let harmonic = goertzel(*COLUMNS.get(column)? * 2.0, block);
    let symbol = KEYPAD.get(row)?.get(column)?;
    Digit::try_from(*symbol)
        .ok()
        .filter(|_| harmonic < column_energy * MAX_HARMONIC_RATIO)
}

/// Returns the index and energy of the dominant frequency, if there is one.
fn strongest(frequencies: &[f64; 4], block: &[i16; BLOCK_SAMPLES]) -> Option<(usize, f32)> {
    let energies = frequencies.map(|frequency| goertzel(frequency, block));
    let (best, energy) = energies
        .iter()
        .copied()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let others = energies
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != best);
    let alone = others
        .into_iter()
        .all(|(_, other)| other * MIN_PEAK_RATIO < energy);
    (alone && energy > MIN_TONE_ENERGY).then_some((best, energy))
}

/// Returns the energy of a block at a frequency. A sine of amplitude `a` has (a · BLOCK_SAMPLES /
/// 2)².
fn goertzel(frequency: f64, block: &[i16; BLOCK_SAMPLES]) -> f32 {
    let coefficient = 2.0 * (TAU * frequency as f32 / SAMPLE_RATE as f32).cos();
    let (mut last, mut before) = (0.0f32, 0.0f32);
    for sample in block {
        let next = coefficient * last - before + f32::from(*sample);
        before = last;
        last = next;
    }
    last * last + before * before - coefficient * last * before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Codec, DigitTones, Oscillator};
    use proptest::prelude::*;

    const KEYS: &str = "1234567890*#ABCD";

    fn detected_keys(samples: &[i16]) -> String {
        let mut keys = String::new();
        let mut detector = ToneDetector::default();
        samples
            .chunks(160)
            .for_each(|frame| detector.process(frame, |digit| keys.push(digit.expose())));
        keys
    }

    fn pair(row: f64, column: f64, levels: (f64, f64), millis: usize) -> Vec<i16> {
        let (mut row, mut column) = (
            Oscillator::new(row, levels.0),
            Oscillator::new(column, levels.1),
        );
        (0..millis * 8)
            .map(|_| (row.next_sample() + column.next_sample()) as i16)
            .collect()
    }

    fn tones_for(keys: &str) -> Vec<i16> {
        let mut tones = DigitTones::default();
        tones.press(keys.chars().map(|symbol| Digit::try_from(symbol).unwrap()));
        std::iter::from_fn(|| tones.frame()).flatten().collect()
    }

    #[test]
    fn every_key_is_detected_once_in_a_law_and_mu_law() {
        assert_eq!(detected_keys(&tones_for(KEYS)), KEYS);
        for codec in [Codec::Pcma, Codec::Pcmu] {
            let mut samples = tones_for(KEYS);
            let mut octets = vec![0; samples.len()];
            codec.encode(&samples, &mut octets);
            codec.decode(&octets, &mut samples);
            assert_eq!(detected_keys(&samples), KEYS);
        }
    }

    #[test]
    fn a_key_pressed_twice_is_detected_twice_and_a_held_key_once() {
        assert_eq!(detected_keys(&tones_for("55")), "55");
        assert_eq!(detected_keys(&pair(770.0, 1336.0, (-8.0, -8.0), 5000)), "5");
    }

    #[test]
    fn keys_are_detected_at_the_limits_of_frequency_level_and_length() {
        for off in [0.985, 1.0, 1.015] {
            for levels in [(-3.0, -3.0), (-25.0, -25.0), (-14.0, -8.0), (-8.0, -11.0)] {
                let samples = [pair(941.0 * off, 1477.0 * off, levels, 50), vec![0; 800]].concat();
                assert_eq!(detected_keys(&samples), "#", "{off} {levels:?}");
            }
        }
    }

    #[test]
    fn other_tones_are_not_keys() {
        let louder_row = pair(770.0, 1336.0, (-5.0, -20.0), 200);
        let between = pair(733.0, 1336.0, (-8.0, -8.0), 200);
        let single = pair(770.0, 1336.0, (-8.0, -90.0), 200);
        let weak = pair(770.0, 1336.0, (-50.0, -50.0), 200);
        let short = [pair(770.0, 1336.0, (-8.0, -8.0), 20), vec![0; 800]].concat();
        let ringing = pair(400.0, 425.0, (-8.0, -8.0), 2000);
        for samples in [louder_row, between, single, weak, short, ringing] {
            assert_eq!(detected_keys(&samples), "");
        }
    }

    #[test]
    fn a_voice_with_key_frequencies_among_its_harmonics_is_not_a_key() {
        for pitch in 80..300 {
            let mut voice: Vec<Oscillator> = (1..14)
                .map(|harmonic| {
                    Oscillator::new(f64::from(pitch * harmonic), -12.0 - f64::from(harmonic))
                })
                .collect();
            let samples: Vec<i16> = (0..4000)
                .map(|_| voice.iter_mut().map(Oscillator::next_sample).sum::<f64>() as i16)
                .collect();
            assert_eq!(detected_keys(&samples), "", "pitch {pitch}");
        }
    }

    proptest! {
        #[test]
        fn any_samples_are_processed(samples in proptest::collection::vec(any::<i16>(), 0..2000)) {
            detected_keys(&samples);
        }
    }
}
