//! Writing of session descriptions, from an allow-list of local facts.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::format::{Codec, OpusParameters, TelephoneEventFormat};
use super::{COMFORT_NOISE, LocalMedia, MediaLayout};
use crate::endpoint::Redirection;
use crate::sdes::{CryptoLine, SrtpMode};

/// Telephone events of local offers, with the clock rates of G.711 and Opus.
const TELEPHONE_EVENT_8000: TelephoneEventFormat = TelephoneEventFormat {
    payload_type: 101,
    rate: 8000,
};
const TELEPHONE_EVENT_48000: TelephoneEventFormat = TelephoneEventFormat {
    payload_type: 97,
    rate: 48_000,
};

/// Returns the telephone events of local offers with a clock rate in Hz: 8000 or 48000.
pub(crate) fn offered_telephone_event(rate: u32) -> TelephoneEventFormat {
    match rate {
        48_000 => TELEPHONE_EVENT_48000,
        _ => TELEPHONE_EVENT_8000,
    }
}

/// Returns an offer with the allowed codecs in order. If `allowed` is empty, it contains the
/// preferred codec and both variants of G.711.
pub fn offer(local: &LocalMedia, preferred: Codec, allowed: &[Codec]) -> String {
    later_offer(&MediaLayout::default(), local, preferred, allowed)
}

/// Returns an offer like [`offer`] with the media lines of a session.
pub(crate) fn later_offer(
    layout: &MediaLayout,
    local: &LocalMedia,
    preferred: Codec,
    allowed: &[Codec],
) -> String {
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
    let (opus, comfort_noise) = (OpusParameters::LOCAL, local.comfort_noise);
    let formats = StreamFormats {
        codecs: &codecs,
        opus,
        comfort_noise,
        events,
    };
    let mut audio = String::new();
    write_audio(&mut audio, local, &formats, &attributes);
    layout.write(&mut text, Some(&audio));
    text
}

/// Returns an unencrypted offer that asks the peer to send its audio to `rtp`, or back to the local
/// address. RTCP stays local (RFC 3605) because it identifies its sender.
pub(crate) fn redirection(
    layout: &MediaLayout,
    local: &LocalMedia,
    redirection: &Redirection,
) -> String {
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
    // It is unknown here if the other peer supports comfort noise.
    let comfort_noise = rtp.is_none() && local.comfort_noise && codec != Codec::Opus;
    let events = telephone_event.as_slice();
    let opus = if rtp.is_some() {
        opus
    } else {
        OpusParameters::LOCAL
    };
    let formats = StreamFormats {
        codecs: &[(codec, payload_type)],
        opus,
        comfort_noise,
        events,
    };
    let mut audio = String::new();
    write_audio(
        &mut audio,
        &LocalMedia {
            port: to.port(),
            ..*local
        },
        &formats,
        &attributes,
    );
    if rtp.is_some() {
        let (port, address) = (local.port.saturating_add(1), local.address);
        let _ = write!(audio, "a=rtcp:{port} IN {} {address}\r\n", family(address));
    }
    layout.write(&mut text, Some(&audio));
    text
}

/// Returns the session-level lines. `o=` has the local address, `c=` the destination of the audio.
pub(super) fn session_lines(local: &LocalMedia, to: IpAddr) -> String {
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

/// Returns the direction to declare, from the directions requested by the peer.
pub(super) fn direction(peer_sends: bool, peer_receives: bool) -> &'static str {
    match (peer_sends, peer_receives) {
        (true, true) => "sendrecv",
        (true, false) => "recvonly",
        (false, true) => "sendonly",
        (false, false) => "inactive",
    }
}

/// Attributes of an audio stream, apart from its formats.
pub(super) struct StreamAttributes<'a> {
    pub(super) protocol: &'a str,
    pub(super) crypto: &'a [CryptoLine],
    pub(super) direction: &'a str,
}

/// Formats of an audio stream.
pub(super) struct StreamFormats<'a> {
    /// Codecs with their payload types.
    pub(super) codecs: &'a [(Codec, u8)],
    /// Opus parameters requested by the receiver of the audio.
    pub(super) opus: OpusParameters,
    pub(super) comfort_noise: bool,
    pub(super) events: &'a [TelephoneEventFormat],
}

pub(super) fn write_audio(
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
