//! The outcome of a call, in the words of its record.

use std::time::Instant;

use crate::{Cause, PhoneNumber, words::words};

/// What became of a call, in the words of a call record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOutcome {
    /// `call_type`.
    pub call_type: CallType,
    /// `dial_call_status`; `None` when nobody was dialled.
    pub dial_status: Option<DialStatus>,
    /// Who ended it.
    pub hangup_by: HangupBy,
    /// Why it ended.
    pub cause: Cause,
    /// Completed blocks of digits, right ones included.
    pub pin_attempts: u32,
    /// The number that was connected, else the last that was dialled.
    pub dialled: Option<PhoneNumber>,
    /// When the caller was answered.
    pub answered_at: Option<Instant>,
    /// When the number in `dialled` was called.
    pub dialled_at: Option<Instant>,
    /// When the two parties began to hear each other.
    pub bridged_at: Option<Instant>,
    /// When the call ended.
    pub ended_at: Instant,
}

words! {
    /// How far a call came.
    pub enum CallType {
        /// The parties talked.
        Completed = "completed",
        /// Nobody answered.
        Incomplete = "incomplete",
        /// Nobody was dialled.
        CallAttempt = "call-attempt",
        /// The caller left while it rang.
        ClientHangup = "client-hangup",
    }
}

words! {
    /// Who ended a call.
    pub enum HangupBy {
        /// The party that called.
        Caller = "caller",
        /// The party that was dialled.
        Callee = "callee",
        /// greenpin, by a rule or a fault.
        System = "system",
    }
}

words! {
    /// How the dialled leg ended, in the words of a call record (`dial_call_status`).
    pub enum DialStatus {
        /// Answered and talked.
        Completed = "completed",
        /// Every number tried was busy, or the last one was.
        Busy = "busy",
        /// Nobody answered.
        NoAnswer = "no-answer",
        /// The attempt failed.
        Failed = "failed",
        /// The caller left while it rang.
        Canceled = "canceled",
    }
}
