//! Recovery of incomplete recordings after a crash. Recordings of interrupted calls are completed, others are removed.

use std::io;
use std::path::Path;

use super::partial_recording::{PartialRecording, unfinished};
use crate::store::{CallSid, Disposition, RecordingFile, Store, StoreError, Timestamp};

/// Processes the incomplete recordings of a folder, after the interrupted calls have been closed. Recordings of active
/// calls belong to another node and stay unchanged.
pub(crate) async fn recover_unfinished(folder: &Path, store: &Store) -> io::Result<()> {
    for part in list_unfinished(folder)? {
        match PartialRecording::inspect(&part) {
            Ok(partial) => {
                let disposition = match partial.as_ref() {
                    Some(partial) => disposition(partial, store)
                        .await
                        .map_err(io::Error::other)?,
                    None => Disposition::Discard,
                };
                apply(&part, disposition, partial)
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
    partial: Option<PartialRecording>,
) -> io::Result<()> {
    match (disposition, partial) {
        (Disposition::Keep, Some(partial)) => partial.complete(),
        (Disposition::InUse, _) => Ok(()),
        _ => std::fs::remove_file(part),
    }
}

/// A single bad file does not prevent the start. In a shared folder another node may have renamed the file already.
fn log_skipped(part: &Path, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        let file = part.file_name().unwrap_or_default();
        tracing::error!(?file, %error, "an unfinished recording stays as it is");
    }
}

async fn disposition(partial: &PartialRecording, store: &Store) -> Result<Disposition, StoreError> {
    let name = partial
        .path()
        .file_stem()
        .map(|name| name.to_string_lossy());
    let Some(sid) = name.and_then(|name| CallSid::parse(&name)) else {
        return Ok(Disposition::Discard);
    };
    let location = partial.path().to_string_lossy().into_owned();
    let file = partial
        .duration()
        .map(|duration| RecordingFile { location, duration });
    let disposition = store
        .recover_recording(&sid, file, Timestamp::now())
        .await?;
    tracing::info!(call_sid = %sid, ?disposition, "a recording was left unfinished");
    Ok(disposition)
}
