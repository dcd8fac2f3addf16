//! SRTP suites.

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

impl SrtpSuite {
    /// Returns the total octets of master key and salt.
    pub fn key_length(self) -> usize {
        self.master_key() + self.master_salt()
    }

    pub(super) fn master_key(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    pub(super) fn master_salt(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }
}
