//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for one audio stream of G.711, G.722 or Opus.
//!
//! What we send is written from an allow-list of our own facts; nothing of the other leg's description can get in.

mod format;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::endpoint::Redirection;
use crate::sdes::{CryptoLine, Secrets, SrtpKey, SrtpMode};

pub use format::{Codec, OpusParameters, TelephoneEventFormat};
use format::{Format, events, formats, payload_types};

/// Content type of a session description.
pub const CONTENT_TYPE: &str = "application/sdp";
/// Our telephone events where the peer does not name its own, and those of the clock of Opus beside them.
const TELEPHONE_EVENT_8000: TelephoneEventFormat = TelephoneEventFormat {
    payload_type: 101,
    rate: 8000,
};
const TELEPHONE_EVENT_48000: TelephoneEventFormat = TelephoneEventFormat {
    payload_type: 97,
    rate: 48_000,
};
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

/// An offer of the codecs that are allowed, in this order; none given: of the preferred one and of G.711 in both laws.
pub fn offer(local: &LocalMedia, preferred: Codec, allowed: &[Codec]) -> String {
    let mut text = session_lines(local, local.address);
    let protocol = if local.srtp == SrtpMode::Required {
        "RTP/SAVP"
    } else {
        "RTP/AVP"
    };
    let crypto: Vec<CryptoLine> = if local.srtp == SrtpMode::Off {
        Vec::new()
    } else {
        local.secrets.offered_lines().collect()
    };
    let attributes = StreamAttributes {
        protocol,
        crypto: &crypto,
        direction: "sendrecv",
    };
    let codecs = if allowed.is_empty() {
        preferred.offered()
    } else {
        allowed
    };
    let events: &[TelephoneEventFormat] = match codecs {
        [Codec::Opus, ..] => &[TELEPHONE_EVENT_48000, TELEPHONE_EVENT_8000],
        codecs if codecs.contains(&Codec::Opus) => &[TELEPHONE_EVENT_8000, TELEPHONE_EVENT_48000],
        _ => &[TELEPHONE_EVENT_8000],
    };
    let codecs: Vec<(Codec, u8)> = codecs
        .iter()
        .map(|codec| (*codec, codec.payload_type()))
        .collect();
    let (opus, comfort_noise) = (OpusParameters::OURS, local.comfort_noise);
    let formats = StreamFormats {
        codecs: &codecs,
        opus,
        comfort_noise,
        events,
    };
    write_audio(&mut text, local, &formats, &attributes);
    text
}

/// An offer, in clear, that asks a peer to send its audio to `rtp`, or to us again. RTCP stays with us (RFC 3605), since it
/// names its sender.
pub(crate) fn redirection(local: &LocalMedia, redirection: &Redirection) -> String {
    let Redirection {
        rtp,
        codec,
        payload_type,
        opus,
        telephone_event,
    } = *redirection;
    let to = rtp.unwrap_or(SocketAddr::new(local.address, local.port));
    let mut text = session_lines(local, to.ip());
    let attributes = StreamAttributes {
        protocol: "RTP/AVP",
        crypto: &[],
        direction: "sendrecv",
    };
    // What the other peer takes beside the codec is not known here.
    let comfort_noise = rtp.is_none() && local.comfort_noise && codec != Codec::Opus;
    let events = telephone_event.as_slice();
    let opus = if rtp.is_some() {
        opus
    } else {
        OpusParameters::OURS
    };
    let formats = StreamFormats {
        codecs: &[(codec, payload_type)],
        opus,
        comfort_noise,
        events,
    };
    write_audio(
        &mut text,
        &LocalMedia {
            port: to.port(),
            ..*local
        },
        &formats,
        &attributes,
    );
    if rtp.is_some() {
        let (port, address) = (local.port.saturating_add(1), local.address);
        let _ = write!(text, "a=rtcp:{port} IN {} {address}\r\n", family(address));
    }
    text
}

/// `o=` is always ours; `c=` is where the audio is to go.
fn session_lines(local: &LocalMedia, to: IpAddr) -> String {
    let (family, address) = (family(local.address), local.address);
    let (id, version) = (local.session_id, local.version);
    let to_family = self::family(to);
    format!(
        "v=0\r\no=- {id} {version} IN {family} {address}\r\ns=-\r\nc=IN {to_family} {to}\r\nt=0 0\r\n"
    )
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IP4" } else { "IP6" }
}

