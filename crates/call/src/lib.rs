//! What should happen on a masked call.
//!
//! This crate decides and performs nothing: it has no sockets, no clock, no randomness and no async, and it has
//! never heard of SIP.

mod number;

pub use number::{NumberError, PhoneNumber, Pin, PinError};
