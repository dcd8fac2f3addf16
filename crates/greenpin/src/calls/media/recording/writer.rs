//! Recordings: written on a thread of their own, never on a media thread, as WAV or Ogg Opus, in clear or sealed.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use hound::{SampleFormat, WavSpec, WavWriter};
use media::{SAMPLE_RATE, StereoTimeline};
use tokio::sync::mpsc::UnboundedSender;

use super::opus_file::OpusFile;
use crate::RecordingKey;
use crate::calls::media::{MediaEvent, MediaId};
use crate::crypto::encrypted_file::{AudioKind, EncryptedFile};
use crate::crypto::random;

pub(super) const WAV_FORMAT: WavSpec = WavSpec {
    channels: 2,
    sample_rate: SAMPLE_RATE,
    bits_per_sample: 16,
    sample_format: SampleFormat::Int,
};
/// Samples that may wait for a slow disk, 64 MiB: what comes on top is lost, and the recording is marked as failed.
const MAX_BACKLOG_SAMPLES: usize = 32 << 20;

/// What a recording is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordingFormat {
    /// WAV: 8 kHz, 16 bits, two channels.
    #[default]
    Wav,
    /// Ogg Opus (RFC 7845): two channels.
    Opus,
}

impl RecordingFormat {
    /// What the names of such files end in, without the dot. A recording is written as its name says.
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

/// What a recording's name ends in until it is complete.
pub(super) const PARTIAL_SUFFIX: &str = ".part";

/// Why there is no recording. The file under its temporary name (`.part`) is removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// The file could not be made, written or renamed.
    #[error("recording: {0}")]
    Io(String),
    /// The disk was too slow: audio had to be thrown away.
    #[error("recording: the disk is too slow")]
    Overrun,
}

/// A recording on its media thread.
pub(crate) struct LegRecording {
    pub(crate) timeline: StereoTimeline,
}

/// The recording thread, as media threads see it.
#[derive(Debug, Clone)]
pub(crate) struct RecordingWriter {
    commands: mpsc::Sender<WriterCommand>,
    backlog: Arc<AtomicUsize>,
}

enum WriterCommand {
    Start(MediaId, PathBuf),
    Samples(MediaId, Vec<i16>),
    Overrun(MediaId),
    /// Completes the recording of this leg, if there is one, then tells this.
    Finish(MediaId, Option<MediaEvent>),
}

impl RecordingWriter {
    /// Starts the thread; it ends when no media thread is left.
    pub(crate) fn start(
        events: UnboundedSender<MediaEvent>,
        key: Option<RecordingKey>,
    ) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let shared = backlog.clone();
        let work = move || {
            WriterThread {
                files: HashMap::new(),
                backlog: shared,
                events,
                key,
            }
            .work(&inbox)
        };
        thread::Builder::new()
            .name("recordings".to_owned())
            .spawn(work)?;
        Ok(Self { commands, backlog })
    }

    pub(crate) fn begin(&self, id: MediaId, path: PathBuf) {
        self.send(WriterCommand::Start(id, path));
    }

    pub(crate) fn write(&self, id: MediaId, samples: Vec<i16>) {
        let waiting = self.backlog.fetch_add(samples.len(), Ordering::Relaxed);
        if waiting < MAX_BACKLOG_SAMPLES {
            return self.send(WriterCommand::Samples(id, samples));
        }
        self.backlog.fetch_sub(samples.len(), Ordering::Relaxed);
        self.send(WriterCommand::Overrun(id));
    }

    pub(crate) fn finish(&self, id: MediaId, then: Option<MediaEvent>) {
        self.send(WriterCommand::Finish(id, then));
    }

    fn send(&self, command: WriterCommand) {
        // The thread ends only after all senders are gone.
        let _ = self.commands.send(command);
    }
}

struct WriterThread {
    files: HashMap<MediaId, OpenRecording>,
    backlog: Arc<AtomicUsize>,
    events: UnboundedSender<MediaEvent>,
    /// What recordings are sealed with; `None`: they are written in clear.
    key: Option<RecordingKey>,
}

struct OpenRecording {
    path: PathBuf,
    state: Result<AudioFile, RecordingError>,
}

/// A file that is being written.
enum AudioFile {
    Wav(WavWriter<BufWriter<File>>),
    EncryptedWav(EncryptedFile<BufWriter<File>>),
    Opus(Box<OpusFile<OggOutput>>),
}

/// Where the octets of an Ogg file go.
enum OggOutput {
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

impl WriterThread {
    fn work(mut self, inbox: &mpsc::Receiver<WriterCommand>) {
        while let Ok(command) = inbox.recv() {
            match command {
                WriterCommand::Start(id, path) => {
                    let state = AudioFile::create(&path, self.key.as_ref());
                    self.files.insert(id, OpenRecording { path, state });
                }
                WriterCommand::Samples(id, samples) => self.write(id, &samples),
                WriterCommand::Overrun(id) => self.fail(id, RecordingError::Overrun),
                WriterCommand::Finish(id, then) => self.finish(id, then),
            }
        }
    }

    fn write(&mut self, id: MediaId, samples: &[i16]) {
        self.backlog.fetch_sub(samples.len(), Ordering::Relaxed);
        let Some(OpenRecording {
            state: Ok(file), ..
        }) = self.files.get_mut(&id)
        else {
            return;
        };
        if let Err(error) = file.append(samples) {
            self.fail(id, error);
        }
    }

    fn fail(&mut self, id: MediaId, error: RecordingError) {
        if let Some(opened) = self.files.get_mut(&id) {
            opened.state = Err(error);
        }
    }

    fn finish(&mut self, id: MediaId, then: Option<MediaEvent>) {
        if let Some(OpenRecording { path, state }) = self.files.remove(&id) {
            let result = state.and_then(|file| file.complete(&path));
            if result.is_err() {
                // Nothing half done stays; there may be no file at all.
                let _ = fs::remove_file(temporary(&path));
            }
            self.emit(MediaEvent::RecordingFinished { id, path, result });
        }
        then.into_iter().for_each(|event| self.emit(event));
    }

    fn emit(&self, event: MediaEvent) {
        // Nobody listens any more while the engine shuts down; the file is complete all the same.
        let _ = self.events.send(event);
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL_SUFFIX);
    PathBuf::from(name)
}

impl AudioFile {
    fn create(path: &Path, key: Option<&RecordingKey>) -> Result<Self, RecordingError> {
        let mut options = File::options();
        // What people said is for the operator alone.
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = BufWriter::new(options.open(temporary(path))?);
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

    fn append(&mut self, samples: &[i16]) -> Result<(), RecordingError> {
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

    /// Writes the header, makes the file durable and gives it its name; gives its length.
    fn complete(self, path: &Path) -> Result<Duration, RecordingError> {
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
        let temporary = temporary(path);
        File::options().append(true).open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)?;
        Ok(Duration::from_secs_f64(
            frames as f64 / f64::from(SAMPLE_RATE),
        ))
    }
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

/// Makes the new name durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
