//! Authenticated encryption of texts, and derivation of keys.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::random;
use crate::store::StoreError;

/// Length of a keyed hash in octets. Among a billion numbers a collision is expected in one of 10^20 databases.
const INDEX_LENGTH: usize = 16;

/// AES-256-GCM-SIV (RFC 8452). A repeated random nonce reveals only equal plaintexts, so the number of encryptions per
/// key need not be counted.
pub(super) struct Cipher(LessSafeKey);

const UNREADABLE: StoreError =
    StoreError::Unreadable("encrypted text: was it written with another master key?");

impl Cipher {
    pub(super) fn derive(key: &[u8], purpose: &[u8]) -> Option<Self> {
        let derived = derive_key(key, purpose);
        let key = UnboundKey::new(&AES_256_GCM_SIV, derived.as_ref()).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// Returns nonce, ciphertext and tag in base64url.
    pub(super) fn encrypt(
        &self,
        context: &str,
        mut encrypted: Vec<u8>,
    ) -> Result<String, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce);
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut encrypted,
            )
            .map_err(|_| StoreError::Unreadable("text to be encrypted"))?;
        let mut out = String::with_capacity((NONCE_LEN + encrypted.len()).div_ceil(3) * 4);
        // 12 octets encode to 16 characters without padding, so both parts can be appended separately.
        URL_SAFE_NO_PAD.encode_string(nonce, &mut out);
        URL_SAFE_NO_PAD.encode_string(&encrypted, &mut out);
        Ok(out)
    }

    pub(super) fn decrypt(&self, context: &str, encrypted: &str) -> Result<String, StoreError> {
        let octets = self.decrypt_octets(context, encrypted)?;
        String::from_utf8(octets).map_err(|_| UNREADABLE)
    }

    pub(super) fn decrypt_octets(
        &self,
        context: &str,
        encrypted: &str,
    ) -> Result<Vec<u8>, StoreError> {
        let decrypt = || {
            let mut octets = URL_SAFE_NO_PAD.decode(encrypted).ok()?;
            let (nonce, text) = octets.split_at_mut_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let text = self.0.open_in_place(nonce, Aad::from(context), text).ok()?;
            let end = NONCE_LEN + text.len();
            octets.truncate(end);
            octets.drain(..NONCE_LEN);
            Some(octets)
        };
        decrypt().ok_or(UNREADABLE)
    }
}

pub(super) fn hmac_key(key: &[u8], purpose: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, derive_key(key, purpose).as_ref())
}

/// Derives a key of 32 octets for one purpose.
pub(super) fn derive_key(key: &[u8], purpose: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose)
}

pub(super) fn keyed_hash(key: &hmac::Key, text: &str) -> String {
    let tag = hmac::sign(key, text.as_bytes());
    URL_SAFE_NO_PAD.encode(tag.as_ref().get(..INDEX_LENGTH).unwrap_or_default())
}
