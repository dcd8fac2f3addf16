//! The one writer: jobs that wait together are committed together.
//!
//! A job is a closure over the open transaction that can be run again. A batch runs plainly at first: a savepoint for
//! each job would copy every page that it changes. If one fails after it has changed something, all is rolled back
//! and run again, each job in a savepoint of its own, so that it takes nothing of the others with it. Nobody hears of
//! a result before the commit that makes it durable.
//!
//! Where many ask at once a commit takes about half of them: the others are read, answered and ask again meanwhile, so
//! that neither the disk nor the network waits for the other.

mod job;
mod lull;
mod thread;

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use tokio::sync::{Notify, oneshot};

use self::job::{Job, Kind, Task};
use self::thread::{Thread, Told};
use crate::metrics::METRICS;
use crate::store::allocations::number_cache::Offers;
use crate::store::core::crypto::Keyring;
use crate::store::core::database::{Connection, Params, Place};
use crate::store::core::ids::{EventId, EventIds};
use crate::store::core::reader::{IdleReaders, Snapshot};
use crate::store::tenants::cache::TenantCache;
use crate::store::{OpenError, StoreError, Timestamp};

/// Jobs that may wait; one more is refused with [`StoreError::Overloaded`].
const QUEUE: usize = 8192;

/// The way to the writer thread. It ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: SyncSender<Box<dyn Job>>,
    /// Jobs that nobody was told the result of yet.
    open: Arc<AtomicUsize>,
}

/// The open transaction, as a job sees it. It reads as any [`Snapshot`] does.
pub(crate) struct Tx<'a> {
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
        let work = move || match Thread::open(place, keys, told) {
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

    /// Makes an allocation; otherwise as [`Writer::write`].
    pub(crate) async fn create<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(Kind::Create, work).await
    }

    /// Runs a job; returns once it is durable. An `Err` of the job undoes what the job did. It may be run more than
    /// once, and what it did before is undone then.
    pub(crate) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
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

impl<'a> Deref for Tx<'a> {
    type Target = Snapshot<'a>;

    fn deref(&self) -> &Snapshot<'a> {
        &self.snapshot
    }
}

impl Tx<'_> {
    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(
        &self,
        sql: &'static str,
        params: impl Params,
    ) -> Result<usize, StoreError> {
        params.with(|params| self.connection.execute(sql, params))
    }

    /// Runs a statement whose effect need not be known: if it fails, nothing of the job is kept.
    pub(crate) fn send(&self, sql: &'static str, params: impl Params) -> Result<(), StoreError> {
        params.with(|params| self.connection.send(sql, params))
    }

    /// Inserts a row whose place need not be known: if that fails, nothing of the job is kept.
    pub(crate) fn append(&self, sql: &'static str, row: impl Params) -> Result<(), StoreError> {
        row.with(|row| self.connection.append(sql, row))
    }

    /// An id for an event, after all those given before.
    pub(crate) fn event_id(&self, now: Timestamp) -> EventId {
        self.event_ids.borrow_mut().next(now)
    }

    /// What creates that follow each other know of their numbers.
    pub(crate) fn offers(&self) -> &Offers {
        self.offers
    }

    /// Whether each question that waits for its answer costs a round trip to another process.
    pub(crate) fn is_far(&self) -> bool {
        self.connection.is_far()
    }

    /// What is kept of tenants between transactions.
    pub(crate) fn tenants(&self) -> &TenantCache {
        self.tenants
    }

    /// Has the deliverer woken after the commit.
    pub(crate) fn wake_deliverer(&self) {
        self.delivery_written.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::core::database::{Place, postgres, sqlite};
    use crate::store::{TenantId, tenants::settings};

    const ADD: &str = "INSERT INTO tenants (tenant_id, settings, created_at) VALUES ($1, '{}', 0)";
    const CHANGE: &str = "UPDATE tenants SET settings = '{\"pin_cooloff\": 7}'";

    fn file(folder: &tempfile::TempDir) -> Place {
        Place::Sqlite(sqlite::Place(folder.path().join("greenpin.db")))
    }

    fn writer() -> (tempfile::TempDir, Writer) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keyring::open(&folder.path().join("master.key")).unwrap();
        let writer = Writer::start(
            file(&folder),
            Arc::new(keys),
            Arc::default(),
            IdleReaders::default(),
        )
        .unwrap();
        (folder, writer)
    }

    async fn add(writer: &Writer, name: &'static str, fails: bool) -> Result<usize, StoreError> {
        let work = move |tx: &Tx<'_>| {
            let added = tx.execute(ADD, [name])?;
            if fails {
                Err(StoreError::Unreadable("what a test made up"))
            } else {
                Ok(added)
            }
        };
        writer.write(work).await
    }

    async fn names(writer: &Writer) -> Vec<String> {
        let read = |tx: &Tx<'_>| {
            tx.rows("SELECT tenant_id FROM tenants ORDER BY 1", (), |row| {
                row.get(0)
            })
        };
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
            tokio::join!(
                add(&writer, "a", false),
                add(&writer, "b", true),
                add(&writer, "c", false),
                release
            )
        };
        let (held, (a, b, c, ())) = tokio::join!(held, batch);
        assert!(held.is_ok() && b.is_err());
        assert_eq!((a, c), (Ok(1), Ok(1)));
        assert_eq!(names(&writer).await, ["a", "c"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_a_crowd_that_inserts_only_those_fail_whose_row_was_there_before() {
        const INSERT: &str =
            "INSERT INTO tenants (tenant_id, settings, created_at) VALUES ($1, $2, $3)";
        let server = crate::store::tests::postgres::new_database()
            .parse()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        for place in [
            Place::Postgres(Box::new(postgres::Place::new(server, None).unwrap())),
            file(&folder),
        ] {
            let keys = Keyring::open(&folder.path().join("master.key")).unwrap();
            let writer = Writer::start(
                place,
                Arc::new(keys),
                Arc::default(),
                IdleReaders::default(),
            )
            .unwrap();
            let mut crowd = tokio::task::JoinSet::new();
            for one in 0..64 {
                let writer = writer.clone();
                crowd.spawn(async move {
                    let mut refused = 0;
                    for turn in 0..20 {
                        // Each name comes twice, from two who ask at about the same time.
                        let name = format!("t{}-{turn}", one / 2);
                        let insert = move |tx: &Tx<'_>| tx.append(INSERT, (&name, "{}", 0_i64));
                        refused +=
                            usize::from(writer.create::<_, StoreError, _>(insert).await.is_err());
                    }
                    refused
                });
            }
            assert_eq!(crowd.join_all().await.into_iter().sum::<usize>(), 32 * 20);
            assert_eq!(names(&writer).await.len(), 32 * 20);
        }
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
                    if fails {
                        Err(StoreError::Unreadable("what a test made up"))
                    } else {
                        Ok(found)
                    }
                };
                writer.write(work).await
            }
        };
        assert_eq!(cooloff(false, false).await, Ok(3600));
        assert!(cooloff(true, true).await.is_err());
        assert_eq!(
            cooloff(false, false).await,
            Ok(3600),
            "a change that failed is not kept"
        );
        file(&folder)
            .writer()
            .unwrap()
            .execute(CHANGE, &[])
            .unwrap();
        assert_eq!(
            cooloff(false, false).await,
            Ok(7),
            "another process's change is seen"
        );
    }
}
