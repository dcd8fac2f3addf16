//! G.711 A-law and µ-law, G.722 and Opus.

mod opus;
mod upsampler;

use std::{fmt, sync::LazyLock};

use audio_codec::{
    Decoder as _, Encoder as _,
    g722::{Bitrate, G722Decoder, G722Encoder},
    pcma::{PcmaDecoder, PcmaEncoder},
    pcmu::{PcmuDecoder, PcmuEncoder},
};

use crate::FRAME;
use opus::{OpusStreamDecoder, OpusStreamEncoder};
use upsampler::Upsampler;

pub use opus::OpusSettings;

/// Audio codec. All except Opus have one octet per tick of an 8000 Hz clock: 160 octets in 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 A-law, the standard everywhere except North America and Japan.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// G.722 at 64 kbit/s: audio of 16 kHz with an RTP clock of 8000 Hz (RFC 3551, section 4.5.2).
    /// Between two G.722 legs it passes unchanged. The decoder and encoder handle only its lower
    /// band, 8 kHz.
    G722,
    /// Opus (RFC 6716) with an RTP clock of 48 kHz (RFC 7587, section 4.1). Between two Opus legs
    /// it passes unchanged. The decoder and encoder work at 8 kHz.
    Opus,
}

static A_TO_MU: LazyLock<[u8; 256]> = LazyLock::new(|| transcoding_table(Codec::Pcma, Codec::Pcmu));
static MU_TO_A: LazyLock<[u8; 256]> = LazyLock::new(|| transcoding_table(Codec::Pcmu, Codec::Pcma));

impl Codec {
    /// Returns the static RTP payload type (RFC 3551, table 4): 8, 0 or 9. Opus has none, so its
    /// type is 96, the one in our offers.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
            Self::G722 => 9,
            Self::Opus => 96,
        }
    }

    /// Returns the ticks of the RTP clock per sample of 8 kHz: 6 for Opus, otherwise 1.
    pub fn ticks(self) -> u32 {
        if self == Self::Opus { 6 } else { 1 }
    }

    /// Returns the codec of a static payload type: 0, 8 or 9, otherwise `None`.
    pub fn from_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            8 => Some(Self::Pcma),
            0 => Some(Self::Pcmu),
            9 => Some(Self::G722),
            _ => None,
        }
    }

    /// Returns the encoding name in SDP (RFC 3551, section 6; RFC 7587, section 7).
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// Decodes octets up to the length of the shorter slice and returns the number of samples. For
    /// G.722 and Opus each call starts a new stream; use a [`Decoder`] for continuous audio.
    pub fn decode(self, octets: &[u8], samples: &mut [i16]) -> usize {
        Decoder::default().decode(self, octets, samples)
    }

    /// Encodes samples up to the length of the shorter slice and returns the number of octets. For
    /// G.722 and Opus each call starts a new stream; use an [`Encoder`] for continuous audio.
    pub fn encode(self, samples: &[i16], octets: &mut [u8]) -> usize {
        Encoder::default().encode(self, samples, octets)
    }

    /// Returns `true` if the conversion to `to` needs a [`Decoder`] and an [`Encoder`] with their
    /// state from packet to packet. Only G.711 A-law and µ-law convert without them.
    pub fn needs_decoder(self, to: Self) -> bool {
        self != to && (self.is_stateful() || to.is_stateful())
    }

    /// Returns `true` if the meaning of an octet depends on the octets before it.
    pub fn is_stateful(self) -> bool {
        matches!(self, Self::G722 | Self::Opus)
    }

    /// Converts octets of this codec to `to` in place. Octets of the same codec stay unchanged.
    /// Returns `false` if [`Codec::needs_decoder`] is `true`.
    pub fn transcode(self, to: Self, octets: &mut [u8]) -> bool {
        let table: &[u8; 256] = match (self, to) {
            (Self::Pcma, Self::Pcmu) => &A_TO_MU,
            (Self::Pcmu, Self::Pcma) => &MU_TO_A,
            _ => return self == to,
        };
        for octet in octets {
            *octet = table.get(usize::from(*octet)).copied().unwrap_or(*octet);
        }
        true
    }
}

