//! Upload of recordings from the disk of this node to the bucket, from a durable queue in the
//! store.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::fs::File;

use super::{Bucket, Recordings, named, remove_file};
use crate::crypto::random;
use crate::limits::backoff;
use crate::metrics::METRICS;
use crate::store::{Store, StoreError, TenantId, Timestamp, Upload};

/// Interval at which the queue is polled.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of concurrent uploads.
pub const MAX_CONCURRENT: usize = 4;
/// Entries of the queue per read.
const BATCH_SIZE: u32 = 32;
/// Pause after the first failure. It doubles with each further one up to [`MAX_PAUSE`]; retries
/// never end.
pub const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Maximum pause between two attempts of an upload.
pub const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Uploads the recordings of this node until the task is aborted. Returns at once if there is no
/// bucket.
pub(crate) async fn upload_recordings(store: Store, recordings: Recordings, node: String) {
    let Some(bucket) = recordings.bucket else {
        return;
    };
    match bucket.probe(&node).await {
        Ok(()) => tracing::info!("the recordings bucket is usable"),
        Err(error) => {
            tracing::error!(%error, "cannot use the recordings bucket; recordings stay on disk until it works");
        }
    }
    let uploader = Uploader { store, bucket };
    let mut rounds = tokio::time::interval(POLL_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if let Err(error) = uploader.round(&node).await {
            tracing::error!(%error, "the upload queue failed");
        }
    }
}

struct Uploader {
    store: Store,
    bucket: Bucket,
}

impl Uploader {
    async fn round(&self, node: &str) -> Result<(), StoreError> {
        loop {
            let due = self
                .store
                .uploads_due(node, Timestamp::now(), BATCH_SIZE)
                .await?;
            if due.is_empty() {
                return Ok(());
            }
            let results = stream::iter(due)
                .map(|upload| self.process(upload))
                .buffer_unordered(MAX_CONCURRENT);
            results
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .collect::<Result<(), _>>()?;
        }
    }

    async fn process(&self, upload: Upload) -> Result<(), StoreError> {
        let outcome = match &upload.tenant_id {
            Some(tenant) => self.upload(&upload, tenant).await,
            None => self.discard(&upload).await,
        };
        METRICS.count_upload(matches!(outcome, Ok(Ok(()))));
        let Err(error) = outcome? else { return Ok(()) };
        tracing::error!(call_sid = %upload.call_sid, attempts = upload.attempts + 1, %error, "uploading a recording failed; retrying");
        let pause = backoff::delay(
            FIRST_PAUSE,
            MAX_PAUSE,
            upload.attempts.saturating_add(1),
            random::u64(),
        );
        self.store
            .upload_failed(&upload, Timestamp::now() + pause)
            .await
    }

    /// Uploads one recording. The outer error is the store's, the inner one that of the disk or the
    /// bucket.
    async fn upload(
        &self,
        upload: &Upload,
        tenant: &TenantId,
    ) -> Result<io::Result<()>, StoreError> {
        let mut file = match File::open(&upload.file).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.on_missing_file(upload, tenant).await;
            }
            Err(error) => return Ok(Err(named(&upload.file, &error))),
        };
        let key = self.bucket.key(tenant, &upload.call_sid, &upload.file);
        if let Err(error) = self.bucket.upload(&key, &mut file).await {
            return Ok(Err(error));
        }
        self.finish(upload, &key).await
    }

    async fn finish(&self, upload: &Upload, key: &str) -> Result<io::Result<()>, StoreError> {
        let location = self.bucket.location(key);
        let wanted = self
            .store
            .upload_done(upload, location, Timestamp::now())
            .await?;
        let removed = async {
            if !wanted {
                // Retention or an erasure has removed the recording meanwhile.
                self.bucket.remove(key).await?;
            }
            remove_file(Path::new(&upload.file)).await.map(|_| ())
        };
        if let Err(error) = removed.await {
            tracing::error!(call_sid = %upload.call_sid, %error, "removing an uploaded recording from disk failed");
        }
        Ok(Ok(()))
    }

    /// Handles a missing file. An upload that completed leaves no entry in the queue, so the file
    /// was removed or uploaded by hand.
    async fn on_missing_file(
        &self,
        upload: &Upload,
        tenant: &TenantId,
    ) -> Result<io::Result<()>, StoreError> {
        let key = self.bucket.key(tenant, &upload.call_sid, &upload.file);
        match self.bucket.length(&key).await {
            Ok(Some(_)) => self.finish(upload, &key).await,
            Ok(None) => {
                let gone = io::Error::new(ErrorKind::NotFound, "the file is gone");
                Ok(Err(named(&upload.file, &gone)))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Removes the file of a recording without a call record.
    async fn discard(&self, upload: &Upload) -> Result<io::Result<()>, StoreError> {
        if let Err(error) = remove_file(Path::new(&upload.file)).await {
            return Ok(Err(error));
        }
        self.store.delete_upload(upload).await.map(Ok)
    }
}
