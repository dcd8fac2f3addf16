//! Keys for everything that a master key cannot compute again: digests of tokens, indexes, signatures, recordings.
//!
//! They are random and stored encrypted with the master key, so a new master key leaves them as they are. Databases of
//! earlier versions derived them from their master key; those keep the same values. A generation is created with each
//! master key: links and recordings use the newest, digests and indexes always the first.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::KEY_LENGTH;
use super::cipher::derive_key;
use crate::crypto::random;

const CREDENTIALS: &[u8] = b"greenpin: digest of API tokens, version 1";
const NUMBERS: &[u8] = b"greenpin: index of virtual numbers and PINs, version 1";
const RECORDINGS: &[u8] = b"greenpin: sealing of recordings, version 1";
const LINKS: &[u8] = b"greenpin: signing of links, version 1";

/// Derived keys of one generation, each of 32 octets.
#[derive(Clone)]
pub(crate) struct DerivedKeys {
    octets: Vec<u8>,
}

impl DerivedKeys {
    const COUNT: usize = 4;

    /// Creates random keys.
    pub(crate) fn random() -> Self {
        let mut octets = vec![0; Self::COUNT * KEY_LENGTH];
        random::fill(&mut octets);
        Self { octets }
    }

    /// Returns the keys that earlier versions derived from the master key. They do not reveal it.
    pub(super) fn of_master_key(octets: &[u8]) -> Self {
        let purposes = [CREDENTIALS, NUMBERS, RECORDINGS, LINKS];
        let keys = purposes.map(|purpose| derive_key(octets, purpose));
        Self {
            octets: keys.iter().flat_map(|key| key.as_ref().to_vec()).collect(),
        }
    }

    pub(super) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.octets)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let octets = URL_SAFE_NO_PAD.decode(text).ok()?;
        (octets.len() == Self::COUNT * KEY_LENGTH).then_some(Self { octets })
    }

    /// Key of digests of API tokens.
    pub(super) fn credentials(&self) -> &[u8] {
        self.key(0)
    }

    /// Key of the index of virtual numbers and PINs.
    pub(super) fn numbers(&self) -> &[u8] {
        self.key(1)
    }

    /// Key of the keys of recordings.
    pub(super) fn recordings(&self) -> &[u8] {
        self.key(2)
    }

    /// Key of signatures of links.
    pub(super) fn links(&self) -> &[u8] {
        self.key(3)
    }

    fn key(&self, index: usize) -> &[u8] {
        let first = index * KEY_LENGTH;
        self.octets
            .get(first..first + KEY_LENGTH)
            .unwrap_or_default()
    }
}
