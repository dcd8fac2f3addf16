//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for one audio stream of G.711, G.722 or Opus.
//!
//! What we send is written from an allow-list of our own facts; nothing of the other leg's description can get in.

mod format;
mod parse;
#[cfg(test)]
mod tests;
mod write;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::sdes::{CryptoLine, Secrets, SrtpKey, SrtpMode};

pub use format::{Codec, OpusParameters, TelephoneEventFormat};
use format::{Format, events, formats, payload_types};
use parse::{best_audio, crypto_line, is_secure, remote_media};
pub use write::offer;
pub(crate) use write::redirection;
use write::{StreamAttributes, StreamFormats, direction, session_lines, write_audio};

/// Content type of a session description.
pub const CONTENT_TYPE: &str = "application/sdp";
/// The static payload type of comfort noise (RFC 3551, table 4; RFC 3389).
const COMFORT_NOISE: u8 = 13;

/// Where and how a peer wants its audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteMedia {
    /// Where its RTP is sent to, and the only place it may come from.
    pub rtp: SocketAddr,
    /// Where its RTCP is sent to: `a=rtcp` (RFC 3605), else the next port.
    pub rtcp: Option<SocketAddr>,
    /// The codec of both directions.
    pub codec: Codec,
    /// The payload type that the peer gives to that codec.
    pub payload_type: u8,
    /// What it wants of Opus.
    pub opus: OpusParameters,
    /// The key under which the peer sends; ours for the same suite is in [`LocalMedia::secrets`]. `None`: in clear.
    pub crypto: Option<SrtpKey>,
    /// Telephone events, where the peer takes them: those of the codec's clock before others (RFC 4733, section 2.1).
    pub telephone_event: Option<TelephoneEventFormat>,
    /// Whether the peer names comfort noise (RFC 3389).
    pub comfort_noise: bool,
    /// We may send to the peer.
    pub send: bool,
    /// The peer sends to us.
    pub receive: bool,
}

/// Why a description cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not a session description at all.
    #[error("the session description cannot be parsed")]
    Malformed,
    /// No RTP/AVP or RTP/SAVP audio stream with an address we can send to.
    #[error("no usable RTP/AVP or RTP/SAVP audio stream is offered")]
    NoAudio,
    /// RTP/SAVP without an `a=crypto` that we speak.
    #[error("no crypto suite in common for RTP/SAVP")]
    NoKey,
    /// None of G.711, G.722 and Opus.
    #[error("no codec in common: PCMA, PCMU, G722 and opus are spoken here")]
    NoCodec,
}

/// Our side of one leg's audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMedia {
    /// The address that peers send to.
    pub address: IpAddr,
    /// The RTP port, even; RTCP is on the next.
    pub port: u16,
    /// `o=` session id: random, one for each leg.
    pub session_id: u32,
    /// `o=` session version: counts up with each description of the leg.
    pub version: u32,
    /// Whether our offers name comfort noise (RFC 3389); an answer names it where the peer's offer does.
    pub comfort_noise: bool,
    /// Whether the audio is to be encrypted.
    pub srtp: SrtpMode,
    /// Our keys, drawn for this leg.
    pub secrets: Secrets,
}

/// A description of the peer that was read: one line for each `m=`, and the audio stream that we can use.
#[derive(Debug, Clone)]
pub struct Description {
    lines: Vec<MediaLine>,
    audio: usize,
    remote: RemoteMedia,
    /// In the peer's order, but Opus last; or in that of the trunk.
    formats: Vec<Format>,
    /// What it names first of those.
    first: Codec,
    /// In the peer's order.
    events: Vec<TelephoneEventFormat>,
    /// `RTP/SAVP`: the peer wants it encrypted.
    secure: bool,
    /// Its key for a suite that we speak, beside `RTP/AVP` too.
    crypto: Option<CryptoLine>,
}

#[derive(Debug, Clone)]
struct MediaLine {
    kind: String,
    protocol: String,
    format: String,
}

