//! A job of the writer: a closure over the open transaction that can be run again, and who waits for its result.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use super::Tx;
use crate::store::StoreError;

/// Conditions under which a job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Works with cached rows, and may run before the commit before it is known to be durable.
    Speculative,
    /// May do anything, and runs once everything before it is known to be durable.
    Ordinary,
}

pub(crate) trait Job<C>: Send {
    fn kind(&self) -> Kind;
    /// Does the work; whether what it did is to be kept.
    fn run(&mut self, tx: &Tx<'_, C>) -> bool;
    /// Something that it sent has failed.
    fn fail(&mut self, error: StoreError);
    /// Tells the result, or that there was no commit.
    fn finish(self: Box<Self>, committed: &Result<(), StoreError>);
}

pub(crate) struct Task<W, T, E> {
    kind: Kind,
    work: W,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Task<W, T, E> {
    pub(crate) fn new(kind: Kind, work: W, answer: oneshot::Sender<Result<T, E>>) -> Self {
        Self {
            kind,
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
    fn kind(&self) -> Kind {
        self.kind
    }

    fn run(&mut self, tx: &Tx<'_, C>) -> bool {
        self.result = None;
        self.result = Some((self.work)(tx));
        matches!(self.result, Some(Ok(_)))
    }

    fn fail(&mut self, error: StoreError) {
        self.result = Some(Err(error.into()));
    }

    fn finish(self: Box<Self>, committed: &Result<(), StoreError>) {
        let lost = || StoreError::Database("the job was given up".into());
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(lost().into()),
            (Err(error), _) => Err(error.clone().into()),
        };
        // Who asked may have gone: what is durable stays.
        let _ = self.answer.send(result);
    }
}

/// Runs one job; whether what it did is to be kept.
pub(crate) fn run<C>(tx: &Tx<'_, C>, job: &mut dyn Job<C>) -> bool {
    catch_unwind(AssertUnwindSafe(|| job.run(tx))).unwrap_or_else(|_| {
        tracing::error!("a store job panicked; what it did is undone");
        false
    })
}
