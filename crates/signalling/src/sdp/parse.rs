//! Parsing of the audio stream of a session description.

use std::net::SocketAddr;

use super::format::{Format, payload_types};
use super::{COMFORT_NOISE, RemoteMedia, SdpError};
use crate::sdes::CryptoLine;

/// Selects the audio stream to use, preferably an encrypted one.
pub(super) fn best_audio(session: &sdp_types::Session) -> Result<usize, SdpError> {
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

/// Returns the audio stream that the peer has removed.
pub(super) fn removed_audio(session: &sdp_types::Session) -> Option<usize> {
    session
        .medias
        .iter()
        .position(|media| media.media == "audio" && media.port == 0)
}

pub(super) fn is_secure(media: &sdp_types::Media) -> bool {
    matches!(media.proto.as_str(), "RTP/SAVP" | "RTP/SAVPF")
}

/// Returns the first `a=crypto` line with a supported suite. Peers list their preferred suite
/// first.
pub(super) fn crypto_line(media: &sdp_types::Media) -> Option<CryptoLine> {
    let lines = media
        .attributes
        .iter()
        .filter(|attribute| attribute.attribute == "crypto");
    lines
        .filter_map(|line| line.value.as_deref())
        .find_map(CryptoLine::parse)
}

pub(super) fn remote_media(
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
    // RFC 2543 puts a call on hold with the address 0.0.0.0. RFC 3264, section 8.4 still requires
    // support for it.
    let held = address.is_unspecified();
    let removed = media.port == 0;
    let (peer_sends, peer_receives) = peer_directions(session, media);
    let rtp = SocketAddr::new(address, media.port);
    Ok(RemoteMedia {
        rtp,
        rtcp: rtcp_address(media, rtp).filter(|_| !removed),
        codec: format.codec,
        payload_type: format.payload_type,
        opus: format.opus,
        crypto: crypto_line(media)
            .filter(|_| is_secure(media))
            .map(|line| line.key),
        telephone_event: None,
        offered_telephone_event: None,
        comfort_noise: payload_types(media).any(|payload_type| payload_type == COMFORT_NOISE),
        send: peer_receives && !held && !removed,
        receive: peer_sends && !removed,
    })
}

/// Returns the directions of the peer: it sends, it receives.
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
