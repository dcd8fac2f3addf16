//! Conformance of the Opus decoder: it decodes the output of opusenc like opusdec. Both come from
//! opus-tools, with libopus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{fs, io::Cursor, path::Path, process::Command};

use opus_pure::{MAX_PACKET_SAMPLES, OggOpusReader, Trim};

/// Returns three seconds of two voices with vowels and pauses, at 48 kHz.
fn synthetic_voices() -> Vec<u8> {
    let mut octets = Vec::new();
    for index in 0..3 * 48_000 {
        let time = f64::from(index) / 48_000.0;
        for pitch in [120.0, 210.0] {
            let envelope = (0.5 + 0.5 * (time * 7.0 + pitch).sin()).powi(3);
            let part = |harmonic: i32| {
                let hertz = pitch * f64::from(harmonic);
                (std::f64::consts::TAU * hertz * time).sin()
                    / (1.0 + ((hertz - 700.0) / 900.0).powi(2))
            };
            let sample = (1..40).map(part).sum::<f64>() * envelope * 4000.0;
            octets.extend((sample as i16).to_le_bytes());
        }
    }
    octets
}

fn run(program: &str, arguments: &[&str], input: &Path, output: &Path) {
    let status = Command::new(program)
        .args(arguments)
        .args([input, output])
        .status();
    assert!(
        status
            .unwrap_or_else(|_| panic!("{program} is missing: ./test installs it"))
            .success()
    );
}

fn samples(octets: &[u8]) -> Vec<i16> {
    octets
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

/// Decodes an Ogg Opus file to interleaved samples at 48 kHz.
fn decode_file(file: &[u8]) -> Vec<i16> {
    let mut reader = OggOpusReader::new(Cursor::new(file)).unwrap();
    let channels = usize::from(reader.head().channel_count);
    let mut decoder = reader.head().decoder(48_000).unwrap();
    let mut trim = Trim::new(reader.head(), 48_000, channels).unwrap();
    let (mut block, mut all) = (vec![0; MAX_PACKET_SAMPLES * channels], Vec::new());
    while let Some(packet) = reader.read_packet().unwrap() {
        let count = decoder
            .decode_s16(&packet.data, MAX_PACKET_SAMPLES, &mut block)
            .unwrap();
        all.extend_from_slice(trim.keep(&packet, &block[..count * channels]));
    }
    all
}

/// Returns the ratio of a signal to its difference from another signal, in dB.
fn signal_to_difference_db(signal: &[i16], other: &[i16]) -> f64 {
    let power =
        |samples: &mut dyn Iterator<Item = f64>| samples.map(|sample| sample * sample).sum::<f64>();
    let wrong = power(
        &mut signal
            .iter()
            .zip(other)
            .map(|(a, b)| f64::from(*a) - f64::from(*b)),
    );
    10.0 * (power(&mut signal.iter().map(|sample| f64::from(*sample))) / wrong.max(1e-9)).log10()
}

#[test]
fn our_decoder_matches_libopus_on_streams_of_libopus() {
    let folder = tempfile::tempdir().unwrap();
    let [raw, opus, out] =
        ["voices.raw", "voices.opus", "out.raw"].map(|name| folder.path().join(name));
    fs::write(&raw, synthetic_voices()).unwrap();
    let input = ["--quiet", "--raw", "--raw-rate", "48000", "--raw-chan", "2"];
    let settings: [&[&str]; 8] = [
        &["--bitrate", "12", "--downmix-mono"],
        &["--bitrate", "20", "--downmix-mono", "--framesize", "60"],
        &["--bitrate", "24", "--framesize", "40"],
        &["--bitrate", "32", "--expect-loss", "20", "--downmix-mono"],
        &["--bitrate", "48"],
        &["--bitrate", "64", "--framesize", "10"],
        &["--bitrate", "96", "--framesize", "2.5"],
        &["--bitrate", "128", "--hard-cbr"],
    ];
    for setting in settings {
        run("opusenc", &[&input, setting].concat(), &raw, &opus);
        run(
            "opusdec",
            &["--quiet", "--no-dither", "--rate", "48000"],
            &opus,
            &out,
        );
        let (theirs, ours) = (
            samples(&fs::read(&out).unwrap()),
            decode_file(&fs::read(&opus).unwrap()),
        );
        assert_eq!(theirs.len(), ours.len(), "{setting:?}");
        let decibels = signal_to_difference_db(&theirs, &ours);
        assert!(decibels > 50.0, "{setting:?}: {decibels}");
    }
}
