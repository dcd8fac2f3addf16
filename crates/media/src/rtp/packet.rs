//! RTP packets (RFC 3550, section 5.1), parsed and written in place.

use std::ops::Range;

/// RTP header fields that we write. Contributing sources, extensions and padding are skipped on
/// reading and never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// First packet after silence (RFC 3551, section 4.1) or of an event (RFC 4733, section
    /// 2.5.1.1).
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number of the packet; wraps.
    pub sequence: u16,
    /// Timestamp in ticks of the RTP clock, or in samples of 8 kHz after
    /// [`InboundClock`](crate::InboundClock); wraps.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
}

/// Parsed packet: its header and the position of its payload in the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Fixed header.
    pub header: Header,
    /// Payload without padding.
    pub payload: &'a [u8],
    /// Number of octets before the payload, at least [`Header::LENGTH`].
    pub offset: usize,
}

/// Error for a datagram that is not RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// The datagram is shorter than its header fields require.
    #[error("the packet is shorter than its header")]
    Truncated,
    /// The version is not 2.
    #[error("not RTP version 2")]
    Version,
    /// The padding count is zero or longer than the payload.
    #[error("the padding is longer than the payload")]
    Padding,
}

impl Header {
    /// Octets of a written header.
    pub const LENGTH: usize = 12;

    /// Returns the octets of the header: version 2, no padding, no extension, no contributing
    /// sources.
    pub fn octets(&self) -> [u8; Self::LENGTH] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        let second = u8::from(self.marker) << 7 | (self.payload_type & 0x7f);
        [0x80, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }

    /// Writes a packet into `out` and returns its octets; `None` if it does not fit.
    pub fn write<'b>(&self, payload: &[u8], out: &'b mut [u8]) -> Option<&'b [u8]> {
        let end = Self::LENGTH + payload.len();
        let (head, body) = out.get_mut(..end)?.split_at_mut(Self::LENGTH);
        head.copy_from_slice(&self.octets());
        body.copy_from_slice(payload);
        out.get(..end)
    }

    /// Writes this header directly before a payload in `datagram` and returns the range of the new
    /// packet. The payload is not moved. The octets before the header (extension, contributing
    /// sources) are outside the range. Returns `None` if there is no space before the payload or
    /// the range is invalid.
    pub fn replace_in(&self, datagram: &mut [u8], payload: Range<usize>) -> Option<Range<usize>> {
        let start = payload.start.checked_sub(Self::LENGTH)?;
        let range = start..payload.end;
        datagram
            .get_mut(range.clone())?
            .get_mut(..Self::LENGTH)?
            .copy_from_slice(&self.octets());
        Some(range)
    }
}

impl<'a> Packet<'a> {
    /// Parses a datagram. Contributing sources, header extension and padding are skipped.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtpError> {
        let (fixed, rest) = datagram
            .split_first_chunk::<{ Header::LENGTH }>()
            .ok_or(RtpError::Truncated)?;
        let [first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *fixed;
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let rest = rest
            .get(usize::from(first & 0x0f) * 4..)
            .ok_or(RtpError::Truncated)?;
        let rest = if first & 0x10 == 0 {
            rest
        } else {
            after_extension(rest)?
        };
        let offset = datagram.len() - rest.len();
        let payload = if first & 0x20 == 0 {
            rest
        } else {
            without_padding(rest)?
        };
        let header = Header {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
        };
        Ok(Self {
            header,
            payload,
            offset,
        })
    }

    /// Returns the range of the payload in the datagram.
    pub fn payload_range(&self) -> Range<usize> {
        self.offset..self.offset + self.payload.len()
    }
}

fn after_extension(rest: &[u8]) -> Result<&[u8], RtpError> {
    let ([_, _, l0, l1], rest) = rest.split_first_chunk::<4>().ok_or(RtpError::Truncated)?;
    rest.get(usize::from(u16::from_be_bytes([*l0, *l1])) * 4..)
        .ok_or(RtpError::Truncated)
}

fn without_padding(rest: &[u8]) -> Result<&[u8], RtpError> {
    let count = usize::from(*rest.last().ok_or(RtpError::Padding)?);
    let end = rest
        .len()
        .checked_sub(count)
        .filter(|_| count > 0)
        .ok_or(RtpError::Padding)?;
    rest.get(..end).ok_or(RtpError::Padding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header = Header {
        marker: true,
        payload_type: 101,
        sequence: 0xfffe,
        timestamp: 0xdead_beef,
        ssrc: 0x0102_0304,
    };

    #[test]
    fn a_written_packet_reads_back() {
        let mut out = [0; 64];
        let octets = HEADER.write(b"voice", &mut out).unwrap();
        let packet = Packet::parse(octets).unwrap();
        assert_eq!(
            (packet.header, packet.payload, packet.offset),
            (HEADER, &b"voice"[..], 12)
        );
        assert_eq!(HEADER.write(&[0; 60], &mut out), None);
    }

    #[test]
    fn sources_extension_and_padding_are_skipped() {
        let mut octets = HEADER.octets().to_vec();
        octets[0] = 0x80 | 0x20 | 0x10 | 2;
        octets.extend([0xaa; 8]);
        octets.extend([0xbe, 0xde, 0, 1, 0xcc, 0xcc, 0xcc, 0xcc]);
        octets.extend(b"voice");
        octets.extend([0, 0, 3]);
        let packet = Packet::parse(&octets).unwrap();
        assert_eq!(
            (packet.payload, packet.payload_range()),
            (&b"voice"[..], 28..33)
        );
    }

    #[test]
    fn a_new_header_in_place_excludes_the_octets_before_the_payload() {
        let mut octets = HEADER.octets().to_vec();
        octets[0] = 0x82;
        octets.extend([0xaa; 8]);
        octets.extend(b"voice");
        let payload = Packet::parse(&octets).unwrap().payload_range();
        let own = Header {
            ssrc: 7,
            sequence: 1,
            timestamp: 2,
            marker: false,
            payload_type: 8,
        };
        let range = own.replace_in(&mut octets, payload).unwrap();
        assert_eq!(
            octets[range.clone()],
            [own.octets().to_vec(), b"voice".to_vec()].concat()
        );
        assert!(!octets[range].contains(&0xaa));
    }

    #[test]
    fn each_invalid_header_has_its_error() {
        assert_eq!(Packet::parse(&[0x80; 11]), Err(RtpError::Truncated));
        assert_eq!(Packet::parse(&[0x40; 12]), Err(RtpError::Version));
        assert_eq!(Packet::parse(&[0x81; 12]), Err(RtpError::Truncated));
        assert_eq!(Packet::parse(&[0x90; 12]), Err(RtpError::Truncated));
        let mut padded = HEADER.octets().to_vec();
        padded[0] = 0xa0;
        assert_eq!(Packet::parse(&padded), Err(RtpError::Padding));
        padded.extend([1, 9]);
        assert_eq!(Packet::parse(&padded), Err(RtpError::Padding));
        padded.extend([0]);
        assert_eq!(Packet::parse(&padded), Err(RtpError::Padding));
    }

    proptest! {
        #[test]
        fn any_octets_are_parsed_or_rejected(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packet) = Packet::parse(&octets) {
                prop_assert_eq!(&octets[packet.payload_range()], packet.payload);
                prop_assert!(packet.offset >= Header::LENGTH);
            }
        }
    }
}
