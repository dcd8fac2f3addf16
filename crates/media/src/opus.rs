//! Opus (RFC 6716) of one channel, decoded to and encoded from 8 kHz. The only module that names the library.

use opus_pure::{Application, OpusDecoder, OpusEncoder, RateControl};

use crate::{FRAME, SAMPLE_RATE};

/// Samples of the longest packet, 120 ms (RFC 6716, section 3.2.5, rule R5).
pub(crate) const LONGEST: usize = 960;
/// Durations of a packet in samples, the longest first (RFC 6716, section 3.2.1).
const DURATIONS: [usize; 9] = [960, 800, 640, 480, 320, 160, 80, 40, 20];
/// Bits a second of what we encode: enough for speech of 8 kHz with the copy of each packet in the next.
const BIT_RATE: u32 = 20_000;
/// Bits a second below which no peer's wish brings us (RFC 7587, section 6.1).
const LEAST_BIT_RATE: u32 = 6000;
/// 0 to 10: half of the CPU of the greatest, and nothing that an ear finds in speech of 8 kHz.
const COMPLEXITY: i32 = 5;
/// The share of packets that is taken to be lost where copies are sent, in percent.
const ASSUMED_LOSS: i32 = 5;

/// What a peer wants of the Opus that it is sent (RFC 7587, section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpusSettings {
    /// Bits a second that it takes at most (`maxaveragebitrate`); `None`: any.
    pub max_bit_rate: Option<u32>,
    /// Whether it makes use of a copy of each packet in the next (`useinbandfec`).
    pub inband_fec: bool,
    /// Whether all packets are to be of one size (`cbr`).
    pub constant: bool,
}

/// Decodes one stream.
pub(crate) struct Decoding(OpusDecoder);

impl Decoding {
    pub(crate) fn new() -> Option<Self> {
        OpusDecoder::new(SAMPLE_RATE as i32, 1).ok().map(Self)
    }

    /// Decodes a packet of at most 120 ms; gives the number of samples. What is no Opus is made up like what is lost.
    pub(crate) fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> usize {
        let most = samples.len().min(LONGEST);
        let decoded = if packet.is_empty() { None } else { self.0.decode_s16(packet, most, samples).ok() };
        decoded.unwrap_or_else(|| self.conceal(None, samples.get_mut(..FRAME).unwrap_or_default()))
    }

    /// Makes up what was lost, its end from the copy in the packet after it if there is one; gives the number of samples.
    pub(crate) fn conceal(&mut self, next: Option<&[u8]>, samples: &mut [i16]) -> usize {
        let count = samples.len().min(LONGEST) / 20 * 20;
        let Some(samples) = samples.get_mut(..count).filter(|samples| !samples.is_empty()) else { return 0 };
        let copy = next.filter(|next| !next.is_empty());
        let copied = copy.and_then(|next| self.0.decode_fec_s16(next, count, samples).ok());
        copied.or_else(|| self.0.decode_s16(&[], count, samples).ok()).unwrap_or(0).min(count)
    }
}

/// Encodes one stream. A packet has one of nine durations: what fills none waits for the samples after it.
pub(crate) struct Encoding {
    encoder: OpusEncoder,
    waiting: Vec<i16>,
}

impl Encoding {
    pub(crate) fn new(settings: OpusSettings) -> Option<Self> {
        let mut encoder = OpusEncoder::new(SAMPLE_RATE as i32, 1, Application::Voip).ok()?;
        encoder.complexity = COMPLEXITY;
        let mut encoding = Self { encoder, waiting: Vec::with_capacity(LONGEST + FRAME) };
        encoding.adapt(settings);
        Some(encoding)
    }

    pub(crate) fn adapt(&mut self, settings: OpusSettings) {
        let most = settings.max_bit_rate.unwrap_or(BIT_RATE);
        self.encoder.bitrate_bps = most.clamp(LEAST_BIT_RATE, BIT_RATE) as i32;
        self.encoder.use_inband_fec = settings.inband_fec;
        self.encoder.packet_loss_perc = if settings.inband_fec { ASSUMED_LOSS } else { 0 };
        self.encoder.rate_control =
            if settings.constant { RateControl::Cbr } else { RateControl::ConstrainedVbr };
    }

    /// Samples that the next packet begins with.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Forgets them: what comes next does not follow them.
    pub(crate) fn skip(&mut self) {
        self.waiting.clear();
    }

    /// Encodes one packet; gives its octets, 0 if there are too few samples for one. The slice is all that it may fill.
    pub(crate) fn encode(&mut self, samples: &[i16], octets: &mut [u8]) -> usize {
        self.waiting.extend(samples.iter().take(LONGEST));
        let fits = |duration: &&usize| **duration <= self.waiting.len();
        let Some(duration) = DURATIONS.iter().find(fits).copied() else { return 0 };
        let encoded = self.encoder.encode_s16(&self.waiting, duration, octets);
        self.waiting.drain(..duration);
        encoded.unwrap_or(0)
    }
}
