//! Causes of the end of a leg, and their mapping to SIP statuses and call records.

use crate::DialStatus;

/// Reason for the rejection, failure or end of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Ordinary hang-up.
    Normal,
    /// The party is busy.
    Busy,
    /// The number rang, but the party did not answer in time.
    NoAnswer,
    /// The party declined the call.
    Declined,
    /// The number does not exist, here or at the far end.
    NotFound,
    /// The server withdrew the attempt before it was answered.
    Canceled,
    /// The far end, or the route to it, failed.
    Unreachable,
    /// The two parties have no media format in common.
    NotAcceptable,
    /// The tenant or the trunks may not dial the number.
    DestinationNotAllowed,
    /// The server has no capacity for the call.
    Overloaded,
    /// The call reached its maximum duration.
    TimeLimit,
    /// A party sent no audio for too long, or its dialog stopped responding.
    MediaLost,
    /// Internal fault of the server.
    Internal,
}

impl Cause {
    /// Converts the final status (300 to 699) from a dialled party.
    pub fn from_status(status: u16) -> Self {
        match status {
            486 | 600 => Self::Busy,
            408 | 480 => Self::NoAnswer,
            403 | 603 | 607 | 608 => Self::Declined,
            404 | 410 | 484 | 604 => Self::NotFound,
            487 => Self::Canceled,
            488 | 606 => Self::NotAcceptable,
            _ => Self::Unreachable,
        }
    }

    /// Returns the SIP status (RFC 3261, section 21) for the rejection of a caller before the
    /// answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Busy => 486,
            Self::NoAnswer | Self::TimeLimit | Self::MediaLost => 480,
            Self::Declined => 603,
            Self::NotFound => 404,
            Self::Canceled => 487,
            Self::NotAcceptable => 488,
            Self::DestinationNotAllowed => 403,
            Self::Overloaded => 503,
            Self::Normal | Self::Unreachable | Self::Internal => 500,
        }
    }

    /// Returns the `dial_call_status` of an attempt with this cause.
    pub fn dial_status(self) -> DialStatus {
        match self {
            Self::Normal | Self::TimeLimit | Self::MediaLost => DialStatus::Completed,
            Self::Busy => DialStatus::Busy,
            Self::NoAnswer => DialStatus::NoAnswer,
            Self::Canceled => DialStatus::Canceled,
            Self::Declined
            | Self::NotFound
            | Self::Unreachable
            | Self::NotAcceptable
            | Self::DestinationNotAllowed
            | Self::Overloaded
            | Self::Internal => DialStatus::Failed,
        }
    }
}