/// Decoder of one stream. G.722 and Opus keep their state from packet to packet.
#[derive(Default)]
pub struct Decoder {
    g722: Option<Box<G722Decoder>>,
    opus: Option<Box<OpusStreamDecoder>>,
}

/// Encoder of one stream. G.722 and Opus keep their state from packet to packet.
#[derive(Default)]
pub struct Encoder {
    g722: Option<Box<WidebandEncoder>>,
    opus: Option<Box<OpusStreamEncoder>>,
    settings: OpusSettings,
}

/// G.722 encoder of 16 kHz behind an upsampler. The 8 kHz mode of the library encodes silence.
struct WidebandEncoder {
    upsampler: Upsampler,
    encoder: G722Encoder,
}

impl Decoder {
    /// Decodes octets up to the length of the shorter slice and returns the number of samples. For
    /// Opus the octets are one packet of at most 120 ms. An invalid Opus packet is concealed with
    /// 20 ms like a lost one.
    pub fn decode(&mut self, codec: Codec, octets: &[u8], samples: &mut [i16]) -> usize {
        if codec == Codec::Opus {
            return self.opus().map_or(0, |opus| opus.decode(octets, samples));
        }
        let count = octets.len().min(samples.len());
        let (Some(octets), Some(samples)) = (octets.get(..count), samples.get_mut(..count)) else {
            return 0;
        };
        match codec {
            Codec::Pcma => PcmaDecoder::new().decode_into(octets, samples),
            Codec::Pcmu => PcmuDecoder::new().decode_into(octets, samples),
            Codec::G722 => self.g722().decode_into(octets, samples),
            Codec::Opus => return 0,
        }
        .unwrap_or(0)
    }

    /// Conceals lost samples of Opus, at most 120 ms, and returns their number. If `next` has a
    /// copy of the lost packet, the last samples come from it. Other codecs return 0; use
    /// [`crate::Concealment`] for them.
    pub fn conceal(&mut self, codec: Codec, next: Option<&[u8]>, samples: &mut [i16]) -> usize {
        if codec != Codec::Opus {
            return 0;
        }
        self.opus().map_or(0, |opus| opus.conceal(next, samples))
    }

    fn opus(&mut self) -> Option<&mut OpusStreamDecoder> {
        if self.opus.is_none() {
            self.opus = OpusStreamDecoder::new().map(Box::new);
        }
        self.opus.as_deref_mut()
    }

    fn g722(&mut self) -> &mut G722Decoder {
        let (packed, lower_band) = (false, true);
        let decoder = || {
            Box::new(G722Decoder::with_options(
                Bitrate::Mode1_64000,
                packed,
                lower_band,
            ))
        };
        self.g722.get_or_insert_with(decoder)
    }
}

impl Encoder {
    /// Encodes samples up to the length of the shorter slice and returns the number of octets.
    ///
    /// For Opus the octets are one packet of at most the size of the slice. A packet has one of
    /// nine durations from 2.5 to 120 ms. Samples beyond it wait for the next call; without a
    /// packet the result is 0.
    pub fn encode(&mut self, codec: Codec, samples: &[i16], octets: &mut [u8]) -> usize {
        if codec == Codec::Opus {
            return self.opus().map_or(0, |opus| opus.encode(samples, octets));
        }
        let count = octets.len().min(samples.len());
        let (Some(samples), Some(octets)) = (samples.get(..count), octets.get_mut(..count)) else {
            return 0;
        };
        match codec {
            Codec::Pcma => PcmaEncoder::new().encode_into(samples, octets),
            Codec::Pcmu => PcmuEncoder::new().encode_into(samples, octets),
            Codec::G722 => return self.g722().encode(samples, octets),
            Codec::Opus => return 0,
        }
        .unwrap_or(0)
    }

    /// Changes the Opus settings to the requests of the peer.
    pub fn adapt(&mut self, settings: OpusSettings) {
        self.settings = settings;
        if let Some(opus) = &mut self.opus {
            opus.adapt(settings);
        }
    }

