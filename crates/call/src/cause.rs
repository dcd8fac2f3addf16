//! Why a leg ended or never came to be: the one table between SIP statuses and the words of a call record.

use crate::DialStatus;

/// Why a leg was refused, failed or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Hung up in the ordinary way.
    Normal,
    /// The party is busy.
    Busy,
    /// It rang, and nobody answered in time.
    NoAnswer,
    /// The party refused the call.
    Declined,
    /// There is no such number, here or at the far end.
    NotFound,
    /// The attempt was withdrawn by us before it was answered.
    Canceled,
    /// The far end, or the way to it, does not work.
    Unreachable,
    /// Nothing in the two offers can be spoken by both sides.
    NotAcceptable,
    /// We cannot take the call now.
    Overloaded,
    /// The call reached its longest allowed time.
    TimeLimit,
    /// A party sent no audio for too long, or stopped answering.
    MediaLost,
    /// A fault of ours.
    Internal,
}

impl Cause {
    /// Reads the final status (300 to 699) with which a dialled party refused.
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

    /// The status (RFC 3261, section 21) that refuses a caller who was not answered yet.
    pub fn status(self) -> u16 {
        match self {
            Self::Busy => 486,
            Self::NoAnswer | Self::TimeLimit | Self::MediaLost => 480,
            Self::Declined => 603,
            Self::NotFound => 404,
            Self::Canceled => 487,
            Self::NotAcceptable => 488,
            Self::Overloaded => 503,
            Self::Normal | Self::Unreachable | Self::Internal => 500,
        }
    }

    /// How an attempt that ended so stands in a call record.
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
            | Self::Overloaded
            | Self::Internal => DialStatus::Failed,
        }
    }
}
