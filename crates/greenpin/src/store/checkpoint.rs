//! Carries the write-ahead log into the database beside the writer, so that no commit has to wait for it.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::Connection;

use super::OpenError;

/// Between two looks at the log.
const INTERVAL: Duration = Duration::from_millis(250);

/// The running thread; it ends when this is dropped.
pub(super) struct Checkpoints(#[expect(dead_code, reason = "its drop ends the thread")] SyncSender<()>);

impl Checkpoints {
    /// Starts the thread on a connection of its own. The writer's automatic checkpoint stays as the backstop that
    /// keeps the log small: it finds little left to do.
    pub(super) fn start(path: &Path) -> Result<Self, OpenError> {
        let connection = Connection::open(path)?;
        let (end, ended) = sync_channel(0);
        let work = move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                // Busy, or the disk is full: the next round, or the writer, finds out again.
                let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            }
        };
        let started = std::thread::Builder::new().name("store-checkpoint".into()).spawn(work);
        started.map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self(end))
    }
}
