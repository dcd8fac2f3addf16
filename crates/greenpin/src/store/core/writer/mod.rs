//! The writers: threads that commit waiting jobs together, one on SQLite, one for each scope on PostgreSQL.
//!
//! A job is a closure over the open transaction that can run more than once. A batch first runs without savepoints,
//! because a savepoint for each job copies every changed page. If a job fails after a change, the writer rolls the
//! batch back and runs it again with a savepoint for each job: the failure then affects that job only. Results are
//! sent after the commit.
//!
//! Under load a commit takes about half of the concurrent jobs. The other half is received and answered meanwhile, so
//! that neither the disk nor the network is idle.

mod batch;
mod cache;
mod idle;
mod job;
mod thread;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use self::batch::WriterState;
pub(crate) use self::cache::WriterCache;
use self::job::{Job, JobKind, Task};
use self::thread::{CommitListeners, Thread};
use crate::metrics::METRICS;
use crate::store::core::crypto::Keyring;
use crate::store::core::database::{DatabaseConnection, DatabaseTarget, Params, ReadAhead};
use crate::store::core::ids::{EventId, EventIds};
use crate::store::core::reader::{IdleReaders, Snapshot};
use crate::store::core::statement::Statement;
use crate::store::core::write_scope::{COMMON_SHARD, WriteScope, tenant_shard};
use crate::store::{OpenError, StoreError, TenantId, Timestamp};
use crate::supervision::{Part, Supervisor};

/// Maximum number of waiting jobs. Further jobs fail with [`StoreError::Overloaded`].
pub const MAX_QUEUED_JOBS: usize = 8192;
/// Maximum wait for the result of a write. A job that has not started by then never runs.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handle of a writer thread, which ends with the last clone.
pub(crate) struct Writer<C> {
    queue: SyncSender<Box<dyn Job<C>>>,
    /// Number of jobs without a result.
    open: Arc<AtomicUsize>,
}

/// State of the last write.
#[derive(Clone, Default)]
pub(crate) struct WriteHealth(Arc<AtomicBool>);

impl WriteHealth {
    /// Records a write that failed because the database takes none, or one that succeeded.
    fn record(&self, is_failing: bool) {
        match (self.0.swap(is_failing, Ordering::Relaxed), is_failing) {
            (false, true) => {
                tracing::error!("the database takes no writes; this node is not ready")
            }
            (true, false) => tracing::info!("the database takes writes again"),
            _ => {}
        }
    }
}

/// Open transaction, as a job uses it. It reads like any [`Snapshot`].
pub(crate) struct Tx<'a, C> {
    snapshot: Snapshot<'a>,
    connection: &'a DatabaseConnection,
    event_ids: &'a RefCell<EventIds>,
    cache: &'a C,
    delivery_written: &'a Cell<bool>,
    /// Set by a statement that failed because the database takes no writes.
    had_outage: &'a Cell<bool>,
}

impl<C> Clone for Writer<C> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            open: self.open.clone(),
        }
    }
}

/// Writers of a database: one on SQLite, one for each scope on PostgreSQL.
pub(crate) struct Writers<C> {
    whole: Writer<C>,
    /// Writers of the shards; empty if one writer does everything.
    shards: Vec<Writer<C>>,
    health: WriteHealth,
}

