//! The one writer: jobs that wait together are committed together.
//!
//! A job is a closure over the open transaction that can be run again. A batch runs plainly at first: a savepoint for
//! each job would copy every page that it changes. If one fails after it has changed something, all is rolled back
//! and run again, each job in a savepoint of its own, so that it takes nothing of the others with it. Nobody hears of
//! a result before the commit that makes it durable.
//!
//! Where many ask at once a commit takes about half of them: the others are read, answered and ask again meanwhile, so
//! that neither the disk nor the network waits for the other.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::database::{Connection, Params, Place, Value};
use super::ids::{EventId, EventIds};
use super::key::Keyring;
use super::offer::Offers;
use super::reader::{IdleReaders, Snapshot};
use super::tenant_cache::TenantCache;
use super::{OpenError, StoreError, Timestamp, sql};
use crate::metrics::METRICS;

/// Jobs that may wait; one more is refused with [`StoreError::Overloaded`].
const QUEUE: usize = 8192;
/// Jobs in one commit: more would make the first one wait for longer than a disk flush takes.
const BATCH: usize = 256;
/// Where so many ask at once, a commit waits a moment for its last jobs: what it costs is shared by more.
const CROWD: usize = 16;
/// How long it waits for one more job, and how long for all of them.
const LAST_CALL: Duration = Duration::from_micros(200);
const LAST_CALLS: Duration = Duration::from_millis(2);
/// After so long without a change the page cache is given back.
const IDLE: Duration = Duration::from_secs(5);

/// The way to the writer thread. It ends when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    queue: SyncSender<Box<dyn Job>>,
    /// Jobs that nobody was told the result of yet.
    open: Arc<AtomicUsize>,
}

/// What a job does to the numbers that allocations are made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It makes an allocation, by what [`Offers`] knows of its number.
    Create,
    /// It may do anything.
    Other,
}

/// The open transaction, as a job sees it. It reads as any [`Snapshot`] does.
pub(super) struct Tx<'a> {
    snapshot: Snapshot<'a>,
    connection: &'a Connection,
    event_ids: &'a RefCell<EventIds>,
    tenants: &'a TenantCache,
    offers: &'a Offers,
    delivery_written: &'a Cell<bool>,
}

impl Writer {
    /// Brings the database up to date and starts the thread. `deliveries` is told after each commit that wrote a
    /// delivery.
    pub(super) fn start(
        place: Place,
        keys: Arc<Keyring>,
        deliveries: Arc<Notify>,
        readers: IdleReaders,
    ) -> Result<Self, OpenError> {
        let (queue, jobs) = sync_channel(QUEUE);
        let (ready, opened) = sync_channel(1);
        let open = Arc::<AtomicUsize>::default();
        let told = Told { deliveries, readers, open: open.clone() };
        // The connection belongs to the thread from the first moment on.
        let work = move || match Thread::open(place, keys, told) {
            Ok(thread) => {
                let _ = ready.send(Ok(()));
                thread.run(&jobs);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        };
        let started = std::thread::Builder::new().name("store-writer".into()).spawn(work);
        started.map_err(|source| OpenError::Io { path: "the writer's thread".into(), source })?;
        let gone = || std::io::Error::other("it ended before it was ready");
        opened
            .recv()
            .map_err(|_| OpenError::Io { path: "the writer's thread".into(), source: gone() })
            .flatten()?;
        Ok(Self { queue, open })
    }

    /// Makes an allocation; otherwise as [`Writer::write`].
    pub(super) async fn create<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(Kind::Create, work).await
    }

    /// Runs a job; returns once it is durable. An `Err` of the job undoes what the job did. It may be run more than
    /// once, and what it did before is undone then.
    pub(super) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(Kind::Other, work).await
    }

    async fn submit<T, E, W>(&self, kind: Kind, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job = Box::new(Task { kind, work, result: None, answer });
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
        result.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

impl<'a> Deref for Tx<'a> {
    type Target = Snapshot<'a>;

    fn deref(&self) -> &Snapshot<'a> {
        &self.snapshot
    }
}

