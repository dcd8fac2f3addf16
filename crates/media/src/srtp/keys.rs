//! Keys for RTP and RTCP, derived from a master key, and their ciphers.

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    constant_time, hmac,
    iv::FixedLength,
};

use super::{SrtpError, SrtpSuite};

/// Labels of the derived keys for RTP (RFC 3711, section 4.3.2). The labels for RTCP are greater by
/// 3.
pub(super) const ENCRYPTION: u8 = 0;
pub(super) const AUTHENTICATION: u8 = 1;
pub(super) const SALT: u8 = 2;
pub(super) const RTCP_LABEL_OFFSET: u8 = 3;

const HMAC_KEY_OCTETS: usize = 20;
/// Octets of the HMAC-SHA1 tag on RTCP in both suites (RFC 4568, section 6.2.2).
const LONG_TAG_OCTETS: usize = 10;
pub(super) const GCM_TAG_OCTETS: usize = 16;

pub(super) enum PacketKeys {
    Counter(Box<CounterKeys>),
    Gcm(Box<GcmKeys>),
}

/// Master key in a form for key derivation.
pub(super) struct MasterKey {
    pub(super) key: EncryptingKey,
    pub(super) salt: [u8; 16],
}

impl MasterKey {
    pub(super) fn keys(&self, suite: SrtpSuite, label_offset: u8) -> Option<PacketKeys> {
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

    pub(super) fn counter(&self, label_offset: u8, tag: usize) -> Option<Box<CounterKeys>> {
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

    pub(super) fn gcm<const KEY: usize>(
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
    pub(super) fn derive<const LENGTH: usize>(&self, label: u8) -> Option<[u8; LENGTH]> {
        let mut block = self.salt;
        if let Some(octet) = block.get_mut(7) {
            *octet ^= label;
        }
        let mut derived = [0; LENGTH];
        apply_key_stream(&self.key, block, &mut derived)?;
        Some(derived)
    }
}

/// AES in counter mode with HMAC-SHA1 (RFC 3711, sections 4.1.1 and 4.2.1).
pub(super) struct CounterKeys {
    cipher: EncryptingKey,
    mac: hmac::Key,
    salt: [u8; 16],
    pub(super) tag: usize,
}

/// AES-GCM (RFC 7714).
pub(super) struct GcmKeys {
    cipher: LessSafeKey,
    salt: [u8; 12],
}

impl CounterKeys {
    /// Encrypts or decrypts; both are the same operation in counter mode.
    pub(super) fn encrypt(
        &self,
        payload: Option<&mut [u8]>,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
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
    pub(super) fn sign(
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
    pub(super) fn verify(
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

    pub(super) fn compute_mac(
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
    pub(super) fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        self.nonce([0, 0], ssrc, index.to_be_bytes().into_iter().skip(2))
    }

    /// Returns the nonce of an RTCP packet (RFC 7714, section 9.1).
    pub(super) fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        self.nonce([0, 0], ssrc, [0, 0].into_iter().chain(index.to_be_bytes()))
    }

    pub(super) fn nonce(&self, lead: [u8; 2], ssrc: u32, rest: impl Iterator<Item = u8>) -> Nonce {
        let mut nonce = self.salt;
        let octets = lead.into_iter().chain(ssrc.to_be_bytes()).chain(rest);
        nonce
            .iter_mut()
            .zip(octets)
            .for_each(|(octet, other)| *octet ^= other);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts the first `length` octets of `rest` and writes the tag after them.
    pub(super) fn seal(
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
    pub(super) fn open(
        &self,
        aad: &[u8],
        rest: &mut [u8],
        nonce: Nonce,
    ) -> Result<usize, SrtpError> {
        let opened = self.cipher.open_in_place(nonce, Aad::from(aad), rest);
        opened
            .map(|payload| payload.len())
            .map_err(|_| SrtpError::Unauthenticated)
    }
}

pub(super) fn counter_key(key: &[u8]) -> Option<EncryptingKey> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).ok()?).ok()
}

/// XORs `data` with the key stream from this counter block on.
pub(super) fn apply_key_stream(
    key: &EncryptingKey,
    block: [u8; 16],
    data: &mut [u8],
) -> Option<()> {
    let context = EncryptionContext::Iv128(FixedLength::from(block));
    key.less_safe_encrypt(data, context).ok().map(|_| ())
}

/// Returns a counter block with the salt at its start.
pub(super) fn padded(salt: &[u8]) -> [u8; 16] {
    let mut block = [0; 16];
    block
        .iter_mut()
        .zip(salt)
        .for_each(|(octet, salt)| *octet = *salt);
    block
}
