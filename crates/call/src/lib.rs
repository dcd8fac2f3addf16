//! State machine of a masked call.
//!
//! The crate decides and performs nothing. It has no sockets, no clock, no randomness and no async,
//! and it does not depend on SIP. [`Call`] is the machine. [`Input`], [`Route`] and [`Action`] are
//! its vocabulary.

// Times and counts come from settings and from the outside: arithmetic on them is checked or saturating.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod action;
mod cause;
mod collect;
mod deadline;
mod hunt;
mod input;
pub mod limits;
mod machine;
mod number;
mod outcome;
mod route;
mod words;

pub use action::{Action, Prompt};
pub use cause::Cause;
pub use deadline::deadline;
pub use input::{DialAttempt, Input, Keypress, Side};
pub use machine::Call;
pub use number::{ExposedNumber, PhoneNumber, PhoneNumberError, Pin, PinError};
pub use outcome::{CallCause, CallOutcome, CallType, DialStatus, HangupBy};
pub use route::{Collect, Connection, Route, Screening, Verdict};
pub use words::UnknownWord;
