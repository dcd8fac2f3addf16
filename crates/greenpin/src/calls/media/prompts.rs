//! Prompts for callers: the built-in prompts in several languages, a folder of the operator, and the tenants' own
//! audio.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use call::Prompt;
use media::Clip;

use crate::prompt_file;
use crate::prompt_file::MAX_PROMPT_SECONDS;
use crate::store::{TenantPrompts, Voice};

/// Fallback language.
const DEFAULT_LANGUAGE: &str = "en";
/// Maximum number of tenants with their audio in the cache.
const MAX_CACHED_TENANTS: usize = 32;

/// All prompts.
const ALL_PROMPTS: [Prompt; 10] = [
    Prompt::EnterPin,
    Prompt::WrongPin,
    Prompt::Goodbye,
    Prompt::NotInUse,
    Prompt::NoOneToConnect,
    Prompt::Unavailable,
    Prompt::AcceptCall,
    Prompt::Whisper,
    Prompt::Recorded,
    Prompt::Warning,
];

/// Returns the name of a prompt: the file name without `.wav`, and the name in the API.
fn name(prompt: Prompt) -> &'static str {
    match prompt {
        Prompt::EnterPin => "enter_pin",
        Prompt::WrongPin => "wrong_pin",
        Prompt::Goodbye => "goodbye",
        Prompt::NotInUse => "not_in_use",
        Prompt::NoOneToConnect => "no_one_to_connect",
        Prompt::Unavailable => "unavailable",
        Prompt::AcceptCall => "accept_call",
        Prompt::Whisper => "whisper",
        Prompt::Recorded => "recorded",
        Prompt::Warning => "warning",
    }
}

macro_rules! built_in {
    ($($language:literal: [$($name:literal),*];)*) => {
        /// Language, name and file of each built-in prompt.
        const BUILT_IN: &[(&str, &str, &[u8])] = &[
            $($(($language, $name, include_bytes!(concat!("../../../prompts/", $language, "/", $name, ".wav")))),*),*
        ];
    };
}

built_in! {
    "en": ["enter_pin", "wrong_pin", "goodbye", "not_in_use", "no_one_to_connect", "unavailable", "accept_call", "whisper", "recorded"];
    "hi": ["enter_pin", "wrong_pin", "goodbye", "not_in_use", "no_one_to_connect", "unavailable", "accept_call", "whisper", "recorded"];
}

/// Warning tone, shared by all languages.
const WARNING: &[u8] = include_bytes!("../../../prompts/warning.wav");

/// Error in a prompt file.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file violates a rule.
    #[error("{}: {rule}; a prompt is a WAV file of 8 kHz, mono, 16-bit PCM, at most {MAX_PROMPT_SECONDS} seconds", path.display())]
    Invalid {
        /// File.
        path: PathBuf,
        /// Violated rule.
        rule: String,
    },
}

/// Prompts of every language.
#[derive(Debug, Clone)]
pub struct Prompts {
    languages: HashMap<String, Clips>,
    tenant_prompts: Vec<(Arc<TenantPrompts>, Clips)>,
}

type Clips = HashMap<Prompt, Arc<Clip>>;

impl Prompts {
    /// Loads the built-in prompts.
    pub fn built_in() -> Result<Self, PromptError> {
        let mut languages: HashMap<String, Clips> = HashMap::new();
        for (language, file, octets) in BUILT_IN {
            let Some(prompt) = ALL_PROMPTS
                .into_iter()
                .find(|prompt| name(*prompt) == *file)
            else {
                continue;
            };
            let clips = languages.entry((*language).to_owned()).or_default();
            clips.insert(prompt, Arc::new(parse(octets, Path::new(file))?));
        }
        let warning = Arc::new(parse(WARNING, Path::new("warning"))?);
        languages
            .entry(DEFAULT_LANGUAGE.to_owned())
            .or_default()
            .insert(Prompt::Warning, warning);
        Ok(Self {
            languages,
            tenant_prompts: Vec::new(),
        })
    }

