//! Takes recordings from this node's disk to the bucket, from the durable queue of the store.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::fs::File;

use super::{Bucket, Recordings, remove_file};
use crate::crypto::random;
use crate::limits::backoff;
use crate::metrics::METRICS;
use crate::store::{Store, StoreError, TenantId, Timestamp, Upload};

/// How often the queue is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Uploads at a time.
const AT_ONCE: usize = 4;
/// Entries that are read at a time.
const BATCH: u32 = 32;
/// The pause after the first failure; it doubles with each up to [`LONGEST_PAUSE`], and it never ends.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Uploads this node's recordings for as long as it runs. Does nothing where recordings stay in their folder.
pub(crate) async fn keep_uploading(store: Store, recordings: Recordings, node: String) {
    let Some(bucket) = recordings.bucket else {
        return;
    };
    if let Err(error) = bucket.probe().await {
        tracing::error!(%error, "the bucket of recordings does not answer: recordings wait on this node's disk");
    }
    let uploader = Uploader { store, bucket };
    let mut rounds = tokio::time::interval(INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if let Err(error) = uploader.round(&node).await {
            tracing::error!(%error, "the queue of recordings cannot be read or written");
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
                .uploads_due(node, Timestamp::now(), BATCH)
                .await?;
            if due.is_empty() {
                return Ok(());
            }
            let results = stream::iter(due)
                .map(|upload| self.one(upload))
                .buffer_unordered(AT_ONCE);
            results
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .collect::<Result<(), _>>()?;
        }
    }

    async fn one(&self, upload: Upload) -> Result<(), StoreError> {
        let outcome = match &upload.tenant_id {
            Some(tenant) => self.upload(&upload, tenant).await,
            None => self.tidy(&upload).await,
        };
        METRICS.recording_uploaded(matches!(outcome, Ok(Ok(()))));
        let Err(error) = outcome? else { return Ok(()) };
        tracing::error!(call_sid = %upload.call_sid, tries = upload.attempts + 1, %error, "a recording was not uploaded");
        let pause = backoff::pause(
            FIRST_PAUSE,
            LONGEST_PAUSE,
            upload.attempts.saturating_add(1),
            random::u64(),
        );
        self.store
            .upload_failed(&upload, Timestamp::now() + pause)
            .await
    }

    /// The outer fault is the store's, the inner one the disk's or the bucket's.
    async fn upload(
        &self,
        upload: &Upload,
        tenant: &TenantId,
    ) -> Result<io::Result<()>, StoreError> {
        let mut file = match File::open(&upload.file).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.settle_lost(upload, tenant).await;
            }
            Err(error) => return Ok(Err(error)),
        };
        let key = self.bucket.key(tenant, &upload.call_sid, &upload.file);
        if let Err(error) = self.bucket.upload(&key, &mut file).await {
            return Ok(Err(error));
        }
        self.settle(upload, &key).await
    }

    async fn settle(&self, upload: &Upload, key: &str) -> Result<io::Result<()>, StoreError> {
        let location = self.bucket.location(key);
        let wanted = self
            .store
            .upload_done(upload, location, Timestamp::now())
            .await?;
        let removed = async {
            if !wanted {
                // Its retention or an erasure was quicker.
                self.bucket.remove(key).await?;
            }
            remove_file(Path::new(&upload.file)).await.map(|_| ())
        };
        if let Err(error) = removed.await {
            tracing::error!(call_sid = %upload.call_sid, %error, "a recording that was uploaded is still on the disk");
        }
        Ok(Ok(()))
    }

    /// The file is gone. A crash after an upload has been noted leaves no entry, so that somebody else removed it, or
    /// it was uploaded by hand.
    async fn settle_lost(
        &self,
        upload: &Upload,
        tenant: &TenantId,
    ) -> Result<io::Result<()>, StoreError> {
        let key = self.bucket.key(tenant, &upload.call_sid, &upload.file);
        match self.bucket.length(&key).await {
            Ok(Some(_)) => self.settle(upload, &key).await,
            Ok(None) => Ok(Err(io::Error::new(ErrorKind::NotFound, "its file is gone"))),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Nobody wants it any more.
    async fn tidy(&self, upload: &Upload) -> Result<io::Result<()>, StoreError> {
        if let Err(error) = remove_file(Path::new(&upload.file)).await {
            return Ok(Err(error));
        }
        self.store.delete_upload(upload).await.map(Ok)
    }
}
