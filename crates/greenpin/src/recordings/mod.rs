//! Storage of recordings: the folder in which they are written, or a bucket that they are uploaded
//! to. Encrypted ones are decrypted as they are read.

mod bucket;
mod decrypting_reader;
pub mod limits;
mod upload;

use std::io::{self, ErrorKind, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

pub use bucket::{Bucket, BucketError, BucketOptions};
pub(crate) use upload::upload_recordings;

use crate::RecordingKey;
use crate::crypto::encrypted_file::{AudioKind, Decryptor, HEADER_BYTES};
use crate::store::{RecordingStorage, StoredRecording};

const CHUNK_BYTES: usize = 64 * 1024;

/// Storage of recordings.
#[derive(Debug, Clone)]
pub struct Recordings {
    folder: PathBuf,
    bucket: Option<Bucket>,
    /// This node, if other nodes do not see its folder.
    node: Option<String>,
}

/// A recording that is open for reading.
#[derive(Debug)]
pub struct Recording {
    /// Length of the audio file, in bytes.
    pub length: u64,
    /// Media type: `audio/wav` or `audio/ogg` (RFC 7845, section 9).
    pub media_type: &'static str,
    source: Source,
    /// Decryptor of an encrypted recording.
    decryptor: Option<Decryptor>,
}

#[derive(Debug)]
enum Source {
    File(File),
    Object(Bucket, String),
}

/// Errors of reading a recording.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The recording does not exist.
    #[error("the recording does not exist")]
    Gone,
    /// The recording is on the disk of its node and was not uploaded yet.
    #[error("the recording was not uploaded yet")]
    NotUploaded,
    /// The storage failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Recordings {
    ///
    /// Opens the storage. Recordings are written to `folder` and stay there unless there is a
    /// bucket.
    ///
    /// # Errors
    ///
    /// The configuration of the bucket cannot be used.
    pub fn new(folder: PathBuf, bucket: Option<&BucketOptions>) -> Result<Self, BucketError> {
        Ok(Self {
            folder,
            bucket: bucket.map(Bucket::new).transpose()?,
            node: None,
        })
    }

    /// Restricts the folder to the files of this node: other nodes of the store have folders of their own.
    #[must_use]
    pub fn of_node(self, node: String) -> Self {
        Self {
            node: Some(node),
            ..self
        }
    }

    /// Returns the folder in which recordings are written.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the bucket that recordings are uploaded to.
    pub(crate) fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    ///
    /// Opens a recording by the location in its call record. `key` decrypts it.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn open(&self, location: &str, key: &RecordingKey) -> Result<Recording, ReadError> {
        if let Some((bucket, object)) = self.object(location)? {
            let length = bucket.length(&object).await?.ok_or(ReadError::Gone)?;
            return opened(Source::Object(bucket, object), length, key).await;
        }
        for path in self.files(location) {
            match File::open(&path).await {
                Ok(file) => {
                    let length = file.metadata().await?.len();
                    return opened(Source::File(file), length, key).await;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(named(path.display(), &error).into()),
            }
        }
        Err(if self.bucket.is_some() {
            ReadError::NotUploaded
        } else {
            ReadError::Gone
        })
    }

    /// Returns the paths at which a recording may be: its location, and the same name in today's
    /// folder, which may have moved since.
    fn files(&self, location: &str) -> impl Iterator<Item = PathBuf> + use<> {
        let path = PathBuf::from(location);
        let moved = path
            .file_name()
            .map(|name| self.folder.join(name))
            .filter(|moved| *moved != path);
        std::iter::once(path).chain(moved)
    }

    /// Splits the location of an object into bucket and key; `None` for a file. Without a
    /// configured bucket there are no credentials, which is an error.
    fn object(&self, location: &str) -> io::Result<Option<(Bucket, String)>> {
        let Some(rest) = location.strip_prefix("s3://") else {
            return Ok(None);
        };
        let configured =
            || io::Error::other("the recording is in a bucket, but recordings.url names no bucket");
        let bucket = self.bucket.as_ref().ok_or_else(configured)?;
        let (name, key) = rest.split_once('/').ok_or(ErrorKind::InvalidData)?;
        let bucket = bucket.with_name(name).map_err(io::Error::other)?;
        Ok(Some((bucket, key.to_owned())))
    }
}