    /// Loads the prompts of a folder. Files in the folder itself are English; a subfolder named after a language holds
    /// its prompts. Missing prompts are taken from the built-in set. Every file is checked at the start, so that a bad
    /// file cannot affect a call later.
    pub fn from_folder(folder: &Path) -> Result<Self, PromptError> {
        let mut prompts = Self::built_in()?;
        prompts.add(DEFAULT_LANGUAGE, folder)?;
        let unreadable = |source| PromptError::Unreadable {
            path: folder.to_owned(),
            source,
        };
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let language = path
                .file_name()
                .and_then(|name| name.to_str())
                .filter(|_| path.is_dir());
            if let Some(language) = language.filter(|name| is_language(name)) {
                prompts.add(language, &path)?;
            }
        }
        Ok(prompts)
    }

    fn add(&mut self, language: &str, folder: &Path) -> Result<(), PromptError> {
        fs::read_dir(folder).map_err(|source| PromptError::Unreadable {
            path: folder.to_owned(),
            source,
        })?;
        for prompt in ALL_PROMPTS {
            match read_clip(&folder.join(format!("{}.wav", name(prompt)))) {
                Ok(clip) => {
                    self.languages
                        .entry(language.to_owned())
                        .or_default()
                        .insert(prompt, Arc::new(clip));
                }
                Err(PromptError::Unreadable { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the languages with at least one prompt, sorted.
    pub fn languages(&self) -> Vec<String> {
        let mut languages: Vec<String> = self.languages.keys().cloned().collect();
        languages.sort_unstable();
        languages
    }

    /// Returns the clip for a tenant's caller: the tenant's own audio, or the prompt in the tenant's language, or the
    /// English prompt.
    pub fn get(&mut self, prompt: Prompt, voice: Option<&Voice>) -> Arc<Clip> {
        let tenant_prompts =
            voice.and_then(|voice| self.tenant_prompts(&voice.own)?.get(&prompt).cloned());
        let language = voice.map_or(DEFAULT_LANGUAGE, |voice| voice.language.as_str());
        tenant_prompts.unwrap_or_else(|| self.in_language(prompt, language))
    }

    fn in_language(&self, prompt: Prompt, language: &str) -> Arc<Clip> {
        let languages = [language, DEFAULT_LANGUAGE].into_iter();
        let mut found =
            languages.filter_map(|language| self.languages.get(language)?.get(&prompt).cloned());
        found.next().unwrap_or_default()
    }

    /// Returns a tenant's own audio, decoded on first use.
    fn tenant_prompts(&mut self, tenant_prompts: &Arc<TenantPrompts>) -> Option<&Clips> {
        if tenant_prompts.0.is_empty() {
            return None;
        }
        if !self
            .tenant_prompts
            .iter()
            .any(|(known, _)| Arc::ptr_eq(known, tenant_prompts))
        {
            self.tenant_prompts.truncate(MAX_CACHED_TENANTS - 1);
            self.tenant_prompts
                .insert(0, (tenant_prompts.clone(), clips(tenant_prompts)));
        }
        self.tenant_prompts
            .iter()
            .find(|(known, _)| Arc::ptr_eq(known, tenant_prompts))
            .map(|(_, clips)| clips)
    }
}

fn clips(tenant_prompts: &TenantPrompts) -> Clips {
    let clip = |prompt| {
        let samples = tenant_prompts.0.get(name(prompt))?.samples.clone();
        Some((prompt, Arc::new(Clip::new(samples).ok()?)))
    };
    ALL_PROMPTS.into_iter().filter_map(clip).collect()
}

/// Returns `true` if a folder is named after a language: two or three lower-case letters, optionally with a region,
/// such as `pt-BR`.
fn is_language(name: &str) -> bool {
    let (language, region) = name
        .split_once('-')
        .map_or((name, None), |(name, region)| (name, Some(region)));
    (2..=3).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_lowercase())
        && region.is_none_or(|region| {
            (2..=4).contains(&region.len())
                && region.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// Reads a WAV file of 8 kHz, mono, 16-bit PCM, at most 60 seconds.
pub fn read_clip(path: &Path) -> Result<Clip, PromptError> {
    let octets = fs::read(path).map_err(|source| PromptError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&octets, path)
}

fn parse(octets: &[u8], path: &Path) -> Result<Clip, PromptError> {
    let invalid = |rule: String| PromptError::Invalid {
        path: path.to_owned(),
        rule,
    };
    let samples = prompt_file::read(octets).map_err(invalid)?;
    Clip::new(samples).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use call::Prompt;
    use hound::{SampleFormat, WavSpec, WavWriter};
    use media::ToneDetector;

    fn wav(path: &Path, sample_rate: u32, channels: u16, bits_per_sample: u16, frames: usize) {
        let format = WavSpec {
            channels,
            sample_rate,
            bits_per_sample,
            sample_format: SampleFormat::Int,
        };
        let mut writer = WavWriter::create(path, format).unwrap();
        (0..frames * usize::from(channels)).for_each(|_| writer.write_sample(7).unwrap());
        writer.finalize().unwrap();
    }

    #[test]
    fn the_built_in_prompts_are_audible_and_short() {
        let prompts = Prompts::built_in().unwrap();
        assert_eq!(prompts.languages(), ["en", "hi"]);
        for (language, prompt) in prompts
            .languages()
            .iter()
            .flat_map(|language| ALL_PROMPTS.map(|prompt| (language.clone(), prompt)))
        {
            if prompt == Prompt::Warning {
                continue;
            }
            let clip = prompts.in_language(prompt, &language);
            assert!(
                language == "en" || clip != prompts.in_language(prompt, "en"),
                "{language} {prompt:?}"
            );
            let square: f64 = clip
                .samples()
                .iter()
                .map(|sample| f64::from(*sample).powi(2))
                .sum();
            let level = (square / clip.samples().len() as f64).sqrt() / 32_768.0;
            assert!((0.1..0.35).contains(&level), "{prompt:?} {level}");
            assert!(
                (4000..8000 * 5).contains(&clip.samples().len()),
                "{prompt:?}"
            );
        }
    }

    #[test]
    fn speech_is_not_detected_as_a_key() {
        let prompts = Prompts::built_in().unwrap();
        for (language, prompt) in ["en", "hi"]
            .into_iter()
            .flat_map(|language| ALL_PROMPTS.map(|prompt| (language, prompt)))
        {
            let mut keys = 0;
            ToneDetector::default()
                .process(prompts.in_language(prompt, language).samples(), |_| {
                    keys += 1
                });
            assert_eq!(keys, 0, "{language} {prompt:?}");
        }
    }

    #[test]
    fn prompts_in_a_folder_replace_the_built_in_ones_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        wav(&folder.path().join("goodbye.wav"), 8000, 1, 16, 100);
        fs::create_dir(folder.path().join("ta")).unwrap();
        wav(&folder.path().join("ta/enter_pin.wav"), 8000, 1, 16, 200);
        let prompts = Prompts::from_folder(folder.path()).unwrap();
        assert_eq!(prompts.languages(), ["en", "hi", "ta"]);
        assert_eq!(
            prompts.in_language(Prompt::Goodbye, "en").samples(),
            [7; 100]
        );
        assert_eq!(
            prompts.in_language(Prompt::EnterPin, "ta").samples(),
            [7; 200]
        );
        let built_in = Prompts::built_in().unwrap();
        for (prompt, language, like) in [
            (Prompt::EnterPin, "en", "en"),
            (Prompt::WrongPin, "ta", "en"),
            (Prompt::Goodbye, "hi", "hi"),
            (Prompt::Warning, "hi", "en"),
        ] {
            let (found, expected) = (
                prompts.in_language(prompt, language),
                built_in.in_language(prompt, like),
            );
            assert_eq!(found, expected, "{prompt:?} {language}");
        }
    }

    #[test]
    fn a_tenants_own_audio_precedes_its_language_and_its_language_precedes_english() {
        let mut prompts = Prompts::built_in().unwrap();
        let own = crate::store::TenantPrompt {
            samples: vec![9; 50],
            updated_at: crate::store::Timestamp::from_micros(0),
        };
        let own = Arc::new(TenantPrompts([("goodbye".to_owned(), own)].into()));
        let voice = Voice {
            language: "hi".into(),
            own,
        };
        assert_eq!(
            prompts.get(Prompt::Goodbye, Some(&voice)).samples(),
            [9; 50]
        );
        let hindi = prompts.in_language(Prompt::EnterPin, "hi");
        assert_eq!(prompts.get(Prompt::EnterPin, Some(&voice)), hindi);
        let english = prompts.in_language(Prompt::EnterPin, "en");
        let unknown = Voice {
            language: "xx".into(),
            own: Arc::default(),
        };
        assert_eq!(prompts.get(Prompt::EnterPin, Some(&unknown)), english);
        assert_eq!(prompts.get(Prompt::EnterPin, None), english);
    }

    #[test]
    fn prompt_names_match_the_names_in_the_api() {
        assert_eq!(ALL_PROMPTS.map(name), prompt_file::NAMES);
    }

    #[test]
    fn the_error_names_the_bad_file_and_the_violated_rule() {
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
            assert!(
                error.contains("wrong_pin.wav") && error.contains(rule),
                "{error}"
            );
            assert!(
                error.contains("8 kHz, mono, 16-bit PCM, at most 60 seconds"),
                "{error}"
            );
        }
        fs::write(&path, "no sound").unwrap();
        assert!(
            Prompts::from_folder(folder.path())
                .unwrap_err()
                .to_string()
                .contains("not a WAV file")
        );
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let error = Prompts::from_folder(Path::new("/no/such/folder"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("/no/such/folder: "), "{error}");
    }
}
