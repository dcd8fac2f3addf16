//! Thread that runs jobs and commits them in batches.
//!
//! On a PostgreSQL server under load the thread sends the commit of a batch together with the begin of the next
//! transaction, and runs the next jobs while the server works on both. It commits these jobs after two answers: the
//! previous commit has succeeded, and no other node has written in between. Otherwise it runs them again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::batch::{Batch, BatchEnd, Confirmation, MAX_LINGER, Open, WriterState};
use super::idle::IdleDetector;
use super::job::{Job, JobKind, run};
use super::{Tx, WriteHealth, WriterCache};
use crate::metrics::METRICS;
use crate::store::core::crypto::Keyring;
use crate::store::core::database::{DatabaseConnection, DatabaseTarget, ReadAhead, WriterLease};
use crate::store::core::ids::EventIds;
use crate::store::core::key_binding;
use crate::store::core::reader::{IdleReaders, Snapshot};
use crate::store::core::write_scope::WriteScope;
use crate::store::{OpenError, StoreError};
use crate::supervision::PartGuard;

/// Maximum number of jobs in one commit. With more, the first job would wait longer than a disk flush takes.
const MAX_BATCH_JOBS: usize = 256;
/// Number of concurrent jobs from which a commit waits a moment for further jobs, which then share its cost.
const GROUP_COMMIT_MIN_WAITERS: usize = 16;
/// Maximum wait for one further job.
const LINGER: Duration = Duration::from_micros(200);
/// Interval between two polls of the pending commit while no job arrives.
const POLL_INTERVAL: Duration = Duration::from_micros(50);
/// Maximum number of leases that a node takes in a row, so that other nodes get theirs.
const MAX_LEASES_IN_A_ROW: u32 = 16;

/// Parts of the store that are notified of commits.
#[derive(Clone)]
pub(crate) struct CommitListeners {
    /// Notified after a commit with a delivery.
    pub(crate) deliveries: Arc<Notify>,
    /// Readers, whose shared snapshots end with each commit.
    pub(crate) readers: IdleReaders,
    /// Number of jobs without a result.
    pub(crate) open: Arc<AtomicUsize>,
    /// State of the last write.
    pub(crate) health: WriteHealth,
}

pub(crate) struct Thread<C> {
    target: DatabaseTarget,
    scope: WriteScope,
    connection: DatabaseConnection,
    keys: Arc<Keyring>,
    listeners: CommitListeners,
    event_ids: RefCell<EventIds>,
    cache: C,
    /// Version that the last transaction of this node leaves behind; `None` if the outcome of that transaction is
    /// unknown.
    last_version: Cell<Option<i64>>,
    /// Version of cached rows at the last begin.
    cache_version: Cell<Option<i64>>,
    /// No other node has written between the last two transactions.
    is_alone: Cell<bool>,
    leases_in_a_row: Cell<u32>,
    /// Number of concurrent jobs at the last commits.
    waiters: Cell<usize>,
    /// A statement of the present batch has failed because the database takes no writes.
    had_outage: Cell<bool>,
}

impl CommitListeners {
    /// Sends the results of jobs.
    fn finish_jobs<C>(&self, jobs: Vec<Box<dyn Job<C>>>, committed: &Result<(), StoreError>) {
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        METRICS.store_batch.observe(count.into());
        METRICS.store_jobs.inc_by(count.into());
        METRICS.store_queue.dec_by(count.into());
        self.open.fetch_sub(jobs.len(), Ordering::Relaxed);
        jobs.into_iter().for_each(|job| job.finish(committed));
    }
}

impl<C: WriterCache> Thread<C> {
    /// Prepares the database and connects to it, for all rows.
    pub(crate) fn open(
        target: DatabaseTarget,
        key_file: &Path,
        listeners: CommitListeners,
    ) -> Result<Self, OpenError> {
        target.prepare()?;
        let scope = WriteScope::Whole;
        let connection = target.writer(scope)?;
        let keys = Arc::new(key_binding::bind(&connection, key_file)?);
        Ok(Self::new((target, scope), connection, keys, listeners))
    }

