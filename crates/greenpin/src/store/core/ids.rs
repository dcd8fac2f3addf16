//! Identifiers: time-ordered, with a prefix that tells what they name.

use std::fmt;

use crate::crypto::random;
use crate::store::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_BITS: u32 = 80;
const ID_LENGTH: usize = 26;

/// 48 bits of milliseconds and 80 random ones, in Crockford's base 32: 26 characters that sort by time.
fn draw(now: Timestamp) -> u128 {
    let mut random = [0; 16];
    random::fill(&mut random);
    (millis(now) << RANDOM_BITS) | (u128::from_ne_bytes(random) >> (128 - RANDOM_BITS))
}

fn millis(moment: Timestamp) -> u128 {
    u128::try_from(moment.micros() / 1000).unwrap_or(0) & ((1 << 48) - 1)
}

fn encode(prefix: &str, id: u128) -> String {
    let digit = |index: usize| {
        let shift = 5 * (ID_LENGTH - 1 - index);
        let value = usize::try_from((id >> shift) & 31).unwrap_or(0);
        ALPHABET.get(value).copied().map_or('0', char::from)
    };
    prefix.chars().chain((0..ID_LENGTH).map(digit)).collect()
}

fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == ID_LENGTH && rest.bytes().all(|byte| ALPHABET.contains(&byte))
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// A new one, of this moment and 80 random bits.
            pub fn new(now: Timestamp) -> Self {
                Self(encode($prefix, draw(now)))
            }

            /// Before each that was made at this moment or later, after each earlier one.
            pub fn first(moment: Timestamp) -> Self {
                Self(encode($prefix, millis(moment) << RANDOM_BITS))
            }

            /// Reads one; `None` if the text cannot be one.
            pub fn parse(text: &str) -> Option<Self> {
                is_id($prefix, text).then(|| Self(text.to_owned()))
            }

            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub(crate) fn stored(text: String) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A call: `call_…`.
    CallSid,
    "call_"
);
id!(
    /// An allocation: `gp_…`.
    GreenpinId,
    "gp_"
);
id!(
    /// A webhook endpoint: `ep_…`.
    EndpointId,
    "ep_"
);
id!(
    /// An event: `evt_…`.
    EventId,
    "evt_"
);

id!(
    /// A line of the audit log: `aud_…`.
    AuditId,
    "aud_"
);
id!(
    /// An erasure of a tenant's data: `era_…`.
    ErasureId,
    "era_"
);

impl EventId {
    /// After each that was made before this moment, before every other; a place in the log, no event's id.
    pub(crate) fn before(moment: Timestamp) -> Self {
        Self(encode(
            "evt_",
            (millis(moment) << RANDOM_BITS).saturating_sub(1),
        ))
    }
}

/// Gives events ids that never go back, also within one millisecond: the event log is read in their order.
#[derive(Debug, Default)]
pub(crate) struct EventIds(u128);

impl EventIds {
    pub(crate) fn next(&mut self, now: Timestamp) -> EventId {
        self.0 = draw(now).max(self.0.saturating_add(1));
        EventId(encode("evt_", self.0))
    }

    /// Goes on after what another node has given.
    pub(crate) fn after(&mut self, last: u128) {
        self.0 = self.0.max(last);
    }

    /// The last that was given; 0: none.
    pub(crate) fn last(&self) -> u128 {
        self.0
    }
}

/// A tenant's name: 1 to 64 of `a`-`z`, `0`-`9`, `-` and `_`, the first a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(String);

impl TenantId {
    /// Reads a name; `None` if it breaks the rule.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        let valid = (1..=64).contains(&text.len())
            && text.bytes().all(allowed)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        valid.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let early = GreenpinId::new(Timestamp::from_micros(1_000_000));
        let late = GreenpinId::new(Timestamp::from_micros(2_000_000));
        assert!(early < late);
        assert_eq!(GreenpinId::parse(early.as_str()), Some(early));
        assert_eq!(
            GreenpinId::parse(CallSid::new(Timestamp::now()).as_str()),
            None
        );
        assert_eq!(GreenpinId::parse("gp_'; DROP TABLE pins"), None);
    }

    #[test]
    fn ids_are_parted_by_a_moment() {
        let at = Timestamp::from_micros;
        assert!(CallSid::new(at(1_999_000)) < CallSid::first(at(2_000_000)));
        assert!(CallSid::first(at(2_000_000)) <= CallSid::new(at(2_000_000)));
        assert!(EventId::new(at(1_999_000)) < EventId::first(at(2_000_000)));
    }

    #[test]
    fn event_ids_never_go_back() {
        let mut ids = EventIds::default();
        let first = ids.next(Timestamp::from_micros(5_000_000));
        let second = ids.next(Timestamp::from_micros(5_000_000));
        let third = ids.next(Timestamp::from_micros(1_000_000));
        assert!(first < second && second < third);
    }

    #[test]
    fn a_tenant_has_a_plain_name() {
        assert!(TenantId::parse("acme-2").is_some());
        for wrong in ["", "-a", "Acme", "a b", "a/b", &"a".repeat(65)] {
            assert_eq!(TenantId::parse(wrong), None, "{wrong}");
        }
    }
}
