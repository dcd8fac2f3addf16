//! Mono Opus (RFC 6716), decoded to and encoded from 8 kHz. This is the only module of the crate
//! that uses the library.

use opus_pure::{Application, OpusDecoder, OpusEncoder, RateControl};

use crate::{FRAME, SAMPLE_RATE};

/// Maximum number of samples per packet: 120 ms (RFC 6716, section 3.2.5, rule R5).
pub(crate) const MAX_PACKET_SAMPLES: usize = 960;
/// Packet durations in samples, longest first (RFC 6716, section 3.2.1).
const DURATIONS: [usize; 9] = [960, 800, 640, 480, 320, 160, 80, 40, 20];
/// Bit rate of the encoder in bit/s: enough for speech of 8 kHz with a copy of each packet in the
/// next.
const BIT_RATE: u32 = 20_000;
/// Minimum bit rate in bit/s, even if the peer requests less (RFC 7587, section 6.1).
const MIN_BIT_RATE: u32 = 6000;
/// Encoder complexity, 0 to 10. This value costs half the CPU of the maximum, with no audible
/// difference for speech of 8 kHz.
const COMPLEXITY: i32 = 5;
/// Assumed packet loss in percent for streams with copies.
const ASSUMED_LOSS: i32 = 5;

/// Requests of a peer for the Opus stream to it (RFC 7587, section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpusSettings {
    /// Maximum bit rate in bit/s (`maxaveragebitrate`); `None` for no limit.
    pub max_bit_rate: Option<u32>,
    /// Send a copy of each packet in the next, because the peer uses it (`useinbandfec`).
    pub inband_fec: bool,
    /// Send packets of constant size (`cbr`).
    pub constant: bool,
}

/// Decoder of one stream.
pub(crate) struct OpusStreamDecoder(OpusDecoder);

impl OpusStreamDecoder {
    pub(crate) fn new() -> Option<Self> {
        OpusDecoder::new(SAMPLE_RATE as i32, 1).ok().map(Self)
    }

    /// Decodes a packet of at most 120 ms and returns the number of samples. An invalid packet is
    /// concealed like a lost one.
    pub(crate) fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> usize {
        let max_samples = samples.len().min(MAX_PACKET_SAMPLES);
        let decoded = if packet.is_empty() {
            None
        } else {
            self.0.decode_s16(packet, max_samples, samples).ok()
        };
        decoded.unwrap_or_else(|| self.conceal(None, samples.get_mut(..FRAME).unwrap_or_default()))
    }

    /// Conceals lost samples and returns their number. If `next` has a copy of the lost packet, the
    /// last samples come from it.
    pub(crate) fn conceal(&mut self, next: Option<&[u8]>, samples: &mut [i16]) -> usize {
        let count = samples.len().min(MAX_PACKET_SAMPLES) / 20 * 20;
        let Some(samples) = samples
            .get_mut(..count)
            .filter(|samples| !samples.is_empty())
        else {
            return 0;
        };
        let copy = next.filter(|next| !next.is_empty());
        let copied = copy.and_then(|next| self.0.decode_fec_s16(next, count, samples).ok());
        copied
            .or_else(|| self.0.decode_s16(&[], count, samples).ok())
            .unwrap_or(0)
            .min(count)
    }
}

/// Encoder of one stream. A packet has one of nine durations; samples beyond it wait for the next
/// packet.
pub(crate) struct OpusStreamEncoder {
    encoder: OpusEncoder,
    pending: Vec<i16>,
}

impl OpusStreamEncoder {
    pub(crate) fn new(settings: OpusSettings) -> Option<Self> {
        let mut encoder = OpusEncoder::new(SAMPLE_RATE as i32, 1, Application::Voip).ok()?;
        encoder.complexity = COMPLEXITY;
        let mut encoding = Self {
            encoder,
            pending: Vec::with_capacity(MAX_PACKET_SAMPLES + FRAME),
        };
        encoding.adapt(settings);
        Some(encoding)
    }

    pub(crate) fn adapt(&mut self, settings: OpusSettings) {
        let bit_rate = settings.max_bit_rate.unwrap_or(BIT_RATE);
        self.encoder.bitrate_bps = bit_rate.clamp(MIN_BIT_RATE, BIT_RATE) as i32;
        self.encoder.use_inband_fec = settings.inband_fec;
        self.encoder.packet_loss_perc = if settings.inband_fec { ASSUMED_LOSS } else { 0 };
        self.encoder.rate_control = if settings.constant {
            RateControl::Cbr
        } else {
            RateControl::ConstrainedVbr
        };
    }

    /// Returns the number of samples that wait for the next packet.
    pub(crate) fn pending_samples(&self) -> usize {
        self.pending.len()
    }

    /// Discards the waiting samples, because the next samples do not continue them.
    pub(crate) fn discard_pending(&mut self) {
        self.pending.clear();
    }

