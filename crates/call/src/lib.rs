//! What should happen on a masked call.
//!
//! This crate decides and performs nothing: it has no sockets, no clock, no randomness and no async, and it has
//! never heard of SIP. [`Call`] is the machine; [`script`] holds the words that go in and out.

mod cause;
mod collect;
mod hunt;
mod machine;
mod number;
mod script;

pub use cause::{Cause, DialStatus};
pub use machine::Call;
pub use number::{NumberError, PhoneNumber, Pin, PinError};
pub use script::{
    Action, CallOutcome, CallType, Collect, Connection, DialAttempt, HangupBy, Input, Keypress,
    Prompt, Route, Screening, Side, Verdict,
};
