//! Keys and ciphers of one direction, derived from a master key.

use std::fmt;

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    constant_time, hmac,
    iv::FixedLength,
};

use super::{ENCRYPTED, SrtpError};

/// Cipher and authentication (RFC 4568, section 6.2; RFC 7714, section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpSuite {
    /// `AES_CM_128_HMAC_SHA1_80`, supported by every implementation.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`, with a shorter tag on RTP.
    AesCm128HmacSha1_32,
    /// `AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

/// Labels of the derived keys for RTP (RFC 3711, section 4.3.2). The labels for RTCP are greater by
/// 3.
const ENCRYPTION: u8 = 0;
const AUTHENTICATION: u8 = 1;
const SALT: u8 = 2;
const RTCP_LABEL_OFFSET: u8 = 3;

const HMAC_KEY_OCTETS: usize = 20;
/// Octets of the HMAC-SHA1 tag on RTCP in both suites (RFC 4568, section 6.2.2).
const LONG_TAG_OCTETS: usize = 10;
const GCM_TAG_OCTETS: usize = 16;
const INDEX_OCTETS: usize = 4;

impl SrtpSuite {
    /// Returns the total octets of master key and salt.
    pub fn key_length(self) -> usize {
        self.master_key() + self.master_salt()
    }

    fn master_key(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    fn master_salt(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }
}

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

enum PacketKeys {
    Counter(Box<CounterKeys>),
    Gcm(Box<GcmKeys>),
}

/// AES in counter mode with HMAC-SHA1 (RFC 3711, sections 4.1.1 and 4.2.1).
struct CounterKeys {
    cipher: EncryptingKey,
    mac: hmac::Key,
    salt: [u8; 16],
    tag: usize,
}

/// AES-GCM (RFC 7714).
struct GcmKeys {
    cipher: LessSafeKey,
    salt: [u8; 12],
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

/// Master key in a form for key derivation.
struct MasterKey {
    key: EncryptingKey,
    salt: [u8; 16],
}

impl MasterKey {
    fn keys(&self, suite: SrtpSuite, label_offset: u8) -> Option<PacketKeys> {
        Some(match suite {
            SrtpSuite::AesCm128HmacSha1_80 => {
                PacketKeys::Counter(self.counter(label_offset, LONG_TAG_OCTETS)?)
            }
            SrtpSuite::AesCm128HmacSha1_32 if label_offset == RTCP_LABEL_OFFSET => {
                PacketKeys::Counter(self.counter(label_offset, LONG_TAG_OCTETS)?)
            }
            SrtpSuite::AesCm128HmacSha1_32 => PacketKeys::Counter(self.counter(label_offset, 4)?),
            SrtpSuite::AeadAes128Gcm => {
                PacketKeys::Gcm(self.gcm::<16>(&aead::AES_128_GCM, label_offset)?)
            }
            SrtpSuite::AeadAes256Gcm => {
                PacketKeys::Gcm(self.gcm::<32>(&aead::AES_256_GCM, label_offset)?)
            }
        })
    }

    fn counter(&self, label_offset: u8, tag: usize) -> Option<Box<CounterKeys>> {
        let cipher = counter_key(&self.derive::<16>(ENCRYPTION + label_offset)?)?;
        let secret = self.derive::<HMAC_KEY_OCTETS>(AUTHENTICATION + label_offset)?;
        let mac = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret);
        let salt = padded(&self.derive::<14>(SALT + label_offset)?);
        Some(Box::new(CounterKeys {
            cipher,
            mac,
            salt,
            tag,
        }))
    }

    fn gcm<const KEY: usize>(
        &self,
        algorithm: &'static aead::Algorithm,
        label_offset: u8,
    ) -> Option<Box<GcmKeys>> {
        GcmKeys::new(
            algorithm,
            &self.derive::<KEY>(ENCRYPTION + label_offset)?,
            self.derive::<12>(SALT + label_offset)?,
        )
    }

    /// Derives the key with this label (RFC 3711, section 4.3.1, key derivation rate 0).
    fn derive<const LENGTH: usize>(&self, label: u8) -> Option<[u8; LENGTH]> {
        let mut block = self.salt;
        if let Some(octet) = block.get_mut(7) {
            *octet ^= label;
        }
        let mut derived = [0; LENGTH];
        apply_key_stream(&self.key, block, &mut derived)?;
        Some(derived)
    }
}

impl CounterKeys {
    /// Encrypts or decrypts; both are the same operation in counter mode.
    fn encrypt(&self, payload: Option<&mut [u8]>, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let payload = payload.ok_or(SrtpError::Malformed)?;
        let mut block = self.salt;
        // The index has 48 bits, so its upper two octets are zero.
        let xored = ssrc
            .to_be_bytes()
            .into_iter()
            .chain(index.to_be_bytes().into_iter().skip(2));
        block
            .iter_mut()
            .skip(4)
            .zip(xored)
            .for_each(|(octet, other)| *octet ^= other);
        apply_key_stream(&self.cipher, block, payload).ok_or(SrtpError::Malformed)
    }

