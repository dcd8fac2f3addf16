//! G.711 in both laws.

use std::sync::LazyLock;

use audio_codec::{
    Decoder as _, Encoder as _,
    pcma::{PcmaDecoder, PcmaEncoder},
    pcmu::{PcmuDecoder, PcmuEncoder},
};

/// G.711 in one of its two laws (ITU-T G.711), one octet a sample, 8000 samples a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// A-law, used everywhere but North America and Japan.
    Pcma,
    /// µ-law.
    Pcmu,
}

static A_TO_MU: LazyLock<[u8; 256]> = LazyLock::new(|| conversion(Codec::Pcma, Codec::Pcmu));
static MU_TO_A: LazyLock<[u8; 256]> = LazyLock::new(|| conversion(Codec::Pcmu, Codec::Pcma));

impl Codec {
    /// The static RTP payload type (RFC 3551, table 4): 8 or 0.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
        }
    }

    /// The codec of a static payload type; `None` for any other than 0 and 8.
    pub fn from_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            8 => Some(Self::Pcma),
            0 => Some(Self::Pcmu),
            _ => None,
        }
    }

    /// The encoding name in SDP (RFC 3551, section 6).
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
        }
    }

    /// The octet that stands for silence.
    pub fn silence(self) -> u8 {
        match self {
            Self::Pcma => 0xd5,
            Self::Pcmu => 0xff,
        }
    }

    /// Decodes as many octets as both slices have; gives their number.
    pub fn decode(self, octets: &[u8], samples: &mut [i16]) -> usize {
        let count = octets.len().min(samples.len());
        let (Some(octets), Some(samples)) = (octets.get(..count), samples.get_mut(..count)) else { return 0 };
        match self {
            Self::Pcma => PcmaDecoder::new().decode_into(octets, samples),
            Self::Pcmu => PcmuDecoder::new().decode_into(octets, samples),
        }
        .unwrap_or(0)
    }

    /// Encodes as many samples as both slices have; gives their number.
    pub fn encode(self, samples: &[i16], octets: &mut [u8]) -> usize {
        let count = octets.len().min(samples.len());
        let (Some(samples), Some(octets)) = (samples.get(..count), octets.get_mut(..count)) else { return 0 };
        match self {
            Self::Pcma => PcmaEncoder::new().encode_into(samples, octets),
            Self::Pcmu => PcmuEncoder::new().encode_into(samples, octets),
        }
        .unwrap_or(0)
    }

    /// Turns octets of this law into octets of `to`, in place. The same law is left untouched.
    pub fn transcode(self, to: Self, octets: &mut [u8]) {
        let table: &[u8; 256] = match (self, to) {
            (Self::Pcma, Self::Pcmu) => &A_TO_MU,
            (Self::Pcmu, Self::Pcma) => &MU_TO_A,
            _ => return,
        };
        for octet in octets {
            *octet = table.get(usize::from(*octet)).copied().unwrap_or(*octet);
        }
    }
}

fn conversion(from: Codec, to: Codec) -> [u8; 256] {
    let octets: [u8; 256] = std::array::from_fn(|octet| octet as u8);
    let mut samples = [0; 256];
    let mut table = [0; 256];
    from.decode(&octets, &mut samples);
    to.encode(&samples, &mut table);
    table
}

#[cfg(test)]
mod tests {
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
                assert!(error <= 16 + i32::from(sample).abs() / 16, "{codec:?} {sample} {}", back[0]);
            }
        }
    }

    #[test]
    fn the_known_octets_of_g711_come_out() {
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
            from.transcode(to, &mut octets);
            assert_eq!(octets, expected);
        }
    }

    #[test]
    fn the_same_law_passes_untouched() {
        let mut octets: Vec<u8> = (0..=255).collect();
        Codec::Pcma.transcode(Codec::Pcma, &mut octets);
        assert_eq!(octets, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn slices_of_unequal_length_use_the_shorter() {
        assert_eq!(Codec::Pcma.decode(&[0xd5; 10], &mut [0; 4]), 4);
        assert_eq!(Codec::Pcmu.encode(&[0; 3], &mut [0; 10]), 3);
    }
}
