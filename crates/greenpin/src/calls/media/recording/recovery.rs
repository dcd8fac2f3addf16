//! Recordings that a crash left unfinished: those of calls that it cut short are completed, others removed.

use std::io;
use std::path::Path;

use super::unfinished::{Salvage, unfinished};
use crate::store::{CallSid, Disposition, RecordingFile, Store, StoreError, Timestamp};

/// Goes through a folder of recordings, once the calls that the crash cut short are closed. Those of calls that go on
/// belong to another node, and stay as they are.
pub(crate) async fn take_up(folder: &Path, store: &Store) -> io::Result<()> {
    for part in unfinished(folder)? {
        match Salvage::of(&part) {
            Ok(salvage) => {
                let fate = match salvage.as_ref() {
                    Some(salvage) => fate(salvage, store).await.map_err(io::Error::other)?,
                    None => Disposition::Discard,
                };
                settle(&part, fate, salvage).unwrap_or_else(|error| passed_over(&part, &error));
            }
            Err(error) => passed_over(&part, &error),
        }
    }
    Ok(())
}

fn settle(part: &Path, fate: Disposition, salvage: Option<Salvage>) -> io::Result<()> {
    match (fate, salvage) {
        (Disposition::Keep, Some(salvage)) => salvage.complete(),
        (Disposition::InUse, _) => Ok(()),
        _ => std::fs::remove_file(part),
    }
}

/// One file is no reason not to start. In a folder of several nodes another one may have given it its name meanwhile.
fn passed_over(part: &Path, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        let file = part.file_name().unwrap_or_default();
        tracing::error!(?file, %error, "an unfinished recording stays as it is");
    }
}

async fn fate(salvage: &Salvage, store: &Store) -> Result<Disposition, StoreError> {
    let name = salvage
        .path()
        .file_stem()
        .map(|name| name.to_string_lossy());
    let Some(sid) = name.and_then(|name| CallSid::parse(&name)) else {
        return Ok(Disposition::Discard);
    };
    let location = salvage.path().to_string_lossy().into_owned();
    let file = salvage
        .duration()
        .map(|duration| RecordingFile { location, duration });
    let fate = store
        .recover_recording(&sid, file, Timestamp::now())
        .await?;
    tracing::info!(call_sid = %sid, ?fate, "a recording was left unfinished");
    Ok(fate)
}
