//! Encryption and decryption of the packets of one direction.

use std::fmt;

use super::keys::{GCM_TAG_OCTETS, MasterKey, PacketKeys, RTCP_LABEL_OFFSET, counter_key, padded};
use super::{ENCRYPTED, SrtpError, SrtpSuite};

const INDEX_OCTETS: usize = 4;

/// Keys of one direction.
pub(super) struct Session {
    rtp: PacketKeys,
    rtcp: PacketKeys,
}

impl fmt::Debug for Session {
    /// Omits the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<keys>")
    }
}

impl Session {
    /// Derives the keys of a direction (RFC 3711, section 4.3; RFC 7714, section 11). Returns
    /// `None` for a wrong key length.
    pub(super) fn derive(suite: SrtpSuite, key: &[u8]) -> Option<Self> {
        if key.len() != suite.key_length() {
            return None;
        }
        let (key, salt) = key.split_at_checked(suite.master_key())?;
        let master = MasterKey {
            key: counter_key(key)?,
            salt: padded(salt),
        };
        Some(Self {
            rtp: master.keys(suite, 0)?,
            rtcp: master.keys(suite, RTCP_LABEL_OFFSET)?,
        })
    }

    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header: usize,
        length: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match &self.rtp {
            PacketKeys::Counter(keys) => {
                keys.encrypt(buffer.get_mut(header..length), ssrc, index)?;
                keys.sign(buffer, length, roll_over(index), 0)
            }
            PacketKeys::Gcm(keys) => {
                let (head, rest) = buffer
                    .split_at_mut_checked(header)
                    .ok_or(SrtpError::Malformed)?;
                keys.seal(head, rest, length - header, keys.rtp_nonce(ssrc, index))?;
                Ok(length + GCM_TAG_OCTETS)
            }
        }
    }

    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match &self.rtp {
            PacketKeys::Counter(keys) => {
                let length = packet
                    .len()
                    .checked_sub(keys.tag)
                    .filter(|length| *length >= header);
                let length = length.ok_or(SrtpError::Malformed)?;
                keys.verify(packet, length, length, roll_over(index))?;
                keys.encrypt(packet.get_mut(header..length), ssrc, index)?;
                Ok(length)
            }
            PacketKeys::Gcm(keys) => {
                let (head, rest) = packet
                    .split_at_mut_checked(header)
                    .ok_or(SrtpError::Malformed)?;
                Ok(header + keys.open(head, rest, keys.rtp_nonce(ssrc, index))?)
            }
        }
    }

    /// Returns the index at the end of an SRTCP packet, with the flag for encryption.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let behind = match &self.rtcp {
            PacketKeys::Counter(keys) => keys.tag,
            PacketKeys::Gcm(_) => 0,
        };
        let (rest, _) = packet.split_at_checked(packet.len().checked_sub(behind)?)?;
        rest.last_chunk::<INDEX_OCTETS>()
            .map(|word| u32::from_be_bytes(*word))
    }

    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        header: usize,
        length: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let word = (index | ENCRYPTED).to_be_bytes();
        match &self.rtcp {
            PacketKeys::Counter(keys) => {
                keys.encrypt(buffer.get_mut(header..length), ssrc, index.into())?;
                keys.sign(buffer, length, word, INDEX_OCTETS)
            }
            PacketKeys::Gcm(keys) => {
                let (head, rest) = buffer
                    .split_at_mut_checked(header)
                    .ok_or(SrtpError::Malformed)?;
                let aad = rtcp_aad(head, word);
                keys.seal(&aad, rest, length - header, keys.rtcp_nonce(ssrc, index))?;
                let end = length + GCM_TAG_OCTETS;
                buffer
                    .get_mut(end..end + INDEX_OCTETS)
                    .ok_or(SrtpError::NoRoom)?
                    .copy_from_slice(&word);
                Ok(end + INDEX_OCTETS)
            }
        }
    }

    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        word: u32,
    ) -> Result<usize, SrtpError> {
        let index = word & !ENCRYPTED;
        // We never offer unencrypted RTCP (`UNENCRYPTED_SRTCP`).
        if word & ENCRYPTED == 0 {
            return Err(SrtpError::Unauthenticated);
        }
        match &self.rtcp {
            PacketKeys::Counter(keys) => {
                let signed = packet
                    .len()
                    .checked_sub(keys.tag)
                    .ok_or(SrtpError::Malformed)?;
                let length = signed
                    .checked_sub(INDEX_OCTETS)
                    .filter(|length| *length >= header);
                let length = length.ok_or(SrtpError::Malformed)?;
                keys.verify(packet, signed, length, word.to_be_bytes())?;
                keys.encrypt(packet.get_mut(header..length), ssrc, index.into())?;
                Ok(length)
            }
            PacketKeys::Gcm(keys) => {
                let end = packet
                    .len()
                    .checked_sub(INDEX_OCTETS)
                    .ok_or(SrtpError::Malformed)?;
                let packet = packet.get_mut(..end).ok_or(SrtpError::Malformed)?;
                let (head, rest) = packet
                    .split_at_mut_checked(header)
                    .ok_or(SrtpError::Malformed)?;
                let aad = rtcp_aad(head, word.to_be_bytes());
                Ok(header + keys.open(&aad, rest, keys.rtcp_nonce(ssrc, index))?)
            }
        }
    }
}

/// Returns the roll-over counter of a packet number. It is signed with the packet but not sent.
fn roll_over(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// Returns the additional authenticated data of RTCP (RFC 7714, section 9.2).
fn rtcp_aad(head: &[u8], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0; 12];
    aad.iter_mut()
        .zip(head.iter().copied().chain(word))
        .for_each(|(octet, other)| *octet = other);
    aad
}

#[cfg(test)]
mod tests;
