//! Job of the writer: a closure over the open transaction that can run more than once, and the channel for its result.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use super::Tx;
use crate::store::StoreError;
use crate::store::core::database::ReadAhead;

/// Conditions for running a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    /// Uses cached rows only, and may run before the previous commit is durable.
    Speculative,
    /// Uses any row, and runs after everything before it is durable.
    Ordinary,
    /// Like an ordinary one, and may take long.
    Long,
}

pub(crate) trait Job<C>: Send {
    fn kind(&self) -> JobKind;
    /// Returns the reads that the job needs.
    fn read_ahead(&self) -> &[ReadAhead];
    /// Runs the work. Returns `false` if its changes must be undone.
    fn run(&mut self, tx: &Tx<'_, C>) -> bool;
    /// Replaces the result, after the failure of a deferred statement.
    fn fail(&mut self, error: StoreError);
    /// Sends the result, or the failure of the commit.
    fn finish(self: Box<Self>, committed: &Result<(), StoreError>);
}

pub(crate) struct Task<W, T, E> {
    kind: JobKind,
    read_ahead: Vec<ReadAhead>,
    work: W,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Task<W, T, E> {
    pub(crate) fn new(
        kind: JobKind,
        read_ahead: Vec<ReadAhead>,
        work: W,
        answer: oneshot::Sender<Result<T, E>>,
    ) -> Self {
        Self {
            kind,
            read_ahead,
            work,
            result: None,
            answer,
        }
    }
}

impl<C, W, T, E> Job<C> for Task<W, T, E>
where
    W: Fn(&Tx<'_, C>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn kind(&self) -> JobKind {
        self.kind
    }

    fn read_ahead(&self) -> &[ReadAhead] {
        &self.read_ahead
    }

    fn run(&mut self, tx: &Tx<'_, C>) -> bool {
        self.result = None;
        // Nobody waits for the result any more.
        if self.answer.is_closed() {
            return true;
        }
        self.result = Some((self.work)(tx));
        matches!(self.result, Some(Ok(_)))
    }

    fn fail(&mut self, error: StoreError) {
        self.result = Some(Err(error.into()));
    }

    fn finish(self: Box<Self>, committed: &Result<(), StoreError>) {
        let lost = || StoreError::Database("the job has no result".into());
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(lost().into()),
            (Err(error), _) => Err(error.clone().into()),
        };
        // The caller may have dropped its future; the changes remain.
        let _ = self.answer.send(result);
    }
}

/// Runs one job. Returns `false` if its changes must be undone.
pub(crate) fn run<C>(tx: &Tx<'_, C>, job: &mut dyn Job<C>) -> bool {
    catch_unwind(AssertUnwindSafe(|| job.run(tx))).unwrap_or_else(|_| {
        tracing::error!("a store job panicked; its changes are rolled back");
        false
    })
}
