//! Keyed digests of API tokens.

use aws_lc_rs::{constant_time, hmac};

use super::KEY_LENGTH;

/// Keyed digest of an API token, useless without the keys of the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; KEY_LENGTH]);

impl TokenDigest {
    pub(super) fn new(key: &hmac::Key, token: &str) -> Self {
        let tag = hmac::sign(key, token.as_bytes());
        let mut digest = [0; KEY_LENGTH];
        digest
            .iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(digest)
    }

    /// Returns the digest for an unknown credential. No token has it.
    pub(crate) fn none() -> Self {
        Self([0; KEY_LENGTH])
    }

    /// Compares in constant time.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    pub(crate) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; KEY_LENGTH];
        if text.len() != 2 * KEY_LENGTH {
            return None;
        }
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(digest))
    }
}