/// What we declare, given what the peer wants: it sends, it receives.
fn direction(peer_sends: bool, peer_receives: bool) -> &'static str {
    match (peer_sends, peer_receives) {
        (true, true) => "sendrecv",
        (true, false) => "recvonly",
        (false, true) => "sendonly",
        (false, false) => "inactive",
    }
}

/// How an audio stream is described beside its formats.
struct StreamAttributes<'a> {
    protocol: &'a str,
    crypto: &'a [CryptoLine],
    direction: &'a str,
}

/// What an audio stream is spoken in.
struct StreamFormats<'a> {
    /// Each with its payload type.
    codecs: &'a [(Codec, u8)],
    /// What whoever takes the audio wants of Opus.
    opus: OpusParameters,
    comfort_noise: bool,
    events: &'a [TelephoneEventFormat],
}

fn write_audio(
    text: &mut String,
    local: &LocalMedia,
    formats: &StreamFormats<'_>,
    attributes: &StreamAttributes<'_>,
) {
    let noise = formats.comfort_noise.then_some(COMFORT_NOISE);
    let codecs = formats.codecs.iter().map(|(_, payload_type)| *payload_type);
    let events = formats.events.iter().map(|event| event.payload_type);
    let _ = write!(text, "m=audio {} {}", local.port, attributes.protocol);
    for payload_type in codecs.chain(noise).chain(events) {
        let _ = write!(text, " {payload_type}");
    }
    text.push_str("\r\n");
    for (codec, payload_type) in formats.codecs {
        let _ = write!(text, "a=rtpmap:{payload_type} {}\r\n", codec.encoding());
        if *codec == Codec::Opus {
            let _ = write!(text, "a=fmtp:{payload_type} {}\r\n", formats.opus.fmtp());
        }
    }
    if let Some(noise) = noise {
        let _ = write!(text, "a=rtpmap:{noise} CN/8000\r\n");
    }
    for TelephoneEventFormat { payload_type, rate } in formats.events {
        let _ = write!(text, "a=rtpmap:{payload_type} telephone-event/{rate}\r\n");
        let _ = write!(text, "a=fmtp:{payload_type} 0-15\r\n");
    }
    for line in attributes.crypto {
        let _ = write!(text, "a=crypto:{}\r\n", line.value());
    }
    let _ = write!(text, "a=ptime:20\r\na={}\r\n", attributes.direction);
}

/// The audio stream that we take: an encrypted one where there is one.
fn best_audio(session: &sdp_types::Session) -> Result<usize, SdpError> {
    let audio = |media: &&sdp_types::Media| media.media == "audio" && media.port != 0;
    let position = |fits: &dyn Fn(&sdp_types::Media) -> bool| {
        session
            .medias
            .iter()
            .position(|media| audio(&media) && fits(media))
    };
    let secure = position(&|media| is_secure(media) && crypto_line(media).is_some());
    let clear = || position(&|media| matches!(media.proto.as_str(), "RTP/AVP" | "RTP/AVPF"));
    let error = position(&is_secure).map_or(SdpError::NoAudio, |_| SdpError::NoKey);
    secure.or_else(clear).ok_or(error)
}

fn is_secure(media: &sdp_types::Media) -> bool {
    matches!(media.proto.as_str(), "RTP/SAVP" | "RTP/SAVPF")
}

/// The first line whose suite we speak: the peer lists what it prefers first.
fn crypto_line(media: &sdp_types::Media) -> Option<CryptoLine> {
    let lines = media
        .attributes
        .iter()
        .filter(|attribute| attribute.attribute == "crypto");
    lines
        .filter_map(|line| line.value.as_deref())
        .find_map(CryptoLine::parse)
}

