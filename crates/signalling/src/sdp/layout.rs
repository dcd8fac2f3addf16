//! Media lines of a session: their number and order stay the same in all later descriptions (RFC 3264, section 8).

use std::fmt::Write;

use super::SdpError;

/// Maximum number of media lines of a description. An offer with more is rejected.
const MAX_MEDIA_LINES: usize = 64;

/// Media lines of a session, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct MediaLayout {
    /// Empty for a session with one audio stream and nothing else.
    lines: Vec<MediaLine>,
    /// Index of the audio stream in use.
    audio: usize,
}

#[derive(Debug, Clone)]
struct MediaLine {
    kind: String,
    protocol: String,
    format: String,
}

impl MediaLayout {
    pub(super) fn from_medias(medias: &[sdp_types::Media], audio: usize) -> Result<Self, SdpError> {
        if medias.len() > MAX_MEDIA_LINES {
            return Err(SdpError::NoAudio);
        }
        let lines = medias.iter().map(MediaLine::from_media).collect();
        Ok(Self { lines, audio })
    }

    /// Returns the protocol of the audio stream.
    pub(super) fn audio_protocol(&self) -> &str {
        let line = self.lines.get(self.audio);
        line.map_or("RTP/AVP", |line| &line.protocol)
    }

    /// Returns `true` if both sessions have the same media lines in the same order.
    pub(crate) fn has_lines_of(&self, other: &Self) -> bool {
        self.audio == other.audio && self.lines().eq(other.lines())
    }

    /// Returns the kind and the protocol of each media line.
    fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        let single = self.lines.is_empty().then_some(("audio", "RTP/AVP"));
        let lines = self.lines.iter();
        let lines = lines.map(|line| (line.kind.as_str(), line.protocol.as_str()));
        single.into_iter().chain(lines)
    }

    /// Appends all lines to a description: the audio stream as given, all others rejected. Without `audio`, the audio
    /// stream is rejected, too.
    pub(super) fn write(&self, text: &mut String, audio: Option<&str>) {
        if self.lines.is_empty() {
            text.push_str(audio.unwrap_or_default());
        }
        for (index, line) in self.lines.iter().enumerate() {
            match audio.filter(|_| index == self.audio) {
                Some(audio) => text.push_str(audio),
                None => line.write_rejected(text),
            }
        }
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

    fn write_rejected(&self, text: &mut String) {
        let _ = write!(
            text,
            "m={} 0 {} {}\r\n",
            self.kind, self.protocol, self.format
        );
    }
}
