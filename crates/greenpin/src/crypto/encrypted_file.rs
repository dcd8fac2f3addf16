//! Encrypted file of a recording, WAV or Ogg. A recording on disk or in a bucket is readable only with its key.
//!
//! | octets | content |
//! |---|---|
//! | 16 | [`MAGIC`] |
//! | 32 | salt: the file's key is its HMAC-SHA-256 under the [`RecordingKey`] |
//! | 60 | header, encrypted last, as block 0: it holds the length of the audio |
//! | 65,552 each, the last block less | audio, encrypted in blocks of 65,536 octets |
//!
//! For WAV, the header is the header of the WAV file. For Ogg, the whole file is audio: the header is not part of it,
//! but has the same length.
//!
//! Each block is encrypted with AES-256-GCM and its number as the nonce. Blocks therefore cannot be left out, moved or
//! truncated, and each block can be decrypted without the others. No key encrypts two files.

use std::fmt;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;

use super::random;

const MAGIC: &[u8; 16] = b"greenpin audio 1";
const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Octets of the header, as in a WAV file before its audio.
const WAV_HEADER_BYTES: usize = 44;
/// Start of the header of an Ogg file.
const OGG_MAGIC: &[u8; 4] = b"OggS";
/// Octets of audio in a block.
const BLOCK_BYTES: usize = 65_536;
/// Octets before the first block of audio, needed by [`Decryptor::new`].
pub(crate) const HEADER_BYTES: usize = MAGIC.len() + SALT_BYTES + WAV_HEADER_BYTES + TAG_BYTES;

/// Keys to derive the keys of recordings: the tenant's key encrypts, or else the newest key of the store; each decrypts.
/// Clones share the keys of the store, so that a rotation of the master key reaches all.
#[derive(Clone)]
pub struct RecordingKey {
    of_tenant: Option<Arc<hmac::Key>>,
    of_store: Arc<RwLock<Vec<hmac::Key>>>,
}

impl RecordingKey {
    /// Creates the key from 32 secret octets.
    #[cfg(test)]
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self::of_generations(std::iter::once(secret))
    }

    /// Creates the key from the secrets of all generations of the store, newest first.
    pub(crate) fn of_generations<'a>(secrets: impl Iterator<Item = &'a [u8]>) -> Self {
        let key = Self {
            of_tenant: None,
            of_store: Arc::default(),
        };
        key.replace(secrets);
        key
    }

    /// Returns the key for the recordings of a tenant, which also decrypts those of earlier versions.
    pub(crate) fn with_tenant(&self, key: Arc<hmac::Key>) -> Self {
        Self {
            of_tenant: Some(key),
            of_store: self.of_store.clone(),
        }
    }

    /// Replaces the secrets of the store.
    pub(crate) fn replace<'a>(&self, secrets: impl Iterator<Item = &'a [u8]>) {
        let keys = secrets.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret));
        *self
            .of_store
            .write()
            .unwrap_or_else(PoisonError::into_inner) = keys.collect();
    }

    /// Returns the key of a new file.
    fn new_file_key(&self, salt: &[u8]) -> io::Result<FileKey> {
        let of_store = self.of_store.read().unwrap_or_else(PoisonError::into_inner);
        let key = self.of_tenant.as_deref().or(of_store.first());
        FileKey::derive(key.ok_or_else(no_key)?, salt)
    }

    /// Returns the key that decrypts the header of a file, and the header.
    fn find_file_key(&self, salt: &[u8], header: &[u8]) -> io::Result<(FileKey, Vec<u8>)> {
        let of_store = self.of_store.read().unwrap_or_else(PoisonError::into_inner);
        for key in self.of_tenant.as_deref().into_iter().chain(of_store.iter()) {
            let (key, mut header) = (FileKey::derive(key, salt)?, header.to_vec());
            if let Ok(header) = key.decrypt(0, &mut header).map(<[u8]>::to_vec) {
                return Ok((key, header));
            }
        }
        Err(damaged())
    }
}

/// Keys are equal if they are clones of one key.
impl PartialEq for RecordingKey {
    fn eq(&self, other: &Self) -> bool {
        let address = |key: &Self| key.of_tenant.as_ref().map(Arc::as_ptr);
        address(self) == address(other) && Arc::ptr_eq(&self.of_store, &other.of_store)
    }
}

impl Eq for RecordingKey {}