    fn new(
        (target, scope): (DatabaseTarget, WriteScope),
        connection: DatabaseConnection,
        keys: Arc<Keyring>,
        listeners: CommitListeners,
    ) -> Self {
        Self {
            target,
            scope,
            connection,
            keys,
            listeners,
            event_ids: RefCell::default(),
            cache: C::default(),
            last_version: Cell::default(),
            cache_version: Cell::default(),
            is_alone: Cell::default(),
            leases_in_a_row: Cell::default(),
            waiters: Cell::default(),
            had_outage: Cell::default(),
        }
    }

    /// Connects for the first job of a scope, then runs jobs until the last sender is dropped. Many processes write in
    /// few scopes.
    pub(crate) fn run_scope(
        (target, scope): (DatabaseTarget, WriteScope),
        keys: Arc<Keyring>,
        listeners: CommitListeners,
        jobs: &Receiver<Box<dyn Job<C>>>,
        guard: PartGuard,
    ) {
        while let Ok(first) = jobs.recv() {
            match target.writer(scope) {
                Ok(connection) => {
                    let target = (target, scope);
                    return Self::new(target, connection, keys, listeners)
                        .run_from(first, jobs, guard);
                }
                Err(error) => {
                    let error = StoreError::from(error);
                    tracing::error!(%error, "no connection to the database");
                    let waiting = std::iter::once(first).chain(jobs.try_iter()).collect();
                    listeners.health.record(error.is_outage());
                    listeners.finish_jobs(waiting, &Err(error));
                }
            }
        }
        guard.end();
    }

    /// Returns the keys of the database.
    pub(crate) fn keys(&self) -> Arc<Keyring> {
        self.keys.clone()
    }

    fn run_from(
        mut self,
        first: Box<dyn Job<C>>,
        jobs: &Receiver<Box<dyn Job<C>>>,
        guard: PartGuard,
    ) {
        guard.fail_point();
        let state = self.run_batch(WriterState::Idle.open(), first, jobs);
        self.run(state, jobs, guard);
    }

    /// Runs jobs until the last sender is dropped.
    pub(crate) fn run(
        mut self,
        mut state: WriterState<C>,
        jobs: &Receiver<Box<dyn Job<C>>>,
        guard: PartGuard,
    ) {
        let mut detector = IdleDetector::new(self.connection.changes(), Instant::now());
        loop {
            state = match jobs.recv_timeout(state.timeout()) {
                Ok(first) => {
                    guard.fail_point();
                    self.run_batch(state.open(), first, jobs)
                }
                Err(RecvTimeoutError::Timeout) => self.release_lease(state),
                Err(RecvTimeoutError::Disconnected) => {
                    self.release_lease(state);
                    return guard.end();
                }
            };
            if detector.became_idle(self.connection.changes(), Instant::now()) {
                self.connection.release_memory();
            }
        }
    }

    /// Runs a batch from its first job on. Ends with its commit, or with the commit sent.
    fn run_batch(
        &mut self,
        mut open: Open<C>,
        first: Box<dyn Job<C>>,
        jobs: &Receiver<Box<dyn Job<C>>>,
    ) -> WriterState<C> {
        let changes = self.connection.changes();
        self.receive(first, jobs, &mut open);
        let ended = match self.ensure_begun(&open) {
            Ok(()) => self
                .fill(jobs, &mut open)
                .and_then(|()| self.end_batch(&mut open)),
            Err(error) => {
                // The jobs behind the first one would only wait for the same server.
                open.batch.jobs.extend(jobs.try_iter());
                Err(error)
            }
        };
        // After an error some jobs have not run.
        open.batch.jobs.extend(open.waiting.drain(..));
        self.update_health(changes, ended.as_ref().err());
        match ended {
            Ok(BatchEnd::Pipelined) => return WriterState::Committing(open.batch),
            Ok(BatchEnd::Committed) => self.finish_jobs(open.batch, &Ok(())),
            Err(error) => {
                tracing::error!(%error, jobs = open.batch.jobs.len(), "transaction not committed");
                self.confirm_previous(open.previous);
                let _ = self.roll_back();
                self.finish_jobs(open.batch, &Err(error));
            }
        }
        WriterState::Idle
    }

