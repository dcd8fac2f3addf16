//! The one writer: jobs that wait together are committed together.
//!
//! A job is a closure over the open transaction. Each runs in a savepoint of its own, so that one that fails takes
//! nothing of the others with it. Nobody hears of a result before the commit that makes it durable.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::{Connection, OptionalExtension, Params, Row};
use tokio::sync::{Notify, oneshot};

use super::ids::{EventId, EventIds};
use super::{StoreError, Timestamp};

/// Jobs that may wait; one more is refused with [`StoreError::Overloaded`].
const QUEUE: usize = 8192;
/// Jobs in one commit: more would make the first one wait for longer than a disk flush takes.
const BATCH: usize = 256;

/// The way to the writer thread. It ends when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    queue: SyncSender<Box<dyn Job>>,
}

/// The open transaction, as a job sees it.
pub(super) struct Tx<'a> {
    connection: &'a Connection,
    event_ids: &'a RefCell<EventIds>,
    delivery_written: &'a Cell<bool>,
}

impl Writer {
    /// Starts the thread. `deliveries` is told after each commit that wrote a delivery.
    pub(super) fn start(connection: Connection, deliveries: Arc<Notify>) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || Thread { connection, deliveries, event_ids: RefCell::default() }.run(&jobs))?;
        Ok(Self { queue })
    }

    /// Runs a job; returns once it is durable. An `Err` of the job undoes what the job did.
    pub(super) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job = Box::new(Task { work: Some(work), result: None, answer });
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        result.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

impl Tx<'_> {
    /// Runs a statement; how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }

    /// The first row, if there is one.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        row(self.connection, sql, params, read)
    }

    /// Every row.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        rows(self.connection, sql, params, read)
    }

    /// An id for an event, after all those given before.
    pub(super) fn event_id(&self, now: Timestamp) -> EventId {
        self.event_ids.borrow_mut().next(now)
    }

    /// Has the deliverer woken after the commit.
    pub(super) fn wake_deliverer(&self) {
        self.delivery_written.set(true);
    }
}

/// The first row of a query, if there is one.
pub(super) fn row<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    // An INSERT, UPDATE or DELETE with RETURNING is done with its first step: at most one row is asked for.
    Ok(connection.prepare_cached(sql)?.query_row(params, read).optional()?)
}

/// Every row of a query.
pub(super) fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

trait Job: Send {
    /// Does the work; whether what it did is to be kept.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Tells the result, or that there was no commit.
    fn finish(self: Box<Self>, committed: &Result<(), StoreError>);
}

struct Task<W, T, E> {
    work: Option<W>,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Job for Task<W, T, E>
where
    W: FnOnce(&Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        self.result = self.work.take().map(|work| work(tx));
        matches!(self.result, Some(Ok(_)))
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

struct Thread {
    connection: Connection,
    deliveries: Arc<Notify>,
    event_ids: RefCell<EventIds>,
}

impl Thread {
    fn run(self, jobs: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = jobs.recv() {
            let delivery_written = Cell::new(false);
            let mut done = Vec::new();
            let committed = self.commit(first, jobs, &delivery_written, &mut done);
            if let Err(error) = &committed {
                tracing::error!(%error, jobs = done.len(), "a transaction was not committed");
                if !self.connection.is_autocommit() {
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
            }
            done.into_iter().for_each(|job| job.finish(&committed));
            if delivery_written.get() {
                self.deliveries.notify_one();
            }
        }
    }

    fn commit(
        &self,
        first: Box<dyn Job>,
        jobs: &Receiver<Box<dyn Job>>,
        delivery_written: &Cell<bool>,
        done: &mut Vec<Box<dyn Job>>,
    ) -> Result<(), StoreError> {
        let tx = Tx { connection: &self.connection, event_ids: &self.event_ids, delivery_written };
        let mut next = Some(first);
        let begun = tx.execute("BEGIN IMMEDIATE", []);
        while let Some(mut job) = next {
            let ran = if begun.is_ok() { step(&tx, job.as_mut()) } else { Ok(()) };
            done.push(job);
            ran?;
            next = if done.len() < BATCH { jobs.try_recv().ok() } else { None };
        }
        begun?;
        tx.execute("COMMIT", [])?;
        Ok(())
    }
}

/// Runs one job in a savepoint. An error here is the whole transaction's.
fn step(tx: &Tx<'_>, job: &mut dyn Job) -> Result<(), StoreError> {
    tx.execute("SAVEPOINT job", [])?;
    let kept = catch_unwind(AssertUnwindSafe(|| job.run(tx))).unwrap_or_else(|_| {
        tracing::error!("a store job panicked; what it did is undone");
        false
    });
    if !kept {
        tx.execute("ROLLBACK TO job", [])?;
    }
    tx.execute("RELEASE job", [])?;
    Ok(())
}
