//! Reads: a pool of connections that can only read, on threads that may block.
//!
//! Where reads of a file follow each other closely they share a transaction: to begin one takes locks that cost as much
//! as looking a row up. It ends with the next commit of ours, before anybody is told of it, or after [`SHARED`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::store::core::crypto::{Keyring, TenantKey, WrappedKey};
use crate::store::core::database::{Connection, Params, Place, Row, sqlite};
use crate::store::core::sql;
use crate::store::core::statement::Statement;
use crate::store::{OpenError, StoreError, TenantId};

/// Connections to a file that are kept open when idle; more are opened while more reads run at once.
const IDLE: usize = 16;
/// Connections to a server, one a thread.
const THREADS: usize = 8;
/// For how long reads share a transaction, and how soon after each other they come for it: so much later at most is
/// seen what another process (the command line) has written.
const SHARED: Duration = Duration::from_millis(2);
/// A connection that nobody has read with for so long gives its page cache back.
const UNUSED: Duration = Duration::from_secs(5);
/// Reads that may wait for a server; one more is refused with [`StoreError::Overloaded`].
const QUEUE: usize = 8192;

#[derive(Clone)]
pub(crate) enum Readers {
    File(Arc<Pool>),
    Server(Arc<Threads>),
}

/// Connections to a file, each in the hands of at most one reader.
pub(crate) struct Pool {
    place: sqlite::Place,
    keys: Arc<Keyring>,
    idle: IdleReaders,
}

/// Connections to a file between two reads. The writer tells them of its commits.
#[derive(Clone, Default)]
pub(crate) struct IdleReaders(Arc<IdleParts>);

#[derive(Default)]
struct IdleParts {
    commits: AtomicU64,
    connections: Mutex<Vec<Idle>>,
}

/// A connection between two reads.
struct Idle {
    connection: Connection,
    used_at: Instant,
    shared: Option<Shared>,
    /// Whether its page cache was given back since it was used.
    lean: bool,
}

/// An open transaction that reads share.
#[derive(Clone, Copy)]
struct Shared {
    begun: Instant,
    /// Commits before it began.
    commits: u64,
}

/// Threads that each own a connection to a server. They end when this is dropped.
pub(crate) struct Threads {
    queue: SyncSender<Job>,
    place: Place,
    keys: Arc<Keyring>,
}

type Job = Box<dyn FnOnce(&mut Option<Connection>) + Send>;

/// The database, as a read sees it: each query sees one moment.
pub(crate) struct Snapshot<'a> {
    connection: &'a Connection,
    keys: &'a Keyring,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn new(connection: &'a Connection, keys: &'a Keyring) -> Self {
        Self { connection, keys }
    }
}

impl Snapshot<'_> {
    /// The first row, if there is one.
    pub(crate) fn row<T>(
        &self,
        statement: &'static Statement,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let (mut found, mut read) = (None, Some(read));
        params.with(|params| {
            self.connection.query(statement, params, &mut |row| {
                found = read.take().map(|read| read(row)).transpose()?;
                Ok(false)
            })
        })?;
        Ok(found)
    }

    /// Every row.
    pub(crate) fn rows<T>(
        &self,
        statement: &'static Statement,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        params.with(|params| {
            self.connection.query(statement, params, &mut |row| {
                rows.push(read(row)?);
                Ok(true)
            })
        })?;
        Ok(rows)
    }

    /// Reads the column `count` of a statement with one row; 0 if there is no row.
    pub(crate) fn count(
        &self,
        statement: &'static Statement,
        params: impl Params,
    ) -> Result<u64, StoreError> {
        let count = self.row(statement, params, |row| row.get("count"))?;
        Ok(count.unwrap_or(0))
    }

    /// What numbers and PINs are found by.
    pub(crate) fn keys(&self) -> &Keyring {
        self.keys
    }

    /// The key of a tenant's personal data.
    pub(crate) fn tenant_key(&self, tenant: &TenantId) -> Result<Arc<TenantKey>, StoreError> {
        self.keys.tenant(tenant, || {
            let sealed = self.row(sql::TENANT_KEY, [tenant.as_str()], |row| {
                row.get::<Option<String>>("sealed_key")
            })?;
            Ok(sealed.flatten().map(WrappedKey::stored))
        })
    }
}

impl Readers {
    pub(crate) fn open(
        place: &Place,
        keys: &Arc<Keyring>,
        idle: IdleReaders,
    ) -> Result<Self, OpenError> {
        match place {
            Place::Sqlite(file) => {
                idle.put(Idle {
                    connection: place.reader()?,
                    used_at: Instant::now(),
                    shared: None,
                    lean: false,
                });
                Ok(Self::File(Arc::new(Pool {
                    place: file.clone(),
                    keys: keys.clone(),
                    idle,
                })))
            }
            Place::Postgres(_) => Ok(Self::Server(Arc::new(Threads::start(place, keys)?))),
        }
    }

    /// Looks one row up by its key. In a file it takes some ten microseconds, less than the way to another thread and
    /// back, so that it is done at once.
    pub(crate) async fn look_up<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self {
            Self::File(pool) => pool.run(work),
            Self::Server(threads) => threads.run(work).await,
        }
    }

    /// Runs a read that may take longer, on a thread that may block.
    pub(crate) async fn read<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self {
            Self::File(pool) => {
                let pool = pool.clone();
                let task = tokio::task::spawn_blocking(move || pool.run(work));
                task.await
                    .unwrap_or_else(|_| Err(StoreError::Closed.into()))
            }
            Self::Server(threads) => threads.run(work).await,
        }
    }
}

