//! RTP, telephone-event digits, tones and audio of one call, sans-IO.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: times, synchronization sources and first
//! sequence numbers are handed in. Every function takes any input without panicking. All audio is 8 kHz, mono and
//! 16-bit linear unless it names a codec, and timestamps count its samples: [`InboundClock`] makes them of those of a faster
//! RTP clock, [`OutboundStream`] makes those.
//!
//! A time `now` is the time since any fixed origin of the caller's choice that never runs backwards.

mod clip;
mod clock;
mod codec;
mod detector;
mod digit;
mod digit_filter;
mod event;
mod event_sender;
mod forward;
mod jitter;
mod noise;
mod opus;
mod outbound;
mod quality;
mod rtcp;
mod rtp;
mod srtp;
mod stats;
mod timeline;
mod tone;
mod upsampler;

pub use clip::{Clip, ClipTooLong};
pub use clock::InboundClock;
pub use codec::{Codec, Decoder, Encoder};
pub use detector::ToneDetector;
pub use digit::{Digit, NotADigit};
pub use digit_filter::{DigitCounts, DigitFilter, DigitSource};
pub use event::{EventPayload, EventReceiver, EventReport, TelephoneEvent};
pub use event_sender::{EventSender, EventStep};
pub use forward::{Forward, NegotiatedFormats, Unforwarded, forward};
pub use jitter::{Arrival, BufferedPacket, Concealment, JitterBuffer, Next};
pub use noise::{ComfortNoise, NoiseGenerator};
pub use opus::OpusSettings;
pub use outbound::OutboundStream;
pub use quality::{mean_opinion_score, r_factor};
pub use rtcp::{Bye, ReportBlock, Rtcp, RtcpCompound, SenderInfo, build_rtcp, parse_rtcp};
pub use rtp::{Header, Packet, RtpError};
pub use srtp::{SRTP_OVERHEAD, SrtpError, SrtpReceiver, SrtpSender, SrtpSuite};
pub use stats::{ReceiverStats, StreamReport};
pub use timeline::{Channel, StereoTimeline};
pub use tone::{DigitTones, Oscillator, Ringback, RingbackTone};

/// Samples a second of everything in this crate, and the RTP clock rate of G.711 (RFC 3551, section 4.5.14).
pub const SAMPLE_RATE: u32 = 8000;

/// Samples in one packet of 20 ms.
pub const FRAME: usize = 160;

/// How many samples a span of time holds, cut down to 32 bits as RTP timestamps are.
pub(crate) fn samples_in(span: std::time::Duration) -> u32 {
    (span.as_micros() * u128::from(SAMPLE_RATE) / 1_000_000) as u32
}
