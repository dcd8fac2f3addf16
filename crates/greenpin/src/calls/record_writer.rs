//! Writes of one call to the store, in order, and the replies of the store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use call::{PhoneNumber, Pin, Verdict};
use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::leg_owner::CallId;
use crate::metrics::METRICS;
use crate::store::{
    CallEnding, CallKeys, CallSid, NewCall, RoutedCall, Store, StoreError, Timestamp,
};

/// Maximum number of attempts to write the end of a call that the store refuses, one per second. While the database is
/// away, attempts go on without end. Afterwards the reconciliation at the next start closes the call.
pub const MAX_END_ATTEMPTS: u32 = 60;
/// Attempts per line in the log.
const LOGGED_ATTEMPTS: u64 = 60;

/// Queue of updates. A task writes them in order, so that the call loop never waits for the store.
pub(super) struct CallRecordWriter(mpsc::UnboundedSender<RecordUpdate>);

/// Kept small: the channel reserves space for 32 updates during the whole call.
enum RecordUpdate {
    Begin(Box<NewCall>),
    CheckPin(Pin),
    Ringing(PhoneNumber),
    Answered(PhoneNumber),
    End(Box<CallEnding>),
}

impl RecordUpdate {
    /// Returns the reply that lets the call continue if the update cannot be written.
    fn reply_to_failure(&self) -> Option<StoreReply> {
        match self {
            Self::Begin(_) => Some(StoreReply::Routed(Err(StoreError::Closed))),
            Self::CheckPin(_) => Some(StoreReply::PinChecked(Err(StoreError::Closed))),
            Self::Ringing(_) | Self::Answered(_) => None,
            Self::End(_) => Some(StoreReply::Closed),
        }
    }
}

/// Reply to the call loop.
pub(super) enum StoreReply {
    /// Route of the call.
    Routed(Result<RoutedCall, StoreError>),
    /// Result of a PIN check.
    PinChecked(Result<Verdict, StoreError>),
    /// The call record is written, or the task has given up.
    Closed,
}

impl CallRecordWriter {
    /// Starts the writer task of a call with its first update.
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
                keys: None,
            }
            .run(updates),
        );
        record_writer
    }

    /// Checks a block of digits against the store.
    pub(super) fn check_pin(&self, pin: Pin) {
        self.send(RecordUpdate::CheckPin(pin));
    }

    /// Records the alerting of a number.
    pub(super) fn ringing(&self, number: PhoneNumber) {
        self.send(RecordUpdate::Ringing(number));
    }

    /// Records the answer of a number.
    pub(super) fn answered(&self, number: PhoneNumber) {
        self.send(RecordUpdate::Answered(number));
    }

    /// Writes the call record and the terminal event.
    pub(super) fn end(&self, ending: CallEnding) {
        self.send(RecordUpdate::End(Box::new(ending)));
    }

    fn send(&self, update: RecordUpdate) {
        // The task ends only after the end of the call, and no update follows that.
        let _ = self.0.send(update);
    }
}

struct WriterTask {
    store: Store,
    id: CallId,
    sid: CallSid,
    replies: mpsc::UnboundedSender<(CallId, StoreReply)>,
    /// Keys for the reads of PIN attempts, once the call is routed.
    keys: Option<Arc<CallKeys>>,
}

impl WriterTask {
    async fn run(mut self, mut updates: mpsc::UnboundedReceiver<RecordUpdate>) {
        while let Some(update) = updates.recv().await {
            let after_panic = update.reply_to_failure();
            // A call is idle most of the time. Boxing keeps the size of the write out of the idle task.
            let write = Box::pin(AssertUnwindSafe(self.write(update)).catch_unwind());
            let reply = write.await.unwrap_or_else(|_| {
                METRICS.event_panics.inc();
                tracing::error!(call_sid = %self.sid, "writing a call update failed");
                after_panic
            });
            if let Some(reply) = reply
                && self.replies.send((self.id, reply)).is_err()
            {
                return;
            }
        }
    }

    async fn write(&mut self, update: RecordUpdate) -> Option<StoreReply> {
        let now = Timestamp::now();
        match update {
            RecordUpdate::Begin(call) => {
                let routed = self.store.begin_call(*call).await;
                self.keys = routed.as_ref().ok().and_then(|call| call.keys.clone());
                Some(StoreReply::Routed(routed))
            }
            RecordUpdate::CheckPin(pin) => {
                let keys = self.keys.as_deref();
                let checked = self.store.attempt_pin(&self.sid, keys, &pin, now);
                Some(StoreReply::PinChecked(checked.await))
            }
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
            tracing::error!(call_sid = %self.sid, %error, "call event could not be written");
        }
    }

    /// Writes the end of the call. The database may be away for long, and the record must not be lost.
    async fn end(&self, ending: CallEnding) {
        let mut refusals = 0;
        for attempt in 1_u64.. {
            let error = match self.store.end_call(&self.sid, ending.clone()).await {
                Ok(()) => return,
                Err(error) => error,
            };
            refusals = u32::saturating_add(refusals, u32::from(!error.is_temporary()));
            if attempt % LOGGED_ATTEMPTS == 1 {
                tracing::error!(call_sid = %self.sid, %error, attempt, "call record could not be written; retrying");
            }
            if refusals >= MAX_END_ATTEMPTS || matches!(error, StoreError::Closed) {
                tracing::error!(call_sid = %self.sid, "call record left open; the next start closes it");
                return;
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
    fn an_idle_writer_task_is_small() {
        assert!(
            size_of::<RecordUpdate>() <= 40,
            "{}",
            size_of::<RecordUpdate>()
        );
        let size = size_of_future(WriterTask::run);
        assert!(size <= 512, "{size}");
    }
}
