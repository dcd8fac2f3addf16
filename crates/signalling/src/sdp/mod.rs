//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for one audio stream of G.711, G.722
//! or Opus.
//!
//! Descriptions are written from an allow-list of local facts, so that nothing of the other leg's
//! description can get into them.

mod format;
mod layout;
mod lines;
mod media_host;
mod parse;
#[cfg(test)]
mod tests;
mod write;

use std::net::{IpAddr, SocketAddr};

use crate::sdes::{CryptoLine, Secrets, SrtpKey, SrtpMode};

pub use format::{Codec, OpusParameters, TelephoneEventFormat};
use format::{Format, events, formats, payload_types};
pub(crate) use layout::MediaLayout;
pub use media_host::MediaHost;
use parse::{best_audio, crypto_line, is_secure, remote_media, removed_audio};
pub use write::offer;
use write::{StreamAttributes, StreamFormats, direction, session_lines, write_audio};
pub(crate) use write::{later_offer, offered_telephone_event, redirection};

/// Content type of a session description.
pub const CONTENT_TYPE: &str = "application/sdp";
/// Static payload type of comfort noise (RFC 3551, table 4; RFC 3389).
const COMFORT_NOISE: u8 = 13;

/// Destination and format of a peer's audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteMedia {
    /// Address that RTP is sent to, and the only one it is accepted from.
    pub rtp: SocketAddr,
    /// Address that RTCP is sent to: `a=rtcp` (RFC 3605), otherwise the next port.
    pub rtcp: Option<SocketAddr>,
    /// Codec of both directions.
    pub codec: Codec,
    /// Payload type of the codec, as chosen by the peer.
    pub payload_type: u8,
    /// Opus parameters requested by the peer.
    pub opus: OpusParameters,
    /// Key of the peer's SRTP. The local key for the same suite is in [`LocalMedia::secrets`].
    /// `None` for unencrypted audio.
    pub crypto: Option<SrtpKey>,
    /// Telephone events accepted by the peer, preferably with the clock rate of the codec (RFC
    /// 4733, section 2.1).
    pub telephone_event: Option<TelephoneEventFormat>,
    /// Telephone events of the local offer, if the peer has answered one. It sends with this
    /// payload type even if its answer names another (RFC 3264, section 6.1).
    pub offered_telephone_event: Option<TelephoneEventFormat>,
    /// The peer supports comfort noise (RFC 3389).
    pub comfort_noise: bool,
    /// The peer accepts audio.
    pub send: bool,
    /// The peer sends audio.
    pub receive: bool,
}

/// Reason why a session description is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not a session description.
    #[error("the session description cannot be parsed")]
    Malformed,
    /// No RTP/AVP or RTP/SAVP audio stream with a usable address.
    #[error("the session description has no usable RTP/AVP or RTP/SAVP audio stream")]
    NoAudio,
    /// The audio must not be sent to the address.
    #[error("the session description names an address that audio is not sent to")]
    AddressNotAllowed,
    /// RTP/SAVP without a supported `a=crypto`.
    #[error("no supported crypto suite for RTP/SAVP")]
    NoKey,
    /// None of G.711, G.722 and Opus.
    #[error("no supported codec: expected PCMA, PCMU, G722 or opus")]
    NoCodec,
}

/// Local side of a leg's audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMedia {
    /// Local address for the peer's audio.
    pub address: IpAddr,
    /// RTP port, an even number. RTCP uses the next port.
    pub port: u16,
    /// Session id for `o=`: a random number for each leg.
    pub session_id: u32,
    /// Session version for `o=`, incremented with each description of the leg.
    pub version: u32,
    /// Offer comfort noise (RFC 3389). An answer includes it if the peer's offer does.
    pub comfort_noise: bool,
    /// Encryption of the audio.
    pub srtp: SrtpMode,
    /// Local SRTP keys of the leg.
    pub secrets: Secrets,
}

/// Parsed session description of a peer: all `m=` lines, and the audio stream that is used.
#[derive(Debug, Clone)]
pub struct Description {
    layout: MediaLayout,
    remote: RemoteMedia,
    /// Supported formats in the peer's order with Opus last, or in the trunk's order.
    formats: Vec<Format>,
    /// Codec named first by the peer.
    first_codec: Codec,
    /// Telephone events in the peer's order.
    events: Vec<TelephoneEventFormat>,
    /// The stream is `RTP/SAVP`: the peer requires encryption.
    secure: bool,
    /// The peer's key for a supported suite, also for `RTP/AVP`.
    crypto: Option<CryptoLine>,
    /// The stream has port 0: the peer has removed it.
    removed: bool,
}

