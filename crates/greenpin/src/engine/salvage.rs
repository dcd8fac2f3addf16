//! Recordings that a crash left unfinished: those of calls that it cut short are completed, others removed.

use std::io;
use std::path::Path;

use super::audio::{Salvage, unfinished};
use crate::store::{CallSid, Leftover, RecordingFile, Store, StoreError, Timestamp};

/// Goes through a folder of recordings, once the calls that the crash cut short are closed. Those of calls that go on
/// belong to another node, and stay as they are.
pub(super) async fn take_up(folder: &Path, store: &Store) -> io::Result<()> {
    for part in unfinished(folder)? {
        let salvage = Salvage::of(&part)?;
        let fate = match salvage.as_ref() {
            Some(salvage) => fate(salvage, store).await.map_err(io::Error::other)?,
            None => Leftover::Unwanted,
        };
        match (fate, salvage) {
            (Leftover::Wanted, Some(salvage)) => salvage.complete()?,
            (Leftover::InUse, _) => {}
            _ => std::fs::remove_file(&part)?,
        }
    }
    Ok(())
}

async fn fate(salvage: &Salvage, store: &Store) -> Result<Leftover, StoreError> {
    let name = salvage.path().file_stem().map(|name| name.to_string_lossy());
    let Some(sid) = name.and_then(|name| CallSid::parse(&name)) else { return Ok(Leftover::Unwanted) };
    let location = salvage.path().to_string_lossy().into_owned();
    let file = salvage.duration().map(|duration| RecordingFile { location, duration });
    let fate = store.take_up_recording(&sid, file, Timestamp::now()).await?;
    tracing::info!(call_sid = %sid, ?fate, "a recording was left unfinished");
    Ok(fate)
}
