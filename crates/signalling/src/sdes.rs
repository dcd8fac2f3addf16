//! Keys of secure RTP in session descriptions: `a=crypto` (RFC 4568).

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The longest key and salt.
const MAX_KEY_BYTES: usize = 44;
/// Octets of all our keys of one leg.
const KEY_MATERIAL_BYTES: usize = 132;

/// Phones leave the padding out at times.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A suite that we speak (RFC 4568, section 6.2; RFC 7714, section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES in counter mode and HMAC-SHA1 of 80 bits: every implementation has it.
    AesCm128HmacSha1_80,
    /// The same with 32 bits. Taken, never offered.
    AesCm128HmacSha1_32,
    /// AES-GCM with a key of 128 bits.
    AeadAes128Gcm,
    /// AES-GCM with a key of 256 bits.
    AeadAes256Gcm,
}

/// Whether a leg's audio is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SrtpMode {
    /// Offered in clear. An offer of `RTP/SAVP` is answered with it all the same.
    #[default]
    Off,
    /// Offered so that the peer may choose: keys beside `RTP/AVP` (RFC 8643). Such an offer is taken.
    Optional,
    /// Offered as `RTP/SAVP`; audio in clear is refused.
    Required,
}

/// A master key and salt for one suite. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SrtpKey {
    suite: Suite,
    octets: [u8; MAX_KEY_BYTES],
}

/// All our keys of one leg: one for each suite, so that none serves two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secrets([u8; KEY_MATERIAL_BYTES]);

/// A peer's line: which of several it is, and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CryptoLine {
    pub(crate) tag: u32,
    pub(crate) key: SrtpKey,
}

/// What we offer, the first preferred; the number of a line is its place.
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

    /// Its name in `a=crypto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Octets of master key and salt together, as in `inline:`.
    fn key_length(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 30,
            Self::AeadAes128Gcm => 28,
            Self::AeadAes256Gcm => 44,
        }
    }

    /// Where its key begins among all of ours.
    fn offset(self) -> usize {
        let before = Self::ALL.iter().take_while(|suite| **suite != self);
        before.map(|suite| suite.key_length()).sum()
    }
}

impl SrtpKey {
    fn new(suite: Suite, octets: &[u8]) -> Option<Self> {
        let mut key = Self {
            suite,
            octets: [0; MAX_KEY_BYTES],
        };
        key.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        (octets.len() == suite.key_length()).then_some(key)
    }

    /// What it is for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Master key and salt, one after the other. For the cipher alone.
    pub fn expose(&self) -> &[u8] {
        self.octets
            .get(..self.suite.key_length())
            .unwrap_or_default()
    }
}

impl Secrets {
    /// Keys of octets from a CSPRNG, drawn for one leg.
    pub fn new(drawn: [u8; KEY_MATERIAL_BYTES]) -> Self {
        Self(drawn)
    }

    /// Our key for a suite.
    pub fn key(&self, suite: Suite) -> SrtpKey {
        let mut key = SrtpKey {
            suite,
            octets: [0; MAX_KEY_BYTES],
        };
        let drawn = self.0.iter().skip(suite.offset()).take(suite.key_length());
        key.octets
            .iter_mut()
            .zip(drawn)
            .for_each(|(octet, drawn)| *octet = *drawn);
        key
    }

    /// The lines of an offer.
    pub(crate) fn offered_lines(&self) -> impl Iterator<Item = CryptoLine> {
        (1..).zip(OFFERED_SUITES).map(|(tag, suite)| CryptoLine {
            tag,
            key: self.key(suite),
        })
    }

    /// Whether a peer's answer is to a line that we offered (RFC 4568, section 5.1.3).
    pub(crate) fn has_offered(&self, line: CryptoLine) -> bool {
        self.offered_lines()
            .any(|offered| offered.tag == line.tag && offered.key.suite == line.key.suite)
    }
}

impl CryptoLine {
    /// Reads the value of `a=crypto`. `None` for what we do not speak: another suite, several keys or a key that is named
    /// in each packet (MKI), a session parameter that changes something.
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
        let octets = KEY_BASE64.decode(text).ok()?;
        Some(Self {
            tag,
            key: SrtpKey::new(suite, &octets)?,
        })
    }

    /// The attribute's value.
    pub(crate) fn value(&self) -> String {
        format!(
            "{} {} inline:{}",
            self.tag,
            self.key.suite.name(),
            KEY_BASE64.encode(self.key.expose())
        )
    }

    /// The answer to this line: the same number and suite, our key.
    pub(crate) fn answer(&self, secrets: &Secrets) -> Self {
        Self {
            tag: self.tag,
            key: secrets.key(self.key.suite),
        }
    }
}

/// Whether a session parameter may be ignored (RFC 4568, sections 6.3.5 and 6.3.7).
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
    fn the_line_of_rfc_4568_is_read() {
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
    fn what_we_do_not_speak_is_passed_over() {
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
    fn our_own_lines_read_back_and_no_key_serves_two_suites() {
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
    fn an_answer_must_be_to_a_line_that_was_offered() {
        let secrets = Secrets::new([7; KEY_MATERIAL_BYTES]);
        let key = secrets.key(Suite::AesCm128HmacSha1_80);
        assert!(secrets.has_offered(CryptoLine { tag: 1, key }));
        assert!(!secrets.has_offered(CryptoLine { tag: 2, key }));
        assert!(!secrets.has_offered(CryptoLine { tag: 4, key }));
    }

    #[test]
    fn a_key_never_prints_itself() {
        let secrets = Secrets::new([7; KEY_MATERIAL_BYTES]);
        let printed = format!("{secrets:?} {:?}", secrets.key(Suite::AeadAes128Gcm));
        assert_eq!(printed, "<keys> <key of AEAD_AES_128_GCM>");
    }
}