    /// Returns the number of earlier samples at the start of the next packet; 0 for all codecs
    /// except Opus.
    pub fn pending_samples(&self, codec: Codec) -> usize {
        self.opus
            .as_ref()
            .filter(|_| codec == Codec::Opus)
            .map_or(0, |opus| opus.pending_samples())
    }

    /// Discards the waiting samples, because the next samples do not continue them.
    pub fn discard_pending(&mut self) {
        if let Some(opus) = &mut self.opus {
            opus.discard_pending();
        }
    }

    fn opus(&mut self) -> Option<&mut OpusStreamEncoder> {
        if self.opus.is_none() {
            self.opus = OpusStreamEncoder::new(self.settings).map(Box::new);
        }
        self.opus.as_deref_mut()
    }

    fn g722(&mut self) -> &mut WidebandEncoder {
        let (lower_band, packed) = (false, false);
        let encoder = || G722Encoder::with_options(Bitrate::Mode1_64000, lower_band, packed);
        self.g722.get_or_insert_with(|| {
            Box::new(WidebandEncoder {
                upsampler: Upsampler::default(),
                encoder: encoder(),
            })
        })
    }
}

impl WidebandEncoder {
    /// Encodes samples of 8 kHz into the same number of octets.
    fn encode(&mut self, samples: &[i16], octets: &mut [u8]) -> usize {
        let mut count = 0;
        for (samples, octets) in samples.chunks(FRAME).zip(octets.chunks_mut(FRAME)) {
            let mut doubled = [0; FRAME * 2];
            for (pair, sample) in doubled.chunks_exact_mut(2).zip(samples) {
                pair.copy_from_slice(&self.upsampler.push(*sample));
            }
            let doubled = doubled.get(..samples.len() * 2).unwrap_or_default();
            count += self.encoder.encode_into(doubled, octets).unwrap_or(0);
        }
        count
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { g722, opus } = self;
        let mut text = f.debug_struct("Decoder");
        text.field("g722", &g722.is_some())
            .field("opus", &opus.is_some())
            .finish()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            g722,
            opus,
            settings,
        } = self;
        let mut text = f.debug_struct("Encoder");
        text.field("g722", &g722.is_some())
            .field("opus", &opus.is_some())
            .field("settings", settings)
            .finish()
    }
}

