//! Identifiers: they sort by time, and a prefix names the type of the object.

use std::fmt;
use std::sync::Arc;

use crate::crypto::random;
use crate::store::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_BITS: u32 = 80;
const ID_LENGTH: usize = 26;

/// Returns 48 bits of milliseconds and 80 random bits. In Crockford's base 32 they are 26 characters and sort by time.
fn draw(now: Timestamp) -> u128 {
    let mut random = [0; 16];
    random::fill(&mut random);
    (millis(now) << RANDOM_BITS) | (u128::from_ne_bytes(random) >> (128 - RANDOM_BITS))
}

fn millis(moment: Timestamp) -> u128 {
    u128::try_from(moment.micros() / 1000).unwrap_or(0) & ((1 << 48) - 1)
}

/// Returns the prefix and the number in base 32. `LENGTH` is the sum of both lengths.
fn encode<const LENGTH: usize>(prefix: &str, id: u128) -> [u8; LENGTH] {
    let digit = |position: usize| {
        let shift = 5 * (LENGTH - 1 - position);
        let value = usize::try_from((id >> shift) & 31).unwrap_or(0);
        ALPHABET.get(value).copied().unwrap_or(b'0')
    };
    std::array::from_fn(|position| {
        let prefix = prefix.as_bytes().get(position).copied();
        prefix.unwrap_or_else(|| digit(position))
    })
}

fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == ID_LENGTH && rest.bytes().all(|byte| ALPHABET.contains(&byte))
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $prefix.len() + ID_LENGTH]);

        impl $name {
            /// Creates an id from a time and 80 random bits.
            pub fn new(now: Timestamp) -> Self {
                Self(encode($prefix, draw(now)))
            }

            /// Returns the lower bound of all ids created at this time or later.
            pub fn first(moment: Timestamp) -> Self {
                Self(encode($prefix, millis(moment) << RANDOM_BITS))
            }

            /// Parses an id; `None` if the text has another form.
            pub fn parse(text: &str) -> Option<Self> {
                let octets = text.as_bytes().try_into().ok()?;
                is_id($prefix, text).then_some(Self(octets))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// Id of a call: `call_…`.
    CallSid,
    "call_"
);
id!(
    /// Id of an allocation: `gp_…`.
    GreenpinId,
    "gp_"
);
id!(
    /// Id of a webhook endpoint: `ep_…`.
    EndpointId,
    "ep_"
);
id!(
    /// Id of an event: `evt_…`.
    EventId,
    "evt_"
);

id!(
    /// Id of an audit log entry: `aud_…`.
    AuditId,
    "aud_"
);
id!(
    /// Id of the erasure of a tenant: `era_…`.
    ErasureId,
    "era_"
);

impl EventId {
    /// Returns the number that the id encodes.
    pub(crate) fn value(&self) -> u128 {
        let digits = self.0.iter().skip("evt_".len());
        digits.fold(0, |value, byte| {
            let digit = ALPHABET.iter().position(|known| known == byte);
            let digit = digit.and_then(|digit| u128::try_from(digit).ok());
            (value << 5) | digit.unwrap_or(0)
        })
    }

    /// Returns the position in the log before all events of this time or later. It is not the id of an event.
    pub(crate) fn before(moment: Timestamp) -> Self {
        Self(encode(
            "evt_",
            (millis(moment) << RANDOM_BITS).saturating_sub(1),
        ))
    }
}

impl AuditId {
    /// Returns the id of an audit log entry with the number of an event id.
    pub(crate) fn from_event(event: &EventId) -> Self {
        Self(encode("aud_", event.value()))
    }
}

/// Generator of event ids. They never decrease, even within a millisecond: readers follow the log in this order.
#[derive(Debug, Default)]
pub(crate) struct EventIds(u128);

impl EventIds {
    pub(crate) fn next(&mut self, now: Timestamp) -> EventId {
        self.0 = draw(now).max(self.0.saturating_add(1));
        EventId(encode("evt_", self.0))
    }

    /// Continues after the last id of another node.
    pub(crate) fn after(&mut self, last: u128) {
        self.0 = self.0.max(last);
    }

    /// Returns the last id; 0 if there is none.
    pub(crate) fn last(&self) -> u128 {
        self.0
    }
}

/// Name of a tenant: 1 to 64 of `a`-`z`, `0`-`9`, `-` and `_`, starting with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Parses a name; `None` if it is not valid.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        let valid = (1..=64).contains(&text.len())
            && text.bytes().all(allowed)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        valid.then(|| Self(text.into()))
    }

    /// Returns the name.
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
    fn ids_sort_by_time_and_parse() {
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
    fn a_time_separates_earlier_and_later_ids() {
        let at = Timestamp::from_micros;
        assert!(CallSid::new(at(1_999_000)) < CallSid::first(at(2_000_000)));
        assert!(CallSid::first(at(2_000_000)) <= CallSid::new(at(2_000_000)));
        assert!(EventId::new(at(1_999_000)) < EventId::first(at(2_000_000)));
    }

    #[test]
    fn an_event_id_is_read_as_the_number_that_it_encodes() {
        for value in [0, 1, 31, 32, u128::from(u64::MAX), u128::MAX >> 2] {
            let id = EventId(encode("evt_", value));
            assert_eq!(
                (id.value(), EventId::parse(id.as_str())),
                (value, Some(id.clone()))
            );
        }
    }

    #[test]
    fn event_ids_never_decrease() {
        let mut ids = EventIds::default();
        let first = ids.next(Timestamp::from_micros(5_000_000));
        let second = ids.next(Timestamp::from_micros(5_000_000));
        let third = ids.next(Timestamp::from_micros(1_000_000));
        assert!(first < second && second < third);
    }

    #[test]
    fn a_tenant_name_has_a_restricted_alphabet() {
        assert!(TenantId::parse("acme-2").is_some());
        for wrong in ["", "-a", "Acme", "a b", "a/b", &"a".repeat(65)] {
            assert_eq!(TenantId::parse(wrong), None, "{wrong}");
        }
    }
}