impl Description {
    /// Parses the first offer of a call, or an answer.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        Self::parse_streams(body, best_audio)
    }

    /// Parses a later offer of a call. It may remove the audio stream (RFC 3264, section 8.2), which some peers use as a
    /// hold. The call then goes on without audio in either direction.
    pub fn parse_later_offer(body: &[u8]) -> Result<Self, SdpError> {
        Self::parse_streams(body, |session| {
            best_audio(session).or_else(|error| removed_audio(session).ok_or(error))
        })
    }

    fn parse_streams(
        body: &[u8],
        choose: impl FnOnce(&sdp_types::Session) -> Result<usize, SdpError>,
    ) -> Result<Self, SdpError> {
        let text = lines::media_lines(body).ok_or(SdpError::Malformed)?;
        let session =
            sdp_types::Session::parse(text.as_bytes()).map_err(|_| SdpError::Malformed)?;
        let audio = choose(&session)?;
        let media = session.medias.get(audio).ok_or(SdpError::NoAudio)?;
        let (formats, events) = (formats(media), events(media));
        let removed = media.port == 0;
        let unused = removed.then_some(Format::UNUSED);
        let format = formats.first().copied().or(unused);
        let format = format.ok_or(SdpError::NoCodec)?;
        let remote = remote_media(&session, media, format)?;
        let layout = MediaLayout::from_medias(&session.medias, audio)?;
        let (secure, crypto) = (is_secure(media), crypto_line(media));
        let position =
            |format: &&Format| payload_types(media).position(|named| named == format.payload_type);
        let first_codec = formats
            .iter()
            .min_by_key(position)
            .map_or(format.codec, |first| first.codec);
        let read = Self {
            layout,
            remote,
            formats,
            first_codec,
            events,
            secure,
            crypto,
            removed,
        };
        Ok(Self {
            remote: read.with_format(format),
            ..read
        })
    }

    /// Restricts the description to the codecs of a trunk, in the trunk's order. An empty list
    /// allows all.
    pub fn restrict_to(mut self, allowed: &[Codec]) -> Result<Self, SdpError> {
        if !allowed.is_empty() && !self.removed {
            self.formats = allowed
                .iter()
                .filter_map(|codec| self.format(*codec))
                .collect();
            let format = *self.formats.first().ok_or(SdpError::NoCodec)?;
            (self.first_codec, self.remote) = (format.codec, self.with_format(format));
        }
        Ok(self)
    }

    fn format(&self, codec: Codec) -> Option<Format> {
        self.formats
            .iter()
            .copied()
            .find(|format| format.codec == codec)
    }

    /// Returns the peer's audio with one of its formats.
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
        // Opus has built-in comfort noise (RFC 6716, section 2.1.9).
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

    /// Returns the peer's audio with the codec selected from its offer. This is the first supported
    /// one, but Opus comes last unless the trunk prefers it.
    pub fn remote(&self) -> RemoteMedia {
        self.remote
    }

    /// Returns the peer's audio with the codec that its answer names first.
    pub fn answered(&self) -> RemoteMedia {
        self.remote_preferring(self.first_codec)
    }

    /// Returns the peer's audio with the preferred codec if the peer supports it.
    pub fn remote_preferring(&self, preferred: Codec) -> RemoteMedia {
        self.format(preferred)
            .map_or(self.remote, |format| self.with_format(format))
    }

    /// Returns `true` if the peer accepts encrypted audio only.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the peer's key for the case that its offer is accepted. Fails if the audio is
    /// unencrypted but the leg requires SRTP.
    pub fn offered_key(&self, local: &LocalMedia) -> Result<Option<SrtpKey>, SdpError> {
        Ok(self.accepted_line(local)?.map(|line| line.key))
    }

    /// Returns the peer's key from its answer to a local offer. Fails if the answer does not match
    /// the offer.
    pub fn answered_key(&self, local: &LocalMedia) -> Result<Option<SrtpKey>, SdpError> {
        let matching = self.crypto.filter(|line| local.secrets.has_offered(*line));
        let line = match local.srtp {
            SrtpMode::Off if self.secure => return Err(SdpError::NoKey),
            SrtpMode::Off => None,
            SrtpMode::Optional => matching,
            SrtpMode::Required => Some(matching.filter(|_| self.secure).ok_or(SdpError::NoKey)?),
        };
        Ok(line.map(|line| line.key))
    }

    /// Returns the `a=crypto` line that the answer refers to.
    fn accepted_line(&self, local: &LocalMedia) -> Result<Option<CryptoLine>, SdpError> {
        match local.srtp {
            SrtpMode::Required if !self.secure => Err(SdpError::NoKey),
            SrtpMode::Off => Ok(self.crypto.filter(|_| self.secure)),
            SrtpMode::Optional | SrtpMode::Required => Ok(self.crypto),
        }
    }

    /// Answers this offer (RFC 3264, section 6): one codec for the audio stream; all other streams
    /// are rejected.
    pub fn answer(&self, local: &LocalMedia, codec: Codec) -> String {
        let mut text = session_lines(local, local.address);
        let audio = (!self.removed).then(|| self.audio_answer(local, codec));
        self.layout.write(&mut text, audio.as_deref());
        text
    }

    fn audio_answer(&self, local: &LocalMedia, codec: Codec) -> String {
        let remote = self.remote_preferring(codec);
        let accepted = self.accepted_line(local).ok().flatten();
        let crypto = accepted.map(|line| line.answer(&local.secrets));
        let formats = StreamFormats {
            codecs: &[(remote.codec, remote.payload_type)],
            opus: OpusParameters::LOCAL,
            comfort_noise: remote.comfort_noise,
            events: remote.telephone_event.as_slice(),
        };
        let attributes = StreamAttributes {
            protocol: self.layout.audio_protocol(),
            crypto: crypto.as_slice(),
            direction: direction(remote.receive, remote.send),
        };
        let mut text = String::new();
        write_audio(&mut text, local, &formats, &attributes);
        text
    }

    /// Returns the media lines, for later offers in the session.
    pub(crate) fn layout(&self) -> &MediaLayout {
        &self.layout
    }
}