    /// Records whether the database takes writes. `changes`: the counter of changes at the start of the batch.
    fn update_health(&self, changes: u64, error: Option<&StoreError>) {
        let failed = self.had_outage.take() || error.is_some_and(StoreError::is_outage);
        let has_written = error.is_none() && self.connection.changes() != changes;
        if failed || has_written {
            self.listeners.health.record(failed);
        }
    }

    /// Sends the results of a batch and notifies the listeners.
    fn finish_jobs(&self, batch: Batch<C>, committed: &Result<(), StoreError>) {
        METRICS
            .store_commit
            .observe(batch.started_at.elapsed().as_secs_f64());
        self.listeners.readers.on_commit();
        self.update_waiters();
        self.listeners.finish_jobs(batch.jobs, committed);
        if batch.delivery_written.get() {
            self.listeners.deliveries.notify_one();
        }
    }

    /// Begins a transaction unless the pending commit has begun one. Reconnects if the server has closed the idle
    /// connection.
    fn ensure_begun(&mut self, open: &Open<C>) -> Result<(), StoreError> {
        if open.previous.is_some() {
            return Ok(());
        }
        let reads = reads(&open.waiting);
        let begun = self.begin_with(&reads);
        if !self.connection.is_closed() {
            return begun;
        }
        self.connection = self.target.writer(self.scope)?;
        self.begin_with(&reads)
    }

    /// Receives the jobs of a batch that are waiting, if their reads can share a round trip. Jobs with such reads run
    /// first: the others may change rows that were read.
    fn receive(
        &self,
        first: Box<dyn Job<C>>,
        jobs: &Receiver<Box<dyn Job<C>>>,
        open: &mut Open<C>,
    ) {
        if !self.connection.is_remote() {
            return open.waiting.push_back(first);
        }
        let more = self.max_jobs().saturating_sub(open.batch.jobs.len() + 1);
        let received = std::iter::once(first).chain(jobs.try_iter().take(more));
        let (reading, others): (Vec<_>, Vec<_>) =
            received.partition(|job| !job.read_ahead().is_empty());
        open.waiting.extend(reading.into_iter().chain(others));
    }

    /// Runs jobs until the batch is full or no further job arrives.
    fn fill(
        &mut self,
        jobs: &Receiver<Box<dyn Job<C>>>,
        open: &mut Open<C>,
    ) -> Result<(), StoreError> {
        let max_jobs = self.max_jobs();
        loop {
            while let Some(job) = open.waiting.pop_front() {
                open.batch.is_speculative &= job.kind() == JobKind::Speculative;
                open.batch.jobs.push(job);
                self.run_last(open)?;
            }
            if open.batch.jobs.len() >= max_jobs {
                return Ok(());
            }
            let Some(next) = self.next_job(jobs, open)? else {
                return Ok(());
            };
            self.receive(next, jobs, open);
            if open.previous.is_none() {
                self.connection.fetch(&reads(&open.waiting))?;
            }
        }
    }

    /// Runs the last job of a batch. An error concerns the whole transaction.
    fn run_last(&mut self, open: &mut Open<C>) -> Result<(), StoreError> {
        // Jobs that cannot run speculatively wait for the pending commit.
        if !open.batch.is_speculative && !self.confirm(open)? {
            return Ok(());
        }
        let tx = self.tx(&open.batch.delivery_written);
        let Some(job) = open.batch.jobs.last_mut() else {
            return Ok(());
        };
        if open.batch.is_guarded {
            return self.run_guarded(&tx, job.as_mut());
        }
        if !self.run_unguarded(&tx, job.as_mut())? && self.confirm(open)? {
            self.rerun(&mut open.batch)?;
        }
        Ok(())
    }

    /// Commits the transaction of a batch, or sends its commit.
    fn end_batch(&mut self, open: &mut Open<C>) -> Result<BatchEnd, StoreError> {
        let sent = self
            .cache
            .flush(&self.tx(&open.batch.delivery_written))
            .and_then(|()| self.connection.flush());
        let sent = if self.confirm(open)? { sent } else { Ok(()) };
        let batch = &mut open.batch;
        let ended = sent.and_then(|()| {
            if !self.may_pipeline(batch) {
                return self.commit().map(|()| BatchEnd::Committed);
            }
            self.leases_in_a_row
                .set(self.leases_in_a_row.get().saturating_add(1));
            self.connection
                .commit_and_begin(self.event_ids.borrow().last())
                .map(|()| BatchEnd::Pipelined)
        });
        match ended {
            // A deferred statement has failed. Running each job in its own savepoint shows which job sent it.
            Err(StoreError::Database(_)) if !batch.is_guarded && !self.connection.is_closed() => {
                self.rerun(batch)?;
                self.commit().map(|()| BatchEnd::Committed)
            }
            ended => ended,
        }
    }

