//! Tones: call progress and keys.

use std::{collections::VecDeque, f64::consts::TAU, time::Duration};

use crate::{Digit, FRAME, SAMPLE_RATE, samples_in};

/// The keypad's row frequencies in Hz (ITU-T Q.23).
pub(crate) const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
/// The keypad's column frequencies in Hz (ITU-T Q.23).
pub(crate) const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// The keys by row and column.
pub(crate) const KEYPAD: [[char; 4]; 4] = [
    ['1', '2', '3', 'A'],
    ['4', '5', '6', 'B'],
    ['7', '8', '9', 'C'],
    ['*', '0', '#', 'D'],
];

/// The level of a full-scale sine in dBm0 (ITU-T G.711, A-law).
#[allow(clippy::approx_constant)]
const FULL_SCALE: f64 = 3.14;

/// A sine, one sample at a time, by the recurrence `2 cos ω · y₁ − y₂`: no sine a sample.
#[derive(Debug, Clone, Copy)]
pub struct Oscillator {
    coefficient: f64,
    last: f64,
    before: f64,
}

impl Oscillator {
    /// A sine of `frequency` Hz at `level` dBm0 (3.14 dBm0 is full scale, ITU-T G.711), starting at zero.
    pub fn new(frequency: f64, level: f64) -> Self {
        let amplitude = 32_767.0 * 10f64.powf((level.min(FULL_SCALE) - FULL_SCALE) / 20.0);
        let step = TAU * frequency / f64::from(SAMPLE_RATE);
        Self {
            coefficient: 2.0 * step.cos(),
            last: -amplitude * step.sin(),
            before: -amplitude * (2.0 * step).sin(),
        }
    }

    /// The next sample, not rounded.
    pub fn next_sample(&mut self) -> f64 {
        let next = self.coefficient * self.last - self.before;
        self.before = self.last;
        self.last = next;
        next
    }
}

/// What a caller hears while the other side rings: a tone in a cadence.
#[derive(Debug, Clone, PartialEq)]
pub struct Ringback {
    /// In Hz; a second one is added to it, or 0.
    pub frequencies: [f64; 2],
    /// Of each frequency, in dBm0.
    pub level: f64,
    /// Turns of tone and silence, repeated. An empty list is silence.
    pub cadence: Vec<(Duration, Duration)>,
}

impl Default for Ringback {
    /// 425 Hz, 1 s on, 4 s off (ITU-T E.180, recommended): what most networks outside North America send.
    fn default() -> Self {
        let cadence = vec![(Duration::from_secs(1), Duration::from_secs(4))];
        Self {
            frequencies: [425.0, 0.0],
            level: -13.0,
            cadence,
        }
    }
}

impl Ringback {
    /// India: 400 Hz modulated with 25 Hz, 0.4 s on, 0.2 s off, 0.4 s on, 2 s off (ITU-T E.180, supplement 2).
    ///
    /// Full modulation of a 400 Hz carrier with 25 Hz is the pair 375 and 425 Hz: that is what is sent.
    pub fn india() -> Self {
        let millis = Duration::from_millis;
        let cadence = vec![(millis(400), millis(200)), (millis(400), millis(2000))];
        Self {
            frequencies: [375.0, 425.0],
            level: -16.0,
            cadence,
        }
    }
}

/// Ring-back as audio.
#[derive(Debug, Clone)]
pub struct RingbackTone {
    oscillators: Vec<Oscillator>,
    /// Ends of tone and of silence, in samples since the start of the cadence.
    cadence_ends: Vec<(u32, u32)>,
    position: u32,
}

impl RingbackTone {
    /// Starts at the beginning of the cadence.
    pub fn new(ringback: &Ringback) -> Self {
        let audible = ringback
            .frequencies
            .iter()
            .filter(|frequency| **frequency > 0.0);
        let mut end = 0u32;
        let cadence_ends = ringback.cadence.iter().map(|(on, off)| {
            let quiet = end.saturating_add(samples_in(*on));
            end = quiet.saturating_add(samples_in(*off));
            (quiet, end)
        });
        let cadence_ends = cadence_ends.collect();
        let oscillators = audible
            .map(|frequency| Oscillator::new(*frequency, ringback.level))
            .collect();
        Self {
            oscillators,
            cadence_ends,
            position: 0,
        }
    }

    /// The next 20 ms.
    pub fn frame(&mut self) -> [i16; FRAME] {
        std::array::from_fn(|_| self.sample())
    }

    fn sample(&mut self) -> i16 {
        let whole = self.cadence_ends.last().map_or(0, |period| period.1);
        let period = self
            .cadence_ends
            .iter()
            .find(|period| self.position < period.1);
        let on = period.is_some_and(|period| self.position < period.0);
        self.position = if self.position + 1 >= whole {
            0
        } else {
            self.position + 1
        };
        let sum: f64 = self
            .oscillators
            .iter_mut()
            .map(Oscillator::next_sample)
            .sum();
        if on { sum as i16 } else { 0 }
    }
}

/// Keys as tones in the audio (ITU-T Q.23), for a peer that negotiated no telephone-event: 100 ms on, 80 ms off.
#[derive(Debug, Clone, Default)]
pub struct DigitTones {
    queue: VecDeque<Digit>,
    current: Option<(Oscillator, Oscillator, u8)>,
}

const TONE_FRAMES: u8 = 5;
const PAUSE_FRAMES: u8 = 4;

impl DigitTones {
    /// Queues keys behind those that are not sounded yet.
    pub fn press(&mut self, digits: impl IntoIterator<Item = Digit>) {
        self.queue.extend(digits);
    }

    /// The next 20 ms; `None` when all keys were sounded.
    pub fn frame(&mut self) -> Option<[i16; FRAME]> {
        let (mut row, mut column, step) = self.current.take().or_else(|| {
            let (row, column) = frequencies(self.queue.pop_front()?);
            Some((Oscillator::new(row, -8.0), Oscillator::new(column, -6.0), 0))
        })?;
        let frame = std::array::from_fn(|_| (row.next_sample() + column.next_sample()) as i16);
        if step + 1 < TONE_FRAMES + PAUSE_FRAMES {
            self.current = Some((row, column, step + 1));
        }
        Some(if step < TONE_FRAMES {
            frame
        } else {
            [0; FRAME]
        })
    }
}

fn frequencies(digit: Digit) -> (f64, f64) {
    let symbol = digit.expose();
    let key = |row: &(&f64, &[char; 4])| {
        let mut columns = COLUMNS.iter().zip(row.1);
        columns.find_map(|(column, known)| (*known == symbol).then_some((*row.0, *column)))
    };
    ROWS.iter()
        .zip(&KEYPAD)
        .find_map(|row| key(&row))
        .unwrap_or((941.0, 1336.0))
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

    #[test]
    fn ring_back_sounds_a_second_and_is_quiet_for_four() {
        let mut tone = RingbackTone::new(&Ringback::default());
        let loud: Vec<bool> = (0..500)
            .map(|_| tone.frame().iter().any(|sample| *sample != 0))
            .collect();
        for (index, loud) in loud.iter().enumerate() {
            assert_eq!(*loud, index % 250 < 50, "{index}");
        }
    }

    #[test]
    fn an_empty_cadence_is_silence() {
        let mut tone = RingbackTone::new(&Ringback {
            cadence: Vec::new(),
            ..Ringback::india()
        });
        assert_eq!(tone.frame(), [0; FRAME]);
    }
}
