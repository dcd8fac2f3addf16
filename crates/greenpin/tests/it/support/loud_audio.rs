//! Loud audio, easy to distinguish from prompts.

use std::io::Cursor;

/// Sample value absent from built-in prompts and tones.
pub const LOUD: i16 = 8000;

/// Returns a WAV file with constant loud samples.
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

/// Returns the loud sample in G.711 A-law.
pub fn loud() -> u8 {
    let mut octets = [0; 160];
    media::Codec::Pcma.encode(&[LOUD; 160], &mut octets);
    octets[0]
}