    /// Returns whether the next transaction may begin before the answer to this commit: only where that saves a round
    /// trip, and while no other node writes.
    fn may_pipeline(&self, batch: &Batch<C>) -> bool {
        self.connection.is_remote()
            && batch.is_speculative
            && !batch.is_guarded
            && self.waiters.get() >= GROUP_COMMIT_MIN_WAITERS
            && self.is_alone.get()
            && self.leases_in_a_row.get() < MAX_LEASES_IN_A_ROW
    }

    /// Waits for the answer to the pending commit, if there is one. Returns `true` if the work of the open batch is
    /// valid, and `false` after it has run again.
    fn confirm(&mut self, open: &mut Open<C>) -> Result<bool, StoreError> {
        match self.confirm_previous(open.previous.take()) {
            Confirmation::NotPending => Ok(true),
            Confirmation::Continued(lease) => {
                self.start_lease(&lease);
                Ok(true)
            }
            Confirmation::Interrupted => self.rerun(&mut open.batch).map(|()| false),
        }
    }

    /// Waits for the answer to the commit of the previous batch and sends its results.
    fn confirm_previous(&self, previous: Option<Batch<C>>) -> Confirmation {
        let Some(mut previous) = previous else {
            return Confirmation::NotPending;
        };
        let committed = match self.connection.await_commit() {
            Err(StoreError::Database(_)) if !self.connection.is_closed() => {
                // The next transaction cannot have begun after a failed commit.
                self.connection.await_lease();
                self.rerun(&mut previous).and_then(|()| self.commit())
            }
            committed => committed,
        };
        if let Err(error) = &committed {
            tracing::error!(%error, jobs = previous.jobs.len(), "transaction not committed");
            // The cached rows may not exist, and the lease of another node may leave the same version behind.
            self.last_version.set(None);
            self.evict_caches();
        }
        // The results do not wait for the next lease, which another node may take first.
        self.finish_jobs(previous, &committed);
        match self.connection.await_lease() {
            Some(lease) if self.last_version.get() == Some(lease.version) => {
                Confirmation::Continued(lease)
            }
            _ => Confirmation::Interrupted,
        }
    }

    /// Rolls back the transaction that was begun for jobs that have not arrived.
    fn release_lease(&self, state: WriterState<C>) -> WriterState<C> {
        let confirmation = self.confirm_previous(state.into_pending());
        if !matches!(confirmation, Confirmation::NotPending)
            && let Err(error) = self.connection.roll_back()
        {
            tracing::warn!(%error, "empty transaction not rolled back");
        }
        WriterState::Idle
    }

    /// Returns the maximum number of jobs in the next commit: half of the concurrent jobs, within limits. The clients
    /// of the other half send their next requests during the commit.
    fn max_jobs(&self) -> usize {
        (self.waiters.get() / 2).clamp(GROUP_COMMIT_MIN_WAITERS, MAX_BATCH_JOBS)
    }

    /// Updates the number of concurrent jobs, which falls by a quarter per commit.
    fn update_waiters(&self) {
        let open = self.listeners.open.load(Ordering::Relaxed);
        self.waiters
            .set(open.max(self.waiters.get() - self.waiters.get() / 4));
    }

    /// Returns the next job of the batch; `None` if the batch is to be committed.
    fn next_job(
        &mut self,
        jobs: &Receiver<Box<dyn Job<C>>>,
        open: &mut Open<C>,
    ) -> Result<Option<Box<dyn Job<C>>>, StoreError> {
        if let Ok(job) = jobs.try_recv() {
            return Ok(Some(job));
        }
        // Waiting costs nothing while the server works on the pending commit.
        while open.previous.is_some() {
            if self.connection.has_committed() {
                self.confirm(open)?;
                return Ok(None);
            }
            if let Ok(job) = jobs.recv_timeout(POLL_INTERVAL) {
                return Ok(Some(job));
            }
        }
        let lingers = self.waiters.get() >= GROUP_COMMIT_MIN_WAITERS
            && open.batch.started_at.elapsed() < MAX_LINGER;
        Ok(if lingers {
            jobs.recv_timeout(LINGER).ok()
        } else {
            None
        })
    }