impl Description {
    /// Reads an offer or an answer.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        let session = sdp_types::Session::parse(body).map_err(|_| SdpError::Malformed)?;
        let audio = best_audio(&session)?;
        let media = session.medias.get(audio).ok_or(SdpError::NoAudio)?;
        let (formats, events) = (formats(media), events(media));
        let format = *formats.first().ok_or(SdpError::NoCodec)?;
        let remote = remote_media(&session, media, format)?;
        let lines = session.medias.iter().map(MediaLine::from_media).collect();
        let (secure, crypto) = (is_secure(media), crypto_line(media));
        let position =
            |format: &&Format| payload_types(media).position(|named| named == format.payload_type);
        let first = formats
            .iter()
            .min_by_key(position)
            .map_or(format.codec, |first| first.codec);
        let read = Self {
            lines,
            audio,
            remote,
            formats,
            first,
            events,
            secure,
            crypto,
        };
        Ok(Self {
            remote: read.with_format(format),
            ..read
        })
    }

    /// The description as it is for a trunk that takes these codecs alone, in this order; none given: all.
    pub fn restrict_to(mut self, allowed: &[Codec]) -> Result<Self, SdpError> {
        if !allowed.is_empty() {
            self.formats = allowed
                .iter()
                .filter_map(|codec| self.format(*codec))
                .collect();
            let format = *self.formats.first().ok_or(SdpError::NoCodec)?;
            (self.first, self.remote) = (format.codec, self.with_format(format));
        }
        Ok(self)
    }

    fn format(&self, codec: Codec) -> Option<Format> {
        self.formats
            .iter()
            .copied()
            .find(|format| format.codec == codec)
    }

    /// The peer's audio in one of its formats.
    fn with_format(&self, format: Format) -> RemoteMedia {
        let Format {
            codec,
            payload_type,
            opus,
        } = format;
        let same_clock = |event: &&TelephoneEventFormat| event.rate == codec.rate();
        let telephone_event = self
            .events
            .iter()
            .find(same_clock)
            .or(self.events.first())
            .copied();
        // Opus has comfort noise of its own (RFC 6716, section 2.1.9).
        let comfort_noise = self.remote.comfort_noise && codec != Codec::Opus;
        RemoteMedia {
            codec,
            payload_type,
            opus,
            telephone_event,
            comfort_noise,
            ..self.remote
        }
    }

    /// The peer's audio with the codec that we take of its offer: that which it prefers, but Opus only if it speaks nothing
    /// else or the trunk asks for it.
    pub fn remote(&self) -> RemoteMedia {
        self.remote
    }

    /// The peer's audio with the codec that it names first in its answer.
    pub fn answered(&self) -> RemoteMedia {
        self.remote_preferring(self.first)
    }

    /// The peer's audio, with `preferred` as the codec if the peer speaks it.
    pub fn remote_preferring(&self, preferred: Codec) -> RemoteMedia {
        self.format(preferred)
            .map_or(self.remote, |format| self.with_format(format))
    }

    /// Whether the peer asks for encrypted audio, and nothing else.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The key under which the peer sends if we take its offer; an error if it may not be taken: audio in clear where
    /// ours must be encrypted.
    pub fn offered_key(&self, local: &LocalMedia) -> Result<Option<SrtpKey>, SdpError> {
        Ok(self.accepted_line(local)?.map(|line| line.key))
    }

    /// The key under which the peer sends as its answer to our offer says; an error if it is no answer to that.
    pub fn answered_key(&self, local: &LocalMedia) -> Result<Option<SrtpKey>, SdpError> {
        let known = self.crypto.filter(|line| local.secrets.has_offered(*line));
        let line = match local.srtp {
            SrtpMode::Off if self.secure => return Err(SdpError::NoKey),
            SrtpMode::Off => None,
            SrtpMode::Optional => known,
            SrtpMode::Required => Some(known.filter(|_| self.secure).ok_or(SdpError::NoKey)?),
        };
        Ok(line.map(|line| line.key))
    }

    /// The line of the peer that our answer is to.
    fn accepted_line(&self, local: &LocalMedia) -> Result<Option<CryptoLine>, SdpError> {
        match local.srtp {
            SrtpMode::Required if !self.secure => Err(SdpError::NoKey),
            SrtpMode::Off => Ok(self.crypto.filter(|_| self.secure)),
            SrtpMode::Optional | SrtpMode::Required => Ok(self.crypto),
        }
    }

    /// Answers this offer (RFC 3264, section 6): the audio stream with one codec, every other stream refused.
    pub fn answer(&self, local: &LocalMedia, codec: Codec) -> String {
        let mut text = session_lines(local, local.address);
        let remote = self.remote_preferring(codec);
        for (index, line) in self.lines.iter().enumerate() {
            if index == self.audio {
                let direction = direction(self.remote.receive, self.remote.send);
                let accepted = self.accepted_line(local).ok().flatten();
                let crypto = accepted.map(|line| line.answer(&local.secrets));
                let formats = StreamFormats {
                    codecs: &[(remote.codec, remote.payload_type)],
                    opus: OpusParameters::OURS,
                    comfort_noise: remote.comfort_noise,
                    events: remote.telephone_event.as_slice(),
                };
                let attributes = StreamAttributes {
                    protocol: &line.protocol,
                    crypto: crypto.as_slice(),
                    direction,
                };
                write_audio(&mut text, local, &formats, &attributes);
            } else {
                let _ = write!(
                    text,
                    "m={} 0 {} {}\r\n",
                    line.kind, line.protocol, line.format
                );
            }
        }
        text
    }
}

impl MediaLine {
    fn from_media(media: &sdp_types::Media) -> Self {
        let format = media
            .fmt
            .split_whitespace()
            .next()
            .unwrap_or("0")
            .to_owned();
        Self {
            kind: media.media.clone(),
            protocol: media.proto.clone(),
            format,
        }
    }
}