impl<C: WriterCache + 'static> Writers<C> {
    /// Migrates the database and starts the threads, which notify `deliveries` after each commit with a delivery.
    /// `key_file` is the file of the master key. Returns the keys as well.
    pub(crate) fn start(
        target: DatabaseTarget,
        key_file: &Path,
        deliveries: Arc<Notify>,
        readers: IdleReaders,
        supervisor: &Supervisor,
    ) -> Result<(Self, Arc<Keyring>), OpenError> {
        let listeners = CommitListeners {
            deliveries,
            readers,
            open: Arc::default(),
            health: WriteHealth::default(),
        };
        let health = listeners.health.clone();
        let (whole, keys) = Writer::open(target.clone(), key_file, listeners.clone(), supervisor)?;
        let scopes = target.is_sharded().then(WriteScope::shards);
        let shards = scopes.into_iter().flatten().map(|scope| {
            let listeners = CommitListeners {
                open: Arc::default(),
                ..listeners.clone()
            };
            Writer::start((target.clone(), scope), keys.clone(), listeners, supervisor)
        });
        let shards = shards.collect::<Result<_, _>>()?;
        let writers = Self {
            whole,
            shards,
            health,
        };
        Ok((writers, keys))
    }

    /// Returns the writer of the rows of a tenant.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> &Writer<C> {
        self.shards.get(tenant_shard(tenant)).unwrap_or(&self.whole)
    }

    /// Returns the writer of the rows without a tenant. A job must not change other rows, nor rely on them.
    pub(crate) fn common(&self) -> &Writer<C> {
        self.shards.get(COMMON_SHARD).unwrap_or(&self.whole)
    }

    /// Returns the writer of all rows. A job waits for the others of all nodes and holds them up: for rare writes.
    pub(crate) fn whole(&self) -> &Writer<C> {
        &self.whole
    }

    /// Returns whether the tenants have writers of their own.
    pub(crate) fn is_sharded(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Splits items by the writers of their tenants.
    pub(crate) fn split<T>(
        &self,
        items: Vec<T>,
        tenant: impl Fn(&T) -> &TenantId,
    ) -> impl Iterator<Item = (&Writer<C>, Vec<T>)> {
        let mut groups: BTreeMap<usize, Vec<T>> = BTreeMap::new();
        for item in items {
            let shard = if self.is_sharded() {
                tenant_shard(tenant(&item))
            } else {
                0
            };
            groups.entry(shard).or_default().push(item);
        }
        groups
            .into_iter()
            .map(|(shard, items)| (self.shards.get(shard).unwrap_or(&self.whole), items))
    }

    /// Returns `true` if the last write failed because the database takes none.
    pub(crate) fn is_failing(&self) -> bool {
        self.health.0.load(Ordering::Relaxed)
    }
}

impl<C: WriterCache + 'static> Writer<C> {
    /// Migrates the database and starts the thread of all rows.
    fn open(
        target: DatabaseTarget,
        key_file: &Path,
        listeners: CommitListeners,
        supervisor: &Supervisor,
    ) -> Result<(Self, Arc<Keyring>), OpenError> {
        let (supervisor, key_file) = (supervisor.clone(), key_file.to_owned());
        let (ready, opened) = sync_channel(1);
        // The connection is created on the thread and stays there.
        let writer = Self::spawn(listeners, move |listeners, jobs| {
            match Thread::<C>::open(target, &key_file, listeners) {
                Ok(thread) => {
                    let guard = supervisor.watch(Part::StoreWriter);
                    let _ = ready.send(Ok(thread.keys()));
                    thread.run(WriterState::Idle, jobs, guard);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
        let gone = || {
            thread_error(std::io::Error::other(
                "the thread ended before it was ready",
            ))
        };
        let keys = opened.recv().map_err(|_| gone()).flatten()?;
        Ok((writer, keys))
    }

    /// Starts the thread of a scope, which connects for its first job.
    fn start(
        target: (DatabaseTarget, WriteScope),
        keys: Arc<Keyring>,
        listeners: CommitListeners,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let guard = supervisor.watch(Part::StoreWriter);
        Self::spawn(listeners, move |listeners, jobs| {
            Thread::<C>::run_scope(target, keys, listeners, jobs, guard);
        })
    }

    fn spawn(
        listeners: CommitListeners,
        work: impl FnOnce(CommitListeners, &Receiver<Box<dyn Job<C>>>) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (queue, jobs) = sync_channel(MAX_QUEUED_JOBS);
        let open = listeners.open.clone();
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || work(listeners, &jobs))
            .map_err(thread_error)?;
        Ok(Self { queue, open })
    }

    /// Runs a job that may take longer than [`WRITE_TIMEOUT`], such as an import. Otherwise like [`Writer::write`].
    pub(crate) async fn write_long<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_, C>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(JobKind::Long, Vec::new(), work).await
    }

    /// Runs a job that uses the cache only. It may run before the previous commit is durable. Otherwise like
    /// [`Writer::write`].
    pub(crate) async fn write_speculatively<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_, C>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(JobKind::Speculative, Vec::new(), work).await
    }

    /// Runs a job and returns its result after the commit. If the job returns `Err`, its changes are undone. It may
    /// run more than once; the changes of earlier runs are undone.
    pub(crate) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_, C>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(JobKind::Ordinary, Vec::new(), work).await
    }

    /// Like [`Writer::write`], for a job that changes rows by their keys only. Its reads are sent together with those of
    /// other waiting jobs, on a remote database only; it also works without their rows.
    pub(crate) async fn write_with<T, E, W>(
        &self,
        read_ahead: Vec<ReadAhead>,
        work: W,
    ) -> Result<T, E>
    where
        W: Fn(&Tx<'_, C>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(JobKind::Ordinary, read_ahead, work).await
    }

    async fn submit<T, E, W>(
        &self,
        kind: JobKind,
        read_ahead: Vec<ReadAhead>,
        work: W,
    ) -> Result<T, E>
    where
        W: Fn(&Tx<'_, C>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job = Box::new(Task::new(kind, read_ahead, work, answer));
        METRICS.store_queue.inc();
        self.open.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(job).map_err(|error| {
            METRICS.store_queue.dec();
            self.open.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => StoreError::Overloaded,
                TrySendError::Disconnected(_) => StoreError::Closed,
            }
        })?;
        let finished = match kind {
            JobKind::Long => result.await,
            JobKind::Speculative | JobKind::Ordinary => {
                match tokio::time::timeout(WRITE_TIMEOUT, result).await {
                    Ok(finished) => finished,
                    Err(_) => return Err(StoreError::Unavailable("no answer".into()).into()),
                }
            }
        };
        finished.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