fn remote_media(
    session: &sdp_types::Session,
    media: &sdp_types::Media,
    format: Format,
) -> Result<RemoteMedia, SdpError> {
    let connection = media
        .connections
        .first()
        .or(session.connection.as_ref())
        .ok_or(SdpError::NoAudio)?;
    let address = connection.try_address().map_err(|_| SdpError::NoAudio)?.ip;
    if address.is_multicast() {
        return Err(SdpError::NoAudio);
    }
    // RFC 2543 put a call on hold by the address 0.0.0.0; RFC 3264, section 8.4 still wants it understood.
    let held = address.is_unspecified();
    let (peer_sends, peer_receives) = peer_directions(session, media);
    let rtp = SocketAddr::new(address, media.port);
    Ok(RemoteMedia {
        rtp,
        rtcp: rtcp_address(media, rtp),
        codec: format.codec,
        payload_type: format.payload_type,
        opus: format.opus,
        crypto: crypto_line(media)
            .filter(|_| is_secure(media))
            .map(|line| line.key),
        telephone_event: None,
        comfort_noise: payload_types(media).any(|payload_type| payload_type == COMFORT_NOISE),
        send: peer_receives && !held,
        receive: peer_sends,
    })
}

/// Whether the peer sends, and whether it receives.
fn peer_directions(session: &sdp_types::Session, media: &sdp_types::Media) -> (bool, bool) {
    let lines = media.attributes.iter().chain(&session.attributes);
    let found = lines
        .map(|attribute| attribute.attribute.as_str())
        .find_map(|name| match name {
            "sendrecv" => Some((true, true)),
            "sendonly" => Some((true, false)),
            "recvonly" => Some((false, true)),
            "inactive" => Some((false, false)),
            _ => None,
        });
    found.unwrap_or((true, true))
}

