//! Codecs and telephone events, and their formats in a session description.

/// Payload type of Opus in local offers.
const OPUS_PAYLOAD_TYPE: u8 = 96;
/// Duration of sent packets in milliseconds. A peer that accepts only shorter packets gets no Opus.
const PACKET_MS: u32 = 20;

/// Supported audio codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// G.722 at 64 kbit/s.
    G722,
    /// Opus (RFC 7587).
    Opus,
}

impl Codec {
    /// Returns the static payload type (RFC 3551, table 4), or the local one for Opus.
    pub(super) fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
            Self::Opus => OPUS_PAYLOAD_TYPE,
        }
    }

    /// Returns the encoding name, clock rate and channels (RFC 3551, section 6). For Opus they are
    /// fixed (RFC 7587, section 7).
    pub(super) fn encoding(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::G722 => "G722/8000",
            Self::Opus => "opus/48000/2",
        }
    }

    /// Returns the RTP clock rate in Hz.
    pub(super) fn rate(self) -> u32 {
        if self == Self::Opus { 48_000 } else { 8000 }
    }

    fn from_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Pcmu),
            8 => Some(Self::Pcma),
            9 => Some(Self::G722),
            _ => None,
        }
    }

    /// Returns the codec of an `rtpmap` in lower case. One channel is the default.
    fn from_encoding(encoding: &str) -> Option<Self> {
        let codecs = [Self::Pcma, Self::Pcmu, Self::G722, Self::Opus];
        let encoding = encoding.strip_suffix("/1").unwrap_or(encoding);
        codecs
            .into_iter()
            .find(|codec| codec.encoding().eq_ignore_ascii_case(encoding))
    }

    /// Returns the codecs of an offer, with this codec first. G.722 and Opus are offered only if
    /// the other leg uses them, because transcoding would cost CPU without better sound.
    pub(super) fn offered(self) -> &'static [Self] {
        match self {
            Self::Pcma => &[Self::Pcma, Self::Pcmu],
            Self::Pcmu => &[Self::Pcmu, Self::Pcma],
            Self::G722 => &[Self::G722, Self::Pcma, Self::Pcmu],
            Self::Opus => &[Self::Opus, Self::Pcma, Self::Pcmu],
        }
    }
}

/// Telephone events (RFC 4733) in a session description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEventFormat {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Clock rate of the durations in Hz: 8000 or 48000.
    pub rate: u32,
}

/// Opus parameters requested by a receiver (RFC 7587, section 6.1). All are preferences, not
/// conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpusParameters {
    /// `maxaveragebitrate` in bit/s. `None` if absent.
    pub max_average_bit_rate: Option<u32>,
    /// `useinbandfec`: the receiver uses the copy of each packet that is sent with the next one.
    pub inband_fec: bool,
    /// `cbr`: the receiver prefers a constant bit rate.
    pub constant_bit_rate: bool,
    /// `stereo`: the receiver prefers two channels. Relevant for redirected audio only; the server
    /// itself sends mono.
    pub stereo: bool,
}

impl OpusParameters {
    /// Parameters requested from peers.
    pub(super) const LOCAL: Self = Self {
        max_average_bit_rate: None,
        inband_fec: true,
        constant_bit_rate: false,
        stereo: false,
    };

    /// Returns the value of an `fmtp` attribute, without the payload type. It contains only these
    /// fields.
    pub(super) fn fmtp(&self) -> String {
        let mut text = format!("useinbandfec={}", u8::from(self.inband_fec));
        if let Some(maximum) = self.max_average_bit_rate {
            text.push_str(&format!(";maxaveragebitrate={maximum}"));
        }
        for (name, wanted) in [
            (";cbr=1", self.constant_bit_rate),
            (";stereo=1", self.stereo),
        ] {
            text.push_str(if wanted { name } else { "" });
        }
        text
    }

    /// Parses the value of an `fmtp` attribute, without the payload type.
    fn parse(text: &str) -> Self {
        let mut parameters = Self::default();
        for (name, value) in text
            .split(';')
            .filter_map(|parameter| parameter.split_once('='))
        {
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "maxaveragebitrate" => parameters.max_average_bit_rate = bit_rate(value),
                "useinbandfec" => parameters.inband_fec = value == "1",
                "cbr" => parameters.constant_bit_rate = value == "1",
                "stereo" => parameters.stereo = value == "1",
                _ => {}
            }
        }
        parameters
    }
}