fn no_key() -> io::Error {
    io::Error::other("there is no key for recordings")
}

impl fmt::Debug for RecordingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordingKey")
    }
}

/// Key of one file.
struct FileKey(LessSafeKey);

impl FileKey {
    fn derive(key: &hmac::Key, salt: &[u8]) -> io::Result<Self> {
        let derived = hmac::sign(key, salt);
        let key = UnboundKey::new(&AES_256_GCM, derived.as_ref())
            .map_err(|_| io::Error::other("cannot derive the key of a recording"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    fn encrypt(&self, block: u64, octets: &mut Vec<u8>) -> io::Result<()> {
        let encrypted = self
            .0
            .seal_in_place_append_tag(nonce(block), Aad::empty(), octets);
        encrypted.map_err(|_| io::Error::other("cannot encrypt a block of a recording"))
    }

    fn decrypt<'a>(&self, block: u64, octets: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let decrypted = self.0.open_in_place(nonce(block), Aad::empty(), octets);
        decrypted.map(|octets| &*octets).map_err(|_| damaged())
    }
}

fn nonce(block: u64) -> Nonce {
    let mut octets = [0; NONCE_LEN];
    octets
        .iter_mut()
        .rev()
        .zip(block.to_le_bytes())
        .for_each(|(octet, source)| *octet = source);
    Nonce::assume_unique_for_key(octets)
}

fn damaged() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "an encrypted recording is damaged, or was encrypted with another master key",
    )
}

/// Returns `true` if a file with this start is encrypted.
pub(crate) fn is_encrypted(first: &[u8]) -> bool {
    first.starts_with(MAGIC)
}

/// Format of the decrypted file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AudioKind {
    /// WAV file with two channels, 8 kHz, 16 bits. The caller writes only the samples.
    Wav,
    /// Ogg file. The caller writes its complete content.
    Ogg,
}

/// Writer of an encrypted file.
pub(crate) struct EncryptedFile<W: Write + Seek> {
    file: W,
    kind: AudioKind,
    key: FileKey,
    /// Audio of the incomplete block.
    block: Vec<u8>,
    /// Octets of audio in the previous blocks.
    encrypted: u64,
}

impl<W: Write + Seek> EncryptedFile<W> {
    /// Starts a file and reserves space for its header.
    pub(crate) fn new(mut file: W, kind: AudioKind, key: &RecordingKey) -> io::Result<Self> {
        let mut salt = [0; SALT_BYTES];
        random::fill(&mut salt);
        file.write_all(MAGIC)?;
        file.write_all(&salt)?;
        file.write_all(&[0; WAV_HEADER_BYTES + TAG_BYTES])?;
        let (key, block) = (
            key.new_file_key(&salt)?,
            Vec::with_capacity(BLOCK_BYTES + TAG_BYTES),
        );
        Ok(Self {
            file,
            kind,
            key,
            block,
            encrypted: 0,
        })
    }

    /// Appends interleaved samples.
    pub(crate) fn append(&mut self, samples: &[i16]) -> io::Result<()> {
        samples
            .iter()
            .try_for_each(|sample| self.write_all(&sample.to_le_bytes()))
    }

    /// Returns the octets of audio so far.
    pub(crate) fn length(&self) -> u64 {
        self.encrypted + self.block.len() as u64
    }

    /// Encrypts the remaining audio and the header.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.flush_block()?;
        }
        let mut head = match self.kind {
            AudioKind::Wav => wav_head(self.encrypted),
            AudioKind::Ogg => ogg_head(self.encrypted),
        }
        .to_vec();
        self.key.encrypt(0, &mut head)?;
        self.file
            .seek(SeekFrom::Start((MAGIC.len() + SALT_BYTES) as u64))?;
        self.file.write_all(&head)?;
        self.file.flush()
    }

    fn flush_block(&mut self) -> io::Result<()> {
        let length = self.block.len() as u64;
        self.key
            .encrypt(self.encrypted / BLOCK_BYTES as u64 + 1, &mut self.block)?;
        self.file.write_all(&self.block)?;
        self.block.clear();
        self.encrypted += length;
        Ok(())
    }
}

impl<W: Write + Seek> Write for EncryptedFile<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = octets.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend(octets.iter().take(count));
        if self.block.len() == BLOCK_BYTES {
            self.flush_block()?;
        }
        Ok(count)
    }

    /// Does nothing: an incomplete block waits, because each block is encrypted only once.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the header of an Ogg file of this length in octets.
