//! Retention cleanup: data older than its tenant's settings, with its files, and answers to
//! idempotent requests.

use crate::store::{RecordingStorage, Store, StoreError, StoredRecording, Timestamp};

/// Removes everything beyond its retention. If a file cannot be removed, its call record stays, and
/// the next round tries again.
pub(crate) async fn enforce(
    store: &Store,
    storage: &impl RecordingStorage,
    now: Timestamp,
) -> Result<(), StoreError> {
    loop {
        let due = store.recordings_due(storage.node(), now).await?;
        let mut removed = 0;
        for recording in &due {
            if remove(storage, recording).await {
                store.clear_recording(recording).await?;
                removed += 1;
            }
        }
        if removed == 0 {
            break;
        }
    }
    if let Err(error) = store.continue_erasures(storage).await {
        tracing::error!(%error, "an erasure could not be continued on this node");
    }
    while store.enforce_retention(now).await? > 0 {}
    while store.delete_old_idempotency_keys(now).await? > 0 {}
    while store.abandon_deliveries(now).await? > 0 {}
    while store.delete_old_attempts(now).await? > 0 {}
    Ok(())
}

async fn remove(storage: &impl RecordingStorage, recording: &StoredRecording) -> bool {
    match storage.remove(recording).await {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(call_sid = %recording.call_sid, %error, "removing an expired recording failed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::recordings::Recordings;
    use crate::store::{Database, StoreOptions};

    use super::*;

    #[tokio::test]
    async fn nothing_to_remove_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("greenpin.db");
        let key_file = folder.path().join("master.key");
        let store = Store::open(&StoreOptions::new(Database::File(path), key_file)).unwrap();
        let storage = Recordings::new(folder.path().to_owned(), None).unwrap();
        assert_eq!(enforce(&store, &storage, Timestamp::now()).await, Ok(()));
    }
}
