//! Removing what is not kept: what tenants have set a time for, files included, and answers to idempotent requests.

use crate::store::{RecordingStorage, Store, StoreError, StoredRecording, Timestamp};

/// Removes everything whose time is over. A file that cannot be removed is tried again the next time, and its call
/// record stays until then.
pub(crate) async fn enforce(
    store: &Store,
    shelf: &impl RecordingStorage,
    now: Timestamp,
) -> Result<(), StoreError> {
    loop {
        let due = store.recordings_due(now).await?;
        let mut removed = 0;
        for recording in &due {
            if remove(shelf, recording).await {
                store.clear_recording(recording).await?;
                removed += 1;
            }
        }
        if removed == 0 {
            break;
        }
    }
    while store.enforce_retention(now).await? > 0 {}
    while store.delete_old_idempotency_keys(now).await? > 0 {}
    while store.abandon_deliveries(now).await? > 0 {}
    while store.delete_old_attempts(now).await? > 0 {}
    Ok(())
}

async fn remove(shelf: &impl RecordingStorage, recording: &StoredRecording) -> bool {
    match shelf.remove(recording).await {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(call_sid = %recording.call_sid, %error, "a recording whose time is over cannot be removed");
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
        let shelf = Recordings::new(
            folder.path().to_owned(),
            None,
            crate::RecordingKey::new(&[7]),
        )
        .unwrap();
        assert_eq!(enforce(&store, &shelf, Timestamp::now()).await, Ok(()));
    }
}
