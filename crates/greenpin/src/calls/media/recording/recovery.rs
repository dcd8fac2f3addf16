//! Recovery of unfinished recordings after a crash. Recordings of interrupted calls are completed, others are removed.

use std::io;
use std::path::Path;

use super::unfinished_recording::{UnfinishedRecording, list_unfinished};
use crate::store::{CallSid, Disposition, RecordingFile, Store, StoreError, Timestamp};

/// Processes the unfinished recordings of a folder, after the interrupted calls have been closed. Recordings of active
/// calls belong to another node and stay unchanged.
pub(crate) async fn recover_unfinished(folder: &Path, store: &Store) -> io::Result<()> {
    for part in list_unfinished(folder)? {
        match UnfinishedRecording::inspect(&part) {
            Ok(unfinished) => {
                let disposition = match unfinished.as_ref() {
                    Some(unfinished) => disposition(unfinished, store)
                        .await
                        .map_err(io::Error::other)?,
                    None => Disposition::Discard,
                };
                apply(&part, disposition, unfinished)
                    .unwrap_or_else(|error| log_skipped(&part, &error));
            }
            Err(error) => log_skipped(&part, &error),
        }
    }
    Ok(())
}

fn apply(
    part: &Path,
    disposition: Disposition,
    unfinished: Option<UnfinishedRecording>,
) -> io::Result<()> {
    match (disposition, unfinished) {
        (Disposition::Keep, Some(unfinished)) => unfinished.complete(),
        (Disposition::InUse, _) => Ok(()),
        _ => std::fs::remove_file(part),
    }
}

/// A single bad file does not prevent the start. In a shared folder another node may have renamed the file already.
fn log_skipped(part: &Path, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        let file = part.file_name().unwrap_or_default();
        tracing::error!(?file, %error, "unfinished recording skipped");
    }
}

async fn disposition(
    unfinished: &UnfinishedRecording,
    store: &Store,
) -> Result<Disposition, StoreError> {
    let name = unfinished
        .path()
        .file_stem()
        .map(|name| name.to_string_lossy());
    let Some(sid) = name.and_then(|name| CallSid::parse(&name)) else {
        return Ok(Disposition::Discard);
    };
    let location = unfinished.path().to_string_lossy().into_owned();
    let file = unfinished
        .duration()
        .map(|duration| RecordingFile { location, duration });
    let disposition = store
        .recover_recording(&sid, file, Timestamp::now())
        .await?;
    tracing::info!(call_sid = %sid, ?disposition, "unfinished recording found");
    Ok(disposition)
}
