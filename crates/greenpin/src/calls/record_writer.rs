//! What one call has to tell the store, in order, and what the store answers.

use std::time::Duration;

use call::{PhoneNumber, Pin};
use tokio::sync::mpsc;

use super::leg_owner::CallId;
use crate::store::{Begun, CallEnding, CallSid, NewCall, PinVerdict, Store, StoreError, Timestamp};

/// How often the end of a call is tried to be written before it is left to the reconciliation at the next start.
const MAX_END_ATTEMPTS: u32 = 60;

/// The call's side: entries are written in the order given, by a task of their own, so that a call never waits.
pub(super) struct CallRecordWriter(mpsc::UnboundedSender<RecordUpdate>);

/// Small: a channel keeps room for thirty-two of them as long as the call lasts.
enum RecordUpdate {
    Begin(Box<NewCall>),
    CheckPin(Pin),
    Ringing(PhoneNumber),
    Answered(PhoneNumber),
    End(Box<CallEnding>),
}

/// What comes back to the exchange.
pub(super) enum StoreReply {
    /// Where the call goes.
    Routed(Result<Begun, StoreError>),
    /// What a PIN opened.
    PinChecked(Result<PinVerdict, StoreError>),
    /// The call record is written, or given up.
    Closed,
}

impl CallRecordWriter {
    /// Opens the ledger of a call with its beginning.
    pub(super) fn open(
        store: Store,
        id: CallId,
        call: NewCall,
        replies: mpsc::UnboundedSender<(CallId, StoreReply)>,
    ) -> Self {
        let (sender, updates) = mpsc::unbounded_channel();
        let sid = call.call_sid.clone();
        let record_writer = Self(sender);
        record_writer.send(RecordUpdate::Begin(Box::new(call)));
        tokio::spawn(
            WriterTask {
                store,
                id,
                sid,
                replies,
            }
            .run(updates),
        );
        record_writer
    }

    /// Has a block of digits judged.
    pub(super) fn check_pin(&self, pin: Pin) {
        self.send(RecordUpdate::CheckPin(pin));
    }

    /// Notes that a number is being alerted.
    pub(super) fn ringing(&self, number: PhoneNumber) {
        self.send(RecordUpdate::Ringing(number));
    }

    /// Notes that a number answered.
    pub(super) fn answered(&self, number: PhoneNumber) {
        self.send(RecordUpdate::Answered(number));
    }

    /// Writes the call record and the terminal event.
    pub(super) fn end(&self, ending: CallEnding) {
        self.send(RecordUpdate::End(Box::new(ending)));
    }

    fn send(&self, update: RecordUpdate) {
        // The keeper goes only after the end of the call, when nothing more is entered.
        let _ = self.0.send(update);
    }
}

struct WriterTask {
    store: Store,
    id: CallId,
    sid: CallSid,
    replies: mpsc::UnboundedSender<(CallId, StoreReply)>,
}

impl WriterTask {
    async fn run(self, mut updates: mpsc::UnboundedReceiver<RecordUpdate>) {
        while let Some(update) = updates.recv().await {
            // A call is silent for most of its time: what writing takes is not kept in its task meanwhile.
            if let Some(reply) = Box::pin(self.write(update)).await
                && self.replies.send((self.id, reply)).is_err()
            {
                return;
            }
        }
    }

    async fn write(&self, update: RecordUpdate) -> Option<StoreReply> {
        let now = Timestamp::now();
        match update {
            RecordUpdate::Begin(call) => {
                Some(StoreReply::Routed(self.store.begin_call(*call).await))
            }
            RecordUpdate::CheckPin(pin) => Some(StoreReply::PinChecked(
                self.store.try_pin(&self.sid, &pin, now).await,
            )),
            RecordUpdate::Ringing(number) => {
                self.log_failure(self.store.call_ringing(&self.sid, number, now).await);
                None
            }
            RecordUpdate::Answered(number) => {
                self.log_failure(self.store.call_answered(&self.sid, number, now).await);
                None
            }
            RecordUpdate::End(ending) => {
                self.end(*ending).await;
                Some(StoreReply::Closed)
            }
        }
    }

    fn log_failure(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::error!(call_sid = %self.sid, %error, "an event of a call was not written");
        }
    }

    async fn end(&self, ending: CallEnding) {
        for attempt in 1..=MAX_END_ATTEMPTS {
            match self.store.end_call(&self.sid, ending.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(call_sid = %self.sid, %error, attempt, "a call record was not written")
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
        assert!(
            size_of::<RecordUpdate>() <= 40,
            "{}",
            size_of::<RecordUpdate>()
        );
        let size = size_of_future(WriterTask::run);
        assert!(size <= 512, "{size}");
    }
}