fn transcoding_table(from: Codec, to: Codec) -> [u8; 256] {
    let octets: [u8; 256] = std::array::from_fn(|octet| octet as u8);
    let mut samples = [0; 256];
    let mut table = [0; 256];
    from.decode(&octets, &mut samples);
    to.encode(&samples, &mut table);
    table
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn coding_keeps_the_sample_within_a_quantization_step() {
        for codec in [Codec::Pcma, Codec::Pcmu] {
            for sample in (i16::MIN..=i16::MAX).step_by(7) {
                let mut octet = [0];
                let mut back = [0];
                assert_eq!(codec.encode(&[sample], &mut octet), 1);
                assert_eq!(codec.decode(&octet, &mut back), 1);
                let error = (i32::from(sample) - i32::from(back[0])).abs();
                assert!(
                    error <= 16 + i32::from(sample).abs() / 16,
                    "{codec:?} {sample} {}",
                    back[0]
                );
            }
        }
    }

    #[test]
    fn known_samples_encode_to_their_g711_octets() {
        let mut octet = [0];
        for (codec, sample, expected) in [
            (Codec::Pcma, 0, 0xd5),
            (Codec::Pcmu, 0, 0xff),
            (Codec::Pcma, i16::MAX, 0xaa),
            (Codec::Pcma, i16::MIN, 0x2a),
            (Codec::Pcmu, i16::MAX, 0x80),
            (Codec::Pcmu, i16::MIN, 0x00),
        ] {
            codec.encode(&[sample], &mut octet);
            assert_eq!(octet[0], expected, "{codec:?} {sample}");
        }
    }

    #[test]
    fn transcoding_equals_decoding_and_encoding() {
        for (from, to) in [(Codec::Pcma, Codec::Pcmu), (Codec::Pcmu, Codec::Pcma)] {
            let mut octets: Vec<u8> = (0..=255).collect();
            let mut samples = [0; 256];
            let mut expected = [0; 256];
            from.decode(&octets, &mut samples);
            to.encode(&samples, &mut expected);
            assert!(from.transcode(to, &mut octets));
            assert_eq!(octets, expected);
        }
    }

    pub(crate) fn tone(hertz: f64, count: usize) -> Vec<i16> {
        let mut oscillator = crate::Oscillator::new(hertz, -10.0);
        (0..count)
            .map(|_| oscillator.next_sample() as i16)
            .collect()
    }

    pub(crate) fn level(samples: &[i16]) -> f64 {
        let square: f64 = samples
            .iter()
            .map(|sample| f64::from(*sample).powi(2))
            .sum();
        10.0 * (square / samples.len() as f64).log10()
    }

    /// Level in dB of all frequencies except `hertz`.
    pub(crate) fn noise_beside(hertz: f64, samples: &[i16]) -> f64 {
        let angle = |index: usize| std::f64::consts::TAU * hertz * index as f64 / 8000.0;
        let half = samples.len() as f64 / 2.0;
        let part = |wave: fn(f64) -> f64| {
            let sums = samples
                .iter()
                .enumerate()
                .map(|(index, sample)| f64::from(*sample) * wave(angle(index)));
            sums.sum::<f64>() / half
        };
        let (cosine, sine) = (part(f64::cos), part(f64::sin));
        let rest = samples.iter().enumerate().map(|(index, sample)| {
            f64::from(*sample) - cosine * angle(index).cos() - sine * angle(index).sin()
        });
        10.0 * (rest.map(|rest| rest * rest).sum::<f64>() / samples.len() as f64).log10()
    }

    #[test]
    fn speech_in_g722_keeps_its_pitch_and_level() {
        for hertz in [300.0, 1000.0, 2500.0] {
            let input = tone(hertz, 8000);
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            let mut output = Vec::new();
            for frame in input.chunks(160) {
                let (mut octets, mut samples) = ([0; 160], [0; 160]);
                assert_eq!(encoder.encode(Codec::G722, frame, &mut octets), 160);
                assert_eq!(decoder.decode(Codec::G722, &octets, &mut samples), 160);
                output.extend(samples);
            }
            let (input, output) = (&input[800..], &output[800..]);
            assert!(
                (level(input) - level(output)).abs() < 1.0,
                "{hertz}: {} {}",
                level(input),
                level(output)
            );
            let noise = noise_beside(hertz, output);
            assert!(
                noise < level(output) - 20.0,
                "{hertz}: {noise} {}",
                level(output)
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_octets_of_g722_are_decoded(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
            let mut samples = [0; 1500];
            let count = Decoder::default().decode(Codec::G722, &octets, &mut samples);
            proptest::prop_assert_eq!(count, octets.len().min(1500));
        }

        #[test]
        fn any_samples_are_encoded_in_g722(samples in proptest::collection::vec(proptest::prelude::any::<i16>(), 0..2000)) {
            let mut octets = [0; 1500];
            proptest::prop_assert_eq!(Encoder::default().encode(Codec::G722, &samples, &mut octets), samples.len().min(1500));
        }
    }

    #[test]
    fn the_same_codec_passes_unchanged() {
        let mut octets: Vec<u8> = (0..=255).collect();
        assert!(Codec::Pcma.transcode(Codec::Pcma, &mut octets));
        assert!(Codec::G722.transcode(Codec::G722, &mut octets));
        assert!(!Codec::G722.transcode(Codec::Pcma, &mut octets));
        assert!(!Codec::Pcmu.transcode(Codec::G722, &mut octets));
        assert!(Codec::G722.needs_decoder(Codec::Pcma) && Codec::Pcmu.needs_decoder(Codec::G722));
        assert!(!Codec::G722.needs_decoder(Codec::G722) && !Codec::Pcma.needs_decoder(Codec::Pcmu));
        assert_eq!(octets, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn slices_of_unequal_length_use_the_shorter() {
        assert_eq!(Codec::Pcma.decode(&[0xd5; 10], &mut [0; 4]), 4);
        assert_eq!(Codec::Pcmu.encode(&[0; 3], &mut [0; 10]), 3);
    }
}
