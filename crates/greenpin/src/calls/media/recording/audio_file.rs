//! File of a recording: WAV or Ogg Opus, plain or encrypted.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use hound::{SampleFormat, WavSpec, WavWriter};
use media::SAMPLE_RATE;

use super::opus_file::OpusFile;
use crate::RecordingKey;
use crate::crypto::encrypted_file::{AudioKind, EncryptedFile};
use crate::crypto::{private_folder, random};

pub(super) const WAV_FORMAT: WavSpec = WavSpec {
    channels: 2,
    sample_rate: SAMPLE_RATE,
    bits_per_sample: 16,
    sample_format: SampleFormat::Int,
};

/// File format of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordingFormat {
    /// WAV: 8 kHz, 16 bits, two channels.
    #[default]
    Wav,
    /// Ogg Opus (RFC 7845): two channels.
    Opus,
}

impl RecordingFormat {
    /// Returns the file extension without the dot. The extension of a path selects its format.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Opus => "opus",
        }
    }

    fn from_path(path: &Path) -> Self {
        let is_opus = path
            .extension()
            .is_some_and(|end| end == Self::Opus.extension());
        if is_opus { Self::Opus } else { Self::Wav }
    }
}

/// Suffix of a file name until the recording is complete.
pub(super) const UNFINISHED_SUFFIX: &str = ".part";

/// Error in a recording. The unfinished file is removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be created, written or renamed.
    #[error("recording: {0}")]
    Io(String),
    /// The disk was too slow, and audio was lost.
    #[error("recording: the disk is too slow, audio was lost")]
    Overrun,
}

impl From<io::Error> for RecordingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<hound::Error> for RecordingError {
    fn from(error: hound::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// File being written.
pub(super) enum AudioFile {
    Wav(WavWriter<BufWriter<File>>),
    EncryptedWav(EncryptedFile<BufWriter<File>>),
    Opus(Box<OpusFile<OggOutput>>),
}

impl AudioFile {
    pub(super) fn create(path: &Path, key: Option<&RecordingKey>) -> Result<Self, RecordingError> {
        let mut options = File::options();
        // Recordings are confidential: only the owner may read them.
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = BufWriter::new(options.open(unfinished_path(path))?);
        Ok(match (RecordingFormat::from_path(path), key) {
            (RecordingFormat::Wav, Some(key)) => {
                Self::EncryptedWav(EncryptedFile::new(file, AudioKind::Wav, key)?)
            }
            (RecordingFormat::Wav, None) => Self::Wav(WavWriter::new(file, WAV_FORMAT)?),
            (RecordingFormat::Opus, Some(key)) => Self::opus(OggOutput::Encrypted(
                EncryptedFile::new(file, AudioKind::Ogg, key)?,
            ))?,
            (RecordingFormat::Opus, None) => Self::opus(OggOutput::Plain(file))?,
        })
    }

    fn opus(output: OggOutput) -> io::Result<Self> {
        Ok(Self::Opus(Box::new(OpusFile::new(
            output,
            random::u64() as u32,
        )?)))
    }

    pub(super) fn append(&mut self, samples: &[i16]) -> Result<(), RecordingError> {
        match self {
            Self::Wav(file) => {
                let mut writer = file.get_i16_writer(samples.len() as u32);
                samples
                    .iter()
                    .for_each(|sample| writer.write_sample(*sample));
                Ok(writer.flush()?)
            }
            Self::EncryptedWav(file) => Ok(file.append(samples)?),
            Self::Opus(file) => Ok(file.append(samples)?),
        }
    }

    /// Writes the header, syncs the file and gives it its final name. Returns the length of the recording.
    pub(super) fn complete(self, path: &Path) -> Result<Duration, RecordingError> {
        let frames = match self {
            Self::Wav(file) => {
                let frames = file.duration().into();
                file.finalize()?;
                frames
            }
            Self::EncryptedWav(file) => {
                let frames =
                    file.length() / u64::from(WAV_FORMAT.channels * WAV_FORMAT.bits_per_sample / 8);
                file.finish()?;
                frames
            }
            Self::Opus(file) => {
                let frames = file.frames();
                file.finish()?.finish()?;
                frames
            }
        };
        let unfinished = unfinished_path(path);
        File::options().append(true).open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, path)?;
        private_folder::sync(private_folder::of(path))?;
        Ok(Duration::from_secs_f64(
            frames as f64 / f64::from(SAMPLE_RATE),
        ))
    }
}

/// Output of an Ogg file.
pub(super) enum OggOutput {
    Plain(BufWriter<File>),
    Encrypted(EncryptedFile<BufWriter<File>>),
}

impl OggOutput {
    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut file) => file.flush(),
            Self::Encrypted(file) => file.finish(),
        }
    }
}

impl Write for OggOutput {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(octets),
            Self::Encrypted(file) => file.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Encrypted(file) => file.flush(),
        }
    }
}

pub(super) fn unfinished_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED_SUFFIX);
    PathBuf::from(name)
}
