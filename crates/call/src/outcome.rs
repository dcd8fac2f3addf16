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
    /// Reason for the result, recorded as `cause`.
    pub cause: CallCause,
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
    /// Reason for the result of a call or of an attempt to reach a number, recorded as `cause`.
    pub enum CallCause {
        /// The parties were connected, and one of them hung up.
        Completed = "completed",
        /// The connected call reached its maximum duration.
        TimeLimit = "time_limit",
        /// A connected party sent no audio for too long, or its dialog stopped responding.
        MediaLost = "media_lost",
        /// The operator or a drain ended the call.
        Ended = "ended",
        /// No allocation is active on the virtual number.
        NotInUse = "not_in_use",
        /// The caller entered no complete PIN in time.
        NoPin = "no_pin",
        /// The caller entered too many wrong PINs.
        WrongPin = "wrong_pin",
        /// The caller hung up before a number was dialled.
        CallerHungUp = "caller_hung_up",
        /// The caller hung up while a number was dialled.
        Canceled = "canceled",
        /// Another number of a parallel hunt answered first.
        AnsweredElsewhere = "answered_elsewhere",
        /// The allocation has no number on the other side.
        NoOtherParty = "no_other_party",
        /// The party was busy.
        Busy = "busy",
        /// The party did not answer in time.
        NoAnswer = "no_answer",
        /// The party declined the call.
        Declined = "declined",
        /// The dialled number does not exist.
        NumberNotFound = "number_not_found",
        /// The trunk or the route to the number failed.
        Unreachable = "unreachable",
        /// The party has no media format in common with the server.
        MediaNotAcceptable = "media_not_acceptable",
        /// The rules of the tenant or of the trunks deny the number.
        DestinationNotAllowed = "destination_not_allowed",
        /// The server, the tenant or the database had no capacity for the call.
        Overloaded = "overloaded",
        /// The caller did not acknowledge the answer.
        NotAcknowledged = "not_acknowledged",
        /// The node of the call failed.
        NodeFailed = "node_failed",
        /// Internal fault of the server.
        Internal = "internal",
    }
}

impl From<Cause> for CallCause {
    /// Converts the cause of a failed attempt.
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Normal => Self::Ended,
            Cause::Busy => Self::Busy,
            Cause::NoAnswer => Self::NoAnswer,
            Cause::Declined => Self::Declined,
            Cause::NotFound => Self::NumberNotFound,
            Cause::Canceled => Self::Canceled,
            Cause::Unreachable => Self::Unreachable,
            Cause::NotAcceptable => Self::MediaNotAcceptable,
            Cause::DestinationNotAllowed => Self::DestinationNotAllowed,
            Cause::Overloaded => Self::Overloaded,
            Cause::TimeLimit => Self::TimeLimit,
            Cause::MediaLost => Self::MediaLost,
            Cause::Internal => Self::Internal,
        }
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
