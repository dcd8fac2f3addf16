//! Pool of read-only connections, on threads that may block.
//!
//! Reads of a file in quick succession share a transaction: its begin takes locks that cost as much as the lookup of a
//! row. The transaction ends with the next commit of this process, before the commit is confirmed, or after
//! [`MAX_SHARED_AGE`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::RecordingKey;
use crate::store::core::crypto::{Keyring, TenantKey, WrappedKey};
use crate::store::core::database::{DatabaseConnection, DatabaseTarget, Params, Row, sqlite};
use crate::store::core::key_binding;
use crate::store::core::key_sql;
use crate::store::core::sql;
use crate::store::core::statement::Statement;
use crate::store::{OpenError, StoreError, TenantId};
use crate::supervision::{Part, PartGuard, Supervisor};

/// Maximum number of idle connections to a file. More are opened for concurrent reads.
const MAX_IDLE_CONNECTIONS: usize = 16;
/// Number of threads for lookups by a key on a server, and for longer reads, each with a connection. A list that takes
/// long does not delay a lookup.
pub const READER_THREADS: usize = 4;
/// Maximum age of a shared transaction, and maximum pause between two reads that share it. Changes by another process,
/// such as a command, become visible with this delay at most.
const MAX_SHARED_AGE: Duration = Duration::from_millis(2);
/// Idle time after which a connection releases its page cache.
const MEMORY_RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for the result of a read. A read that has not started by then never runs.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of waiting reads on a server. Further reads fail with [`StoreError::Overloaded`].
pub const MAX_QUEUED_READS: usize = 8192;

#[derive(Clone)]
pub(crate) enum Readers {
    File(Arc<ReaderPool>),
    Server {
        /// Threads for lookups by a key.
        look_ups: Arc<ReaderThreads>,
        /// Threads for longer reads.
        reads: Arc<ReaderThreads>,
    },
}

/// Connections to a file. One reader at a time uses a connection.
pub(crate) struct ReaderPool {
    target: sqlite::SqliteTarget,
    keys: Arc<Keyring>,
    idle: IdleReaders,
}

/// Idle connections to a file. The writer notifies them of commits.
#[derive(Clone, Default)]
pub(crate) struct IdleReaders(Arc<IdleParts>);

#[derive(Default)]
struct IdleParts {
    commits: watch::Sender<u64>,
    connections: Mutex<Vec<IdleConnection>>,
}

/// Idle connection.
struct IdleConnection {
    connection: DatabaseConnection,
    used_at: Instant,
    shared: Option<SharedSnapshot>,
    /// The page cache was released since the last use.
    is_lean: bool,
}

/// Open transaction that several reads share.
#[derive(Clone, Copy)]
struct SharedSnapshot {
    started_at: Instant,
    /// Number of commits before its begin.
    commits: u64,
}

/// Reader threads for a server, each with its own connection. They end when this value is dropped.
pub(crate) struct ReaderThreads {
    queue: SyncSender<ReadJob>,
    target: DatabaseTarget,
    keys: Arc<Keyring>,
}

type ReadJob = Box<dyn FnOnce(&mut Option<DatabaseConnection>) + Send>;

/// View of the database for a read. Each query runs on one snapshot.
pub(crate) struct Snapshot<'a> {
    connection: &'a DatabaseConnection,
    keys: &'a Keyring,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn new(connection: &'a DatabaseConnection, keys: &'a Keyring) -> Self {
        Self { connection, keys }
    }
}

