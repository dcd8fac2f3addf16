//! Outcome of a call, in the words of its record.

use std::time::Instant;

use crate::{Cause, PhoneNumber, words::words};

/// Outcome of a call, for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOutcome {
    /// Result, recorded as `call_type`.
    pub call_type: CallType,
    /// Result of the dialled leg, recorded as `dial_call_status`; `None` if no number was dialled.
    pub dial_status: Option<DialStatus>,
    /// Side that ended the call.
    pub hangup_by: HangupBy,
    /// Reason for the end.
    pub cause: Cause,
    /// Number of complete blocks of digits, including correct PINs.
    pub pin_attempts: u32,
    /// Number that was connected, or else the last dialled number.
    pub dialled: Option<PhoneNumber>,
    /// Time of the answer to the caller.
    pub answered_at: Option<Instant>,
    /// Time at which the number in `dialled` was dialled.
    pub dialled_at: Option<Instant>,
    /// Time at which the two parties were connected.
    pub bridged_at: Option<Instant>,
    /// Time of the end.
    pub ended_at: Instant,
}

words! {
    /// Progress that a call made, recorded as `call_type`.
    pub enum CallType {
        /// The parties were connected.
        Completed = "completed",
        /// No dialled party was connected.
        Incomplete = "incomplete",
        /// No number was dialled.
        CallAttempt = "call-attempt",
        /// The caller hung up before a dialled party was connected.
        ClientHangup = "client-hangup",
    }
}

words! {
    /// Side that ended a call.
    pub enum HangupBy {
        /// Party that called the virtual number.
        Caller = "caller",
        /// Party that was dialled.
        Callee = "callee",
        /// The server, because of a rule or a fault.
        System = "system",
    }
}

words! {
    /// Result of the dialled leg, recorded as `dial_call_status`.
    pub enum DialStatus {
        /// The party was connected.
        Completed = "completed",
        /// The last dialled number was busy.
        Busy = "busy",
        /// No party answered.
        NoAnswer = "no-answer",
        /// The attempt failed.
        Failed = "failed",
        /// The caller hung up before a party was connected.
        Canceled = "canceled",
    }
}
