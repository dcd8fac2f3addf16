//! Ring-back tones in the cadence of a country.

use std::time::Duration;

use crate::{FRAME, Oscillator, samples_in};

/// Ring-back tone and its cadence.
#[derive(Debug, Clone, PartialEq)]
pub struct Ringback {
    /// Frequencies in Hz, added together. 0 disables a frequency.
    pub frequencies: [f64; 2],
    /// Level of each frequency in dBm0.
    pub level: f64,
    /// Repeated pairs of tone and silence. An empty list is silence.
    pub cadence: Vec<(Duration, Duration)>,
}

impl Default for Ringback {
    /// Tone of most networks outside North America: 425 Hz, 1 s on, 4 s off (ITU-T E.180).
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
    /// Tone of India: 400 Hz modulated with 25 Hz, 0.4 s on, 0.2 s off, 0.4 s on, 2 s off (ITU-T
    /// E.180, supplement 2).
    ///
    /// Full modulation of a 400 Hz carrier with 25 Hz equals the pair 375 and 425 Hz, so the
    /// generator sends this pair.
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

/// Generator of the audio of a ring-back tone.
#[derive(Debug, Clone)]
pub struct RingbackTone {
    oscillators: Vec<Oscillator>,
    /// Ends of each tone and of the silence after it, in samples since the start of the cadence.
    cadence_ends: Vec<(u32, u32)>,
    position: u32,
}

impl RingbackTone {
    /// Creates a generator at the start of the cadence.
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

    /// Returns the next 20 ms.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_back_is_on_for_one_second_and_off_for_four() {
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