    /// Encodes one packet into at most the whole slice and returns its octets; 0 if there are too
    /// few samples for a packet.
    pub(crate) fn encode(&mut self, samples: &[i16], octets: &mut [u8]) -> usize {
        self.pending.extend(samples.iter().take(MAX_PACKET_SAMPLES));
        let fits = |duration: &&usize| **duration <= self.pending.len();
        let Some(duration) = DURATIONS.iter().find(fits).copied() else {
            return 0;
        };
        let encoded = self.encoder.encode_s16(&self.pending, duration, octets);
        self.pending.drain(..duration);
        encoded.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::{level, noise_beside, tone};
    use crate::{Codec, Decoder, Encoder};

    /// Encodes the input in packets of this many samples, drops the lost ones, and decodes the
    /// rest.
    fn encode_and_decode(
        input: &[i16],
        packet: usize,
        settings: OpusSettings,
        lost: fn(usize) -> bool,
    ) -> Vec<i16> {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        encoder.adapt(settings);
        let mut packets = Vec::new();
        for samples in input.chunks_exact(packet) {
            let mut octets = [0; 1000];
            let length = encoder.encode(Codec::Opus, samples, &mut octets);
            packets.push(octets[..length].to_vec());
        }
        let mut output = Vec::new();
        for (index, octets) in packets.iter().enumerate() {
            let mut samples = [0; 1500];
            let count = if lost(index) {
                let next = packets.get(index + 1).map(Vec::as_slice);
                decoder.conceal(Codec::Opus, next, &mut samples[..packet])
            } else {
                decoder.decode(Codec::Opus, octets, &mut samples)
            };
            output.extend_from_slice(&samples[..count]);
        }
        output
    }

    #[test]
    fn speech_in_opus_keeps_its_pitch_and_level_in_packets_of_any_length() {
        for (hertz, packet) in [
            (300.0, 160),
            (1000.0, 160),
            (2500.0, 160),
            (1000.0, 240),
            (1000.0, 80),
            (700.0, 960),
        ] {
            let input = tone(hertz, 9600);
            let output = encode_and_decode(&input, packet, OpusSettings::default(), |_| false);
            assert!(
                input.len() - output.len() < 160,
                "{packet}: {}",
                output.len()
            );
            let (expected, output) = (&input[1600..], &output[1600..]);
            assert!(
                (level(expected) - level(output)).abs() < 1.5,
                "{hertz}: {} {}",
                level(expected),
                level(output)
            );
            let noise = noise_beside(hertz, output);
            assert!(
                noise < level(output) - 12.0,
                "{hertz} {packet}: {noise} {}",
                level(output)
            );
        }
    }

    #[test]
    fn a_copy_in_the_next_packet_restores_the_lost_audio() {
        // A tone that starts in the lost packet cannot be derived from the audio before it.
        let input: Vec<i16> = [vec![0; 160 * 20], tone(800.0, 160 * 20)].concat();
        let lost = |index| index == 20;
        let output = |inband_fec| {
            let settings = OpusSettings {
                inband_fec,
                ..OpusSettings::default()
            };
            encode_and_decode(&input, 160, settings, lost)
        };
        let place = 160 * 20 + 60..160 * 21 + 30;
        let (with_fec, without_fec) = (output(true), output(false));
        assert_eq!(
            (with_fec.len(), without_fec.len()),
            (input.len(), input.len())
        );
        let expected = level(&input[place.clone()]);
        let (with_fec, without_fec) = (level(&with_fec[place.clone()]), level(&without_fec[place]));
        assert!(
            (with_fec - expected).abs() < 6.0 && without_fec < expected - 12.0,
            "{with_fec} {without_fec} {expected}"
        );
    }

    #[test]
    fn the_opus_requests_of_a_peer_are_followed() {
        let input = tone(440.0, 16_000);
        let sizes = |settings| {
            let mut encoder = Encoder::default();
            encoder.adapt(settings);
            let mut octets = [0; 160];
            input
                .chunks(160)
                .map(|samples| encoder.encode(Codec::Opus, samples, &mut octets))
                .collect::<Vec<_>>()
        };
        let plain: usize = sizes(OpusSettings::default()).iter().sum();
        let few = sizes(OpusSettings {
            max_bit_rate: Some(8000),
            ..OpusSettings::default()
        });
        assert!(few.iter().sum::<usize>() <= 2100 && plain > 2500, "{plain}");
        let constant = sizes(OpusSettings {
            constant: true,
            ..OpusSettings::default()
        });
        assert!(
            constant.iter().all(|size| *size == constant[0]),
            "{constant:?}"
        );
    }

    #[test]
    fn an_invalid_opus_packet_is_concealed() {
        let mut samples = [0; 1500];
        let mut decoder = Decoder::default();
        for octets in [&[][..], &[0xff], &[3], &[0xfb, 0xff, 0xff]] {
            let count = decoder.decode(Codec::Opus, octets, &mut samples);
            assert!((20..=960).contains(&count), "{octets:?} {count}");
        }
        assert_eq!(decoder.decode(Codec::Opus, &[8; 40], &mut []), 0);
        assert_eq!(decoder.conceal(Codec::Pcma, None, &mut samples), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_of_opus_are_decoded(
            packets in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), 1..8),
            lost in proptest::prelude::any::<u8>(),
            room in 0usize..1500,
        ) {
            let (mut decoder, mut samples) = (Decoder::default(), [0; 1500]);
            for (index, packet) in packets.iter().enumerate() {
                let slice = &mut samples[..room];
                let count = if lost >> (index % 8) & 1 == 1 {
                    decoder.conceal(Codec::Opus, Some(packet), slice)
                } else {
                    decoder.decode(Codec::Opus, packet, slice)
                };
                proptest::prop_assert!(count <= room.min(960));
            }
        }

        #[test]
        fn any_samples_are_encoded_in_opus(
            packets in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<i16>(), 0..1200), 1..4),
            room in 0usize..300,
        ) {
            let (mut encoder, mut octets) = (Encoder::default(), [0; 300]);
            for samples in packets {
                proptest::prop_assert!(encoder.encode(Codec::Opus, &samples, &mut octets[..room]) <= room);
                proptest::prop_assert!(encoder.pending_samples(Codec::Opus) <= 960);
            }
        }
    }
}