impl Snapshot<'_> {
    /// Returns the first row; `None` if there is none.
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

    /// Returns all rows.
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

    /// Returns the column `count` of a statement with one row; 0 if there is no row.
    pub(crate) fn count(
        &self,
        statement: &'static Statement,
        params: impl Params,
    ) -> Result<u64, StoreError> {
        let count = self.row(statement, params, |row| row.get("count"))?;
        Ok(count.unwrap_or(0))
    }

    /// Returns the index keys of numbers and PINs.
    pub(crate) fn keys(&self) -> &Keyring {
        self.keys
    }

    /// Reads keys and key files again.
    pub(crate) fn reload_keys(&self) -> Result<(), StoreError> {
        key_binding::refresh(self.connection, self.keys)
    }

    /// Returns the key of a tenant's personal data.
    pub(crate) fn tenant_key(&self, tenant: &TenantId) -> Result<Arc<TenantKey>, StoreError> {
        if let Some(key) = self.keys.cached_tenant(tenant) {
            return Ok(key);
        }
        let encrypted = self.row(sql::TENANT_KEY, [tenant.as_str()], |row| {
            row.get::<Option<String>>("sealed_key")
        })?;
        let wrapped = encrypted.flatten().map(WrappedKey::stored);
        let wrapped = wrapped.ok_or(StoreError::Unreadable("key of a tenant"))?;
        if !self.keys.loaded().can_unwrap(&wrapped) {
            self.reload_keys()?;
        }
        self.keys.open_tenant(tenant, &wrapped)
    }

    /// Returns the encryption of a tenant's recordings.
    pub(crate) fn recording_key(&self, tenant: &TenantId) -> Result<RecordingKey, StoreError> {
        let key = self.tenant_key(tenant)?.recordings();
        Ok(self.keys.recordings().with_tenant(key))
    }

    /// Creates the key of a new tenant, encrypted with the current master key.
    pub(crate) fn new_tenant_key(&self, tenant: &TenantId) -> Result<WrappedKey, StoreError> {
        self.refresh_keys()?;
        self.keys.new_tenant_key(tenant)
    }

    /// Reads the keys again if another process has begun a rotation.
    pub(crate) fn refresh_keys(&self) -> Result<(), StoreError> {
        let newest: Option<i64> =
            self.row(key_sql::NEWEST_GENERATION, (), |row| row.get("generation"))?;
        if newest != Some(self.keys.loaded().generation) {
            self.reload_keys()?;
        }
        Ok(())
    }
}

impl Readers {
    pub(crate) fn open(
        target: &DatabaseTarget,
        keys: &Arc<Keyring>,
        idle: IdleReaders,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        match target {
            DatabaseTarget::Sqlite(file) => {
                idle.check_in(IdleConnection {
                    connection: target.reader()?,
                    used_at: Instant::now(),
                    shared: None,
                    is_lean: false,
                });
                Ok(Self::File(Arc::new(ReaderPool {
                    target: file.clone(),
                    keys: keys.clone(),
                    idle,
                })))
            }
            DatabaseTarget::Postgres(_) => {
                let start = || ReaderThreads::start(target, keys, supervisor).map(Arc::new);
                Ok(Self::Server {
                    look_ups: start()?,
                    reads: start()?,
                })
            }
        }
    }

    /// Looks up a row by its key. On a file this runs on the calling thread: it takes about ten microseconds, less
    /// than a switch to another thread.
    pub(crate) async fn look_up<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: Fn(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match self {
            Self::File(pool) => pool.run(work),
            Self::Server { look_ups, .. } => look_ups.run(work).await,
        }
    }

    /// Runs a longer read on a thread that may block.
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
                match tokio::time::timeout(READ_TIMEOUT, task).await {
                    Ok(result) => result.unwrap_or_else(|_| Err(StoreError::Closed.into())),
                    Err(_) => Err(StoreError::Unavailable("no answer".into()).into()),
                }
            }
            Self::Server { reads, .. } => reads.run(work).await,
        }
    }
}

impl ReaderPool {
    fn run<T, E: From<StoreError>>(
        &self,
        work: impl Fn(&Snapshot<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut idle = match self.idle.check_out() {
            Some(idle) => idle,
            None => {
                let connection =
                    DatabaseConnection::Sqlite(self.target.reader().map_err(StoreError::from)?);
                IdleConnection {
                    connection,
                    used_at: Instant::now(),
                    shared: None,
                    is_lean: false,
                }
            }
        };
        idle.prepare(self.idle.commits())?;
        let result = work(&Snapshot::new(&idle.connection, &self.keys));
        self.idle.check_in(idle);
        result
    }
}

impl IdleReaders {
    /// Ends the shared transactions after a commit, before the writer confirms it.
    pub(crate) fn on_commit(&self) {
        self.0
            .commits
            .send_modify(|commits| *commits = commits.wrapping_add(1));
        self.end_shared();
    }

    /// Ends the shared transactions, which keep the log from being truncated.
    pub(crate) fn end_shared(&self) {
        for idle in self
            .connections()
            .iter_mut()
            .filter(|idle| idle.shared.is_some())
        {
            // If this fails, the next read on the connection reports the error.
            let _ = idle.end();
        }
    }

    /// Releases the page caches of connections that were not used for a while.
    pub(crate) fn release_memory(&self, now: Instant) {
        let unused = |idle: &&mut IdleConnection| {
            !idle.is_lean && now.saturating_duration_since(idle.used_at) >= MEMORY_RELEASE_TIMEOUT
        };
        for idle in self.connections().iter_mut().filter(unused) {
            idle.connection.release_memory();
            idle.is_lean = true;
        }
    }

    fn commits(&self) -> u64 {
        *self.0.commits.borrow()
    }

    /// Returns the number of commits of this process, to wait for the next one.
    pub(crate) fn watch_commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    fn check_out(&self) -> Option<IdleConnection> {
        self.connections().pop()
    }

