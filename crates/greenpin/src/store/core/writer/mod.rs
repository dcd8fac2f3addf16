//! The one writer: jobs that wait together are committed together.
//!
//! A job is a closure over the open transaction that can be run again. A batch runs plainly at first: a savepoint for
//! each job would copy every page that it changes. If one fails after it has changed something, all is rolled back
//! and run again, each job in a savepoint of its own, so that it takes nothing of the others with it. Nobody hears of
//! a result before the commit that makes it durable.
//!
//! Where many ask at once a commit takes about half of them: the others are read, answered and ask again meanwhile, so
//! that neither the disk nor the network waits for the other.

mod cache;
mod job;
mod lull;
mod thread;

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use tokio::sync::{Notify, oneshot};

pub(crate) use self::cache::WriterCache;
use self::job::{Job, Kind, Task};
use self::thread::{Thread, Told};
use crate::metrics::METRICS;
use crate::store::core::crypto::Keyring;
use crate::store::core::database::{Connection, Params, Place};
use crate::store::core::ids::{EventId, EventIds};
use crate::store::core::reader::{IdleReaders, Snapshot};
use crate::store::core::statement::Statement;
use crate::store::{OpenError, StoreError, Timestamp};

/// Jobs that may wait; one more is refused with [`StoreError::Overloaded`].
const QUEUE: usize = 8192;

/// The way to the writer thread. It ends when the last clone is dropped.
pub(crate) struct Writer<C> {
    queue: SyncSender<Box<dyn Job<C>>>,
    /// Jobs that nobody was told the result of yet.
    open: Arc<AtomicUsize>,
}

/// The open transaction, as a job sees it. It reads as any [`Snapshot`] does.
pub(crate) struct Tx<'a, C> {
    snapshot: Snapshot<'a>,
    connection: &'a Connection,
    event_ids: &'a RefCell<EventIds>,
    cache: &'a C,
    delivery_written: &'a Cell<bool>,
}

impl<C> Clone for Writer<C> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            open: self.open.clone(),
        }
    }
}

impl<C: WriterCache + 'static> Writer<C> {
    /// Brings the database up to date and starts the thread. `deliveries` is told after each commit that wrote a
    /// delivery.
    pub(crate) fn start(
        place: Place,
        keys: Arc<Keyring>,
        deliveries: Arc<Notify>,
        readers: IdleReaders,
    ) -> Result<Self, OpenError> {
        let (queue, jobs) = sync_channel(QUEUE);
        let (ready, opened) = sync_channel(1);
        let open = Arc::<AtomicUsize>::default();
        let told = Told {
            deliveries,
            readers,
            open: open.clone(),
        };
        // The connection belongs to the thread from the first moment on.
        let work = move || match Thread::<C>::open(place, keys, told) {
            Ok(thread) => {
                let _ = ready.send(Ok(()));
                thread.run(&jobs);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        };
        let started = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(work);
        started.map_err(|source| OpenError::Io {
            path: "the writer's thread".into(),
            source,
        })?;
        let gone = || std::io::Error::other("it ended before it was ready");
        opened
            .recv()
            .map_err(|_| OpenError::Io {
                path: "the writer's thread".into(),
                source: gone(),
            })
            .flatten()?;
        Ok(Self { queue, open })
    }

    /// Runs a job that works with the cache alone, and may run before the commit of the jobs before it is known to be
    /// durable. Otherwise as [`Writer::write`].
    pub(crate) async fn write_speculatively<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_, C>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(Kind::Speculative, work).await
    }

    /// Runs a job; returns once it is durable. An `Err` of the job undoes what the job did. It may be run more than
    /// once, and what it did before is undone then.
    pub(crate) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_, C>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(Kind::Ordinary, work).await
    }

    async fn submit<T, E, W>(&self, kind: Kind, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_, C>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job = Box::new(Task::new(kind, work, answer));
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
        result
            .await
            .unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

impl<'a, C> Deref for Tx<'a, C> {
    type Target = Snapshot<'a>;

    fn deref(&self) -> &Snapshot<'a> {
        &self.snapshot
    }
}

impl<C> Tx<'_, C> {
    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(
        &self,
        statement: &'static Statement,
        params: impl Params,
    ) -> Result<usize, StoreError> {
        params.with(|params| self.connection.execute(statement, params))
    }

    /// Runs a statement whose effect need not be known: if it fails, nothing of the job is kept.
    pub(crate) fn send(
        &self,
        statement: &'static Statement,
        params: impl Params,
    ) -> Result<(), StoreError> {
        params.with(|params| self.connection.send(statement, params))
    }

    /// Inserts a row whose place need not be known: if that fails, nothing of the job is kept.
    pub(crate) fn append(
        &self,
        statement: &'static Statement,
        row: impl Params,
    ) -> Result<(), StoreError> {
        row.with(|row| self.connection.append(statement, row))
    }

    /// An id for an event, after all those given before.
    pub(crate) fn event_id(&self, now: Timestamp) -> EventId {
        self.event_ids.borrow_mut().next(now)
    }

    /// Whether each question that waits for its answer costs a round trip to another process.
    pub(crate) fn is_far(&self) -> bool {
        self.connection.is_far()
    }

    /// Returns the rows that the writer keeps between transactions.
    pub(crate) fn cache(&self) -> &C {
        self.cache
    }

    /// Has the deliverer woken after the commit.
    pub(crate) fn wake_deliverer(&self) {
        self.delivery_written.set(true);
    }
}
