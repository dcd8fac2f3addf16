//! What one call has to tell the store, in order, and what the store answers.

use std::time::Duration;

use call::{PhoneNumber, Pin};
use tokio::sync::mpsc;

use super::exchange::CallId;
use crate::store::{Begun, CallEnding, CallSid, NewCall, PinVerdict, Store, StoreError, Timestamp};

/// How often the end of a call is tried to be written before it is left to the reconciliation at the next start.
const END_TRIES: u32 = 60;

/// The call's side: entries are written in the order given, by a task of their own, so that a call never waits.
pub(super) struct Ledger(mpsc::UnboundedSender<Entry>);

enum Entry {
    Begin(NewCall),
    TryPin(Pin),
    Ringing(PhoneNumber),
    Answered(PhoneNumber),
    End(Box<CallEnding>),
}

/// What comes back to the exchange.
pub(super) enum Answer {
    /// Where the call goes.
    Routed(Result<Begun, StoreError>),
    /// What a PIN opened.
    PinChecked(Result<PinVerdict, StoreError>),
    /// The call record is written, or given up.
    Closed,
}

impl Ledger {
    /// Opens the ledger of a call with its beginning.
    pub(super) fn open(
        store: Store,
        id: CallId,
        call: NewCall,
        answers: mpsc::UnboundedSender<(CallId, Answer)>,
    ) -> Self {
        let (sender, entries) = mpsc::unbounded_channel();
        let sid = call.call_sid.clone();
        let ledger = Self(sender);
        ledger.enter(Entry::Begin(call));
        tokio::spawn(Keeper { store, id, sid, answers }.keep(entries));
        ledger
    }

    /// Has a block of digits judged.
    pub(super) fn try_pin(&self, pin: Pin) {
        self.enter(Entry::TryPin(pin));
    }

    /// Notes that a number is being alerted.
    pub(super) fn ringing(&self, number: PhoneNumber) {
        self.enter(Entry::Ringing(number));
    }

    /// Notes that a number answered.
    pub(super) fn answered(&self, number: PhoneNumber) {
        self.enter(Entry::Answered(number));
    }

    /// Writes the call record and the terminal event.
    pub(super) fn end(&self, ending: CallEnding) {
        self.enter(Entry::End(Box::new(ending)));
    }

    fn enter(&self, entry: Entry) {
        // The keeper goes only after the end of the call, when nothing more is entered.
        let _ = self.0.send(entry);
    }
}

struct Keeper {
    store: Store,
    id: CallId,
    sid: CallSid,
    answers: mpsc::UnboundedSender<(CallId, Answer)>,
}

impl Keeper {
    async fn keep(self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        while let Some(entry) = entries.recv().await {
            let answer = match entry {
                Entry::Begin(call) => Answer::Routed(self.store.begin_call(call).await),
                Entry::TryPin(pin) => {
                    Answer::PinChecked(self.store.try_pin(&self.sid, &pin, Timestamp::now()).await)
                }
                Entry::Ringing(number) => {
                    self.note(self.store.call_ringing(&self.sid, number, Timestamp::now()).await);
                    continue;
                }
                Entry::Answered(number) => {
                    self.note(self.store.call_answered(&self.sid, number, Timestamp::now()).await);
                    continue;
                }
                Entry::End(ending) => {
                    self.end(*ending).await;
                    Answer::Closed
                }
            };
            if self.answers.send((self.id, answer)).is_err() {
                return;
            }
        }
    }

    fn note(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::error!(call_sid = %self.sid, %error, "an event of a call was not written");
        }
    }

    async fn end(&self, ending: CallEnding) {
        for tries in 1..=END_TRIES {
            match self.store.end_call(&self.sid, ending.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(call_sid = %self.sid, %error, tries, "a call record was not written")
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
