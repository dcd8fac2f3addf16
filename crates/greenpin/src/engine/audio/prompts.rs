//! What callers hear: built-in prompts, or an operator's own.

use std::{
    fs,
    io::{self, Cursor},
    path::{Path, PathBuf},
    sync::Arc,
};

use hound::{SampleFormat, WavReader};
use media::{Clip, SAMPLE_RATE};

/// Seconds that a prompt may last.
const MAX_SECONDS: u32 = 60;

/// One thing that is said to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prompt {
    /// "Please enter your PIN."
    EnterPin,
    /// "That PIN is not right": for every refusal, whatever its reason.
    WrongPin,
    /// "Goodbye": after too many tries or too much silence.
    Goodbye,
    /// "This number is not in use."
    NotInUse,
    /// "There is no one to connect you to."
    NoOneToConnect,
    /// "Please wait while we connect you."
    Connecting,
    /// "No one is available to take your call."
    Unavailable,
}

impl Prompt {
    /// All prompts.
    pub const ALL: [Self; 7] = [
        Self::EnterPin,
        Self::WrongPin,
        Self::Goodbye,
        Self::NotInUse,
        Self::NoOneToConnect,
        Self::Connecting,
        Self::Unavailable,
    ];

    /// The name of its file in a folder of prompts.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::EnterPin => "enter_pin.wav",
            Self::WrongPin => "wrong_pin.wav",
            Self::Goodbye => "goodbye.wav",
            Self::NotInUse => "not_in_use.wav",
            Self::NoOneToConnect => "no_one_to_connect.wav",
            Self::Connecting => "connecting.wav",
            Self::Unavailable => "unavailable.wav",
        }
    }

    fn built_in(self) -> &'static [u8] {
        match self {
            Self::EnterPin => include_bytes!("../../../prompts/en/enter_pin.wav"),
            Self::WrongPin => include_bytes!("../../../prompts/en/wrong_pin.wav"),
            Self::Goodbye => include_bytes!("../../../prompts/en/goodbye.wav"),
            Self::NotInUse => include_bytes!("../../../prompts/en/not_in_use.wav"),
            Self::NoOneToConnect => include_bytes!("../../../prompts/en/no_one_to_connect.wav"),
            Self::Connecting => include_bytes!("../../../prompts/en/connecting.wav"),
            Self::Unavailable => include_bytes!("../../../prompts/en/unavailable.wav"),
        }
    }
}

/// Why a prompt's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// It could not be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It breaks a rule.
    #[error("{}: {rule}; a prompt is a WAV file of 8 kHz, mono, 16-bit PCM, at most {MAX_SECONDS} seconds", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which rule.
        rule: String,
    },
}

/// A whole set of prompts.
#[derive(Debug, Clone)]
pub struct Prompts {
    clips: [Arc<Clip>; Prompt::ALL.len()],
}

impl Prompts {
    /// The prompts in the program: English.
    pub fn built_in() -> Result<Self, PromptError> {
        Self::collect(|prompt| parse(prompt.built_in(), Path::new(prompt.file_name())))
    }

    /// The prompts of a folder; what is missing there is taken from the built-in set. Every file is checked now, so
    /// that no caller is the first to meet a bad one.
    pub fn from_folder(folder: &Path) -> Result<Self, PromptError> {
        fs::read_dir(folder).map_err(|source| PromptError::Unreadable { path: folder.to_owned(), source })?;
        Self::collect(|prompt| match read_clip(&folder.join(prompt.file_name())) {
            Err(PromptError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                parse(prompt.built_in(), Path::new(prompt.file_name()))
            }
            read => read,
        })
    }

    /// The audio of one prompt.
    pub fn get(&self, prompt: Prompt) -> Arc<Clip> {
        let [enter_pin, wrong_pin, goodbye, not_in_use, no_one_to_connect, connecting, unavailable] =
            &self.clips;
        let clip = match prompt {
            Prompt::EnterPin => enter_pin,
            Prompt::WrongPin => wrong_pin,
            Prompt::Goodbye => goodbye,
            Prompt::NotInUse => not_in_use,
            Prompt::NoOneToConnect => no_one_to_connect,
            Prompt::Connecting => connecting,
            Prompt::Unavailable => unavailable,
        };
        clip.clone()
    }

    fn collect(mut read: impl FnMut(Prompt) -> Result<Clip, PromptError>) -> Result<Self, PromptError> {
        let [a, b, c, d, e, f, g] = Prompt::ALL.map(|prompt| read(prompt).map(Arc::new));
        Ok(Self { clips: [a?, b?, c?, d?, e?, f?, g?] })
    }
}

