//! Secure RTP and RTCP (RFC 3711, RFC 7714): packets are sealed and opened in place, without an allocation a packet.

mod session;
mod window;

use session::Session;
use window::{Window, estimate_index};

pub use session::SrtpSuite;

/// Octets that a sealed packet is longer by, at the most: a tag of 16 and the index of SRTCP.
pub const SRTP_OVERHEAD: usize = 20;

/// Sources that one peer may send from under one key. Each costs memory and none is forgotten, or its packets could be
/// played again.
const MAX_SOURCES: usize = 16;
/// Octets of an RTCP packet that stay readable (RFC 3711, section 3.4).
const RTCP_HEADER: usize = 8;
/// The bit that says that an RTCP packet is encrypted.
const ENCRYPTED: u32 = 0x8000_0000;

/// Why a packet was not opened or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Too short, or not RTP.
    #[error("not a packet of SRTP")]
    Malformed,
    /// It is not from the holder of the key, or was changed on the way.
    #[error("the packet's authentication tag is wrong")]
    Unauthenticated,
    /// Its number was used before, or is too old to tell.
    #[error("the packet was seen before")]
    Replayed,
    /// The peer uses more sources than anyone needs.
    #[error("more than 16 sources under one key")]
    TooManySources,
    /// The key has been used for as many packets as it may (RFC 3711, section 9.2).
    #[error("the key is used up")]
    Exhausted,
    /// No room behind the packet for its tag.
    #[error("no room for the authentication tag")]
    NoRoom,
}

/// Seals what we send under one key, from one source.
#[derive(Debug)]
pub struct SrtpSender {
    suite: SrtpSuite,
    session: Session,
    window: Option<Window>,
    rtcp_index: u32,
}

/// Opens what a peer sends under its key.
#[derive(Debug)]
pub struct SrtpReceiver {
    session: Session,
    sources: Vec<PeerSource>,
}

#[derive(Debug)]
struct PeerSource {
    ssrc: u32,
    rtp: Option<Window>,
    rtcp: Option<Window>,
}

impl SrtpSender {
    /// A sender with our master key and salt for this suite, one after the other; `None` when their length is not
    /// [`SrtpSuite::key_length`].
    pub fn new(suite: SrtpSuite, key: &[u8]) -> Option<Self> {
        Some(Self {
            suite,
            session: Session::derive(suite, key)?,
            window: None,
            rtcp_index: 0,
        })
    }

    /// Its suite.
    pub fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// Seals the RTP packet in the first `length` octets; gives its new length. A sequence number is never used twice,
    /// or the key stream would be: the second packet is refused. Needs [`SRTP_OVERHEAD`] octets behind the packet.
    pub fn seal(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let packet = buffer.get(..length).ok_or(SrtpError::Malformed)?;
        let (sequence, ssrc, header) = rtp_header(packet)?;
        let mut window = self.window.unwrap_or(Window::starting_at(sequence.into()));
        let index = estimate_index(window.highest(), sequence).ok_or(SrtpError::Exhausted)?;
        if !window.accept(index) {
            return Err(SrtpError::Replayed);
        }
        let sealed = self.session.seal_rtp(buffer, header, length, ssrc, index)?;
        self.window = Some(window);
        Ok(sealed)
    }

    /// Seals the RTCP compound in the first `length` octets; gives its new length.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let ssrc = buffer
            .get(..length)
            .and_then(rtcp_source)
            .ok_or(SrtpError::Malformed)?;
        let index = self
            .rtcp_index
            .checked_add(1)
            .filter(|index| *index < ENCRYPTED);
        let index = index.ok_or(SrtpError::Exhausted)?;
        let sealed = self
            .session
            .seal_rtcp(buffer, RTCP_HEADER, length, ssrc, index)?;
        self.rtcp_index = index;
        Ok(sealed)
    }
}

