//! Media plane: RTP sockets on a few dedicated threads.
//!
//! Each leg has two UDP ports, an even port for RTP and the next port for RTCP. It belongs to one thread, and the poll
//! loop of this thread serves all of its legs. A packet costs no task, no lock and no allocation. The `media` crate
//! decides about each packet; this module receives and sends. A separate thread writes the recordings.

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
    Codec, Digit, DigitSource, EventFormat, EventReport, NegotiatedFormats, OpusSettings, Ringback,
    StreamReport,
};
use signalling::{Network, sdes, sdp};

use crate::calls::traffic_class::Dscp;
use crate::supervision::Supervisor;

pub use self::bench::{BenchError, RelayFigures, relay_bench};
pub use self::delay::{DelayFigures, Relayed, delay_bench};
pub use self::plane::{LegMedia, MediaPlane};
pub use self::ports::{OpenLegError, PortReservation};
pub use self::prompts::{PromptError, Prompts, read_clip};
pub use self::recording::audio_file::{RecordingError, RecordingFormat};

/// Settings of the media plane.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// Local IP address of all media ports.
    pub bind: IpAddr,
    /// Range of media ports. Each leg uses an even port and the next port.
    pub ports: RangeInclusive<u16>,
    /// Ports of the trunks with their own range, by the index of the trunk.
    pub trunk_ports: Vec<Option<RangeInclusive<u16>>>,
    /// Mark of media packets.
    pub dscp: Dscp,
    /// Number of media threads, at least 1. One thread serves about 1,000 legs on one core.
    pub threads: usize,
    /// Maximum time without RTP. A leg beyond it is reported as [`MediaEvent::Silent`].
    pub silence_limit: Duration,
    /// Maximum time of sending to an address that nothing has ever come from. Beyond it, sending pauses until a packet
    /// arrives.
    pub unanswered_limit: Duration,
    /// Interval of the polls of a busy thread, so that each wake-up serves more packets. On average it adds half of
    /// itself to the delay of a packet. Zero disables it.
    pub gather: Duration,
    /// Tone of [`LegMedia::play_ringback`].
    pub ringback: Ringback,
    /// Supervisor of the threads.
    pub supervisor: Supervisor,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: 20_000..=29_999,
            trunk_ports: Vec::new(),
            dscp: Dscp::default(),
            threads: 1,
            silence_limit: Duration::from_secs(60),
            unanswered_limit: Duration::from_secs(5),
            gather: Duration::from_micros(800),
            ringback: Ringback::default(),
            supervisor: Supervisor::default(),
        }
    }
}

/// Id of a leg's media in events, unique within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaId(pub u64);

/// Result of an offer and answer for one leg (RFC 3264).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Peer's address for RTP.
    pub rtp: SocketAddr,
    /// Peer's address for RTCP (RFC 3605); `None`: the port above RTP.
    pub rtcp: Option<SocketAddr>,
    /// Negotiated formats in both directions. Without telephone-events, keys are detected and sent as tones.
    pub formats: NegotiatedFormats,
    /// Peer's parameters for Opus.
    pub opus: OpusSettings,
    /// Peer's SRTP key; our key for the same suite was in our description. `None`: no encryption.
    pub crypto: Option<sdes::SrtpKey>,
    /// `false` while the peer has us on hold: we send nothing.
    pub send: bool,
    /// `false` while the peer sends nothing: received packets are dropped.
    pub receive: bool,
    /// Accepted source of RTP.
    pub source: SourceRule,
    /// `false` while the peer's address may be forged: nothing is sent to it, not even RTCP.
    pub proven: bool,
}

impl Remote {
    /// Converts a negotiated session description, and adds the rule for its source.
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
            proven: true,
        }
    }
}