fn thread_error(source: std::io::Error) -> OpenError {
    OpenError::Io {
        path: "the writer's thread".into(),
        source,
    }
}

impl<'a, C> Deref for Tx<'a, C> {
    type Target = Snapshot<'a>;

    fn deref(&self) -> &Snapshot<'a> {
        &self.snapshot
    }
}

impl<C> Tx<'_, C> {
    /// Runs a statement. Returns the number of changed rows.
    pub(crate) fn execute(
        &self,
        statement: &'static Statement,
        params: impl Params,
    ) -> Result<usize, StoreError> {
        let executed = params.with(|params| self.connection.execute(statement, params));
        self.note_outage(executed)
    }

    /// Runs a statement whose result is not needed. If it fails, the changes of the job are undone.
    pub(crate) fn execute_deferred(
        &self,
        statement: &'static Statement,
        params: impl Params,
    ) -> Result<(), StoreError> {
        let sent = params.with(|params| self.connection.execute_deferred(statement, params));
        self.note_outage(sent)
    }

    /// Inserts a row, possibly together with others. If that fails, the changes of the job are undone.
    pub(crate) fn insert_batched(
        &self,
        statement: &'static Statement,
        row: impl Params,
    ) -> Result<(), StoreError> {
        let sent = row.with(|row| self.connection.insert_batched(statement, row));
        self.note_outage(sent)
    }

    fn note_outage<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(StoreError::is_outage) {
            self.had_outage.set(true);
        }
        result
    }

    /// Returns the next event id, after all previous ones.
    pub(crate) fn event_id(&self, now: Timestamp) -> EventId {
        self.event_ids.borrow_mut().next(now)
    }

    /// Returns whether each answer costs a round trip to another process.
    pub(crate) fn is_remote(&self) -> bool {
        self.connection.is_remote()
    }

    /// Returns the cached rows.
    pub(crate) fn cache(&self) -> &C {
        self.cache
    }

    /// Wakes the webhook deliverer after the commit.
    pub(crate) fn wake_deliverer(&self) {
        self.delivery_written.set(true);
    }
}
