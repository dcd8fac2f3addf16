//! The media plane: RTP sockets on a few dedicated threads.
//!
//! Every leg has two UDP ports (RTP even, RTCP the next) and belongs to one thread, which serves all of its legs from
//! one poll loop: no task, no lock and no allocation a packet. What becomes of a packet is decided by the `media`
//! crate; here it is received and sent. Recordings are written by a thread of their own.

mod bench;
mod command;
mod delay;
mod leg;
mod peer_address;
mod plane;
mod ports;
mod prompts;
pub(super) mod recording;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use media::{
    Codec, Digit, DigitSource, EventReport, Formats, OpusSettings, Ringback, StreamReport,
    TelephoneEvent,
};
use signalling::{Network, sdes, sdp};

use crate::RecordingKey;

pub use self::bench::{BenchError, RelayFigures, relay_bench};
pub use self::delay::{DelayFigures, Relayed, delay_bench};
pub use self::plane::{LegMedia, MediaPlane};
pub use self::ports::OpenLegError;
pub use self::prompts::{PromptError, Prompts, read_clip};
pub use self::recording::audio_file::{RecordingError, RecordingFormat};

/// How the media plane is set up.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// The local address of all media ports.
    pub bind: IpAddr,
    /// The ports that may be used; a leg takes an even one and the next.
    pub ports: RangeInclusive<u16>,
    /// Media threads, at least 1. One serves about a thousand legs on one core.
    pub threads: usize,
    /// A leg that receives no RTP for so long is reported as [`MediaEvent::Silent`].
    pub silence_limit: Duration,
    /// How long a busy thread lets packets gather, so that one wake-up serves many; half of it is added to the delay
    /// on average. Zero serves each packet at once.
    pub gather: Duration,
    /// What [`LegMedia::play_ringback`] sounds like.
    pub ringback: Ringback,
    /// What recordings are sealed with; `None`: they are written in clear.
    pub recording_key: Option<RecordingKey>,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: 20_000..=29_999,
            threads: 1,
            silence_limit: Duration::from_secs(60),
            gather: Duration::from_millis(2),
            ringback: Ringback::default(),
            recording_key: None,
        }
    }
}

/// Names a leg's media in events; never used twice in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaId(pub u64);

/// What offer and answer agreed on for one leg (RFC 3264).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Where the peer wants its RTP.
    pub rtp: SocketAddr,
    /// Where it wants its RTCP when it said so (RFC 3605); else the port above RTP.
    pub rtcp: Option<SocketAddr>,
    /// What the peer is sent, and sends. Where it takes no telephone-events, keys are found in and sent as tones.
    pub formats: Formats,
    /// What it wants of Opus.
    pub opus: OpusSettings,
    /// The key under which the peer sends (SRTP); ours for the same suite was in our description. `None`: in clear.
    pub crypto: Option<sdes::SrtpKey>,
    /// Whether we may send (the peer has not put us on hold).
    pub send: bool,
    /// Whether we take what arrives.
    pub receive: bool,
    /// From where RTP is taken.
    pub source: SourceRule,
}

impl Remote {
    /// What a session description says of a peer, with the rule for its source.
    pub fn negotiated(media: sdp::RemoteMedia, source: SourceRule) -> Self {
        let sdp::RemoteMedia {
            rtp,
            rtcp,
            crypto,
            send,
            receive,
            ..
        } = media;
        let opus = OpusSettings {
            max_bit_rate: media.opus.max_average_bit_rate,
            inband_fec: media.opus.inband_fec,
            constant: media.opus.constant_bit_rate,
        };
        Self {
            rtp,
            rtcp,
            formats: formats(&media),
            opus,
            crypto,
            send,
            receive,
            source,
        }
    }
}

fn formats(media: &sdp::RemoteMedia) -> Formats {
    let codec = match media.codec {
        sdp::Codec::Pcma => Codec::Pcma,
        sdp::Codec::Pcmu => Codec::Pcmu,
        sdp::Codec::G722 => Codec::G722,
        sdp::Codec::Opus => Codec::Opus,
    };
    let event = |event: sdp::TelephoneEventFormat| match event.rate {
        48_000 => TelephoneEvent::at_48000(event.payload_type),
        _ => TelephoneEvent::at_8000(event.payload_type),
    };
    let telephone_event = media.telephone_event.map(event);
    Formats {
        codec,
        payload_type: media.payload_type,
        telephone_event,
        comfort_noise: media.comfort_noise,
    }
}

/// From where RTP of a leg is taken; everything else is dropped and counted, its digits too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRule {
    /// Only from the address and port that the SDP names.
    Negotiated,
    /// From the first source inside these networks, then never from another, until a new
    /// offer or answer names another address. For trunks that ask for symmetric RTP (RFC 4961).
    Latch(Vec<Network>),
}

/// What the media plane tells the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// A key was pressed; once a press, at its start.
    Digit {
        /// On which leg.
        id: MediaId,
        /// Which key.
        digit: Digit,
        /// By event or by tones; never by INFO, of which the media plane knows nothing.
        source: DigitSource,
    },
    /// A clip was played to its end; not sent when it was stopped or replaced.
    PlayFinished {
        /// On which leg.
        id: MediaId,
        /// The token given to `play`.
        token: u64,
    },
    /// No RTP arrived for the silence limit. Told once; again only after RTP came back.
    Silent {
        /// On which leg.
        id: MediaId,
    },
    /// A recording is complete and durable under its name, or failed. Told once a recording, before `Closed`.
    RecordingFinished {
        /// Of which leg.
        id: MediaId,
        /// The name that was asked for.
        path: PathBuf,
        /// Its length, or why there is none.
        result: Result<Duration, RecordingError>,
    },
    /// The leg is closed: the last event with this id. Its ports are free.
    Closed {
        /// Which leg.
        id: MediaId,
        /// What was received and sent.
        report: MediaReport,
    },
}

/// What a leg received and sent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MediaReport {
    /// The last codec negotiated; `None` when the leg was never connected.
    pub codec: Option<Codec>,
    /// What we received from the peer.
    pub received: StreamReport,
    /// Packets sent to the peer.
    pub sent_packets: u64,
    /// Payload octets sent to the peer.
    pub sent_octets: u64,
    /// Packets dropped because they came from a source that the rule does not allow.
    pub foreign: u64,
    /// Datagrams from the peer that were no RTP.
    pub malformed: u64,
    /// Packets that came too late, or a second time, to be decoded in their order; counted where that matters.
    pub late: u64,
    /// Packets dropped because they were not sealed with the peer's key, or came a second time.
    pub unauthenticated: u64,
    /// The suite of secure RTP; `None`: in clear.
    pub srtp: Option<&'static str>,
    /// How the peer's telephone-events came through.
    pub events: EventReport,
    /// What the peer's RTCP says of our stream.
    pub peer_report: Option<PeerReport>,
}

/// What the peer's last RTCP report says of what we sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerReport {
    /// Packets that it missed.
    pub lost: u64,
    /// Interarrival jitter in milliseconds.
    pub jitter_ms: f64,
    /// Round trip by RTCP (RFC 3550, figure 2), when it answered a sender report of ours.
    pub round_trip: Option<Duration>,
    /// Estimated mean opinion score of what the peer heard, 1.0 to 4.5.
    pub mos: f64,
}