fn ogg_head(length: u64) -> [u8; WAV_HEADER_BYTES] {
    let mut head = [0; WAV_HEADER_BYTES];
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    head.iter_mut()
        .zip(OGG_MAGIC)
        .for_each(|(octet, source)| *octet = *source);
    head.iter_mut()
        .rev()
        .zip(length.iter().rev())
        .for_each(|(octet, source)| *octet = *source);
    head
}

/// Returns the header of a WAV file with this many octets of audio. The length is capped at 32 bits.
fn wav_head(length: u64) -> [u8; WAV_HEADER_BYTES] {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut head =
        *b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x40\x1f\0\0\0\x7d\0\0\x04\0\x10\0data\0\0\0\0";
    let fields = [(4, length.saturating_add(36)), (40, length)];
    for (offset, number) in fields {
        head.iter_mut()
            .skip(offset)
            .zip(number.to_le_bytes())
            .for_each(|(octet, source)| *octet = source);
    }
    head
}

/// Decryptor of a file, block by block.
pub(crate) struct Decryptor {
    key: FileKey,
    head: [u8; WAV_HEADER_BYTES],
    audio: u64,
}

/// Location of a part of a file within its encrypted form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Range of the header, before the audio.
    pub(crate) head: Range<usize>,
    /// Range of the encrypted file with the audio.
    pub(crate) stored: Range<u64>,
    /// Number of the first block in `stored`.
    pub(crate) block: u64,
    /// Octets of audio to skip in the first block.
    pub(crate) skip: usize,
    /// Octets of audio in the part.
    pub(crate) audio: u64,
}

impl Decryptor {
    /// Reads the first [`HEADER_BYTES`] octets of a file of `stored` octets. Returns `None` if the file is not
    /// encrypted.
    ///
    /// # Errors
    ///
    /// The file is damaged, truncated, or encrypted with another key.
    pub(crate) fn new(key: &RecordingKey, first: &[u8], stored: u64) -> io::Result<Option<Self>> {
        if !is_encrypted(first) {
            return Ok(None);
        }
        let rest = first.get(MAGIC.len()..).unwrap_or_default();
        let (salt, head) = rest.split_at_checked(SALT_BYTES).ok_or_else(damaged)?;
        let head = head
            .get(..WAV_HEADER_BYTES + TAG_BYTES)
            .ok_or_else(damaged)?;
        let (key, head) = key.find_file_key(salt, head)?;
        let head: [u8; WAV_HEADER_BYTES] = head.try_into().map_err(|_| damaged())?;
        let length = head
            .last_chunk::<4>()
            .map_or(0, |length| u32::from_le_bytes(*length));
        let audio = u64::from(length);
        let expected =
            HEADER_BYTES as u64 + audio + audio.div_ceil(BLOCK_BYTES as u64) * TAG_BYTES as u64;
        if stored == expected {
            Ok(Some(Self { key, head, audio }))
        } else {
            Err(damaged())
        }
    }

    /// Returns the format of the file.
    pub(crate) fn kind(&self) -> AudioKind {
        if self.head.starts_with(OGG_MAGIC) {
            AudioKind::Ogg
        } else {
            AudioKind::Wav
        }
    }

    /// Returns the octets of the header that belong to the file.
    fn header_bytes(&self) -> usize {
        if self.kind() == AudioKind::Ogg {
            0
        } else {
            WAV_HEADER_BYTES
        }
    }

    /// Returns the length of the decrypted file in octets.
    pub(crate) fn length(&self) -> u64 {
        self.header_bytes() as u64 + self.audio
    }

    /// Returns a part of the header.
    pub(crate) fn head(&self, part: Range<usize>) -> &[u8] {
        self.head.get(part).unwrap_or_default()
    }

    /// Locates `count` octets from `first` on, up to the end of the file.
    pub(crate) fn span(&self, first: u64, count: u64) -> Span {
        let end = first.saturating_add(count).min(self.length());
        let header_bytes = self.header_bytes() as u64;
        let in_head = |octet: u64| octet.min(header_bytes) as usize;
        let in_audio = |octet: u64| octet.saturating_sub(header_bytes);
        let (begin, audio_end) = (in_audio(first.min(end)), in_audio(end));
        let (block, last) = (
            begin / BLOCK_BYTES as u64,
            audio_end.div_ceil(BLOCK_BYTES as u64),
        );
        let stored = |block: u64| {
            HEADER_BYTES as u64 + (block * (BLOCK_BYTES + TAG_BYTES) as u64).min(self.encrypted())
        };
        Span {
            head: in_head(first.min(end))..in_head(end),
            stored: stored(block)..stored(last.max(block)),
            block: block + 1,
            skip: (begin % BLOCK_BYTES as u64) as usize,
            audio: audio_end - begin,
        }
    }

