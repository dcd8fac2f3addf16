//! Removing what is not kept: what tenants have set a time for, files included, and answers to idempotent requests.

use std::io::ErrorKind;
use std::path::Path;

use crate::store::{DueRecording, Store, StoreError, Timestamp};

/// Removes everything whose time is over. A file that cannot be removed is tried again the next time, and its call
/// record stays until then.
pub(crate) async fn enforce(store: &Store, recordings: &Path, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let due = store.recordings_due(now).await?;
        let mut removed = 0;
        for recording in &due {
            if remove(recording, recordings).await {
                store.forget_recording(recording).await?;
                removed += 1;
            }
        }
        if removed == 0 {
            break;
        }
    }
    while store.enforce_retention(now).await? > 0 {}
    while store.forget_keys(now).await? > 0 {}
    while store.abandon_deliveries(now).await? > 0 {}
    while store.forget_attempts(now).await? > 0 {}
    Ok(())
}

/// Removes a recording from where it was made, or from the folder that recordings have been moved to since.
async fn remove(recording: &DueRecording, folder: &Path) -> bool {
    let moved = recording.path.file_name().map(|name| folder.join(name));
    for path in std::iter::once(recording.path.clone()).chain(moved) {
        match tokio::fs::remove_file(&path).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(%error, "a recording whose time is over cannot be removed");
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use crate::store::{CallSid, Database, StoreOptions, TenantId};

    use super::*;

    #[tokio::test]
    async fn a_recording_is_removed_where_it_lies_and_one_that_is_gone_already_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let recordings = folder.path().join("recordings");
        std::fs::create_dir(&recordings).unwrap();
        let recording = |path: std::path::PathBuf| DueRecording {
            tenant_id: TenantId::parse("acme").unwrap(),
            call_sid: CallSid::new(Timestamp::now()),
            path,
        };
        let (here, moved) = (folder.path().join("a.wav"), recordings.join("b.wav"));
        for path in [&here, &moved] {
            std::fs::write(path, b"RIFF").unwrap();
        }
        for due in
            [recording(here.clone()), recording("/nowhere/b.wav".into()), recording("/nowhere/c.wav".into())]
        {
            assert!(remove(&due, &recordings).await);
        }
        assert!(!here.exists() && !moved.exists());
        let unremovable = recording(recordings.clone());
        assert!(!remove(&unremovable, folder.path()).await, "a folder is no recording");
    }

    #[tokio::test]
    async fn nothing_to_remove_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("greenpin.db");
        let key_file = folder.path().join("master.key");
        let store = Store::open(&StoreOptions {
            database: Database::File(path),
            key_file,
            public_url: String::new(),
        })
        .unwrap();
        assert_eq!(enforce(&store, folder.path(), Timestamp::now()).await, Ok(()));
    }
}
