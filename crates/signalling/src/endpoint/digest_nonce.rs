//! Stateless nonces for digest challenges, and the nonce counts (`nc`) already used. Each count is
//! accepted once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use super::Entropy;

/// Time for which a nonce is valid.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Maximum number of nonces with recorded counts. Only callers with a valid password add entries.
const MAX_NONCES: usize = 4096;

/// Nonces for digest challenges. The store recognizes its nonces by their HMAC and records only the
/// counts in use.
#[derive(Default)]
pub(super) struct NonceStore {
    /// Created with the first challenge.
    key: Option<NonceKey>,
    used: BTreeMap<String, UsedCounts>,
    /// Nonces issued up to this second are rejected because their counts were evicted.
    evicted_through: Option<u64>,
}

struct NonceKey {
    key: hmac::Key,
    epoch: Instant,
}

/// Used counts of a nonce: the highest, and a bit mask of the 64 counts that end with it.
#[derive(Debug, Default)]
struct UsedCounts {
    highest: u32,
    recent: u64,
}

impl UsedCounts {
    /// Marks a count as used; returns `true` if it was unused. Counts too far below the highest are
    /// treated as used.
    fn consume(&mut self, count: u32) -> bool {
        if let Some(ahead) = count.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            self.recent = self.recent.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1_u64
            .checked_shl(self.highest.saturating_sub(count))
            .unwrap_or(0);
        let fresh = bit != 0 && self.recent & bit == 0;
        self.recent |= bit;
        fresh
    }
}

impl NonceStore {
    /// Creates the key on first use.
    pub(super) fn ensure_key(&mut self, entropy: &mut Entropy, now: Instant) {
        self.key.get_or_insert_with(|| {
            let secret: Vec<u8> = (0..4).flat_map(|_| entropy().to_be_bytes()).collect();
            NonceKey {
                key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
                epoch: now,
            }
        });
    }

    fn tag(&self, text: &str, source: IpAddr) -> Option<String> {
        let signed = format!("{text} {source}");
        let tag = hmac::sign(&self.key.as_ref()?.key, signed.as_bytes());
        Some(
            tag.as_ref()
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    fn seconds(&self, now: Instant) -> u64 {
        self.key
            .as_ref()
            .map_or(0, |key| now.saturating_duration_since(key.epoch).as_secs())
    }

    /// Returns a nonce for one source: issue time, `unique`, and an HMAC over both and the source.
    pub(super) fn issue(&self, unique: &str, source: IpAddr, now: Instant) -> Option<String> {
        let text = format!("{:08x}{unique}", self.seconds(now));
        let tag = self.tag(&text, source)?;
        Some(text + &tag)
    }

    /// Marks a count of a nonce as used. Returns `false` if the nonce is foreign or expired, or the
    /// count was used before.
    pub(super) fn consume(
        &mut self,
        (nonce, count): (&str, u32),
        source: IpAddr,
        now: Instant,
    ) -> bool {
        let Some((text, tag)) = nonce.split_at_checked(24) else {
            return false;
        };
        let valid = self
            .tag(text, source)
            .is_some_and(|expected| expected == tag);
        let issued = text
            .get(..8)
            .and_then(|issued| u64::from_str_radix(issued, 16).ok());
        let Some(issued) = issued.filter(|_| valid) else {
            return false;
        };
        let seconds = self.seconds(now);
        let current = seconds.saturating_sub(issued) <= NONCE_LIFETIME.as_secs();
        if !current
            || self
                .evicted_through
                .is_some_and(|evicted_through| issued <= evicted_through)
        {
            return false;
        }
        let fresh = self
            .used
            .entry(nonce.to_owned())
            .or_default()
            .consume(count);
        self.evict(seconds);
        fresh
    }

    /// Removes expired nonces, then the oldest ones above [`MAX_NONCES`]. Evicted nonces are
    /// rejected from then on. The map is ordered by issue time.
    fn evict(&mut self, seconds: u64) {
        let issued = |nonce: &str| {
            nonce
                .get(..8)
                .and_then(|issued| u64::from_str_radix(issued, 16).ok())
        };
        while let Some(oldest) = self.used.first_entry() {
            let age = issued(oldest.key()).unwrap_or_default();
            let old = seconds.saturating_sub(age) > NONCE_LIFETIME.as_secs();
            if !old && self.used.len() <= MAX_NONCES {
                return;
            }
            if !old {
                self.evicted_through = Some(age);
            }
            self.used.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_accepted_once_in_any_order_and_never_from_far_below_the_highest() {
        let mut counts = UsedCounts::default();
        let attempts = [
            1,
            1,
            3,
            2,
            2,
            3,
            70,
            7,
            8,
            6,
            u32::MAX,
            u32::MAX,
            u32::MAX - 63,
            u32::MAX - 64,
            0,
        ];
        let fresh = attempts.map(|count| counts.consume(count));
        let expected = [
            true, false, true, true, false, false, true, true, true, false, true, false, true,
            false, false,
        ];
        assert_eq!(fresh, expected);
    }

    fn nonces() -> (NonceStore, Instant) {
        let epoch = Instant::now();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        (
            NonceStore {
                key: Some(NonceKey { key, epoch }),
                ..NonceStore::default()
            },
            epoch,
        )
    }

    #[test]
    fn a_nonce_is_valid_for_one_source_and_a_limited_time() {
        let (mut nonces, epoch) = nonces();
        let [source, other] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let nonce = nonces.issue("0123456789abcdef", source, epoch).unwrap();
        assert!(!nonces.consume((&nonce, 1), other, epoch));
        assert!(nonces.consume((&nonce, 1), source, epoch));
        assert!(!nonces.consume((&nonce, 1), source, epoch));
        assert!(nonces.consume((&nonce, 2), source, epoch + NONCE_LIFETIME));
        assert!(!nonces.consume(
            (&nonce, 3),
            source,
            epoch + NONCE_LIFETIME + Duration::from_secs(1)
        ));
        for forged in [
            "",
            "00000000",
            &nonce.replace('0', "1"),
            "äääääääääääääääääääää",
        ] {
            assert!(!nonces.consume((forged, 1), source, epoch), "{forged}");
        }
    }

    #[test]
    fn the_number_of_nonces_is_bounded_and_evicted_ones_are_rejected() {
        let (mut nonces, epoch) = nonces();
        let source = IpAddr::from([192, 0, 2, 1]);
        let first = nonces.issue("0000000000000000", source, epoch).unwrap();
        assert!(nonces.consume((&first, 1), source, epoch));
        let later = epoch + Duration::from_secs(1);
        for count in 0..MAX_NONCES {
            let nonce = nonces
                .issue(&format!("{count:016x}"), source, later)
                .unwrap();
            assert!(nonces.consume((&nonce, 1), source, later));
        }
        assert_eq!(nonces.used.len(), MAX_NONCES);
        assert!(
            !nonces.consume((&first, 1), source, later),
            "its counts were evicted"
        );
        let last = later + NONCE_LIFETIME + Duration::from_secs(1);
        let nonce = nonces.issue("0000000000000000", source, last).unwrap();
        assert!(nonces.consume((&nonce, 1), source, last));
        assert_eq!(nonces.used.len(), 1, "expired nonces are removed");
    }
}