/// Reads a WAV file of 8 kHz, mono, 16-bit PCM, at most 60 seconds.
pub fn read_clip(path: &Path) -> Result<Clip, PromptError> {
    let octets =
        fs::read(path).map_err(|source| PromptError::Unreadable { path: path.to_owned(), source })?;
    parse(&octets, path)
}

fn parse(octets: &[u8], path: &Path) -> Result<Clip, PromptError> {
    let invalid = |rule: String| PromptError::Invalid { path: path.to_owned(), rule };
    let reader =
        WavReader::new(Cursor::new(octets)).map_err(|error| invalid(format!("not a WAV file ({error})")))?;
    let format = reader.spec();
    if format.sample_rate != SAMPLE_RATE {
        return Err(invalid(format!("has {} Hz", format.sample_rate)));
    }
    if format.channels != 1 {
        return Err(invalid(format!("has {} channels", format.channels)));
    }
    if format.bits_per_sample != 16 || format.sample_format != SampleFormat::Int {
        return Err(invalid(format!("has {} bits a sample or is not PCM", format.bits_per_sample)));
    }
    if reader.duration() > MAX_SECONDS * SAMPLE_RATE {
        return Err(invalid(format!("lasts {} seconds", reader.duration() / SAMPLE_RATE)));
    }
    let samples: Result<Vec<i16>, _> = reader.into_samples().collect();
    let samples = samples.map_err(|error| invalid(format!("is damaged ({error})")))?;
    Clip::new(samples).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{WavSpec, WavWriter};
    use media::ToneDetector;

    fn wav(path: &Path, sample_rate: u32, channels: u16, bits_per_sample: u16, frames: usize) {
        let format = WavSpec { channels, sample_rate, bits_per_sample, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::create(path, format).unwrap();
        (0..frames * usize::from(channels)).for_each(|_| writer.write_sample(7).unwrap());
        writer.finalize().unwrap();
    }

    #[test]
    fn the_built_in_prompts_are_audible_and_short() {
        let prompts = Prompts::built_in().unwrap();
        for prompt in Prompt::ALL {
            let clip = prompts.get(prompt);
            let square: f64 = clip.samples().iter().map(|sample| f64::from(*sample).powi(2)).sum();
            let level = (square / clip.samples().len() as f64).sqrt() / 32_768.0;
            assert!((0.1..0.35).contains(&level), "{prompt:?} {level}");
            assert!((4000..8000 * 5).contains(&clip.samples().len()), "{prompt:?}");
        }
    }

    #[test]
    fn speech_is_no_key() {
        let prompts = Prompts::built_in().unwrap();
        for prompt in Prompt::ALL {
            let mut keys = 0;
            ToneDetector::default().listen(prompts.get(prompt).samples(), |_| keys += 1);
            assert_eq!(keys, 0, "{prompt:?}");
        }
    }

    #[test]
    fn a_folder_replaces_what_it_has_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        wav(&folder.path().join("goodbye.wav"), 8000, 1, 16, 100);
        let prompts = Prompts::from_folder(folder.path()).unwrap();
        assert_eq!(prompts.get(Prompt::Goodbye).samples(), [7; 100]);
        let built_in = Prompts::built_in().unwrap();
        assert_eq!(prompts.get(Prompt::EnterPin), built_in.get(Prompt::EnterPin));
    }

    #[test]
    fn a_bad_file_is_named_with_the_rule_that_it_breaks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrong_pin.wav");
        for (rate, channels, bits, frames, rule) in [
            (16_000, 1, 16, 10, "16000 Hz"),
            (8000, 2, 16, 10, "2 channels"),
            (8000, 1, 24, 10, "24 bits"),
            (8000, 1, 16, 8000 * 61, "61 seconds"),
        ] {
            wav(&path, rate, channels, bits, frames);
            let error = Prompts::from_folder(folder.path()).unwrap_err().to_string();
            assert!(error.contains("wrong_pin.wav") && error.contains(rule), "{error}");
            assert!(error.contains("8 kHz, mono, 16-bit PCM, at most 60 seconds"), "{error}");
        }
        fs::write(&path, "no sound").unwrap();
        assert!(Prompts::from_folder(folder.path()).unwrap_err().to_string().contains("not a WAV file"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error = Prompts::from_folder(Path::new("/no/such/folder")).unwrap_err().to_string();
        assert!(error.starts_with("/no/such/folder: "), "{error}");
    }
}