impl SrtpReceiver {
    /// A receiver with the peer's master key and salt, one after the other; `None` when their length is not
    /// [`SrtpSuite::key_length`].
    pub fn new(suite: SrtpSuite, key: &[u8]) -> Option<Self> {
        Some(Self {
            session: Session::derive(suite, key)?,
            sources: Vec::new(),
        })
    }

    /// Opens an SRTP packet; gives the length of the RTP packet that it leaves. On an error the octets are worthless.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let (sequence, ssrc, header) = rtp_header(packet)?;
        let position = self.source_index(ssrc)?;
        let known = self.sources.get(position).and_then(|source| source.rtp);
        let mut window = known.unwrap_or(Window::starting_at(sequence.into()));
        let index = estimate_index(window.highest(), sequence).ok_or(SrtpError::Unauthenticated)?;
        if !window.accept(index) {
            return Err(SrtpError::Replayed);
        }
        let length = self.session.open_rtp(packet, header, ssrc, index)?;
        self.source_mut(position, ssrc).rtp = Some(window);
        Ok(length)
    }

    /// Opens an SRTCP packet; gives the length of the RTCP compound that it leaves.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_source(packet).ok_or(SrtpError::Malformed)?;
        let word = self
            .session
            .rtcp_index(packet)
            .ok_or(SrtpError::Malformed)?;
        let index = u64::from(word & !ENCRYPTED);
        let position = self.source_index(ssrc)?;
        let known = self.sources.get(position).and_then(|source| source.rtcp);
        let mut window = known.unwrap_or(Window::starting_at(index));
        if !window.accept(index) {
            return Err(SrtpError::Replayed);
        }
        let length = self.session.open_rtcp(packet, RTCP_HEADER, ssrc, word)?;
        self.source_mut(position, ssrc).rtcp = Some(window);
        Ok(length)
    }

    /// Where a source is kept, or would be.
    fn source_index(&self, ssrc: u32) -> Result<usize, SrtpError> {
        let known = self.sources.iter().position(|source| source.ssrc == ssrc);
        let position = known.unwrap_or(self.sources.len());
        if position < MAX_SOURCES {
            Ok(position)
        } else {
            Err(SrtpError::TooManySources)
        }
    }

    /// A source is kept once a packet of it was authentic.
    fn source_mut(&mut self, position: usize, ssrc: u32) -> &mut PeerSource {
        if position >= self.sources.len() {
            self.sources.push(PeerSource {
                ssrc,
                rtp: None,
                rtcp: None,
            });
        }
        let last = self.sources.len().saturating_sub(1);
        // The list is not empty, and `position` was returned by `source_index`.
        #[allow(clippy::indexing_slicing)]
        &mut self.sources[position.min(last)]
    }
}

/// Sequence number, source and the length of the header with contributing sources and extension, which stay readable.
fn rtp_header(packet: &[u8]) -> Result<(u16, u32, usize), SrtpError> {
    let fixed = packet.first_chunk::<12>().ok_or(SrtpError::Malformed)?;
    let [first, _, s0, s1, _, _, _, _, i0, i1, i2, i3] = *fixed;
    if first >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    let mut header = 12 + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        let words = packet
            .get(header + 2..header + 4)
            .and_then(|words| words.first_chunk::<2>());
        let words = words.ok_or(SrtpError::Malformed)?;
        header += 4 + usize::from(u16::from_be_bytes(*words)) * 4;
    }
    let fits = header <= packet.len();
    let read = (
        u16::from_be_bytes([s0, s1]),
        u32::from_be_bytes([i0, i1, i2, i3]),
        header,
    );
    fits.then_some(read).ok_or(SrtpError::Malformed)
}

fn rtcp_source(packet: &[u8]) -> Option<u32> {
    let [first, _, _, _, i0, i1, i2, i3] = *packet.first_chunk::<RTCP_HEADER>()?;
    (first >> 6 == 2).then_some(u32::from_be_bytes([i0, i1, i2, i3]))
}

#[cfg(test)]
mod tests;
