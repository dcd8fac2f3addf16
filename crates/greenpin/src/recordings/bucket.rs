//! A bucket of an S3-compatible store.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, ClientOptions, GetOptions, ObjectStore, ObjectStoreExt, RetryConfig,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::crypto::encrypted_file;
use crate::crypto::encrypted_file::HEADER_BYTES;
use crate::crypto::secret::Secret;
use crate::store::{CallSid, TenantId};

/// Time limit of a request. One part of an upload has at most 10 MiB.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Retries within one upload or download. The queue retries for much longer.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// Bucket of the section `[recordings]`. Missing values come from the environment variables of
/// Amazon's tools (`AWS_REGION`, `AWS_ACCESS_KEY_ID`, …), then from the role of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketOptions {
    /// The bucket's name.
    pub name: String,
    /// Prefix of every key, without a slash at either end; may be empty.
    pub prefix: String,
    /// The server, for stores other than Amazon's: `https://s3.example.net`.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The access key.
    pub access_key_id: Option<String>,
    /// Secret of the access key.
    pub secret_access_key: Option<Secret>,
}

/// Error of a bucket configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("recordings: {0}")]
pub struct BucketError(#[from] object_store::Error);

/// A bucket. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Bucket {
    options: Arc<BucketOptions>,
    client: Arc<AmazonS3>,
}

impl Bucket {
    pub(super) fn new(options: &BucketOptions) -> Result<Self, BucketError> {
        Ok(Self {
            options: Arc::new(options.clone()),
            client: Arc::new(client(options)?),
        })
    }

    /// Returns another bucket of the same store. Older recordings stay in their bucket after the
    /// configuration names a new one.
    pub(super) fn with_name(&self, name: &str) -> Result<Self, BucketError> {
        if name == self.options.name {
            return Ok(self.clone());
        }
        Self::new(&BucketOptions {
            name: name.to_owned(),
            ..self.options.as_ref().clone()
        })
    }

    /// Returns the key of a recording, with the extension of `file`. It contains neither number nor
    /// PIN.
    pub(super) fn key(&self, tenant: &TenantId, call_sid: &CallSid, file: &str) -> String {
        let end = if file.ends_with(".opus") {
            "opus"
        } else {
            "wav"
        };
        match self.options.prefix.as_str() {
            "" => format!("{tenant}/{call_sid}.{end}"),
            prefix => format!("{prefix}/{tenant}/{call_sid}.{end}"),
        }
    }

    /// Returns the location that call records store for a key.
    pub(super) fn location(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.options.name)
    }

    /// Checks the bucket: writes a small object below the prefix, reads it and deletes it. The
    /// object is named after the node, so that the next check deletes the object of one that was
    /// interrupted.
    ///
    /// # Errors
    ///
    /// The store cannot be reached or rejects a request. The error names the operation and the object.
    pub async fn probe(&self, node: &str) -> io::Result<()> {
        let name = format!("greenpin-probe-{node}");
        let key = match self.options.prefix.as_str() {
            "" => name,
            prefix => format!("{prefix}/{name}"),
        };
        let (path, content) = (Key::from(key.as_str()), Bytes::from_static(b"greenpin"));
        let failed = |operation: &str, error: &dyn std::fmt::Display| {
            let location = self.location(&key);
            io::Error::other(format!("cannot {operation} {location}: {error}"))
        };
        let written = self.client.put(&path, content.clone().into()).await;
        written.map_err(|error| failed("write", &error))?;
        let read = async { self.client.get(&path).await?.bytes().await };
        let read = read.await;
        let deleted = self.client.delete(&path).await;
        let read = read.map_err(|error| failed("read", &error))?;
        deleted.map_err(|error| failed("delete", &error))?;
        if read != content {
            return Err(failed("read", &"another content than was written"));
        }
        Ok(())
    }

    /// Returns the length of an object in bytes; `None` if there is none under the key.
    pub(super) async fn length(&self, key: &str) -> io::Result<Option<u64>> {
        match self.client.head(&Key::from(key)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.named(key, &error.into())),
        }
    }

    pub(super) async fn read(
        &self,
        key: &str,
        octets: Range<u64>,
    ) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        let options = GetOptions {
            range: Some(octets.into()),
            ..GetOptions::default()
        };
        let found = self.client.get_opts(&Key::from(key), options).await;
        let found = found.map_err(|error| self.named(key, &error.into()))?;
        Ok(found
            .into_stream()
            .map(|chunk| chunk.map_err(io::Error::from))
            .boxed())
    }

    /// Uploads a file, in parts if it is long. An existing object is replaced once the upload is
    /// complete.
    pub(super) async fn upload(&self, key: &str, file: &mut tokio::fs::File) -> io::Result<()> {
        let client: Arc<dyn ObjectStore> = self.client.clone();
        let kind = Attributes::from_iter([(Attribute::ContentType, media_type(file).await?)]);
        let mut object = BufWriter::new(client, Key::from(key)).with_attributes(kind);
        match tokio::io::copy(file, &mut object).await {
            Ok(_) => {
                let ended = object.shutdown().await;
                ended.map_err(|error| self.named(key, &error))
            }
            Err(error) => {
                // Uploaded parts of an incomplete object cost money until they are aborted. A
                // failure of the abort does not matter.
                let _ = object.abort().await;
                Err(self.named(key, &error))
            }
        }
    }

    /// Removes an object. S3 does not report whether it existed, so the result is always `true`.
    pub(super) async fn remove(&self, key: &str) -> io::Result<bool> {
        match self.client.delete(&Key::from(key)).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.named(key, &error.into())),
        }
    }

    /// Adds the location of an object to an error.
    fn named(&self, key: &str, error: &io::Error) -> io::Error {
        super::named(self.location(key), error)
    }
}

/// Detects the media type of a file by its first bytes, and rewinds it.
async fn media_type(file: &mut tokio::fs::File) -> io::Result<&'static str> {
    let mut first = Vec::new();
    (&mut *file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut first)
        .await?;
    file.rewind().await?;
    let sealed = encrypted_file::is_encrypted(&first);
    Ok(if sealed {
        "application/octet-stream"
    } else {
        super::media_type(super::kind_of(&first))
    })
}

fn client(options: &BucketOptions) -> object_store::Result<AmazonS3> {
    let retry = RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
        ..RetryConfig::default()
    };
    let plain = options
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    let connection = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_allow_http(plain);
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&options.name)
        .with_retry(retry)
        .with_client_options(connection)
        // Some stores lack Amazon's bulk deletion. Only single objects are deleted here.
        .with_disable_bulk_delete(true);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(id) = &options.access_key_id {
        builder = builder.with_access_key_id(id);
    }
    if let Some(secret) = &options.secret_access_key {
        builder = builder.with_secret_access_key(secret.expose());
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use crate::store::Timestamp;

    use super::*;

    fn bucket(prefix: &str) -> Bucket {
        Bucket::new(&BucketOptions {
            name: "bucket".into(),
            prefix: prefix.into(),
            region: Some("eu-central-1".into()),
            ..BucketOptions::default()
        })
        .unwrap()
    }

    #[test]
    fn a_key_names_tenant_and_call_alone() {
        let sid = CallSid::new(Timestamp::now());
        let tenant = TenantId::parse("acme").unwrap();
        assert_eq!(
            bucket("").key(&tenant, &sid, "a.wav"),
            format!("acme/{sid}.wav")
        );
        let below = bucket("calls/2026");
        let key = below.key(&tenant, &sid, "/x/a.opus");
        assert_eq!(
            below.location(&key),
            format!("s3://bucket/calls/2026/acme/{sid}.opus")
        );
    }
}
