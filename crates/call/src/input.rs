//! Inputs of a call.

use crate::{Cause, Route, Verdict};

/// What the shell tells a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The store's answer to where the caller's call goes. The first input of every call.
    Routed(Route),
    /// The caller pressed a key.
    Key(Keypress),
    /// A dialled party that has answered and is not connected yet pressed a key.
    CalleeKey(DialAttempt, Keypress),
    /// The sound started by [`Action::Play`] or [`Action::PlayTo`] with this number was played to its end.
    PlaybackFinished(u32),
    /// The store's answer to [`Action::CheckPin`].
    PinChecked(Verdict),
    /// The dialled party is being alerted.
    Ringing(DialAttempt),
    /// The dialled party answered.
    Answered(DialAttempt),
    /// The dialled party refused, or could not be reached.
    Failed(DialAttempt, Cause),
    /// A party hung up, or its dialog died, for the cause given.
    HungUp(Side, Cause),
    /// The store could not do what it was asked.
    StoreFailed,
    /// An operator ends the call.
    EndRequested,
    /// Time has passed; given when [`crate::Call::deadline`] is reached.
    Elapsed,
}

/// Which party of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The party that called the virtual number.
    Caller,
    /// The party that was dialled and answered.
    Callee,
}

/// One attempt to reach one number, counted from 0 within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DialAttempt(pub u32);

/// A key of a telephone. Masked in `Debug`: keys make up a PIN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keypress(char);

impl Keypress {
    /// Reads one of `0`-`9`, `*`, `#`, `A`-`D`; `None` for anything else.
    pub fn new(key: char) -> Option<Self> {
        matches!(key, '0'..='9' | '*' | '#' | 'A'..='D').then_some(Self(key))
    }

    pub(crate) fn char(self) -> char {
        self.0
    }
}

impl std::fmt::Debug for Keypress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}
