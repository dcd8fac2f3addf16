//! What should happen on a masked call.
//!
//! This crate decides and performs nothing: it has no sockets, no clock, no randomness and no async, and it has
//! never heard of SIP. [`Call`] is the machine; [`Input`], [`Route`] and [`Action`] are the words that go in and out.

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
pub use number::{NumberError, PhoneNumber, Pin, PinError};
pub use outcome::{CallOutcome, CallType, DialStatus, HangupBy};
pub use route::{Collect, Connection, Route, Screening, Verdict};
pub use words::UnknownWord;