/// Parses a bit rate and clamps it to the range of Opus (RFC 7587, section 3.1.1).
fn bit_rate(text: &str) -> Option<u32> {
    text.parse().ok().map(|rate: u32| rate.clamp(6000, 510_000))
}

/// Codec named by the peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    pub(super) codec: Codec,
    pub(super) payload_type: u8,
    pub(super) opus: OpusParameters,
}

impl Format {
    /// Format of a removed stream.
    pub(super) const UNUSED: Self = Self {
        codec: Codec::Pcma,
        payload_type: 8,
        opus: OpusParameters {
            max_average_bit_rate: None,
            inband_fec: false,
            constant_bit_rate: false,
            stereo: false,
        },
    };
}

/// Returns the supported codecs of a stream in the peer's order. Static payload types need no
/// `rtpmap` (RFC 3551).
///
/// Opus comes last: if the peer supports another codec, transcoding is seldom worth its cost.
pub(super) fn formats(media: &sdp_types::Media) -> Vec<Format> {
    let maps: Vec<(u8, String)> = rtpmaps(media).collect();
    let mapped_codec = |number: u8| {
        maps.iter()
            .filter(|(mapped, _)| *mapped == number)
            .find_map(|(_, encoding)| Codec::from_encoding(encoding))
    };
    let format = |payload_type| {
        let static_codec = Codec::from_payload_type(payload_type);
        let codec = static_codec.or_else(|| mapped_codec(payload_type))?;
        let opus = if codec == Codec::Opus {
            opus_parameters(media, payload_type)
        } else {
            Default::default()
        };
        Some(Format {
            codec,
            payload_type,
            opus,
        })
    };
    let named: Vec<Format> = payload_types(media).filter_map(format).collect();
    let (opus, mut formats): (Vec<Format>, Vec<Format>) = named
        .into_iter()
        .partition(|format| format.codec == Codec::Opus);
    if max_packet_ms(media).is_none_or(|maximum| maximum >= PACKET_MS) {
        formats.extend(opus.first());
    }
    formats
}

pub(super) fn payload_types(media: &sdp_types::Media) -> impl Iterator<Item = u8> {
    let numbers = media
        .fmt
        .split_whitespace()
        .filter_map(|format| format.parse().ok());
    numbers.filter(|payload_type: &u8| *payload_type < 128)
}

/// Returns payload types and their encodings, in lower case.
fn rtpmaps(media: &sdp_types::Media) -> impl Iterator<Item = (u8, String)> {
    numbered(media, "rtpmap")
        .map(|(payload_type, encoding)| (payload_type, encoding.to_ascii_lowercase()))
}

/// Returns the values of an attribute with their payload types.
fn numbered<'a>(media: &'a sdp_types::Media, name: &'a str) -> impl Iterator<Item = (u8, &'a str)> {
    let lines = media
        .attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name);
    lines.filter_map(|line| {
        let (payload_type, value) = line.value.as_deref()?.split_once(' ')?;
        let payload_type = payload_type
            .trim()
            .parse()
            .ok()
            .filter(|payload_type| *payload_type < 128)?;
        Some((payload_type, value.trim()))
    })
}

fn opus_parameters(media: &sdp_types::Media, payload_type: u8) -> OpusParameters {
    let mut lines = numbered(media, "fmtp").filter(|(mapped, _)| *mapped == payload_type);
    lines
        .next()
        .map(|(_, value)| OpusParameters::parse(value))
        .unwrap_or_default()
}

/// Returns the maximum packet duration accepted by the peer (`a=maxptime`), in milliseconds.
fn max_packet_ms(media: &sdp_types::Media) -> Option<u32> {
    let named = media
        .attributes
        .iter()
        .find(|attribute| attribute.attribute == "maxptime");
    named?.value.as_deref()?.trim().parse().ok()
}

/// Returns the telephone events of a stream, in the order of their lines.
pub(super) fn events(media: &sdp_types::Media) -> Vec<TelephoneEventFormat> {
    let event = |(payload_type, encoding): (u8, String)| {
        let mut parts = encoding.split('/');
        let (name, rate, channels) = (parts.next(), parts.next(), parts.next().unwrap_or("1"));
        let rate = rate?
            .parse()
            .ok()
            .filter(|rate| matches!(rate, 8000 | 48_000))?;
        (name == Some("telephone-event") && channels == "1")
            .then_some(TelephoneEventFormat { payload_type, rate })
    };
    rtpmaps(media).filter_map(event).collect()
}
