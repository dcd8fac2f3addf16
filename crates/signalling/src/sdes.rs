//! SRTP keys in session descriptions: `a=crypto` (RFC 4568).

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Maximum length of key and salt, in bytes.
const MAX_KEY_BYTES: usize = 44;
/// Length of all local keys of one leg, in bytes.
const KEY_MATERIAL_BYTES: usize = 132;

/// Base64 with optional padding, because some phones omit it.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Supported crypto suite (RFC 4568, section 6.2; RFC 7714, section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES in counter mode with an 80-bit HMAC-SHA1. All implementations support it.
    AesCm128HmacSha1_80,
    /// AES in counter mode with a 32-bit HMAC-SHA1. Accepted, never offered.
    AesCm128HmacSha1_32,
    /// AES-GCM with a 128-bit key.
    AeadAes128Gcm,
    /// AES-GCM with a 256-bit key.
    AeadAes256Gcm,
}

/// Encryption of a leg's audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SrtpMode {
    /// Local offers are unencrypted. An offer of `RTP/SAVP` is still answered with encryption.
    #[default]
    Off,
    /// Local offers leave the choice to the peer: `RTP/AVP` with keys (RFC 8643). Such offers are
    /// accepted too.
    Optional,
    /// Local offers are `RTP/SAVP`. Unencrypted audio is rejected.
    Required,
}

/// Master key and salt for one suite. `Debug` does not show them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SrtpKey {
    suite: Suite,
    bytes: [u8; MAX_KEY_BYTES],
}

/// Local keys of one leg, a separate key for each suite.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secrets([u8; KEY_MATERIAL_BYTES]);

/// Value of an `a=crypto` line: its tag and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CryptoLine {
    pub(crate) tag: u32,
    pub(crate) key: SrtpKey,
}

/// Offered suites in order of preference. The tag of a line is its position.
const OFFERED_SUITES: [Suite; 3] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AeadAes256Gcm,
    Suite::AeadAes128Gcm,
];

impl Suite {
    const ALL: [Self; 4] = [
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// Returns the name used in `a=crypto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Returns the length of master key and salt in bytes, as in `inline:`.
    fn key_length(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 30,
            Self::AeadAes128Gcm => 28,
            Self::AeadAes256Gcm => 44,
        }
    }

    /// Returns the offset of the suite's key in the key material.
    fn offset(self) -> usize {
        let before = Self::ALL.iter().take_while(|suite| **suite != self);
        before.map(|suite| suite.key_length()).sum()
    }
}

impl SrtpKey {
    fn new(suite: Suite, bytes: &[u8]) -> Option<Self> {
        let mut key = Self {
            suite,
            bytes: [0; MAX_KEY_BYTES],
        };
        key.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (bytes.len() == suite.key_length()).then_some(key)
    }

    /// Returns the suite of the key.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Returns master key and salt, concatenated. For the cipher only.
    pub fn expose(&self) -> &[u8] {
        self.bytes
            .get(..self.suite.key_length())
            .unwrap_or_default()
    }
}

impl Secrets {
    /// Splits bytes of a CSPRNG into the keys of one leg.
    pub fn new(material: [u8; KEY_MATERIAL_BYTES]) -> Self {
        Self(material)
    }

    /// Returns the local key for a suite.
    pub fn key(&self, suite: Suite) -> SrtpKey {
        let mut key = SrtpKey {
            suite,
            bytes: [0; MAX_KEY_BYTES],
        };
        let bytes = self.0.iter().skip(suite.offset()).take(suite.key_length());
        key.bytes
            .iter_mut()
            .zip(bytes)
            .for_each(|(target, byte)| *target = *byte);
        key
    }

    /// Returns the lines of an offer.
    pub(crate) fn offered_lines(&self) -> impl Iterator<Item = CryptoLine> {
        (1..).zip(OFFERED_SUITES).map(|(tag, suite)| CryptoLine {
            tag,
            key: self.key(suite),
        })
    }

    /// Returns `true` if a line answers one of the offered lines (RFC 4568, section 5.1.3).
    pub(crate) fn has_offered(&self, line: CryptoLine) -> bool {
        self.offered_lines()
            .any(|offered| offered.tag == line.tag && offered.key.suite == line.key.suite)
    }
}

