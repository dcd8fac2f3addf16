//! The thread that runs jobs and commits them.
//!
//! On a server the end of a transaction and the beginning of the next one go out together where many ask at once, and
//! jobs are run on while the server is busy with both: it has something to do all the time. What they do is sent, too,
//! but not committed before it is known that the transaction before was, and that no other node has written between.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::job::{Job, Kind, run};
use super::lull::{LOOK, Lull};
use super::{Tx, WriterCache};
use crate::metrics::METRICS;
use crate::store::core::crypto::Keyring;
use crate::store::core::database::{Connection, Place, Turn, Value};
use crate::store::core::ids::EventIds;
use crate::store::core::reader::{IdleReaders, Snapshot};
use crate::store::core::sql;
use crate::store::{OpenError, StoreError};

/// Jobs in one commit: more would make the first one wait for longer than a disk flush takes.
const BATCH: usize = 256;
/// Where so many ask at once, a commit waits a moment for its last jobs: what it costs is shared by more.
const CROWD: usize = 16;
/// How long it waits for one more job, and how long for all of them.
const LAST_CALL: Duration = Duration::from_micros(200);
const LAST_CALLS: Duration = Duration::from_millis(2);
/// How long it waits for one more job until it looks at the commit that is under way.
const GLANCE: Duration = Duration::from_micros(50);
/// Turns that a node takes one right after the other; then another one finds room.
const TURNS_IN_A_ROW: u32 = 16;

/// Who hears of commits, and who waits for them.
pub(crate) struct Told {
    pub(crate) deliveries: Arc<Notify>,
    pub(crate) readers: IdleReaders,
    pub(crate) open: Arc<AtomicUsize>,
}

/// The jobs of one transaction.
struct Batch<C> {
    begun: Instant,
    done: Vec<Box<dyn Job<C>>>,
    /// Whether each job has a savepoint of its own.
    is_guarded: bool,
    /// Whether all jobs are speculative.
    is_speculative: bool,
    delivery_written: Cell<bool>,
}

/// How far a transaction has come at its end.
enum Ended {
    /// It is durable.
    Committed,
    /// Its end is sent, and the beginning of the next one.
    HandedOver,
}

pub(crate) struct Thread<C> {
    place: Place,
    connection: Connection,
    keys: Arc<Keyring>,
    told: Told,
    event_ids: RefCell<EventIds>,
    cache: C,
    /// What the last transaction has left behind, if nobody else has written since.
    mark: Cell<Option<i64>>,
    /// Whether nobody else has written between the last two transactions.
    is_alone: Cell<bool>,
    turns_in_a_row: Cell<u32>,
    /// The batch whose commit is under way. The transaction after it is begun.
    ending: Option<Batch<C>>,
    /// How many ask at once, as the last commits saw it.
    crowd: Cell<usize>,
}

impl<C: WriterCache> Thread<C> {
    pub(crate) fn open(place: Place, keys: Arc<Keyring>, told: Told) -> Result<Self, OpenError> {
        place.prepare()?;
        let connection = place.writer()?;
        let thread = Self {
            place,
            connection,
            keys,
            told,
            event_ids: RefCell::default(),
            cache: C::default(),
            mark: Cell::default(),
            is_alone: Cell::default(),
            turns_in_a_row: Cell::default(),
            ending: None,
            crowd: Cell::default(),
        };
        if thread.knows_the_key().map_err(OpenError::Store)? {
            Ok(thread)
        } else {
            Err(OpenError::OtherKey)
        }
    }

    /// Whether the database is written with our master key. A new one is from now on.
    fn knows_the_key(&self) -> Result<bool, StoreError> {
        let digest = self.keys.master_digest();
        let snapshot = Snapshot::new(&self.connection, &self.keys);
        self.begin()?;
        self.connection
            .execute(sql::MASTER_KEY_INSERT, &[Value::Text(&digest)])?;
        let known = snapshot.row(sql::MASTER_KEY_SELECT, (), |row| {
            row.get::<String>("digest")
        })?;
        self.finish()?;
        Ok(known.as_ref() == Some(&digest))
    }