impl Pool {
    fn run<T, E: From<StoreError>>(
        &self,
        work: impl Fn(&Snapshot<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut idle = match self.idle.take() {
            Some(idle) => idle,
            None => {
                let connection = Connection::Sqlite(self.place.reader().map_err(StoreError::from)?);
                Idle {
                    connection,
                    used_at: Instant::now(),
                    shared: None,
                    lean: false,
                }
            }
        };
        idle.prepare(self.idle.commits())?;
        let result = work(&Snapshot::new(&idle.connection, &self.keys));
        self.idle.put(idle);
        result
    }
}

impl IdleReaders {
    /// Something is durable, and nobody was told of it yet: what reads share does not show it.
    pub(crate) fn committed(&self) {
        self.0.commits.fetch_add(1, Ordering::Release);
        self.rest();
    }

    /// Ends the transactions that reads share: they hold on to the log.
    pub(crate) fn rest(&self) {
        for idle in self
            .connections()
            .iter_mut()
            .filter(|idle| idle.shared.is_some())
        {
            // A connection that cannot end it is of no use to the next read either, which says so.
            let _ = idle.end();
        }
    }

    /// What many reads at once have filled is of no use to those who come one by one.
    pub(crate) fn give_back(&self, now: Instant) {
        let unused =
            |idle: &&mut Idle| !idle.lean && now.saturating_duration_since(idle.used_at) >= UNUSED;
        for idle in self.connections().iter_mut().filter(unused) {
            idle.connection.rest();
            idle.lean = true;
        }
    }

    fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::Acquire)
    }

    fn take(&self) -> Option<Idle> {
        self.connections().pop()
    }

    fn put(&self, idle: Idle) {
        let mut connections = self.connections();
        if connections.len() < IDLE {
            connections.push(idle);
        }
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    /// Ends a transaction that shows too little, and begins one where the last read was a moment ago.
    fn prepare(&mut self, commits: u64) -> Result<(), StoreError> {
        let now = Instant::now();
        let is_busy = now.duration_since(self.used_at) < SHARED;
        (self.used_at, self.lean) = (now, false);
        match self.shared {
            Some(shared) if shared.commits == commits && !shared.is_old(now) => return Ok(()),
            Some(_) => self.end()?,
            None => {}
        }
        if is_busy {
            self.connection.begin_read()?;
            self.shared = Some(Shared {
                begun: now,
                commits,
            });
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.shared = None;
        self.connection.roll_back()
    }
}

impl Shared {
    fn is_old(&self, now: Instant) -> bool {
        now.duration_since(self.begun) >= SHARED
    }
}

impl Threads {
    fn start(place: &Place, keys: &Arc<Keyring>) -> Result<Self, OpenError> {
        let (queue, jobs) = sync_channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..THREADS {
            let jobs = jobs.clone();
            let thread = std::thread::Builder::new().name("store-reader".into());
            let started = thread.spawn(move || serve(&jobs));
            started.map_err(|source| OpenError::Io {
                path: "a reader's thread".into(),
                source,
            })?;
        }
        Ok(Self {
            queue,
            place: place.clone(),
            keys: keys.clone(),
        })
    }

    async fn run<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let (place, keys) = (self.place.clone(), self.keys.clone());
        let job: Job = Box::new(move |kept| {
            // Who asked may have gone.
            let _ = answer.send(read_on(kept, &place, &keys, &work));
        });
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        result
            .await
            .unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

fn serve(jobs: &Mutex<Receiver<Job>>) {
    let mut kept = None;
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        let run = catch_unwind(AssertUnwindSafe(|| job(&mut kept)));
        if run.is_err() {
            tracing::error!("a read of the store panicked");
            kept = None;
        }
    }
}

/// Reads on the connection that is kept, or on a new one: the server may have closed it while it was idle.
fn read_on<T, E: From<StoreError>>(
    kept: &mut Option<Connection>,
    place: &Place,
    keys: &Keyring,
    work: &impl Fn(&Snapshot<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let idle = kept.take().filter(|connection| !connection.is_closed());
    let again = idle.is_some();
    let connection = match idle {
        Some(connection) => connection,
        None => place.reader().map_err(StoreError::from)?,
    };
    let result = work(&Snapshot::new(&connection, keys));
    if !connection.is_closed() {
        *kept = Some(connection);
        return result;
    }
    if again {
        read_on(kept, place, keys, work)
    } else {
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_follow_each_other_share_a_transaction_until_something_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(sqlite::Place(folder.path().join("greenpin.db")));
        place.prepare().unwrap();
        let keys = Arc::new(Keyring::open(&folder.path().join("master.key")).unwrap());
        let idle = IdleReaders::default();
        let Readers::File(pool) = Readers::open(&place, &keys, idle.clone()).unwrap() else {
            unreachable!()
        };
        let read = || {
            pool.run(|snapshot| snapshot.row(sql::READY, (), |_| Ok(())))
                .unwrap()
        };
        let shares = || {
            idle.connections()
                .iter()
                .filter(|idle| idle.shared.is_some())
                .count()
        };
        // However long this thread was held up, two of many reads come within the time.
        while shares() == 0 {
            read();
        }
        idle.committed();
        assert_eq!(shares(), 0);
        while shares() == 0 {
            read();
        }
        idle.rest();
        assert_eq!(shares(), 0);
        let lean = || idle.connections().iter().all(|idle| idle.lean);
        idle.give_back(Instant::now());
        assert!(!lean());
        idle.give_back(Instant::now() + UNUSED);
        assert!(lean());
        read();
        assert!(!lean());
    }
}
