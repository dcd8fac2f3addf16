//! Where recordings are kept: the folder they are made in, or a bucket that they are uploaded to from there.

mod bucket;
mod upload;

use std::io::{self, ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

pub use bucket::{Bucket, BucketError, BucketOptions};
pub(crate) use upload::keep_uploading;

use crate::store::{KeptRecording, RecordingShelf};

const CHUNK: usize = 64 * 1024;

/// Where recordings are kept.
#[derive(Debug, Clone)]
pub struct Recordings {
    folder: PathBuf,
    bucket: Option<Bucket>,
}

/// A recording that can be read.
#[derive(Debug)]
pub struct Recording {
    /// Its length in octets.
    pub length: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(File),
    Object(Bucket, String),
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there.
    #[error("the recording is not there")]
    Gone,
    /// It is on the disk of the node that made it, and was not uploaded yet.
    #[error("the recording was not uploaded yet")]
    NotUploaded,
    /// It cannot be read now.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Recordings {
    /// Recordings are made in `folder`, and stay there unless there is a bucket.
    ///
    /// # Errors
    /// What is said of the bucket cannot be used.
    pub fn new(folder: PathBuf, bucket: Option<&BucketOptions>) -> Result<Self, BucketError> {
        Ok(Self { folder, bucket: bucket.map(Bucket::new).transpose()? })
    }

    /// The folder that recordings are made in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Finds a recording by where its call record says that it lies.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn open(&self, location: &str) -> Result<Recording, ReadError> {
        if let Some((bucket, key)) = self.object(location)? {
            let length = bucket.length(&key).await?.ok_or(ReadError::Gone)?;
            return Ok(Recording { length, source: Source::Object(bucket, key) });
        }
        for path in self.files(location) {
            match File::open(&path).await {
                Ok(file) => {
                    let length = file.metadata().await?.len();
                    return Ok(Recording { length, source: Source::File(file) });
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(if self.bucket.is_some() { ReadError::NotUploaded } else { ReadError::Gone })
    }

    /// Where a recording lies can have changed since its call: the folder was moved.
    fn files(&self, location: &str) -> impl Iterator<Item = PathBuf> + use<> {
        let path = PathBuf::from(location);
        let moved = path.file_name().map(|name| self.folder.join(name)).filter(|moved| *moved != path);
        std::iter::once(path).chain(moved)
    }

    /// The bucket and key of a location that is no file. A bucket that is not configured any more has no credentials.
    fn object(&self, location: &str) -> io::Result<Option<(Bucket, String)>> {
        let Some(rest) = location.strip_prefix("s3://") else { return Ok(None) };
        let configured = || io::Error::other("the recording is in a bucket, and recordings.url names none");
        let bucket = self.bucket.as_ref().ok_or_else(configured)?;
        let (name, key) = rest.split_once('/').ok_or(ErrorKind::InvalidData)?;
        let bucket = bucket.named(name).map_err(io::Error::other)?;
        Ok(Some((bucket, key.to_owned())))
    }
}

impl Recording {
    /// The octets from `first` on, `count` of them, as they are read.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn read(self, first: u64, count: u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        if count == 0 {
            return Ok(stream::empty().boxed());
        }
        match self.source {
            Source::File(mut file) => {
                file.seek(SeekFrom::Start(first)).await?;
                Ok(stream::try_unfold((file, count), next_chunk).boxed())
            }
            Source::Object(bucket, key) => bucket.read(&key, first..first.saturating_add(count)).await,
        }
    }
}

impl RecordingShelf for Recordings {
    /// Removes a recording from wherever it may lie: a crash can have left it in both places.
    async fn remove(&self, recording: &KeptRecording) -> io::Result<bool> {
        if let Some((bucket, key)) = self.object(&recording.location)? {
            return bucket.remove(&key).await;
        }
        let mut removed = false;
        for path in self.files(&recording.location) {
            removed |= remove_file(&path).await?;
        }
        if let Some(bucket) = &self.bucket {
            let key = bucket.key(&recording.tenant_id, &recording.call_sid);
            removed |= bucket.remove(&key).await?;
        }
        Ok(removed)
    }
}

/// Removes a file; whether there was one.
async fn remove_file(path: &Path) -> io::Result<bool> {
    match tokio::fs::remove_file(path).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

async fn next_chunk((mut file, left): (File, u64)) -> io::Result<Option<(Bytes, (File, u64))>> {
    if left == 0 {
        return Ok(None);
    }
    let mut chunk = Vec::with_capacity(CHUNK);
    let wanted = left.min(CHUNK as u64);
    let read = (&mut file).take(wanted).read_to_end(&mut chunk).await? as u64;
    if read == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((chunk.into(), (file, left.saturating_sub(read)))))
}

#[cfg(test)]
mod tests {
    use crate::store::{CallSid, TenantId, Timestamp};

    use super::*;

    #[tokio::test]
    async fn a_recording_is_removed_where_it_lies_and_one_that_is_gone_already_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let recordings = folder.path().join("recordings");
        std::fs::create_dir(&recordings).unwrap();
        let shelf = Recordings::new(recordings.clone(), None).unwrap();
        let kept = |location: &Path| KeptRecording {
            tenant_id: TenantId::parse("acme").unwrap(),
            call_sid: CallSid::new(Timestamp::now()),
            location: location.display().to_string(),
        };
        let (here, moved) = (folder.path().join("a.wav"), recordings.join("b.wav"));
        for path in [&here, &moved] {
            std::fs::write(path, b"RIFF").unwrap();
        }
        for (location, was_there) in [
            (here.as_path(), true),
            (Path::new("/nowhere/b.wav"), true),
            (Path::new("/nowhere/c.wav"), false),
        ] {
            assert_eq!(shelf.remove(&kept(location)).await.unwrap(), was_there);
        }
        assert!(!here.exists() && !moved.exists());
        assert!(shelf.remove(&kept(&recordings)).await.is_err(), "a folder is no recording");
    }

    #[tokio::test]
    async fn a_bucket_that_is_not_configured_any_more_is_a_fault_and_not_a_recording_that_is_gone() {
        let shelf = Recordings::new("recordings".into(), None).unwrap();
        let found = shelf.open("s3://bucket/acme/call.wav").await;
        assert!(matches!(found, Err(ReadError::Io(error)) if error.to_string().contains("recordings.url")));
    }
}