    pub(crate) fn run(mut self, jobs: &Receiver<Box<dyn Job<C>>>) {
        let mut lull = Lull::new(self.connection.changes(), Instant::now());
        loop {
            match jobs.recv_timeout(if self.ending.is_some() {
                LAST_CALLS
            } else {
                LOOK
            }) {
                Ok(first) => self.work(first, jobs),
                Err(RecvTimeoutError::Timeout) => self.withdraw(),
                Err(RecvTimeoutError::Disconnected) => return self.withdraw(),
            }
            if lull.has_begun(self.connection.changes(), Instant::now()) {
                // What a burst has filled is of no use to the quiet after it.
                self.connection.rest();
            }
        }
    }

    /// Commits what waits, and tells everybody; or sends the commit, for the next batch to begin meanwhile.
    fn work(&mut self, first: Box<dyn Job<C>>, jobs: &Receiver<Box<dyn Job<C>>>) {
        let mut batch = Batch::new();
        let ended = match self.begin_afresh() {
            Ok(()) => self
                .fill(first, jobs, &mut batch)
                .and_then(|()| self.end(&mut batch)),
            Err(error) => {
                // Nobody is to wait for a server that is away longer than the first one did.
                batch
                    .done
                    .extend(std::iter::once(first).chain(jobs.try_iter()));
                Err(error)
            }
        };
        match ended {
            Ok(Ended::HandedOver) => self.ending = Some(batch),
            Ok(Ended::Committed) => self.tell(batch, &Ok(())),
            Err(error) => {
                tracing::error!(%error, jobs = batch.done.len(), "a transaction was not committed");
                self.conclude_ending();
                let _ = self.roll_back();
                self.tell(batch, &Err(error));
            }
        }
    }

    fn tell(&self, batch: Batch<C>, committed: &Result<(), StoreError>) {
        count(batch.done.len(), batch.begun.elapsed());
        self.told.readers.committed();
        self.look_at_the_crowd();
        self.told
            .open
            .fetch_sub(batch.done.len(), Ordering::Relaxed);
        batch.done.into_iter().for_each(|job| job.finish(committed));
        if batch.delivery_written.get() {
            self.told.deliveries.notify_one();
        }
    }

    /// Begins a transaction unless one is begun; on a new connection, if the server has closed this one while it was
    /// idle.
    fn begin_afresh(&mut self) -> Result<(), StoreError> {
        if self.ending.is_some() {
            return Ok(());
        }
        let begun = self.begin();
        if !self.connection.is_closed() {
            return begun;
        }
        self.connection = self.place.writer()?;
        self.begin()
    }

    /// Runs jobs until the batch has its share.
    fn fill(
        &mut self,
        first: Box<dyn Job<C>>,
        jobs: &Receiver<Box<dyn Job<C>>>,
        batch: &mut Batch<C>,
    ) -> Result<(), StoreError> {
        let (mut next, share) = (Some(first), self.share());
        while let Some(job) = next {
            batch.is_speculative &= job.kind() == Kind::Speculative;
            batch.done.push(job);
            self.run_last(batch)?;
            next = if batch.done.len() < share {
                self.next(jobs, batch)?
            } else {
                None
            };
        }
        Ok(())
    }

    /// Runs the last job of a batch. An error here is the whole transaction's.
    fn run_last(&mut self, batch: &mut Batch<C>) -> Result<(), StoreError> {
        // What is not made to be run on what is only believed waits for it to be known.
        if !batch.is_speculative && !self.conclude(batch)? {
            return Ok(());
        }
        let tx = self.tx(&batch.delivery_written);
        let Some(job) = batch.done.last_mut() else {
            return Ok(());
        };
        if batch.is_guarded {
            return self.step(&tx, job.as_mut());
        }
        if !self.attempt(&tx, job.as_mut())? && self.conclude(batch)? {
            self.again(batch)?;
        }
        Ok(())
    }