    /// Rolls the batch back and runs it again, each job in its own savepoint.
    fn rerun(&self, batch: &mut Batch<C>) -> Result<(), StoreError> {
        batch.is_guarded = true;
        self.roll_back()?;
        self.begin()?;
        let tx = self.tx(&batch.delivery_written);
        batch
            .jobs
            .iter_mut()
            .try_for_each(|job| self.run_guarded(&tx, job.as_mut()))
    }

    fn begin(&self) -> Result<(), StoreError> {
        self.begin_with(&[])
    }

    fn begin_with(&self, reads: &[&ReadAhead]) -> Result<(), StoreError> {
        let lease = self.connection.begin_with(reads)?;
        self.leases_in_a_row.set(0);
        self.start_lease(&lease);
        Ok(())
    }

    /// Prepares caches and event ids for a transaction.
    fn start_lease(&self, lease: &WriterLease) {
        let last = self.last_version.replace(Some(lease.next_version));
        self.is_alone.set(last == Some(lease.version));
        // Another node may have erased a tenant: its key must not stay in memory.
        let cached = self.cache_version.replace(Some(lease.cache_version));
        if cached.is_some_and(|version| version != lease.cache_version) {
            self.keys.evict_tenants();
        }
        self.cache.begin(lease.cache_version, self.is_alone.get());
        self.event_ids.borrow_mut().after(lease.last_event);
    }

    fn commit(&self) -> Result<(), StoreError> {
        self.connection
            .commit(self.event_ids.borrow().last(), self.cache.was_changed())
    }

    fn roll_back(&self) -> Result<(), StoreError> {
        self.evict_caches();
        self.connection.roll_back()
    }

    /// Evicts every cached row: it may have been read in a transaction that is undone.
    fn evict_caches(&self) {
        self.cache.clear();
        self.keys.evict_tenants();
    }

    fn tx<'a>(&'a self, delivery_written: &'a Cell<bool>) -> Tx<'a, C> {
        let Self {
            connection,
            keys,
            event_ids,
            cache,
            had_outage,
            ..
        } = self;
        let snapshot = Snapshot::new(connection, keys);
        Tx {
            snapshot,
            connection,
            event_ids,
            cache,
            delivery_written,
            had_outage,
        }
    }

    fn prepare(&self, job: &dyn Job<C>) {
        self.connection.set_long(job.kind() == JobKind::Long);
        // Such a job may change rows without naming them by their keys.
        if job.read_ahead().is_empty() {
            self.connection.forget_fetched();
        }
    }

    /// Runs one job. Returns `false` if it failed and has left changes behind. An error concerns the whole
    /// transaction.
    fn run_unguarded(&self, tx: &Tx<'_, C>, job: &mut dyn Job<C>) -> Result<bool, StoreError> {
        self.prepare(job);
        if job.kind() != JobKind::Speculative {
            self.cache.flush_and_evict(tx)?;
            self.connection.flush()?;
        }
        let before = self.connection.changes();
        Ok(run(tx, job) || (self.connection.changes() == before && self.connection.is_sound()))
    }

    /// Runs one job in a savepoint. An error concerns the whole transaction.
    fn run_guarded(&self, tx: &Tx<'_, C>, job: &mut dyn Job<C>) -> Result<(), StoreError> {
        self.prepare(job);
        self.connection.save()?;
        let mut succeeded = run(tx, job);
        if succeeded
            && let Err(error) = self
                .cache
                .flush_and_evict(tx)
                .and_then(|()| self.connection.await_deferred())
        {
            job.fail(error);
            succeeded = false;
        }
        if !succeeded {
            self.evict_caches();
        }
        self.connection.release(succeeded)
    }
}

/// Returns the reads of waiting jobs.
fn reads<C>(waiting: &VecDeque<Box<dyn Job<C>>>) -> Vec<&ReadAhead> {
    waiting.iter().flat_map(|job| job.read_ahead()).collect()
}
