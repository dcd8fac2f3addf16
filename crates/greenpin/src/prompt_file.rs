//! WAV file of a prompt, for the operator's folder and for the tenants' uploads.

use std::io::Cursor;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

/// Maximum length of a prompt in seconds.
pub const MAX_PROMPT_SECONDS: u32 = 60;
/// Samples per second.
pub(crate) const SAMPLE_RATE: u32 = 8000;
/// Names of the prompts.
pub(crate) const NAMES: [&str; 10] = [
    "enter_pin",
    "wrong_pin",
    "goodbye",
    "not_in_use",
    "no_one_to_connect",
    "unavailable",
    "accept_call",
    "whisper",
    "recorded",
    "warning",
];

/// Reads a WAV file of 8 kHz, mono, 16-bit PCM, at most 60 seconds. The error names the violated rule.
pub fn read(octets: &[u8]) -> Result<Vec<i16>, String> {
    let reader =
        WavReader::new(Cursor::new(octets)).map_err(|error| format!("not a WAV file ({error})"))?;
    let format = reader.spec();
    if format.sample_rate != SAMPLE_RATE {
        return Err(format!("has {} Hz", format.sample_rate));
    }
    if format.channels != 1 {
        return Err(format!("has {} channels", format.channels));
    }
    if format.bits_per_sample != 16 || format.sample_format != SampleFormat::Int {
        return Err(format!(
            "has {} bits a sample or is not PCM",
            format.bits_per_sample
        ));
    }
    if reader.duration() > MAX_PROMPT_SECONDS * SAMPLE_RATE {
        return Err(format!("lasts {} seconds", reader.duration() / SAMPLE_RATE));
    }
    reader
        .into_samples()
        .collect::<Result<_, _>>()
        .map_err(|error| format!("is damaged ({error})"))
}

/// Writes a prompt as a WAV file.
pub fn write(samples: &[i16]) -> Result<Vec<u8>, hound::Error> {
    let format = WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut octets = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut octets, format)?;
    samples
        .iter()
        .try_for_each(|sample| writer.write_sample(*sample))?;
    writer.finalize()?;
    Ok(octets.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_read_back() {
        let samples: Vec<i16> = (-500..500).collect();
        assert_eq!(read(&write(&samples).unwrap()).unwrap(), samples);
        assert!(read(b"RIFF").unwrap_err().starts_with("not a WAV file"));
    }
}
