//! What one call has to tell the store, in order, and what the store answers.

use std::time::Duration;

use call::{PhoneNumber, Pin, Verdict};
use tokio::sync::mpsc;

use super::call_loop::CallId;
use crate::store::{CallEnding, CallSid, NewCall, RoutedCall, Store, StoreError, Timestamp};

/// How often the end of a call is tried to be written before it is left to the reconciliation at the next start.
const END_TRIES: u32 = 60;

/// The call's side: entries are written in the order given, by a task of their own, so that a call never waits.
pub(super) struct Ledger(mpsc::UnboundedSender<Entry>);

/// Small: a channel keeps room for thirty-two of them as long as the call lasts.
enum Entry {
    Begin(Box<NewCall>),
    TryPin(Pin),
    Ringing(PhoneNumber),
    Answered(PhoneNumber),
    End(Box<CallEnding>),
}

/// What comes back to the exchange.
pub(super) enum Answer {
    /// Where the call goes.
    Routed(Result<RoutedCall, StoreError>),
    /// What a PIN opened.
    PinChecked(Result<Verdict, StoreError>),
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
        ledger.enter(Entry::Begin(Box::new(call)));
        tokio::spawn(
            Keeper {
                store,
                id,
                sid,
                answers,
            }
            .keep(entries),
        );
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
            // A call is silent for most of its time: what writing takes is not kept in its task meanwhile.
            if let Some(answer) = Box::pin(self.write(entry)).await
                && self.answers.send((self.id, answer)).is_err()
            {
                return;
            }
        }
    }

    async fn write(&self, entry: Entry) -> Option<Answer> {
        let now = Timestamp::now();
        match entry {
            Entry::Begin(call) => Some(Answer::Routed(self.store.begin_call(*call).await)),
            Entry::TryPin(pin) => Some(Answer::PinChecked(
                self.store.attempt_pin(&self.sid, &pin, now).await,
            )),
            Entry::Ringing(number) => {
                self.note(self.store.call_ringing(&self.sid, number, now).await);
                None
            }
            Entry::Answered(number) => {
                self.note(self.store.call_answered(&self.sid, number, now).await);
                None
            }
            Entry::End(ending) => {
                self.end(*ending).await;
                Some(Answer::Closed)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_ledger_is_small_while_nothing_is_entered() {
        assert!(size_of::<Entry>() <= 40, "{}", size_of::<Entry>());
        let size = size_of_future(Keeper::keep);
        assert!(size <= 512, "{size}");
    }
}