/// Reads the header of a recording of `stored` bytes.
async fn opened(
    mut source: Source,
    stored: u64,
    key: &RecordingKey,
) -> Result<Recording, ReadError> {
    let first = source.first(stored.min(HEADER_BYTES as u64)).await?;
    let decryptor = Decryptor::new(key, &first, stored)?;
    let length = decryptor.as_ref().map_or(stored, Decryptor::length);
    let kind = decryptor
        .as_ref()
        .map_or_else(|| kind_of(&first), Decryptor::kind);
    Ok(Recording {
        length,
        media_type: media_type(kind),
        source,
        decryptor,
    })
}

impl Recording {
    ///
    /// Returns a stream of `count` bytes from `first` on.
    ///
    /// # Errors
    ///
    /// The storage failed.
    pub async fn read(
        self,
        first: u64,
        count: u64,
    ) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        match self.decryptor {
            Some(decryptor) => decrypting_reader::read(decryptor, self.source, first, count).await,
            None => self.source.read(first..first.saturating_add(count)).await,
        }
    }
}

impl Source {
    /// Returns a stream of the stored bytes of a range.
    async fn read(self, octets: Range<u64>) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        if octets.is_empty() {
            return Ok(stream::empty().boxed());
        }
        match self {
            Self::File(mut file) => {
                file.seek(SeekFrom::Start(octets.start)).await?;
                Ok(stream::try_unfold((file, octets.end - octets.start), next_chunk).boxed())
            }
            Self::Object(bucket, key) => bucket.read(&key, octets).await,
        }
    }

    /// Returns the first stored bytes.
    async fn first(&mut self, count: u64) -> io::Result<Vec<u8>> {
        let mut first = Vec::new();
        match self {
            Self::File(file) => {
                file.take(count).read_to_end(&mut first).await?;
            }
            Self::Object(bucket, key) => {
                let mut octets = Self::Object(bucket.clone(), key.clone())
                    .read(0..count)
                    .await?;
                while let Some(chunk) = octets.next().await {
                    first.extend_from_slice(&chunk?);
                }
            }
        }
        Ok(first)
    }
}

impl RecordingStorage for Recordings {
    fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Removes a recording from folder and bucket: a crash can leave it in both.
    async fn remove(&self, recording: &StoredRecording) -> io::Result<bool> {
        if let Some((bucket, key)) = self.object(&recording.location)? {
            return bucket.remove(&key).await;
        }
        let mut removed = false;
        for path in self.files(&recording.location) {
            removed |= remove_file(&path).await?;
        }
        if !removed && !recording.is_on(self.node()) {
            let (location, node) = (&recording.location, &recording.node);
            return Err(io::Error::other(format!(
                "{location}: the file lies on the node {node}"
            )));
        }
        if let Some(bucket) = &self.bucket {
            let key = bucket.key(
                &recording.tenant_id,
                &recording.call_sid,
                &recording.location,
            );
            removed |= bucket.remove(&key).await?;
        }
        Ok(removed)
    }
}

/// Detects the kind of an unencrypted file by its first bytes.
fn kind_of(first: &[u8]) -> AudioKind {
    if first.starts_with(b"OggS") {
        AudioKind::Ogg
    } else {
        AudioKind::Wav
    }
}

fn media_type(kind: AudioKind) -> &'static str {
    match kind {
        AudioKind::Wav => "audio/wav",
        AudioKind::Ogg => "audio/ogg",
    }
}

/// Removes a file. Returns whether it existed.
async fn remove_file(path: &Path) -> io::Result<bool> {
    match tokio::fs::remove_file(path).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(named(path.display(), &error)),
    }
}

/// Adds the name of a file or key to an error.
fn named(name: impl std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

async fn next_chunk((mut file, left): (File, u64)) -> io::Result<Option<(Bytes, (File, u64))>> {
    if left == 0 {
        return Ok(None);
    }
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let wanted = left.min(CHUNK_BYTES as u64);
    let read = (&mut file).take(wanted).read_to_end(&mut chunk).await? as u64;
    if read == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((chunk.into(), (file, left.saturating_sub(read)))))
}

