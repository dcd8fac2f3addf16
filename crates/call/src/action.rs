//! Actions that a call requests.

use crate::{CallOutcome, Cause, DialAttempt, PhoneNumber, Pin, Side, words::words};

words! {
    /// Prompts that a party can hear. The word of a prompt is the name of its file without `.wav`.
    pub enum Prompt {
        /// Asks for the PIN.
        EnterPin = "enter_pin",
        /// Rejects the entered digits. The sound is the same for every reason.
        WrongPin = "wrong_pin",
        /// Ends the call after too many wrong attempts or too long a silence.
        Goodbye = "goodbye",
        /// Announces a virtual number without an active allocation.
        NotInUse = "not_in_use",
        /// Announces an allocation without a number on the other side.
        NoOneToConnect = "no_one_to_connect",
        /// Announces that no party could be reached.
        Unavailable = "unavailable",
        /// Asks a dialled party to press 1.
        AcceptCall = "accept_call",
        /// Announces the kind of call to a dialled party.
        Whisper = "whisper",
        /// Announces the recording to both parties.
        Recorded = "recorded",
        /// Warns both parties of the end of the call.
        Warning = "warning",
    }
}

/// Actions for the engine, to be performed in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Reject the caller, before the call is answered.
    Reject(Cause),
    /// Answer the caller.
    Answer,
    /// Play a prompt to the caller and stop any other sound. The engine reports the end of the
    /// sound with this number.
    Play(Prompt, u32),
    /// Play a prompt to a dialled party that has answered. The engine reports the end of the sound
    /// with this number.
    PlayTo(DialAttempt, Prompt, u32),
    /// Play a prompt to both parties of a bridged call. Their audio is interrupted meanwhile.
    PlayToBoth(Prompt),
    /// Play ring-back tone to the caller until another sound starts or the call is bridged.
    PlayRingback,
    /// Play the audio that the network of this attempt sends before the answer to the caller. Ring-back tone continues
    /// until its first packet. Nothing of the caller goes back. The next [`Action::PlayRingback`], another sound or the
    /// bridge ends it.
    PlayEarlyMedia(DialAttempt),
    /// Stop the sound to the caller.
    StopPlaying,
    /// Check a complete block of digits in the store. The result comes back as
    /// [`Input::PinChecked`](crate::Input::PinChecked).
    CheckPin(Pin),
    /// Dial a number.
    Dial(DialAttempt, PhoneNumber),
    /// Withdraw an attempt: cancel it, or hang up if the party has answered meanwhile.
    Abandon(DialAttempt),
    /// Connect the audio of the caller and the party of this attempt.
    Bridge(DialAttempt),
    /// Record the bridged call.
    Record,
    /// Write to the store: the party is being alerted.
    ReportRinging(PhoneNumber),
    /// Write to the store: the party has answered.
    ReportAnswered(PhoneNumber),
    /// Hang up on a party that is still connected.
    HangUp(Side, Cause),
    /// Write the call record. This is the last action of every call.
    Finish(CallOutcome),
}
