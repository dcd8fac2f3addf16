//! Routing: the destination of a call, and the settings that it follows.

use std::time::Duration;

use crate::{Cause, PhoneNumber};

/// Where a call to a virtual number goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// No such virtual number.
    UnknownNumber,
    /// The number exists, but no allocation is active on it.
    NotInUse,
    /// A PIN is asked for.
    Collect(Collect),
    /// We cannot take the call now.
    Refuse(Cause),
}

/// How a PIN is collected, and what follows a right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collect {
    /// Digits of a complete block: 1 to 8.
    pub pin_length: u8,
    /// Wrong tries after which this call ends: 1 or more.
    pub max_attempts: u8,
    /// How long each number is rung.
    pub ring_timeout: Duration,
    /// How long two parties may talk.
    pub max_call_duration: Duration,
    /// All numbers at once instead of one after the other.
    pub parallel: bool,
    /// What a dialled party that has answered meets before it is connected.
    pub screening: Screening,
    /// Tell both sides that they are recorded, where they are.
    pub announce_recording: bool,
    /// How long before the end of the longest call both sides are warned; `None`: never.
    pub warning: Option<Duration>,
}

/// What a dialled party that has answered meets before it is connected; the caller hears ring-back meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screening {
    /// Nothing: it is connected at once.
    None,
    /// It hears what kind of call this is.
    Whisper,
    /// It is asked to press 1: a mailbox that answers never does.
    Key,
}

/// The store's answer to a PIN try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Wrong, locked, expired or foreign: the call must not tell which.
    Refused,
    /// Right.
    Accepted(Connection),
}

/// Whom a right PIN connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The numbers of the other side, in the order of trying; may be empty.
    pub dial: Vec<PhoneNumber>,
    /// Record what both say.
    pub record: bool,
}
