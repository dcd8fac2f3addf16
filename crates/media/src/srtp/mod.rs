//! Secure RTP and RTCP (RFC 3711, RFC 7714). Packets are encrypted and decrypted in place, without
//! an allocation per packet.

mod keys;
mod session;
mod suite;
mod window;

use session::Session;
use window::{Window, estimate_index};

pub use suite::SrtpSuite;

/// Maximum number of octets that encryption adds to a packet: a tag of 16 octets and the SRTCP
/// index.
pub const SRTP_OVERHEAD: usize = 20;

/// Maximum number of sources per key of a peer. Each source needs memory, and none can be removed:
/// its packets could be replayed.
const MAX_SOURCES: usize = 16;
/// Number of unencrypted octets at the start of an RTCP packet (RFC 3711, section 3.4).
const RTCP_HEADER: usize = 8;
/// Flag for an encrypted RTCP packet.
const ENCRYPTED: u32 = 0x8000_0000;

/// Error of encryption or decryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The packet is too short or not RTP.
    #[error("not an SRTP packet")]
    Malformed,
    /// The sender does not have the key, or the packet was changed on the way.
    #[error("wrong authentication tag")]
    Unauthenticated,
    /// The packet number was used before, or it is too old for the window.
    #[error("repeated packet number")]
    Replayed,
    /// The peer uses more sources than the maximum of 16.
    #[error("more than 16 sources for one key")]
    TooManySources,
    /// The key has reached its maximum number of packets (RFC 3711, section 9.2).
    #[error("the key has reached its maximum number of packets")]
    Exhausted,
    /// The buffer has no space for the tag.
    #[error("no space for the authentication tag")]
    NoRoom,
}

/// Encrypts the packets to a peer, with one key and one source.
#[derive(Debug)]
pub struct SrtpSender {
    suite: SrtpSuite,
    session: Session,
    window: Option<Window>,
    rtcp_index: u32,
}

/// Decrypts the packets of a peer, with one key.
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
    /// Creates a sender from our master key and the master salt after it. Returns `None` unless
    /// their total length is [`SrtpSuite::key_length`].
    pub fn new(suite: SrtpSuite, key: &[u8]) -> Option<Self> {
        Some(Self {
            suite,
            session: Session::derive(suite, key)?,
            window: None,
            rtcp_index: 0,
        })
    }

    /// Returns the suite.
    pub fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// Encrypts the RTP packet in the first `length` octets and returns its new length. The buffer
    /// needs [`SRTP_OVERHEAD`] more octets.
    ///
    /// A repeated sequence number is rejected, because it would reuse the key stream.
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

    /// Encrypts the RTCP compound in the first `length` octets and returns its new length.
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
    /// Creates a receiver from the master key of the peer and the master salt after it. Returns
    /// `None` unless their total length is [`SrtpSuite::key_length`].
    pub fn new(suite: SrtpSuite, key: &[u8]) -> Option<Self> {
        Some(Self {
            session: Session::derive(suite, key)?,
            sources: Vec::new(),
        })
    }

    /// Decrypts an SRTP packet and returns the length of the RTP packet. After an error the content
    /// of the buffer is undefined.
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

    /// Decrypts an SRTCP packet and returns the length of the RTCP compound.
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

    /// Returns the index of a known source, or the index for a new source.
    fn source_index(&self, ssrc: u32) -> Result<usize, SrtpError> {
        let known = self.sources.iter().position(|source| source.ssrc == ssrc);
        let position = known.unwrap_or(self.sources.len());
        if position < MAX_SOURCES {
            Ok(position)
        } else {
            Err(SrtpError::TooManySources)
        }
    }

    /// Returns the source, and adds it on its first authentic packet.
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

/// Returns the sequence number, the source and the length of the unencrypted header, with
/// contributing sources and extension.
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
