//! State machine of a masked call.
//!
//! The crate decides and performs nothing. It has no sockets, no clock, no randomness and no async,
//! and it does not depend on SIP. [`Call`] is the machine. [`Input`], [`Route`] and [`Action`] are
//! its vocabulary.

mod action;
mod cause;
mod collect;
mod hunt;
mod input;
mod machine;
mod number;
mod outcome;
mod route;
mod words;

pub use action::{Action, Prompt};
pub use cause::Cause;
pub use input::{DialAttempt, Input, Keypress, Side};
pub use machine::Call;
pub use number::{ExposedNumber, PhoneNumber, PhoneNumberError, Pin, PinError};
pub use outcome::{CallOutcome, CallType, DialStatus, HangupBy};
pub use route::{Collect, Connection, Route, Screening, Verdict};
pub use words::UnknownWord;