    /// Signs a packet and the word after it, and returns the new length. Only `sent_octets` of the
    /// word are sent.
    fn sign(
        &self,
        buffer: &mut [u8],
        length: usize,
        word: [u8; 4],
        sent_octets: usize,
    ) -> Result<usize, SrtpError> {
        let behind = buffer.get_mut(length..).ok_or(SrtpError::Malformed)?;
        behind
            .get_mut(..word.len())
            .ok_or(SrtpError::NoRoom)?
            .copy_from_slice(&word);
        let mut tag = [0; 20];
        self.compute_mac(buffer, length, &mut tag)?;
        let (start, end) = (length + sent_octets, length + sent_octets + self.tag);
        let place = buffer.get_mut(start..end).ok_or(SrtpError::NoRoom)?;
        place.copy_from_slice(tag.get(..self.tag).unwrap_or_default());
        Ok(end)
    }

    /// Verifies the tag at `at`. It covers the first `length` octets and the word after them.
    fn verify(
        &self,
        packet: &mut [u8],
        at: usize,
        length: usize,
        word: [u8; 4],
    ) -> Result<(), SrtpError> {
        let mut sent = [0; LONG_TAG_OCTETS];
        let sent = sent.get_mut(..self.tag).ok_or(SrtpError::Malformed)?;
        sent.copy_from_slice(packet.get(at..at + self.tag).ok_or(SrtpError::Malformed)?);
        // The tag has at least four octets, so the word fits in its place.
        let place = packet
            .get_mut(length..length + word.len())
            .ok_or(SrtpError::Malformed)?;
        place.copy_from_slice(&word);
        let mut tag = [0; 20];
        self.compute_mac(packet, length, &mut tag)?;
        let right = tag.get(..self.tag).unwrap_or_default();
        constant_time::verify_slices_are_equal(right, sent).map_err(|_| SrtpError::Unauthenticated)
    }

    fn compute_mac(
        &self,
        buffer: &[u8],
        length: usize,
        tag: &mut [u8; 20],
    ) -> Result<(), SrtpError> {
        let signed = buffer.get(..length + 4).ok_or(SrtpError::Malformed)?;
        hmac::sign_to_buffer(&self.mac, signed, tag).map_err(|_| SrtpError::Malformed)?;
        Ok(())
    }
}

impl GcmKeys {
    pub(super) fn new(
        algorithm: &'static aead::Algorithm,
        key: &[u8],
        salt: [u8; 12],
    ) -> Option<Box<Self>> {
        let cipher = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Box::new(Self { cipher, salt }))
    }

    /// Returns the nonce of an RTP packet (RFC 7714, section 8.1).
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        self.nonce([0, 0], ssrc, index.to_be_bytes().into_iter().skip(2))
    }

    /// Returns the nonce of an RTCP packet (RFC 7714, section 9.1).
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        self.nonce([0, 0], ssrc, [0, 0].into_iter().chain(index.to_be_bytes()))
    }

    fn nonce(&self, lead: [u8; 2], ssrc: u32, rest: impl Iterator<Item = u8>) -> Nonce {
        let mut nonce = self.salt;
        let octets = lead.into_iter().chain(ssrc.to_be_bytes()).chain(rest);
        nonce
            .iter_mut()
            .zip(octets)
            .for_each(|(octet, other)| *octet ^= other);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts the first `length` octets of `rest` and writes the tag after them.
    fn seal(
        &self,
        aad: &[u8],
        rest: &mut [u8],
        length: usize,
        nonce: Nonce,
    ) -> Result<(), SrtpError> {
        let (payload, behind) = rest
            .split_at_mut_checked(length)
            .ok_or(SrtpError::Malformed)?;
        let place = behind.get_mut(..GCM_TAG_OCTETS).ok_or(SrtpError::NoRoom)?;
        let tag = self
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::from(aad), payload);
        place.copy_from_slice(tag.map_err(|_| SrtpError::Malformed)?.as_ref());
        Ok(())
    }

    /// Decrypts `rest`, including the tag at its end, and returns the length of the payload.
    fn open(&self, aad: &[u8], rest: &mut [u8], nonce: Nonce) -> Result<usize, SrtpError> {
        let opened = self.cipher.open_in_place(nonce, Aad::from(aad), rest);
        opened
            .map(|payload| payload.len())
            .map_err(|_| SrtpError::Unauthenticated)
    }
}

fn counter_key(key: &[u8]) -> Option<EncryptingKey> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).ok()?).ok()
}

/// XORs `data` with the key stream from this counter block on.
fn apply_key_stream(key: &EncryptingKey, block: [u8; 16], data: &mut [u8]) -> Option<()> {
    let context = EncryptionContext::Iv128(FixedLength::from(block));
    key.less_safe_encrypt(data, context).ok().map(|_| ())
}

/// Returns a counter block with the salt at its start.
fn padded(salt: &[u8]) -> [u8; 16] {
    let mut block = [0; 16];
    block
        .iter_mut()
        .zip(salt)
        .for_each(|(octet, salt)| *octet = *salt);
    block
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
