//! The call that a leg or a media stream belongs to.

use call::{DialAttempt, Side};

/// Id of a call within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallId(pub(super) u64);

/// Owner of a leg or a media stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LegOwner {
    pub(super) call: CallId,
    pub(super) role: Role,
    /// Index of the leg's trunk.
    pub(super) trunk: usize,
}

/// Role of a party in its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Caller,
    Callee(DialAttempt),
}

impl Role {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Caller => Side::Caller,
            Self::Callee(_) => Side::Callee,
        }
    }
}
