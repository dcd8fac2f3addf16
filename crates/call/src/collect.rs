//! Collection of one block of digits, with the timeouts between keys.

use std::time::{Duration, Instant};

use crate::{Keypress, Pin, deadline};

/// Time from the end of the prompt to the first digit.
pub const FIRST_DIGIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time from one digit to the next.
pub const NEXT_DIGIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a prompt. No prompt, including those of tenants, is longer than 60 s. If the
/// engine never reports the end of a sound, the call continues after this time.
pub(crate) const MAX_PROMPT_DURATION: Duration = Duration::from_secs(70);
/// Maximum number of times that silence repeats the prompt before the call ends.
pub const MAX_PROMPT_REPEATS: u8 = 2;

/// Digits so far, and the deadline for the next key.
#[derive(Debug)]
pub(crate) struct Collector {
    digits: CollectedDigits,
    deadline: Instant,
    repeats: u8,
}

/// Digits of an incomplete PIN, masked in `Debug`.
struct CollectedDigits(String);

impl std::fmt::Debug for CollectedDigits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} digits>", self.0.len())
    }
}

/// State of a block after a key.
pub(crate) enum BlockProgress {
    /// The block needs more keys.
    Incomplete,
    /// The block is complete and makes one PIN attempt.
    Complete(Pin),
}

impl Collector {
    /// Creates an empty block whose prompt starts at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            digits: CollectedDigits(String::new()),
            deadline: deadline(now, MAX_PROMPT_DURATION.saturating_add(FIRST_DIGIT_TIMEOUT)),
            repeats: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn on_prompt_finished(&mut self, now: Instant) {
        self.deadline = deadline(now, FIRST_DIGIT_TIMEOUT);
    }

    /// Handles a key: `#` completes a block early, `*` clears it, and A to D have no effect.
    pub(crate) fn on_key(&mut self, key: Keypress, length: u8, now: Instant) -> BlockProgress {
        match key.char() {
            digit @ '0'..='9' => {
                self.digits.0.push(digit);
                self.deadline = deadline(now, NEXT_DIGIT_TIMEOUT);
                if self.digits.0.len() >= usize::from(length) {
                    return self.complete();
                }
            }
            '#' if !self.digits.0.is_empty() => return self.complete(),
            '*' => {
                self.digits.0.clear();
                self.deadline = deadline(now, FIRST_DIGIT_TIMEOUT);
            }
            _ => self.deadline = self.deadline.min(deadline(now, FIRST_DIGIT_TIMEOUT)),
        }
        BlockProgress::Incomplete
    }

    fn complete(&mut self) -> BlockProgress {
        let digits = std::mem::take(&mut self.digits.0);
        Pin::parse(&digits).map_or(BlockProgress::Incomplete, BlockProgress::Complete)
    }

    /// Returns an empty block for the next prompt, or `None` after the last repeat. Digits of an
    /// incomplete block are discarded and do not count as an attempt.
    pub(crate) fn after_silence(&self, now: Instant) -> Option<Self> {
        (self.repeats < MAX_PROMPT_REPEATS).then(|| Self {
            repeats: self.repeats.saturating_add(1),
            ..Self::new(now)
        })
    }
}