fn formats(media: &sdp::RemoteMedia) -> NegotiatedFormats {
    let codec = match media.codec {
        sdp::Codec::Pcma => Codec::Pcma,
        sdp::Codec::Pcmu => Codec::Pcmu,
        sdp::Codec::G722 => Codec::G722,
        sdp::Codec::Opus => Codec::Opus,
    };
    let event = |event: sdp::TelephoneEventFormat| match event.rate {
        48_000 => EventFormat::at_48000(event.payload_type),
        _ => EventFormat::at_8000(event.payload_type),
    };
    let [telephone_event, offered_telephone_event] =
        [media.telephone_event, media.offered_telephone_event].map(|format| format.map(event));
    NegotiatedFormats {
        codec,
        payload_type: media.payload_type,
        telephone_event,
        offered_telephone_event,
        comfort_noise: media.comfort_noise,
    }
}

/// Accepted source of a leg's RTP. Audio and keys from other sources are dropped and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRule {
    /// Only the address and port in the SDP.
    Negotiated,
    /// The first source within these networks. Only a new offer or answer with another address allows another source.
    /// Intended for trunks with symmetric RTP (RFC 4961).
    Latch(Vec<Network>),
}

/// Event of the media plane.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// A key press has started. One event per press.
    Digit {
        /// Id of the leg.
        id: MediaId,
        /// Pressed key.
        digit: Digit,
        /// Detection method: event or tone. Keys from SIP INFO do not pass through the media plane.
        source: DigitSource,
    },
    /// A clip was played to its end. A stopped or replaced clip causes no event.
    PlayFinished {
        /// Id of the leg.
        id: MediaId,
        /// Token passed to `play`.
        token: u64,
    },
    /// The processing of a leg failed. The leg is gone; its call must end and close it.
    Failed {
        /// Id of the leg.
        id: MediaId,
    },
    /// No RTP arrived within the silence limit. Emitted once, and again only after RTP has arrived in between.
    Silent {
        /// Id of the leg.
        id: MediaId,
    },
    /// Statistics of a connected leg so far, at the times of its RTCP reports.
    Report {
        /// Id of the leg.
        id: MediaId,
        /// Statistics of the leg.
        report: MediaReport,
    },
    /// A recording is complete and durable under its final name, or has failed. Emitted once per recording, before
    /// `Closed`.
    RecordingFinished {
        /// Id of the leg.
        id: MediaId,
        /// Requested file name.
        path: PathBuf,
        /// Length of the recording, or the error.
        result: Result<Duration, RecordingError>,
    },
    /// The leg is closed and its ports are free. Last event with this id.
    Closed {
        /// Id of the leg.
        id: MediaId,
        /// Statistics of the leg.
        report: MediaReport,
    },
}

/// Statistics of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MediaReport {
    /// Last negotiated codec; `None` if the leg was never connected.
    pub codec: Option<Codec>,
    /// Statistics of the received stream.
    pub received: StreamReport,
    /// Packets sent to the peer.
    pub sent_packets: u64,
    /// Payload octets sent to the peer.
    pub sent_octets: u64,
    /// Packets dropped because of their source.
    pub foreign: u64,
    /// Datagrams from the peer without valid RTP.
    pub malformed: u64,
    /// Packets too late to be decoded in order, and duplicates. Counted only for streams decoded in order.
    pub late: u64,
    /// Packets dropped because SRTP authentication failed, or because of a replay.
    pub unauthenticated: u64,
    /// SRTP suite; `None`: no encryption.
    pub srtp: Option<&'static str>,
    /// Statistics of the peer's telephone-events.
    pub events: EventReport,
    /// Peer's last RTCP report about our stream.
    pub peer_report: Option<PeerReport>,
}

/// Peer's last RTCP report about our stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerReport {
    /// Packets lost on the way to the peer.
    pub lost: u64,
    /// Interarrival jitter in milliseconds.
    pub jitter_ms: f64,
    /// Round-trip time from RTCP (RFC 3550, figure 2); `None` before the peer has answered a sender report.
    pub round_trip: Option<Duration>,
    /// Estimated mean opinion score of the audio at the peer, 1.0 to 4.5.
    pub mos: f64,
}