#[cfg(test)]
mod tests {
    use crate::crypto::encrypted_file::EncryptedFile;
    use crate::store::{CallSid, TenantId, Timestamp};

    use super::*;

    #[tokio::test]
    async fn a_recording_is_removed_where_it_lies_and_one_that_is_gone_already_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let recordings = folder.path().join("recordings");
        std::fs::create_dir(&recordings).unwrap();
        let shelf = Recordings::new(recordings.clone(), None).unwrap();
        let kept = |location: &Path| StoredRecording {
            tenant_id: TenantId::parse("acme").unwrap(),
            call_sid: CallSid::new(Timestamp::now()),
            location: location.display().to_string(),
            node: "one".into(),
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
        assert!(
            shelf.remove(&kept(&recordings)).await.is_err(),
            "a folder is no recording"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_not_here_may_lie_on_another_node() {
        let folder = tempfile::tempdir().unwrap();
        let recordings = |node: &str| {
            Recordings::new(folder.path().to_owned(), None)
                .unwrap()
                .of_node(node.into())
        };
        let recording = StoredRecording {
            tenant_id: TenantId::parse("acme").unwrap(),
            call_sid: CallSid::new(Timestamp::now()),
            location: "/nowhere/a.wav".into(),
            node: "one".into(),
        };
        let elsewhere = recordings("two").remove(&recording).await.unwrap_err();
        let text = elsewhere.to_string();
        assert!(
            text.contains("a.wav") && text.contains("node one"),
            "{text}"
        );
        assert!(!recordings("one").remove(&recording).await.unwrap());
        // A node that was renamed still finds its files.
        std::fs::write(folder.path().join("a.wav"), b"RIFF").unwrap();
        assert!(recordings("two").remove(&recording).await.unwrap());
    }

    #[tokio::test]
    async fn a_sealed_recording_is_read_in_any_part_and_a_plain_one_beside_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let key = RecordingKey::new(&[7]);
        let samples: Vec<i16> = (0..100_000).map(|index| (index % 3001) as i16).collect();
        let mut sealed = EncryptedFile::new(
            std::fs::File::create(folder.path().join("a.wav")).unwrap(),
            AudioKind::Wav,
            &key,
        )
        .unwrap();
        sealed.append(&samples).unwrap();
        sealed.finish().unwrap();
        std::fs::write(folder.path().join("b.wav"), b"RIFF and so on").unwrap();
        let shelf = Recordings::new(folder.path().to_owned(), None).unwrap();
        let read = async |name: &str, first: u64, count: u64| {
            let recording = shelf
                .open(&folder.path().join(name).display().to_string(), &key)
                .await
                .unwrap();
            let chunks: Vec<io::Result<Bytes>> =
                recording.read(first, count).await.unwrap().collect().await;
            chunks
                .into_iter()
                .flat_map(Result::unwrap)
                .collect::<Vec<u8>>()
        };
        let whole = read("a.wav", 0, 200_044).await;
        let audio: Vec<u8> = samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        assert!(whole.starts_with(b"RIFF") && whole[44..] == audio);
        for (first, count) in [
            (0, 44),
            (40, 8),
            (44, 65_536),
            (65_579, 3),
            (199_000, 1044),
            (200_044, 0),
        ] {
            let expected = &whole[first as usize..(first + count) as usize];
            assert_eq!(
                read("a.wav", first, count).await,
                expected,
                "{count} from {first} on"
            );
        }
        assert_eq!(read("b.wav", 5, 3).await, b"and");
    }

    #[tokio::test]
    async fn a_bucket_that_is_not_configured_any_more_is_a_fault_and_not_a_recording_that_is_gone()
    {
        let shelf = Recordings::new("recordings".into(), None).unwrap();
        let found = shelf
            .open("s3://bucket/acme/call.wav", &RecordingKey::new(&[7]))
            .await;
        assert!(
            matches!(found, Err(ReadError::Io(error)) if error.to_string().contains("recordings.url"))
        );
    }
}
