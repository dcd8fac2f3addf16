//! Actions that a call requests.

use crate::{CallOutcome, Cause, DialAttempt, PhoneNumber, Pin, Side, words::words};

words! {
    /// What a caller can be told.
    pub enum Prompt {
        /// Asks for the PIN.
        EnterPin = "enter_pin",
        /// The block was not accepted; the same sound whatever the reason.
        WrongPin = "wrong_pin",
        /// Too many wrong tries, or too long a silence.
        Goodbye = "goodbye",
        /// The virtual number has no active allocation.
        NotInUse = "not_in_use",
        /// The allocation names nobody on the other side.
        NoOneToConnect = "no_one_to_connect",
        /// Nobody could be reached.
        Unavailable = "unavailable",
        /// Asks a dialled party to press 1.
        AcceptCall = "accept_call",
        /// Tells a dialled party what kind of call this is.
        Whisper = "whisper",
        /// Tells both sides that they are recorded.
        Recorded = "recorded",
        /// Tells both sides that the call will end soon.
        Warning = "warning",
    }
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
