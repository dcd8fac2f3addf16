//! What goes into a call and what comes out: the words that the machine and its shell share.

use std::time::{Duration, Instant};

use crate::{Cause, DialStatus, PhoneNumber, Pin};

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

/// What a caller can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prompt {
    /// Asks for the PIN.
    EnterPin,
    /// The block was not accepted; the same sound whatever the reason.
    WrongPin,
    /// Too many wrong tries, or too long a silence.
    Goodbye,
    /// The virtual number has no active allocation.
    NotInUse,
    /// The allocation names nobody on the other side.
    NoOneToConnect,
    /// Nobody could be reached.
    Unavailable,
    /// Asks a dialled party to press 1.
    AcceptCall,
    /// Tells a dialled party what kind of call this is.
    Whisper,
    /// Tells both sides that they are recorded.
    Recorded,
    /// Tells both sides that the call will end soon.
    Warning,
}

/// What the shell has to do for a call, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Refuse the caller, who was not answered yet.
    Reject(Cause),
    /// Answer the caller.
    Answer,
    /// Play a prompt to the caller in place of whatever plays; report its end with this number.
    Play(Prompt, u32),
    /// Play a prompt to a dialled party that has answered; report its end with this number.
    PlayTo(DialAttempt, Prompt, u32),
    /// Play a prompt to both parties of a bridged call, who do not hear each other meanwhile.
    PlayToBoth(Prompt),
    /// Play ring-back tone to the caller until something else is played or the call is bridged.
    PlayRingback,
    /// Stop what plays.
    StopPlaying,
    /// Ask the store about a completed block of digits.
    CheckPin(Pin),
    /// Call a number.
    Dial(DialAttempt, PhoneNumber),
    /// Withdraw an attempt: cancel it, or hang up if it was answered meanwhile.
    Abandon(DialAttempt),
    /// Let the caller and the party of this attempt hear each other.
    Bridge(DialAttempt),
    /// Record the bridged call.
    Record,
    /// The store is to know that the party is being alerted.
    ReportRinging(PhoneNumber),
    /// The store is to know that the party answered.
    ReportAnswered(PhoneNumber),
    /// Hang up on a party that is still there.
    HangUp(Side, Cause),
    /// Write the call record. The last action of every call.
    Finish(CallOutcome),
}

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

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallType {
    /// The parties talked.
    Completed,
    /// Nobody answered.
    Incomplete,
    /// Nobody was dialled.
    CallAttempt,
    /// The caller left while it rang.
    ClientHangup,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HangupBy {
    /// The party that called.
    Caller,
    /// The party that was dialled.
    Callee,
    /// greenpin, by a rule or a fault.
    System,
}
