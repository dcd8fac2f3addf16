//! Thread that copies the write-ahead log into the database file, so that no commit waits for a checkpoint.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::core::reader::IdleReaders;
use crate::store::{OpenError, StoreError};
use crate::supervision::{Part, Supervisor};

/// Interval between two checkpoints.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum wait for readers that still use the log.
const TRUNCATE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of one attempt. Between two attempts the idle readers release their snapshots.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// Handle of the checkpoint thread, which ends when the handle is dropped.
pub(crate) struct Checkpoints(SyncSender<oneshot::Sender<bool>>);

impl Checkpoints {
    /// Starts the thread with its own connection. The automatic checkpoint of the writer remains as a fallback and
    /// rarely has work to do.
    pub(crate) fn start(
        path: &Path,
        readers: IdleReaders,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let (requests, received) = sync_channel::<oneshot::Sender<bool>>(1);
        let guard = supervisor.watch(Part::StoreCheckpoint);
        let work = move || {
            loop {
                guard.fail_point();
                match received.recv_timeout(CHECKPOINT_INTERVAL) {
                    Ok(answer_to) => {
                        let _ = answer_to.send(truncate(&connection, &readers));
                    }
                    // Busy, or the disk is full: the next checkpoint or the writer reports it.
                    Err(RecvTimeoutError::Timeout) => {
                        readers.end_shared();
                        readers.release_memory(Instant::now());
                        let _ =
                            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                    }
                    Err(RecvTimeoutError::Disconnected) => return guard.end(),
                }
            }
        };
        let started = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(work);
        started.map_err(|source| OpenError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(requests))
    }

    /// Copies the whole log into the database file and truncates it. Afterwards the log holds no old version of a
    /// page.
    pub(crate) async fn truncate_log(&self) -> Result<(), StoreError> {
        let (answer_to, answer) = oneshot::channel();
        self.0
            .try_send(answer_to)
            .map_err(|_| StoreError::Overloaded)?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Overloaded),
            Err(_) => Err(StoreError::Closed),
        }
    }
}

/// Returns whether the log is empty now. A reader or a writer may block the truncation for too long.
fn truncate(connection: &Connection, readers: &IdleReaders) -> bool {
    let rounds = TRUNCATE_TIMEOUT.as_millis() / BUSY_TIMEOUT.as_millis();
    (0..rounds).any(|_| {
        readers.end_shared();
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        });
        busy == Ok(0)
    })
}
