//! The collection of one block of digits: which key means what, and how long silence may last.

use std::time::{Duration, Instant};

use crate::{Keypress, Pin};

/// From the end of the prompt to the first digit.
const FIRST_DIGIT_TIMEOUT: Duration = Duration::from_secs(10);
/// From one digit to the next.
const NEXT_DIGIT_TIMEOUT: Duration = Duration::from_secs(5);
/// A sound that never reports its end counts as ended after this, and does not keep a call alive: no prompt, the
/// operator's own included, is longer than 60 s.
pub(crate) const MAX_PROMPT_DURATION: Duration = Duration::from_secs(70);
/// How often silence repeats the prompt before the call ends.
const MAX_PROMPT_REPEATS: u8 = 2;

/// Digits so far, and how long we wait for more.
#[derive(Debug)]
pub(crate) struct Collector {
    digits: CollectedDigits,
    deadline: Instant,
    repeats: u8,
}

/// Masked: it is a PIN in the making.
struct CollectedDigits(String);

impl std::fmt::Debug for CollectedDigits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} digits>", self.0.len())
    }
}

/// Where a block stands after a key.
pub(crate) enum BlockProgress {
    /// More keys are awaited.
    Incomplete,
    /// A try.
    Complete(Pin),
}

impl Collector {
    /// An empty block whose prompt starts at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            digits: CollectedDigits(String::new()),
            deadline: now + MAX_PROMPT_DURATION + FIRST_DIGIT_TIMEOUT,
            repeats: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn on_prompt_finished(&mut self, now: Instant) {
        self.deadline = now + FIRST_DIGIT_TIMEOUT;
    }

    /// `#` ends a block early, `*` starts it over, A to D mean nothing here.
    pub(crate) fn on_key(&mut self, key: Keypress, length: u8, now: Instant) -> BlockProgress {
        match key.char() {
            digit @ '0'..='9' => {
                self.digits.0.push(digit);
                self.deadline = now + NEXT_DIGIT_TIMEOUT;
                if self.digits.0.len() >= usize::from(length) {
                    return self.complete();
                }
            }
            '#' if !self.digits.0.is_empty() => return self.complete(),
            '*' => {
                self.digits.0.clear();
                self.deadline = now + FIRST_DIGIT_TIMEOUT;
            }
            _ => self.deadline = self.deadline.min(now + FIRST_DIGIT_TIMEOUT),
        }
        BlockProgress::Incomplete
    }

    fn complete(&mut self) -> BlockProgress {
        let digits = std::mem::take(&mut self.digits.0);
        Pin::parse(&digits).map_or(BlockProgress::Incomplete, BlockProgress::Complete)
    }

    /// The caller was silent too long: a fresh block with one repeat less, or `None` when none is left.
    /// Digits of an unfinished block are forgotten and count as no try.
    pub(crate) fn after_silence(&self, now: Instant) -> Option<Self> {
        (self.repeats < MAX_PROMPT_REPEATS).then(|| Self {
            repeats: self.repeats + 1,
            ..Self::new(now)
        })
    }
}
