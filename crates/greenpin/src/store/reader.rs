//! Reads: a pool of connections that can only read, on threads that may block.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::database::{Connection, Params, Place, Row, sqlite};
use super::key::{Keyring, TenantKey, WrappedKey};
use super::{OpenError, StoreError, TenantId, sql};

/// Connections to a file that are kept open when idle; more are opened while more reads run at once.
const IDLE: usize = 16;
/// Connections to a server, one a thread.
const THREADS: usize = 8;
/// Reads that may wait for a server; one more is refused with [`StoreError::Overloaded`].
const QUEUE: usize = 8192;

#[derive(Clone)]
pub(super) enum Readers {
    File(Arc<Pool>),
    Server(Arc<Threads>),
}

/// Connections to a file, each in the hands of at most one reader.
pub(super) struct Pool {
    place: sqlite::Place,
    keys: Arc<Keyring>,
    idle: Mutex<Vec<Connection>>,
}

/// Threads that each own a connection to a server. They end when this is dropped.
pub(super) struct Threads {
    queue: SyncSender<Job>,
    place: Place,
    keys: Arc<Keyring>,
}

type Job = Box<dyn FnOnce(&mut Option<Connection>) + Send>;

/// The database, as a read sees it: each query sees one moment.
pub(super) struct Snapshot<'a> {
    connection: &'a Connection,
    keys: &'a Keyring,
}

impl<'a> Snapshot<'a> {
    pub(super) fn new(connection: &'a Connection, keys: &'a Keyring) -> Self {
        Self { connection, keys }
    }
}

impl Snapshot<'_> {
    /// The first row, if there is one.
    pub(super) fn row<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let (mut found, mut read) = (None, Some(read));
        params.with(|params| {
            self.connection.query(sql, params, &mut |row| {
                found = read.take().map(|read| read(row)).transpose()?;
                Ok(false)
            })
        })?;
        Ok(found)
    }

    /// Every row.
    pub(super) fn rows<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        params.with(|params| {
            self.connection.query(sql, params, &mut |row| {
                rows.push(read(row)?);
                Ok(true)
            })
        })?;
        Ok(rows)
    }

    /// What numbers and PINs are found by.
    pub(super) fn keys(&self) -> &Keyring {
        self.keys
    }

    /// The key of a tenant's personal data.
    pub(super) fn tenant_key(&self, tenant: &TenantId) -> Result<Arc<TenantKey>, StoreError> {
        self.keys.tenant(tenant, || {
            let sealed = self.row(sql::TENANT_KEY, [tenant.as_str()], |row| row.get::<Option<String>>(0))?;
            Ok(sealed.flatten().map(WrappedKey::stored))
        })
    }
}

impl Readers {
    pub(super) fn open(place: &Place, keys: &Arc<Keyring>) -> Result<Self, OpenError> {
        match place {
            Place::Sqlite(file) => {
                let first = place.reader()?;
                let pool = Pool { place: file.clone(), keys: keys.clone(), idle: Mutex::new(vec![first]) };
                Ok(Self::File(Arc::new(pool)))
            }
            Place::Postgres(_) => Ok(Self::Server(Arc::new(Threads::start(place, keys)?))),
        }
    }

    /// Looks one row up by its key. In a file it takes some ten microseconds, less than the way to another thread and
    /// back, so that it is done at once.
    pub(super) async fn look_up<T, E, W>(&self, work: W) -> Result<T, E>
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
    pub(super) async fn read<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self {
            Self::File(pool) => {
                let pool = pool.clone();
                let task = tokio::task::spawn_blocking(move || pool.run(work));
                task.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
            }
            Self::Server(threads) => threads.run(work).await,
        }
    }
}

impl Pool {
    fn run<T, E: From<StoreError>>(&self, work: impl Fn(&Snapshot<'_>) -> Result<T, E>) -> Result<T, E> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::Sqlite(self.place.reader().map_err(StoreError::from)?),
        };
        let result = work(&Snapshot::new(&connection, &self.keys));
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push(connection);
        }
        result
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
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
            started.map_err(|source| OpenError::Io { path: "a reader's thread".into(), source })?;
        }
        Ok(Self { queue, place: place.clone(), keys: keys.clone() })
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
        result.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
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
    if again { read_on(kept, place, keys, work) } else { result }
}
