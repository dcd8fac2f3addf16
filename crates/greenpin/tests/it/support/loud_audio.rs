//! A loud sound that is easily told from prompts.

use std::io::Cursor;

/// A sound that no built-in prompt and no tone is made of.
pub const LOUD: i16 = 8000;

/// A WAV file of nothing but the loud sound.
pub fn wav(sample_rate: u32, samples: usize) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    (0..samples).for_each(|_| writer.write_sample(LOUD).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

/// What the loud sound is on the wire.
pub fn loud() -> u8 {
    let mut octets = [0; 160];
    media::Codec::Pcma.encode(&[LOUD; 160], &mut octets);
    octets[0]
}
