//! Route of a call, and the settings that it follows.

use std::time::Duration;

use crate::{Cause, PhoneNumber};

/// Destination of a call to a virtual number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The virtual number does not exist.
    UnknownNumber,
    /// The number exists, but no allocation is active on it.
    NotInUse,
    /// The caller must enter a PIN.
    Collect(Collect),
    /// The server rejects the call for this cause.
    Refuse(Cause),
}

/// Settings for the PIN collection and for the call after a correct PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collect {
    /// Number of digits in a complete block: 1 to 8.
    pub pin_length: u8,
    /// Number of wrong attempts that ends the call: 1 or more.
    pub max_attempts: u8,
    /// Time that each number rings.
    pub ring_timeout: Duration,
    /// Maximum duration of a bridged call.
    pub max_call_duration: Duration,
    /// Dial all numbers at once instead of in sequence.
    pub parallel: bool,
    /// Screening of a dialled party before the connection.
    pub screening: Screening,
    /// Announce the recording to both parties of a recorded call.
    pub announce_recording: bool,
    /// Time between the warning and the maximum duration; `None` for no warning.
    pub warning: Option<Duration>,
}

/// Screening of a dialled party between its answer and the connection. The caller hears ring-back
/// meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screening {
    /// No screening: the party is connected at once.
    None,
    /// The party hears a prompt that announces the kind of call.
    Whisper,
    /// The party must press 1. A mailbox never does.
    Key,
}

/// Result of a PIN check in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The PIN is wrong, locked, expired or not valid for this caller. The call must not disclose
    /// the reason.
    Refused,
    /// The PIN is correct.
    Accepted(Connection),
}

/// Numbers behind a correct PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Numbers of the other side in dialling order; may be empty.
    pub dial: Vec<PhoneNumber>,
    /// Record the audio of both parties.
    pub record: bool,
}
