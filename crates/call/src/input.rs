//! Inputs of a call.

use crate::{Cause, Route, Verdict};

/// Inputs that the engine passes to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The store has returned the route. This is the first input of every call.
    Routed(Route),
    /// The caller has acknowledged the answer with something that only the receiver of the answer can know. Before it,
    /// the source of the call may be forged.
    Confirmed,
    /// The caller pressed a key.
    Key(Keypress),
    /// A dialled party pressed a key after its answer and before the connection.
    CalleeKey(DialAttempt, Keypress),
    /// The sound that was started by [`Action::Play`](crate::Action::Play) or
    /// [`Action::PlayTo`](crate::Action::PlayTo) with this number has ended.
    PlaybackFinished(u32),
    /// The store has returned the result of [`Action::CheckPin`](crate::Action::CheckPin).
    PinChecked(Verdict),
    /// The number of an attempt is dialled over another trunk. Its ring time starts again.
    Rerouted(DialAttempt),
    /// The dialled party is being alerted.
    Ringing(DialAttempt),
    /// The network of a dialled party sends audio before the answer.
    EarlyMediaStarted(DialAttempt),
    /// The network of a dialled party sends no audio any more: it has announced so, or another network is tried.
    EarlyMediaStopped(DialAttempt),
    /// The dialled party answered.
    Answered(DialAttempt),
    /// The dialled party rejected the call or could not be reached.
    Failed(DialAttempt, Cause),
    /// A party hung up, or its dialog failed, for this cause.
    HungUp(Side, Cause),
    /// The store failed to perform a request.
    StoreFailed,
    /// An operator requests the end of the call.
    EndRequested,
    /// The deadline has passed (see [`Call::deadline`](crate::Call::deadline)).
    Elapsed,
}

/// Party of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Party that called the virtual number.
    Caller,
    /// Party that was dialled and answered.
    Callee,
}

/// Identifier of an attempt to reach a number, counted from 0 within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DialAttempt(pub u32);

/// Key of a telephone. `Debug` masks it, because keys make up a PIN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keypress(char);

impl Keypress {
    /// Accepts `0`-`9`, `*`, `#` and `A`-`D`; returns `None` for any other character.
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