    /// Ends the transaction of a batch.
    fn end(&mut self, batch: &mut Batch<C>) -> Result<Ended, StoreError> {
        let sent = self
            .cache
            .flush(&self.tx(&batch.delivery_written))
            .and_then(|()| self.connection.flush());
        let sent = if self.conclude(batch)? { sent } else { Ok(()) };
        let ended = sent.and_then(|()| {
            if !self.may_hand_over(batch) {
                return self.finish().map(|()| Ended::Committed);
            }
            self.turns_in_a_row
                .set(self.turns_in_a_row.get().saturating_add(1));
            self.connection
                .hand_over(self.event_ids.borrow().last())
                .map(|()| Ended::HandedOver)
        });
        match ended {
            // Something that was sent and not waited for has failed: which job's it was is to be found out.
            Err(StoreError::Database(_)) if !batch.is_guarded && !self.connection.is_closed() => {
                self.again(batch)?;
                self.finish().map(|()| Ended::Committed)
            }
            ended => ended,
        }
    }

    /// Whether the next transaction is to be begun before the end of this one is known: where that saves time, and
    /// nobody else is seen to write.
    fn may_hand_over(&self, batch: &Batch<C>) -> bool {
        self.connection.is_far()
            && batch.is_speculative
            && !batch.is_guarded
            && self.crowd.get() >= CROWD
            && self.is_alone.get()
            && self.turns_in_a_row.get() < TURNS_IN_A_ROW
    }

    /// Learns how the transaction before this one has ended, if it is under way, and tells those who wait for it.
    /// Whether what this batch did holds; otherwise all its jobs were run again.
    fn conclude(&mut self, batch: &mut Batch<C>) -> Result<bool, StoreError> {
        match self.conclude_ending() {
            None => Ok(true),
            Some(Some(turn)) => {
                self.take_turn(&turn);
                Ok(true)
            }
            Some(None) => self.again(batch).map(|()| false),
        }
    }

    /// Learns how the transaction that is under way has ended, if there is one, and tells those who wait for it. The
    /// turn that was begun after it, if nobody else had one between.
    fn conclude_ending(&mut self) -> Option<Option<Turn>> {
        let mut ending = self.ending.take()?;
        let committed = match self.connection.ended() {
            Err(StoreError::Database(_)) if !self.connection.is_closed() => {
                // Nothing could begin after it.
                self.connection.begun();
                self.again(&mut ending).and_then(|()| self.finish())
            }
            committed => committed,
        };
        if let Err(error) = &committed {
            tracing::error!(%error, jobs = ending.done.len(), "a transaction was not committed");
            // What it knew may never have been; another node's turn may leave behind the same mark.
            self.mark.set(None);
            self.forget();
        }
        // Whoever waits for it need not wait for the next turn, which may be another node's first.
        self.tell(ending, &committed);
        Some(
            self.connection
                .begun()
                .filter(|turn| self.mark.get() == Some(turn.mark)),
        )
    }

    /// Gives back a turn that was begun for jobs that have not come.
    fn withdraw(&mut self) {
        if self.conclude_ending().is_some()
            && let Err(error) = self.connection.roll_back()
        {
            tracing::warn!(%error, "an empty transaction was not rolled back");
        }
    }

    /// Jobs that a commit takes at the most: half of those who ask at once, if they are many.
    fn share(&self) -> usize {
        (self.crowd.get() / 2).clamp(CROWD, BATCH)
    }

    /// Sees how many ask at once: those whose result is known now, and those who came meanwhile.
    fn look_at_the_crowd(&self) {
        let open = self.told.open.load(Ordering::Relaxed);
        self.crowd
            .set(open.max(self.crowd.get() - self.crowd.get() / 4));
    }