fn rtcp_address(media: &sdp_types::Media, rtp: SocketAddr) -> Option<SocketAddr> {
    let named = media
        .attributes
        .iter()
        .find(|attribute| attribute.attribute == "rtcp");
    let port = named.and_then(|attribute| {
        attribute
            .value
            .as_deref()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let port = port
        .or_else(|| rtp.port().checked_add(1))
        .filter(|port| *port != 0)?;
    Some(SocketAddr::new(rtp.ip(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=secret name\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=video 9000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n\
        m=audio 4000 RTP/AVP 18 0 8 97\r\na=rtpmap:97 telephone-event/8000\r\na=sendonly\r\n";

    fn local() -> LocalMedia {
        let (address, secrets) = ("127.0.0.1".parse().unwrap(), Secrets::new([7; 132]));
        LocalMedia {
            address,
            port: 20000,
            session_id: 7,
            version: 1,
            comfort_noise: false,
            srtp: SrtpMode::Off,
            secrets,
        }
    }

    fn events_at(payload_type: u8, rate: u32) -> Option<TelephoneEventFormat> {
        Some(TelephoneEventFormat { payload_type, rate })
    }

    const OPUS_OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 111 13 110 126\r\na=rtpmap:111 OPUS/48000/2\r\n\
        a=fmtp:111 minptime=10; useinbandfec=1;maxaveragebitrate=16000;stereo=1;cbr=1\r\n\
        a=rtpmap:126 telephone-event/8000\r\na=rtpmap:110 telephone-event/48000\r\na=maxptime:60\r\n";

    #[test]
    fn opus_is_answered_under_the_peers_number_with_events_of_its_clock() {
        let offer = Description::parse(OPUS_OFFER.as_bytes()).unwrap();
        let remote = offer.remote();
        assert_eq!((remote.codec, remote.payload_type), (Codec::Opus, 111));
        assert_eq!(
            (remote.telephone_event, remote.comfort_noise),
            (events_at(110, 48_000), false)
        );
        let wishes = OpusParameters {
            max_average_bit_rate: Some(16_000),
            inband_fec: true,
            constant_bit_rate: true,
            stereo: true,
        };
        assert_eq!(remote.opus, wishes);
        assert_eq!(
            wishes.fmtp(),
            "useinbandfec=1;maxaveragebitrate=16000;cbr=1;stereo=1"
        );
        assert_eq!(OpusParameters::default().fmtp(), "useinbandfec=0");
        let answer = offer.answer(&local(), Codec::Opus);
        let expected = "m=audio 20000 RTP/AVP 111 110\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n\
             a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
        assert!(answer.ends_with(expected), "{answer}");
    }

    #[test]
    fn whoever_speaks_another_codec_is_not_answered_in_opus_unless_the_trunk_asks_for_it() {
        let both = OPUS_OFFER.replace("RTP/AVP 111", "RTP/AVP 111 0");
        let offer = Description::parse(both.as_bytes()).unwrap();
        let remote = offer.remote();
        assert_eq!(
            (remote.codec, remote.telephone_event),
            (Codec::Pcmu, events_at(126, 8000))
        );
        assert_eq!(
            (remote.opus, remote.comfort_noise),
            (OpusParameters::default(), true)
        );
        assert_eq!(offer.remote_preferring(Codec::Opus).payload_type, 111);
        let chosen = offer
            .restrict_to(&[Codec::Opus, Codec::Pcmu])
            .unwrap()
            .remote();
        assert_eq!(
            (chosen.codec, chosen.telephone_event),
            (Codec::Opus, events_at(110, 48_000))
        );
    }

    #[test]
    fn what_is_not_quite_opus_is_none() {
        let codec = |from: &str, to: &str| {
            Description::parse(OPUS_OFFER.replace(from, to).as_bytes())
                .map(|offer| offer.remote().codec)
        };
        for (from, to) in [
            ("OPUS/48000/2", "opus/48000"),
            ("OPUS/48000/2", "opus/16000/2"),
            ("rtpmap:111", "rtpmap:112"),
            ("maxptime:60", "maxptime:10"),
        ] {
            assert_eq!(codec(from, to), Err(SdpError::NoCodec), "{to}");
        }
        assert_eq!(codec("maxptime:60", "maxptime:20"), Ok(Codec::Opus));
        // Where there is no other, events of another clock will do.
        let other = OPUS_OFFER.replace("110 telephone-event/48000", "110 telephone-event/16000");
        let remote = Description::parse(other.as_bytes()).unwrap().remote();
        assert_eq!(remote.telephone_event, events_at(126, 8000));
    }

    #[test]
    fn opus_is_offered_where_the_other_leg_speaks_it_or_the_trunk_names_it() {
        let text = offer(&local(), Codec::Opus, &[]);
        let expected = "m=audio 20000 RTP/AVP 96 8 0 97 101\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n";
        assert!(text.contains(expected), "{text}");
        let named = offer(&local(), Codec::Pcma, &[Codec::Pcma, Codec::Opus]);
        assert!(
            named.contains("m=audio 20000 RTP/AVP 8 96 101 97\r\n"),
            "{named}"
        );
        assert!(!offer(&local(), Codec::Pcma, &[]).contains("opus"));
        let ours = Description::parse(text.as_bytes()).unwrap();
        assert_eq!(ours.remote().codec, Codec::Pcma, "Opus comes last");
        assert_eq!(
            ours.answered().codec,
            Codec::Opus,
            "but in an answer it is what the peer wants"
        );
        let taken = ours.remote_preferring(Codec::Opus);
        assert_eq!(
            (taken.payload_type, taken.telephone_event),
            (96, events_at(97, 48_000))
        );
    }

    #[test]
    fn an_answer_takes_one_codec_and_refuses_every_other_stream() {
        let offer = Description::parse(OFFER.as_bytes()).unwrap();
        let remote = offer.remote();
        assert_eq!(remote.rtp, "192.0.2.1:4000".parse().unwrap());
        assert_eq!(remote.rtcp, Some("192.0.2.1:4001".parse().unwrap()));
        assert_eq!(
            (remote.codec, remote.telephone_event),
            (Codec::Pcmu, events_at(97, 8000))
        );
        assert_eq!((remote.send, remote.receive), (false, true));
        assert_eq!(
            offer.answer(&local(), remote.codec),
            "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=video 0 RTP/AVP 99\r\n\
             m=audio 20000 RTP/AVP 0 97\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\na=ptime:20\r\na=recvonly\r\n"
        );
    }

    #[test]
    fn g722_is_offered_where_it_is_preferred_under_its_clock_of_8000() {
        let text = offer(&local(), Codec::G722, &[]);
        assert!(
            text.contains("m=audio 20000 RTP/AVP 9 8 0 101\r\na=rtpmap:9 G722/8000\r\n"),
            "{text}"
        );
        let description = Description::parse(text.as_bytes()).unwrap();
        assert_eq!(description.remote().codec, Codec::G722);
        assert!(
            description
                .answer(&local(), Codec::G722)
                .contains("m=audio 20000 RTP/AVP 9 101\r\n")
        );
        assert!(!offer(&local(), Codec::Pcmu, &[]).contains("G722"));
    }

    #[test]
    fn a_trunk_has_its_own_codecs_in_its_own_order() {
        let allowed = [Codec::G722, Codec::Pcma];
        let text = offer(&local(), Codec::Pcmu, &allowed);
        assert!(text.contains("m=audio 20000 RTP/AVP 9 8 101\r\n"), "{text}");
        let theirs = Description::parse(OFFER.as_bytes()).unwrap();
        assert_eq!(theirs.remote().codec, Codec::Pcmu);
        let chosen = theirs.clone().restrict_to(&allowed).unwrap();
        assert_eq!(
            chosen.remote().codec,
            Codec::Pcma,
            "what is not allowed is passed over"
        );
        assert_eq!(chosen.remote_preferring(Codec::Pcmu).codec, Codec::Pcma);
        assert_eq!(
            theirs.restrict_to(&[Codec::G722]).unwrap_err(),
            SdpError::NoCodec
        );
    }

    #[test]
    fn comfort_noise_is_answered_where_it_is_offered_and_offered_where_that_is_wanted() {
        let with = OFFER.replace("18 0 8 97", "18 0 8 13 97");
        for (body, offered) in [(with.as_str(), true), (OFFER, false)] {
            let description = Description::parse(body.as_bytes()).unwrap();
            assert_eq!(description.remote().comfort_noise, offered);
            let answer = description.answer(&local(), Codec::Pcmu);
            let line = if offered {
                "RTP/AVP 0 13 97\r\n"
            } else {
                "RTP/AVP 0 97\r\n"
            };
            assert!(answer.contains(line), "{answer}");
            assert_eq!(answer.contains("a=rtpmap:13 CN/8000\r\n"), offered);
            let ours = offer(
                &LocalMedia {
                    comfort_noise: offered,
                    ..local()
                },
                Codec::Pcma,
                &[],
            );
            assert_eq!(ours.contains("RTP/AVP 8 0 13 101\r\n"), offered, "{ours}");
            assert_eq!(
                Description::parse(ours.as_bytes())
                    .unwrap()
                    .remote()
                    .comfort_noise,
                offered
            );
        }
    }

    #[test]
    fn our_own_offer_can_be_read_by_ourselves() {
        let description = Description::parse(offer(&local(), Codec::Pcma, &[]).as_bytes()).unwrap();
        assert_eq!(description.remote().codec, Codec::Pcma);
        assert_eq!(
            description.remote_preferring(Codec::Pcmu).codec,
            Codec::Pcmu
        );
        assert_eq!(description.remote().telephone_event, events_at(101, 8000));
        assert!(description.remote().send && description.remote().receive);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let without = |from: &str, to: &str| {
            Description::parse(OFFER.replace(from, to).as_bytes()).unwrap_err()
        };
        assert_eq!(
            Description::parse(b"hello").unwrap_err(),
            SdpError::Malformed
        );
        assert_eq!(without("18 0 8 97", "18 97"), SdpError::NoCodec);
        assert_eq!(without("m=audio 4000", "m=audio 0"), SdpError::NoAudio);
        assert_eq!(
            without("c=IN IP4 192.0.2.1", "c=IN IP4 host.example"),
            SdpError::NoAudio
        );
        assert_eq!(
            without("audio 4000 RTP/AVP", "audio 4000 RTP/SAVP"),
            SdpError::NoKey
        );
        assert_eq!(
            without("audio 4000 RTP/AVP", "audio 4000 UDP/TLS/RTP/SAVP"),
            SdpError::NoAudio
        );
    }

    const CRYPTO: &str = "a=crypto:9 F8_128_HMAC_SHA1_80 inline:x\r\n\
        a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";

    fn with_keys(protocol: &str) -> Description {
        let offer = OFFER.replace("audio 4000 RTP/AVP", &format!("audio 4000 {protocol}"));
        Description::parse(format!("{offer}{CRYPTO}").as_bytes()).unwrap()
    }

    fn local_with(srtp: SrtpMode) -> LocalMedia {
        LocalMedia { srtp, ..local() }
    }

    #[test]
    fn an_encrypted_offer_is_answered_with_our_own_key_for_the_same_line() {
        for mode in [SrtpMode::Off, SrtpMode::Optional, SrtpMode::Required] {
            let offer = with_keys("RTP/SAVP");
            let key = offer.offered_key(&local_with(mode)).unwrap().unwrap();
            assert_eq!(key.expose(), b"YS___semctl () {\t220;}\n}\nunles");
            assert_eq!(offer.remote().crypto, Some(key));
            let answer = offer.answer(&local_with(mode), Codec::Pcma);
            assert!(
                answer.contains("m=audio 20000 RTP/SAVP 8 97\r\n"),
                "{answer}"
            );
            let ours = "a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\r\n";
            assert!(answer.contains(ours), "{answer}");
            assert_eq!(answer.matches("a=crypto").count(), 1);
        }
    }

    #[test]
    fn keys_beside_a_clear_offer_are_taken_where_that_is_wanted() {
        let offer = with_keys("RTP/AVP");
        assert_eq!(
            (
                offer.remote().crypto,
                offer.offered_key(&local_with(SrtpMode::Off))
            ),
            (None, Ok(None))
        );
        assert!(
            !offer
                .answer(&local_with(SrtpMode::Off), Codec::Pcma)
                .contains("crypto")
        );
        assert!(
            offer
                .offered_key(&local_with(SrtpMode::Optional))
                .unwrap()
                .is_some()
        );
        let answer = offer.answer(&local_with(SrtpMode::Optional), Codec::Pcma);
        assert!(
            answer.contains("RTP/AVP 8 97\r\n") && answer.contains("a=crypto:4 "),
            "{answer}"
        );
        assert_eq!(
            offer.offered_key(&local_with(SrtpMode::Required)),
            Err(SdpError::NoKey)
        );
    }

    #[test]
    fn an_encrypted_stream_goes_before_a_clear_one() {
        let both = format!("{OFFER}m=audio 4002 RTP/SAVP 8\r\n{CRYPTO}");
        let description = Description::parse(both.as_bytes()).unwrap();
        assert!(description.is_secure());
        assert_eq!(description.remote().rtp.port(), 4002);
        let unspoken = format!("{OFFER}m=audio 4002 RTP/SAVP 8\r\n");
        assert_eq!(
            Description::parse(unspoken.as_bytes())
                .unwrap()
                .remote()
                .rtp
                .port(),
            4000
        );
    }

    #[test]
    fn an_answer_is_held_against_what_was_offered() {
        for (mode, protocol) in [
            (SrtpMode::Optional, "RTP/AVP"),
            (SrtpMode::Required, "RTP/SAVP"),
        ] {
            let ours = local_with(mode);
            let offered = offer(&ours, Codec::Pcma, &[]);
            assert!(
                offered.contains(&format!("m=audio 20000 {protocol} 8 0 101\r\n")),
                "{offered}"
            );
            assert_eq!(offered.matches("a=crypto").count(), 3);
            let theirs = LocalMedia {
                secrets: Secrets::new([9; 132]),
                ..ours
            };
            let answer = Description::parse(offered.as_bytes())
                .unwrap()
                .answer(&theirs, Codec::Pcma);
            let key = Description::parse(answer.as_bytes())
                .unwrap()
                .answered_key(&ours)
                .unwrap()
                .unwrap();
            assert_eq!(key.expose(), [9; 30]);
            let renumbered = answer.replace("a=crypto:1 ", "a=crypto:2 ");
            let found = Description::parse(renumbered.as_bytes())
                .unwrap()
                .answered_key(&ours);
            let expected = if mode == SrtpMode::Optional {
                Ok(None)
            } else {
                Err(SdpError::NoKey)
            };
            assert_eq!(found, expected);
        }
        assert_eq!(
            with_keys("RTP/SAVP").answered_key(&local()),
            Err(SdpError::NoKey)
        );
        assert_eq!(with_keys("RTP/AVP").answered_key(&local()), Ok(None));
    }

    #[test]
    fn an_unspecified_address_is_a_hold() {
        let held = OFFER
            .replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0")
            .replace("a=sendonly\r\n", "");
        let remote = Description::parse(held.as_bytes()).unwrap().remote();
        assert_eq!((remote.send, remote.receive), (false, true));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = Description::parse(&bytes);
        }
    }
}
