//! Batches of jobs, and the states of the writer thread between them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::idle::CHECK_INTERVAL;
use super::job::Job;
use crate::store::core::database::WriterLease;

/// Maximum wait for all further jobs of a batch.
pub(super) const MAX_LINGER: Duration = Duration::from_millis(2);

/// Jobs of one transaction.
pub(super) struct Batch<C> {
    pub(super) started_at: Instant,
    pub(super) jobs: Vec<Box<dyn Job<C>>>,
    /// Each job runs in its own savepoint.
    pub(super) is_guarded: bool,
    /// All jobs are speculative.
    pub(super) is_speculative: bool,
    pub(super) delivery_written: Cell<bool>,
}

/// State of the thread between two batches.
pub(super) enum WriterState<C> {
    /// No transaction is open.
    Idle,
    /// The commit of the batch and the begin of the next transaction were sent. Both answers are pending.
    Committing(Batch<C>),
}

/// Open transaction of a batch.
pub(super) struct Open<C> {
    pub(super) batch: Batch<C>,
    /// Previous batch, until the answer to its commit.
    pub(super) previous: Option<Batch<C>>,
    /// Received jobs that have not run yet.
    pub(super) waiting: VecDeque<Box<dyn Job<C>>>,
}

/// End of the transaction of a batch.
pub(super) enum BatchEnd {
    /// The transaction is durable.
    Committed,
    /// The commit was sent together with the begin of the next transaction.
    Pipelined,
}

/// Answer to the commit of the previous batch.
pub(super) enum Confirmation {
    /// No commit was pending.
    NotPending,
    /// The lease directly follows the previous transaction: the work of the open batch is valid.
    Continued(WriterLease),
    /// The commit failed, or another node has written in between: the open batch must run again.
    Interrupted,
}

impl<C> WriterState<C> {
    /// Returns the timeout for the next job.
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::Idle => CHECK_INTERVAL,
            Self::Committing(_) => MAX_LINGER,
        }
    }

    /// Starts a new batch.
    pub(super) fn open(self) -> Open<C> {
        Open {
            batch: Batch::new(),
            previous: self.into_pending(),
            waiting: VecDeque::new(),
        }
    }

    /// Returns the batch whose commit is pending.
    pub(super) fn into_pending(self) -> Option<Batch<C>> {
        match self {
            Self::Idle => None,
            Self::Committing(batch) => Some(batch),
        }
    }
}

impl<C> Batch<C> {
    pub(super) fn new() -> Self {
        Self {
            started_at: Instant::now(),
            jobs: Vec::new(),
            is_guarded: false,
            is_speculative: true,
            delivery_written: Cell::new(false),
        }
    }
}
