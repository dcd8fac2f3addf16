//! Generation of keys as tones in the audio (ITU-T Q.23).

use std::collections::VecDeque;

use crate::{Digit, FRAME, Oscillator};

/// Row frequencies of the keypad in Hz (ITU-T Q.23).
pub(crate) const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
/// Column frequencies of the keypad in Hz (ITU-T Q.23).
pub(crate) const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// Keys by row and column.
pub(crate) const KEYPAD: [[char; 4]; 4] = [
    ['1', '2', '3', 'A'],
    ['4', '5', '6', 'B'],
    ['7', '8', '9', 'C'],
    ['*', '0', '#', 'D'],
];

/// Generator of tones for a peer without telephone-events (ITU-T Q.23): 100 ms on, 80 ms off.
#[derive(Debug, Clone, Default)]
pub struct DigitTones {
    queue: VecDeque<Digit>,
    current: Option<(Oscillator, Oscillator, u8)>,
}

const TONE_FRAMES: u8 = 5;
const PAUSE_FRAMES: u8 = 4;

impl DigitTones {
    /// Adds keys to the end of the queue.
    pub fn press(&mut self, digits: impl IntoIterator<Item = Digit>) {
        self.queue.extend(digits);
    }

    /// Returns the next 20 ms; `None` at the end of the queue.
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
