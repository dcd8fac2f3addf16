//! What callers hear: built-in prompts, or an operator's own.

use std::{
    collections::HashMap,
    fs,
    io::{self, Cursor},
    path::{Path, PathBuf},
    sync::Arc,
};

use call::script::Prompt;
use hound::{SampleFormat, WavReader};
use media::{Clip, SAMPLE_RATE};

/// Seconds that a prompt may last.
const MAX_SECONDS: u32 = 60;

/// All prompts.
const ALL: [Prompt; 6] = [
    Prompt::EnterPin,
    Prompt::WrongPin,
    Prompt::Goodbye,
    Prompt::NotInUse,
    Prompt::NoOneToConnect,
    Prompt::Unavailable,
];

/// The name of a prompt's file in a folder of prompts, and the one in the program.
fn source(prompt: Prompt) -> (&'static str, &'static [u8]) {
    match prompt {
        Prompt::EnterPin => ("enter_pin.wav", include_bytes!("../../../prompts/en/enter_pin.wav")),
        Prompt::WrongPin => ("wrong_pin.wav", include_bytes!("../../../prompts/en/wrong_pin.wav")),
        Prompt::Goodbye => ("goodbye.wav", include_bytes!("../../../prompts/en/goodbye.wav")),
        Prompt::NotInUse => ("not_in_use.wav", include_bytes!("../../../prompts/en/not_in_use.wav")),
        Prompt::NoOneToConnect => {
            ("no_one_to_connect.wav", include_bytes!("../../../prompts/en/no_one_to_connect.wav"))
        }
        Prompt::Unavailable => ("unavailable.wav", include_bytes!("../../../prompts/en/unavailable.wav")),
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
    clips: HashMap<Prompt, Arc<Clip>>,
}

impl Prompts {
    /// The prompts in the program: English.
    pub fn built_in() -> Result<Self, PromptError> {
        Self::collect(|file, built_in| parse(built_in, Path::new(file)))
    }

    /// The prompts of a folder; what is missing there is taken from the built-in set. Every file is checked now, so
    /// that no caller is the first to meet a bad one.
    pub fn from_folder(folder: &Path) -> Result<Self, PromptError> {
        fs::read_dir(folder).map_err(|source| PromptError::Unreadable { path: folder.to_owned(), source })?;
        Self::collect(|file, built_in| match read_clip(&folder.join(file)) {
            Err(PromptError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                parse(built_in, Path::new(file))
            }
            read => read,
        })
    }

    /// The audio of one prompt.
    pub fn get(&self, prompt: Prompt) -> Arc<Clip> {
        self.clips.get(&prompt).cloned().unwrap_or_default()
    }

    fn collect(read: impl Fn(&str, &[u8]) -> Result<Clip, PromptError>) -> Result<Self, PromptError> {
        let clip = |prompt| {
            let (file, built_in) = source(prompt);
            Ok((prompt, Arc::new(read(file, built_in)?)))
        };
        Ok(Self { clips: ALL.into_iter().map(clip).collect::<Result<_, _>>()? })
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
    use call::script::Prompt;
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
        for prompt in ALL {
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
        for prompt in ALL {
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