impl CryptoLine {
    /// Parses the value of `a=crypto`. Returns `None` for anything unsupported: a different suite,
    /// several keys, a master key identifier (MKI), or a session parameter that changes the stream.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9)?.parse().ok()?;
        let name = words.next()?;
        let suite = Suite::ALL.into_iter().find(|suite| suite.name() == name)?;
        let inline = words.next()?.strip_prefix("inline:")?;
        if inline.contains([';', ':']) || !words.all(is_ignorable) {
            return None;
        }
        let text = inline.split('|').next()?;
        let bytes = KEY_BASE64.decode(text).ok()?;
        Some(Self {
            tag,
            key: SrtpKey::new(suite, &bytes)?,
        })
    }

    /// Formats the value of `a=crypto`.
    pub(crate) fn value(&self) -> String {
        format!(
            "{} {} inline:{}",
            self.tag,
            self.key.suite.name(),
            KEY_BASE64.encode(self.key.expose())
        )
    }

    /// Returns the answer to this line: same tag and suite, local key.
    pub(crate) fn answer(&self, secrets: &Secrets) -> Self {
        Self {
            tag: self.tag,
            key: secrets.key(self.key.suite),
        }
    }
}

/// Returns `true` if a session parameter can be ignored (RFC 4568, sections 6.3.5 and 6.3.7).
fn is_ignorable(parameter: &str) -> bool {
    parameter.starts_with("WSH=") || parameter.starts_with('-')
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<key of {}>", self.suite.name())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<keys>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INLINE: &str = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn line(rest: &str) -> Option<CryptoLine> {
        CryptoLine::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 {INLINE}{rest}"))
    }

    #[test]
    fn the_example_line_of_rfc_4568_is_parsed() {
        let read = line("|2^20 FEC_ORDER=FEC_SRTP");
        assert!(
            read.is_none(),
            "forward error correction changes the packets"
        );
        let read = line("|2^20").unwrap();
        assert_eq!(
            (read.tag, read.key.suite()),
            (1, Suite::AesCm128HmacSha1_80)
        );
        assert_eq!(read.key.expose(), b"YS___semctl () {\t220;}\n}\nunles");
        assert_eq!(line("").map(|line| line.key), Some(read.key));
        assert_eq!(line("|2^31 WSH=128").map(|line| line.key), Some(read.key));
    }

    #[test]
    fn unsupported_lines_are_skipped() {
        for rest in [
            "|2^20|1:4",
            "|1:4",
            ";inline:AAAA",
            "|2^20 KDR=1",
            " UNENCRYPTED_SRTCP",
            "AAAA",
        ] {
            assert_eq!(line(rest), None, "{rest}");
        }
        for value in [
            "",
            "1",
            "1 F8_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
            "1234567890 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
            "1 AEAD_AES_256_GCM inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
            "1 AES_CM_128_HMAC_SHA1_80 uri:x",
        ] {
            assert_eq!(CryptoLine::parse(value), None, "{value}");
        }
    }

    #[test]
    fn local_lines_parse_and_no_key_serves_two_suites() {
        let secrets = Secrets::new(std::array::from_fn(|index| index as u8));
        let lines: Vec<CryptoLine> = secrets.offered_lines().collect();
        assert!(
            lines
                .iter()
                .all(|line| CryptoLine::parse(&line.value()) == Some(*line))
        );
        let mut firsts: Vec<u8> = Suite::ALL
            .map(|suite| secrets.key(suite).expose()[0])
            .to_vec();
        firsts.dedup();
        assert_eq!(firsts, [0, 30, 60, 88]);
        assert_eq!(
            secrets.key(Suite::AeadAes256Gcm).expose().last(),
            Some(&131)
        );
    }

    #[test]
    fn an_answer_must_refer_to_an_offered_line() {
        let secrets = Secrets::new([7; KEY_MATERIAL_BYTES]);
        let key = secrets.key(Suite::AesCm128HmacSha1_80);
        assert!(secrets.has_offered(CryptoLine { tag: 1, key }));
        assert!(!secrets.has_offered(CryptoLine { tag: 2, key }));
        assert!(!secrets.has_offered(CryptoLine { tag: 4, key }));
    }

    #[test]
    fn debug_output_never_contains_a_key() {
        let secrets = Secrets::new([7; KEY_MATERIAL_BYTES]);
        let printed = format!("{secrets:?} {:?}", secrets.key(Suite::AeadAes128Gcm));
        assert_eq!(printed, "<keys> <key of AEAD_AES_128_GCM>");
    }
}