    fn check_in(&self, idle: IdleConnection) {
        let mut connections = self.connections();
        if connections.len() < MAX_IDLE_CONNECTIONS {
            connections.push(idle);
        }
    }

    fn connections(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.0
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleConnection {
    /// Ends an outdated shared transaction. Begins one if the previous read was very recent.
    fn prepare(&mut self, commits: u64) -> Result<(), StoreError> {
        let now = Instant::now();
        let is_busy = now.duration_since(self.used_at) < MAX_SHARED_AGE;
        (self.used_at, self.is_lean) = (now, false);
        match self.shared {
            Some(shared) if shared.commits == commits && !shared.is_old(now) => return Ok(()),
            Some(_) => self.end()?,
            None => {}
        }
        if is_busy {
            self.connection.begin_read()?;
            self.shared = Some(SharedSnapshot {
                started_at: now,
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

impl SharedSnapshot {
    fn is_old(&self, now: Instant) -> bool {
        now.duration_since(self.started_at) >= MAX_SHARED_AGE
    }
}

impl ReaderThreads {
    fn start(
        target: &DatabaseTarget,
        keys: &Arc<Keyring>,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let (queue, jobs) = sync_channel::<ReadJob>(MAX_QUEUED_READS);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..READER_THREADS {
            let jobs = jobs.clone();
            let thread = std::thread::Builder::new().name("store-reader".into());
            let guard = supervisor.watch(Part::StoreReader);
            let started = thread.spawn(move || run_jobs(&jobs, guard));
            started.map_err(|source| OpenError::Io {
                path: "a reader's thread".into(),
                source,
            })?;
        }
        Ok(Self {
            queue,
            target: target.clone(),
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
        let (target, keys) = (self.target.clone(), self.keys.clone());
        let job: ReadJob = Box::new(move |cached| {
            // A caller that waits no longer needs no answer.
            if !answer.is_closed() {
                let _ = answer.send(run_read(cached, &target, &keys, &work));
            }
        });
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        match tokio::time::timeout(READ_TIMEOUT, result).await {
            Ok(result) => result.unwrap_or_else(|_| Err(StoreError::Closed.into())),
            Err(_) => Err(StoreError::Unreachable.into()),
        }
    }
}

fn run_jobs(jobs: &Mutex<Receiver<ReadJob>>, guard: PartGuard) {
    let mut cached = None;
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        guard.fail_point();
        let run = catch_unwind(AssertUnwindSafe(|| job(&mut cached)));
        if run.is_err() {
            tracing::error!("a store read panicked");
            cached = None;
        }
    }
    guard.end();
}

/// Runs a read on the cached connection, or on a new one: the server may have closed an idle connection.
fn run_read<T, E: From<StoreError>>(
    cached: &mut Option<DatabaseConnection>,
    target: &DatabaseTarget,
    keys: &Keyring,
    work: &impl Fn(&Snapshot<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let idle = cached.take().filter(|connection| !connection.is_closed());
    let was_cached = idle.is_some();
    let connection = match idle {
        Some(connection) => connection,
        None => target.reader().map_err(StoreError::from)?,
    };
    let result = work(&Snapshot::new(&connection, keys));
    if !connection.is_closed() {
        *cached = Some(connection);
        return result;
    }
    if was_cached {
        run_read(cached, target, keys, work)
    } else {
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::core::write_scope::WriteScope;

    #[test]
    fn consecutive_reads_share_a_transaction_until_the_next_commit() {
        let folder = tempfile::tempdir().unwrap();
        let target =
            DatabaseTarget::Sqlite(sqlite::SqliteTarget(folder.path().join("greenpin.db")));
        target.prepare().unwrap();
        let writer = target.writer(WriteScope::Whole).unwrap();
        let keys = key_binding::bind(&writer, &folder.path().join("master.key"));
        let keys = Arc::new(keys.unwrap());
        let idle = IdleReaders::default();
        let Readers::File(pool) =
            Readers::open(&target, &keys, idle.clone(), &Supervisor::default()).unwrap()
        else {
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
        // However slow this thread is, two of many reads follow each other in time.
        while shares() == 0 {
            read();
        }
        idle.on_commit();
        assert_eq!(shares(), 0);
        while shares() == 0 {
            read();
        }
        idle.end_shared();
        assert_eq!(shares(), 0);
        let is_lean = || idle.connections().iter().all(|idle| idle.is_lean);
        idle.release_memory(Instant::now());
        assert!(!is_lean());
        idle.release_memory(Instant::now() + MEMORY_RELEASE_TIMEOUT);
        assert!(is_lean());
        read();
        assert!(!is_lean());
    }
}
