//! The call that a leg or a media stream belongs to.

use call::script::{Attempt, Side};

/// One call, for as long as this process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallId(pub(super) u64);

/// Whose leg or stream something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LegOwner {
    pub(super) call: CallId,
    pub(super) role: Role,
    /// By which trunk its leg goes.
    pub(super) trunk: usize,
}

/// What a party is in its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Caller,
    Callee(Attempt),
}

impl Role {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Caller => Side::Caller,
            Self::Callee(_) => Side::Callee,
        }
    }
}
