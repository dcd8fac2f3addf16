//! Keys of a telephone (DTMF): telephone-events, tones in the audio, and deduplication of reports.

mod detector;
mod digit;
mod event;
mod event_receiver;
mod event_sender;
mod filter;
mod press;
mod tones;

pub use detector::ToneDetector;
pub use digit::{Digit, NotADigit};
pub use event::{EventFormat, EventPayload};
pub use event_receiver::{EventReceiver, EventReport};
pub use event_sender::{EventSender, EventStep};
pub use filter::{DigitCounts, DigitFilter, DigitSource};
pub use tones::DigitTones;