    /// The next job of this batch.
    fn next(
        &mut self,
        jobs: &Receiver<Box<dyn Job<C>>>,
        batch: &mut Batch<C>,
    ) -> Result<Option<Box<dyn Job<C>>>, StoreError> {
        if let Ok(job) = jobs.try_recv() {
            return Ok(Some(job));
        }
        // While the server is busy nothing is lost by waiting.
        while self.ending.is_some() {
            if self.connection.has_ended() {
                self.conclude(batch)?;
                return Ok(None);
            }
            if let Ok(job) = jobs.recv_timeout(GLANCE) {
                return Ok(Some(job));
            }
        }
        let waits = self.crowd.get() >= CROWD && batch.begun.elapsed() < LAST_CALLS;
        Ok(if waits {
            jobs.recv_timeout(LAST_CALL).ok()
        } else {
            None
        })
    }

    /// Undoes the batch and runs it again, each job so that it takes nothing of the others with it.
    fn again(&self, batch: &mut Batch<C>) -> Result<(), StoreError> {
        batch.is_guarded = true;
        self.roll_back()?;
        self.begin()?;
        let tx = self.tx(&batch.delivery_written);
        batch
            .done
            .iter_mut()
            .try_for_each(|job| self.step(&tx, job.as_mut()))
    }

    fn begin(&self) -> Result<(), StoreError> {
        let turn = self.connection.begin()?;
        self.turns_in_a_row.set(0);
        self.take_turn(&turn);
        Ok(())
    }

    fn take_turn(&self, turn: &Turn) {
        self.is_alone
            .set(self.mark.replace(Some(turn.next_mark)) == Some(turn.mark));
        self.cache.begin(turn.version, self.is_alone.get());
        self.event_ids.borrow_mut().after(turn.last_event);
    }

    fn finish(&self) -> Result<(), StoreError> {
        self.connection
            .commit(self.event_ids.borrow().last(), self.cache.was_changed())
    }

    fn roll_back(&self) -> Result<(), StoreError> {
        self.forget();
        self.connection.roll_back()
    }

    /// What was read in a transaction that is undone may never have been.
    fn forget(&self) {
        self.cache.clear();
        self.keys.forget_all();
    }

    fn tx<'a>(&'a self, delivery_written: &'a Cell<bool>) -> Tx<'a, C> {
        let Self {
            connection,
            keys,
            event_ids,
            cache,
            ..
        } = self;
        let snapshot = Snapshot::new(connection, keys);
        Tx {
            snapshot,
            connection,
            event_ids,
            cache,
            delivery_written,
        }
    }

    /// Runs one job; whether it is kept, or has left nothing behind. An error here is the whole transaction's.
    fn attempt(&self, tx: &Tx<'_, C>, job: &mut dyn Job<C>) -> Result<bool, StoreError> {
        if job.kind() == Kind::Ordinary {
            self.cache.flush_and_evict(tx)?;
            self.connection.flush()?;
        }
        let before = self.connection.changes();
        Ok(run(tx, job) || (self.connection.changes() == before && self.connection.is_sound()))
    }

    /// Runs one job in a savepoint. An error here is the whole transaction's.
    fn step(&self, tx: &Tx<'_, C>, job: &mut dyn Job<C>) -> Result<(), StoreError> {
        self.connection.save()?;
        let mut kept = run(tx, job);
        if kept
            && let Err(error) = self
                .cache
                .flush_and_evict(tx)
                .and_then(|()| self.connection.settle())
        {
            job.fail(error);
            kept = false;
        }
        if !kept {
            self.forget();
        }
        self.connection.release(kept)
    }
}

impl<C> Batch<C> {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            done: Vec::new(),
            is_guarded: false,
            is_speculative: true,
            delivery_written: Cell::new(false),
        }
    }
}

fn count(jobs: usize, took: Duration) {
    METRICS.store_commit.observe(took.as_secs_f64());
    let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
    METRICS.store_batch.observe(jobs.into());
    METRICS.store_jobs.inc_by(jobs.into());
    METRICS.store_queue.dec_by(jobs.into());
}