    /// Returns the length of a block in the encrypted file.
    pub(crate) fn stored_length(&self, block: u64) -> usize {
        let before = block.saturating_sub(1).saturating_mul(BLOCK_BYTES as u64);
        self.audio.saturating_sub(before).min(BLOCK_BYTES as u64) as usize + TAG_BYTES
    }

    /// Decrypts a block in place.
    ///
    /// # Errors
    ///
    /// The block is damaged.
    pub(crate) fn decrypt<'a>(&self, block: u64, octets: &'a mut [u8]) -> io::Result<&'a [u8]> {
        self.key.decrypt(block, octets)
    }

    /// Returns the length of all blocks in the encrypted file.
    fn encrypted(&self) -> u64 {
        self.audio + self.audio.div_ceil(BLOCK_BYTES as u64) * TAG_BYTES as u64
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryptor")
            .field("audio", &self.audio)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn key(secret: u8) -> RecordingKey {
        RecordingKey::new(&[secret; 32])
    }

    fn encrypted(samples: &[i16]) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let mut wav = EncryptedFile::new(&mut file, AudioKind::Wav, &key(1)).unwrap();
        samples
            .chunks(1000)
            .for_each(|chunk| wav.append(chunk).unwrap());
        assert_eq!(wav.length(), samples.len() as u64 * 2);
        wav.finish().unwrap();
        file.into_inner()
    }

    /// Reads a part of an encrypted file like the server.
    fn read(file: &[u8], first: u64, count: u64) -> io::Result<Vec<u8>> {
        let decryptor = Decryptor::new(
            &key(1),
            &file[..HEADER_BYTES.min(file.len())],
            file.len() as u64,
        )?
        .unwrap();
        let span = decryptor.span(first, count);
        let mut out = decryptor.head(span.head.clone()).to_vec();
        let mut stored = file[span.stored.start as usize..span.stored.end as usize].to_vec();
        let (mut rest, mut block, mut skip) = (&mut stored[..], span.block, span.skip);
        while !rest.is_empty() {
            let (this, after) = rest.split_at_mut(decryptor.stored_length(block));
            out.extend(decryptor.decrypt(block, this)?.iter().skip(skip));
            (rest, block, skip) = (after, block + 1, 0);
        }
        out.truncate(span.head.len() + span.audio as usize);
        Ok(out)
    }

    fn samples(count: usize) -> Vec<i16> {
        (0..count)
            .map(|index| (index * 7919 % 60_000) as i16)
            .collect()
    }

    #[test]
    fn an_encrypted_file_decrypts_to_a_wav_file_with_the_same_audio() {
        for count in [0, 2, 32_766, 32_768, 32_770, 100_000] {
            let (samples, file) = (samples(count), encrypted(&samples(count)));
            let wav = read(&file, 0, u64::MAX).unwrap();
            let mut reader = hound::WavReader::new(Cursor::new(&wav)).unwrap();
            assert_eq!(
                (reader.spec().channels, reader.spec().sample_rate),
                (2, 8000)
            );
            assert_eq!(
                reader
                    .samples::<i16>()
                    .map(Result::unwrap)
                    .collect::<Vec<_>>(),
                samples
            );
            assert_eq!(wav.len() as u64, 44 + count as u64 * 2);
        }
    }

    #[test]
    fn an_encrypted_ogg_file_decrypts_to_the_written_content() {
        for count in [0, 1, 65_536, 100_000] {
            let mut file = Cursor::new(Vec::new());
            let mut ogg = EncryptedFile::new(&mut file, AudioKind::Ogg, &key(1)).unwrap();
            let octets: Vec<u8> = samples(count).iter().map(|sample| *sample as u8).collect();
            octets
                .chunks(777)
                .for_each(|chunk| ogg.write_all(chunk).unwrap());
            ogg.finish().unwrap();
            let file = file.into_inner();
            assert_eq!(read(&file, 0, u64::MAX).unwrap(), octets);
            assert_eq!(
                read(&file, 50, 20).unwrap(),
                octets[50.min(count)..70.min(count)]
            );
            let decryptor = Decryptor::new(&key(1), &file[..HEADER_BYTES], file.len() as u64)
                .unwrap()
                .unwrap();
            assert_eq!(
                (decryptor.kind(), decryptor.length()),
                (AudioKind::Ogg, count as u64)
            );
        }
    }

    #[test]
    fn any_part_equals_the_same_part_of_the_whole_file() {
        let file = encrypted(&samples(100_000));
        let whole = read(&file, 0, u64::MAX).unwrap();
        for first in [
            0, 1, 43, 44, 45, 65_579, 65_580, 65_581, 131_116, 200_042, 200_044, 300_000,
        ] {
            for count in [0, 1, 44, 45, 65_536, 65_537, 131_072, 400_000] {
                let from = (first as usize).min(whole.len());
                let to = (first as usize + count as usize).min(whole.len());
                assert_eq!(
                    read(&file, first, count).unwrap(),
                    whole[from..to],
                    "{count} from {first} on"
                );
            }
        }
    }

    #[test]
    fn the_audio_can_neither_be_read_nor_changed() {
        let quiet = vec![0_i16; 40_000];
        let file = encrypted(&quiet);
        assert!(
            !file
                .windows(16)
                .any(|octets| octets == [0; 16] || octets.starts_with(b"RIFF"))
        );
        assert_ne!(file, encrypted(&quiet), "each file has its own key");
        for offset in [20, 60, 107, 108, 70_000, file.len() - 1] {
            let mut changed = file.clone();
            changed[offset] ^= 1;
            assert!(read(&changed, 0, u64::MAX).is_err(), "octet {offset}");
        }
        for length in [
            17,
            HEADER_BYTES - 1,
            HEADER_BYTES,
            HEADER_BYTES + 65_552,
            file.len() - 1,
        ] {
            assert!(
                read(&file[..length], 0, 100).is_err(),
                "truncated at {length}"
            );
        }
        let blocks = file[HEADER_BYTES..].chunks(65_552).collect::<Vec<_>>();
        assert!(
            read(
                &[&file[..HEADER_BYTES], blocks[1], blocks[0]].concat(),
                0,
                u64::MAX
            )
            .is_err()
        );
        assert!(Decryptor::new(&key(2), &file[..HEADER_BYTES], file.len() as u64).is_err());
    }

    #[test]
    fn a_file_of_an_earlier_generation_decrypts_after_a_rotation() {
        let file = encrypted(&samples(100));
        let rotated = key(1);
        rotated
            .clone()
            .replace([&[2; 32][..], &[1; 32]].into_iter());
        let read = |key: &RecordingKey, file: &[u8]| {
            Decryptor::new(key, &file[..HEADER_BYTES], file.len() as u64).is_ok()
        };
        assert!(read(&rotated, &file));
        let mut new = Cursor::new(Vec::new());
        let wav = EncryptedFile::new(&mut new, AudioKind::Wav, &rotated).unwrap();
        wav.finish().unwrap();
        let new = new.into_inner();
        assert!(read(&rotated, &new) && read(&key(2), &new) && !read(&key(1), &new));
    }

    #[test]
    fn the_key_of_a_tenant_encrypts_and_files_of_the_store_stay_readable() {
        let of_tenant = |secret: u8| {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, &[secret; 32]);
            key(1).with_tenant(Arc::new(secret))
        };
        let mut file = Cursor::new(Vec::new());
        let wav = EncryptedFile::new(&mut file, AudioKind::Wav, &of_tenant(8)).unwrap();
        wav.finish().unwrap();
        let new = file.into_inner();
        let read = |key: &RecordingKey, file: &[u8]| {
            Decryptor::new(key, &file[..HEADER_BYTES], file.len() as u64).is_ok()
        };
        assert!(read(&of_tenant(8), &new));
        assert!(!read(&of_tenant(9), &new) && !read(&key(1), &new));
        assert!(read(&of_tenant(8), &encrypted(&samples(100))));
    }

    #[test]
    fn a_plain_wav_file_is_not_encrypted() {
        assert!(
            Decryptor::new(&key(1), b"RIFF....WAVE", 12)
                .unwrap()
                .is_none()
        );
        assert!(Decryptor::new(&key(1), b"", 0).unwrap().is_none());
    }
}