impl Tx<'_> {
    /// Runs a statement; how many rows it changed.
    pub(super) fn execute(&self, sql: &'static str, params: impl Params) -> Result<usize, StoreError> {
        params.with(|params| self.connection.execute(sql, params))
    }

    /// Runs a statement whose effect need not be known: if it fails, nothing of the job is kept.
    pub(super) fn send(&self, sql: &'static str, params: impl Params) -> Result<(), StoreError> {
        params.with(|params| self.connection.send(sql, params))
    }

    /// Inserts a row whose place need not be known: if that fails, nothing of the job is kept.
    pub(super) fn append(&self, sql: &'static str, row: impl Params) -> Result<(), StoreError> {
        row.with(|row| self.connection.append(sql, row))
    }

    /// An id for an event, after all those given before.
    pub(super) fn event_id(&self, now: Timestamp) -> EventId {
        self.event_ids.borrow_mut().next(now)
    }

    /// What creates that follow each other know of their numbers.
    pub(super) fn offers(&self) -> &Offers {
        self.offers
    }

    /// Whether each question that waits for its answer costs a round trip to another process.
    pub(super) fn is_far(&self) -> bool {
        self.connection.is_far()
    }

    /// What is kept of tenants between transactions.
    pub(super) fn tenants(&self) -> &TenantCache {
        self.tenants
    }

    /// Has the deliverer woken after the commit.
    pub(super) fn wake_deliverer(&self) {
        self.delivery_written.set(true);
    }
}

trait Job: Send {
    fn kind(&self) -> Kind;
    /// Does the work; whether what it did is to be kept.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Something that it sent has failed.
    fn fail(&mut self, error: StoreError);
    /// Tells the result, or that there was no commit.
    fn finish(self: Box<Self>, committed: &Result<(), StoreError>);
}

