//! RTP, telephone-event digits, tones and audio of a call, sans-IO.
//!
//! Nothing here opens a socket, reads a clock or draws a random number. The caller passes times,
//! synchronization sources and first sequence numbers in. Every function accepts any input without
//! a panic.
//!
//! Audio is 8 kHz, mono and 16-bit linear unless it names a codec, and timestamps count its
//! samples. For codecs with a faster RTP clock, [`InboundClock`] converts received timestamps and
//! [`OutboundStream`] converts sent ones.
//!
//! A time `now` is the time since a fixed origin. The caller chooses the origin, and the time never
//! runs backwards.

mod audio;
mod codec;
mod dtmf;
mod forward;
mod rtp;
mod srtp;

pub use audio::{
    Channel, Clip, ClipTooLong, ComfortNoise, Concealment, NoiseGenerator, Oscillator, Ringback,
    RingbackTone, StereoTimeline,
};
pub use codec::{Codec, Decoder, Encoder, OpusSettings};
pub use dtmf::{
    Digit, DigitCounts, DigitFilter, DigitSource, DigitTones, EventFormat, EventPayload,
    EventReceiver, EventReport, EventSender, EventStep, NotADigit, ToneDetector,
};
pub use forward::{Forward, NegotiatedFormats, Unforwarded, forward};
pub use rtp::{
    Arrival, BufferedPacket, Bye, Header, InboundClock, JitterBuffer, Next, OutboundStream, Packet,
    ReceiverStats, ReportBlock, Rtcp, RtcpCompound, RtpError, SenderInfo, StreamReport, build_rtcp,
    mean_opinion_score, parse_rtcp, r_factor,
};
pub use srtp::{SRTP_OVERHEAD, SrtpError, SrtpReceiver, SrtpSender, SrtpSuite};

/// Samples per second of all audio in this crate, and the RTP clock rate of G.711 (RFC 3551,
/// section 4.5.14).
pub const SAMPLE_RATE: u32 = 8000;

/// Samples in one packet of 20 ms.
pub const FRAME: usize = 160;

/// Converts a span of time to samples, truncated to 32 bits like RTP timestamps.
pub(crate) fn samples_in(span: std::time::Duration) -> u32 {
    (span.as_micros() * u128::from(SAMPLE_RATE) / 1_000_000) as u32
}
