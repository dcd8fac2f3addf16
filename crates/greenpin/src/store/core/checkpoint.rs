//! Carries the write-ahead log into the database beside the writer, so that no commit has to wait for it.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::core::reader::IdleReaders;
use crate::store::{OpenError, StoreError};

/// Between two looks at the log.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long readers are waited for that still need the log.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long at a time: some of them only rest, and have to be told.
const ROUND: Duration = Duration::from_millis(100);

/// The running thread; it ends when this is dropped.
pub(crate) struct Checkpoints(SyncSender<oneshot::Sender<bool>>);

impl Checkpoints {
    /// Starts the thread on a connection of its own. The writer's automatic checkpoint stays as the backstop that
    /// keeps the log small: it finds little left to do.
    pub(crate) fn start(path: &Path, readers: IdleReaders) -> Result<Self, OpenError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(ROUND)?;
        let (ask, asked) = sync_channel::<oneshot::Sender<bool>>(1);
        let work = move || {
            loop {
                match asked.recv_timeout(INTERVAL) {
                    Ok(told) => {
                        let _ = told.send(empty(&connection, &readers));
                    }
                    // Busy, or the disk is full: the next round, or the writer, finds out again.
                    Err(RecvTimeoutError::Timeout) => {
                        readers.rest();
                        readers.give_back(Instant::now());
                        let _ =
                            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
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
        Ok(Self(ask))
    }

    /// Carries all of the log over and cuts it to nothing, so that it holds no page as it was before.
    pub(crate) async fn empty_the_log(&self) -> Result<(), StoreError> {
        let (told, answer) = oneshot::channel();
        self.0.try_send(told).map_err(|_| StoreError::Overloaded)?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Overloaded),
            Err(_) => Err(StoreError::Closed),
        }
    }
}

/// Whether the log is empty now: a reader or a writer may have been in the way for too long.
fn empty(connection: &Connection, readers: &IdleReaders) -> bool {
    let rounds = PATIENCE.as_millis() / ROUND.as_millis();
    (0..rounds).any(|_| {
        readers.rest();
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        });
        busy == Ok(0)
    })
}