struct Task<W, T, E> {
    kind: Kind,
    work: W,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Job for Task<W, T, E>
where
    W: Fn(&Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn kind(&self) -> Kind {
        self.kind
    }

    fn run(&mut self, tx: &Tx<'_>) -> bool {
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

/// Who hears of commits, and who waits for them.
struct Told {
    deliveries: Arc<Notify>,
    readers: IdleReaders,
    open: Arc<AtomicUsize>,
}

struct Thread {
    place: Place,
    connection: Connection,
    keys: Arc<Keyring>,
    told: Told,
    event_ids: RefCell<EventIds>,
    tenants: TenantCache,
    offers: Offers,
    /// What the last transaction has left behind, if nobody else has written since.
    mark: Cell<Option<i64>>,
    /// How many ask at once, as the last commits saw it.
    crowd: Cell<usize>,
}

impl Thread {
    fn open(place: Place, keys: Arc<Keyring>, told: Told) -> Result<Self, OpenError> {
        place.prepare()?;
        let connection = place.writer()?;
        let (event_ids, tenants, offers, mark, crowd) = Default::default();
        let thread = Self { place, connection, keys, told, event_ids, tenants, offers, mark, crowd };
        if thread.knows_the_key().map_err(OpenError::Store)? { Ok(thread) } else { Err(OpenError::OtherKey) }
    }

    /// Whether the database is written with our master key. A new one is from now on.
    fn knows_the_key(&self) -> Result<bool, StoreError> {
        let digest = self.keys.master_digest();
        let snapshot = Snapshot::new(&self.connection, &self.keys);
        self.begin()?;
        self.connection.execute(sql::MASTER_KEY_INSERT, &[Value::Text(&digest)])?;
        let known = snapshot.row(sql::MASTER_KEY_SELECT, (), |row| row.get::<String>(0))?;
        self.finish()?;
        Ok(known.as_ref() == Some(&digest))
    }

    fn run(mut self, jobs: &Receiver<Box<dyn Job>>) {
        let (mut changes, mut since) = (self.connection.changes(), Instant::now());
        let mut shrunk = false;
        loop {
            match jobs.recv_timeout(IDLE) {
                Ok(first) => self.work(first, jobs),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = self.connection.changes();
            if now != changes {
                (changes, since, shrunk) = (now, Instant::now(), false);
            } else if !shrunk && since.elapsed() >= IDLE {
                // What a burst has filled is of no use to the quiet after it.
                self.connection.rest();
                shrunk = true;
            }
        }
    }

    /// Commits what waits, and tells everybody.
    fn work(&mut self, first: Box<dyn Job>, jobs: &Receiver<Box<dyn Job>>) {
        let begun = Instant::now();
        let delivery_written = Cell::new(false);
        let mut done = Vec::new();
        let committed = match self.begin_afresh() {
            Ok(()) => self.commit(first, jobs, &delivery_written, &mut done),
            Err(error) => {
                // Nobody is to wait for a server that is away longer than the first one did.
                done.extend(std::iter::once(first).chain(jobs.try_iter()));
                Err(error)
            }
        };
        if let Err(error) = &committed {
            tracing::error!(%error, jobs = done.len(), "a transaction was not committed");
            let _ = self.roll_back();
        }
        count(done.len(), begun.elapsed());
        self.told.readers.committed();
        self.look_at_the_crowd();
        self.told.open.fetch_sub(done.len(), Ordering::Relaxed);
        done.into_iter().for_each(|job| job.finish(&committed));
        if delivery_written.get() {
            self.told.deliveries.notify_one();
        }
    }

    /// Begins a transaction; on a new connection, if the server has closed this one while it was idle.
    fn begin_afresh(&mut self) -> Result<(), StoreError> {
        let begun = self.begin();
        if !self.connection.is_closed() {
            return begun;
        }
        self.connection = self.place.writer()?;
        self.begin()
    }

    fn commit(
        &self,
        first: Box<dyn Job>,
        jobs: &Receiver<Box<dyn Job>>,
        delivery_written: &Cell<bool>,
        done: &mut Vec<Box<dyn Job>>,
    ) -> Result<(), StoreError> {
        let Self { connection, keys, event_ids, tenants, offers, .. } = self;
        let snapshot = Snapshot::new(connection, keys);
        let tx = Tx { snapshot, connection, event_ids, tenants, offers, delivery_written };
        let mut next = Some(first);
        let (mut guarded, begun, share) = (false, Instant::now(), self.share());
        while let Some(mut job) = next {
            let kept = match guarded {
                true => self.step(&tx, job.as_mut()).map(|()| true),
                false => self.attempt(&tx, job.as_mut()),
            };
            done.push(job);
            if !kept? {
                guarded = true;
                self.again(&tx, done)?;
            }
            next = if done.len() < share { self.next(jobs, begun) } else { None };
        }
        let committed = self.offers.write(&tx).and_then(|()| self.finish());
        match committed {
            // Something that was sent and not waited for has failed: which job's it was is to be found out.
            Err(StoreError::Database(_)) if !guarded && !connection.is_closed() => {
                self.again(&tx, done)?;
                self.finish()
            }
            committed => committed,
        }
    }

    /// Jobs that a commit takes at the most: half of those who ask at once, if they are many.
    fn share(&self) -> usize {
        (self.crowd.get() / 2).clamp(CROWD, BATCH)
    }

    /// Sees how many ask at once: those whose result is known now, and those who came meanwhile.
    fn look_at_the_crowd(&self) {
        let open = self.told.open.load(Ordering::Relaxed);
        self.crowd.set(open.max(self.crowd.get() - self.crowd.get() / 4));
    }

    /// The next job of this commit.
    fn next(&self, jobs: &Receiver<Box<dyn Job>>, begun: Instant) -> Option<Box<dyn Job>> {
        match jobs.try_recv() {
            Ok(job) => Some(job),
            Err(_) if self.crowd.get() >= CROWD && begun.elapsed() < LAST_CALLS => {
                jobs.recv_timeout(LAST_CALL).ok()
            }
            Err(_) => None,
        }
    }

    /// Undoes the batch and runs it again, each job so that it takes nothing of the others with it.
    fn again(&self, tx: &Tx<'_>, done: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.roll_back()?;
        self.begin()?;
        done.iter_mut().try_for_each(|job| self.step(tx, job.as_mut()))
    }

    fn begin(&self) -> Result<(), StoreError> {
        let turn = self.connection.begin()?;
        if self.mark.replace(Some(turn.next_mark)) != Some(turn.mark) {
            self.offers.clear();
        }
        self.tenants.refresh(turn.version);
        self.event_ids.borrow_mut().after(turn.last_event);
        Ok(())
    }

    fn finish(&self) -> Result<(), StoreError> {
        self.connection.commit(self.event_ids.borrow().last(), self.tenants.was_changed())
    }

    fn roll_back(&self) -> Result<(), StoreError> {
        self.forget();
        self.connection.roll_back()
    }

    /// What was read in a transaction that is undone may never have been.
    fn forget(&self) {
        self.tenants.clear();
        self.offers.clear();
        self.keys.forget_all();
    }

    /// Runs one job; whether it is kept, or has left nothing behind. An error here is the whole transaction's.
    fn attempt(&self, tx: &Tx<'_>, job: &mut dyn Job) -> Result<bool, StoreError> {
        if job.kind() == Kind::Other {
            self.offers.settle(tx)?;
            self.connection.flush()?;
        }
        let before = self.connection.changes();
        Ok(run(tx, job) || (self.connection.changes() == before && self.connection.is_sound()))
    }

    /// Runs one job in a savepoint. An error here is the whole transaction's.
    fn step(&self, tx: &Tx<'_>, job: &mut dyn Job) -> Result<(), StoreError> {
        self.connection.save()?;
        let mut kept = run(tx, job);
        if kept && let Err(error) = self.offers.settle(tx).and_then(|()| self.connection.settle()) {
            job.fail(error);
            kept = false;
        }
        if !kept {
            self.forget();
        }
        self.connection.release(kept)
    }
}

fn count(jobs: usize, took: Duration) {
    METRICS.store_commit.observe(took.as_secs_f64());
    let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
    METRICS.store_batch.observe(jobs.into());
    METRICS.store_jobs.inc_by(jobs.into());
    METRICS.store_queue.dec_by(jobs.into());
}

/// Runs one job; whether what it did is to be kept.
fn run(tx: &Tx<'_>, job: &mut dyn Job) -> bool {
    catch_unwind(AssertUnwindSafe(|| job.run(tx))).unwrap_or_else(|_| {
        tracing::error!("a store job panicked; what it did is undone");
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::{Place, sqlite};
    use crate::store::{TenantId, settings};

    const ADD: &str = "INSERT INTO tenants (tenant_id, settings, created_at) VALUES ($1, '{}', 0)";
    const CHANGE: &str = "UPDATE tenants SET settings = '{\"pin_cooloff\": 7}'";

    fn file(folder: &tempfile::TempDir) -> Place {
        Place::Sqlite(sqlite::Place(folder.path().join("greenpin.db")))
    }

    fn writer() -> (tempfile::TempDir, Writer) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keyring::open(&folder.path().join("master.key")).unwrap();
        let writer =
            Writer::start(file(&folder), Arc::new(keys), Arc::default(), IdleReaders::default()).unwrap();
        (folder, writer)
    }

    async fn add(writer: &Writer, name: &'static str, fails: bool) -> Result<usize, StoreError> {
        let work = move |tx: &Tx<'_>| {
            let added = tx.execute(ADD, [name])?;
            if fails { Err(StoreError::Unreadable("what a test made up")) } else { Ok(added) }
        };
        writer.write(work).await
    }

    async fn names(writer: &Writer) -> Vec<String> {
        let read = |tx: &Tx<'_>| tx.rows("SELECT tenant_id FROM tenants ORDER BY 1", (), |row| row.get(0));
        writer.write::<_, StoreError, _>(read).await.unwrap()
    }

    #[tokio::test]
    async fn a_job_that_fails_halfway_takes_nothing_of_its_batch_with_it() {
        let (_folder, writer) = writer();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let held = writer.write::<(), StoreError, _>(move |_| {
            // Open once, it stays open: the job may be run again.
            let _ = gate.recv();
            Ok(())
        });
        let release = async move { drop(open) };
        let batch = async {
            tokio::join!(add(&writer, "a", false), add(&writer, "b", true), add(&writer, "c", false), release)
        };
        let (held, (a, b, c, ())) = tokio::join!(held, batch);
        assert!(held.is_ok() && b.is_err());
        assert_eq!((a, c), (Ok(1), Ok(1)));
        assert_eq!(names(&writer).await, ["a", "c"]);
    }

    #[tokio::test]
    async fn a_job_that_panics_halfway_leaves_nothing_behind() {
        let (_folder, writer) = writer();
        let broken = writer.write::<(), StoreError, _>(|tx| {
            tx.execute(ADD, ["a"])?;
            std::panic::resume_unwind(Box::new("made up"))
        });
        assert!(broken.await.is_err());
        assert_eq!(add(&writer, "b", false).await, Ok(1));
        assert_eq!(names(&writer).await, ["b"]);
    }

    #[tokio::test]
    async fn settings_that_were_rolled_back_or_changed_elsewhere_are_not_kept() {
        let (folder, writer) = writer();
        add(&writer, "acme", false).await.unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let cooloff = |fails: bool, change: bool| {
            let (tenant, writer) = (tenant.clone(), writer.clone());
            async move {
                let work = move |tx: &Tx<'_>| {
                    if change {
                        tx.execute(CHANGE, ())?;
                        tx.tenants().change();
                    }
                    let found = settings::of(tx, &tenant)?.pin_cooloff;
                    if fails { Err(StoreError::Unreadable("what a test made up")) } else { Ok(found) }
                };
                writer.write(work).await
            }
        };
        assert_eq!(cooloff(false, false).await, Ok(3600));
        assert!(cooloff(true, true).await.is_err());
        assert_eq!(cooloff(false, false).await, Ok(3600), "a change that failed is not kept");
        file(&folder).writer().unwrap().execute(CHANGE, &[]).unwrap();
        assert_eq!(cooloff(false, false).await, Ok(7), "another process's change is seen");
    }
}
