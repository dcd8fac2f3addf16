//! Nonces that are ours without being remembered, and their numbers, each of which opens once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use super::Entropy;

/// How long a nonce can be answered.
const LIFETIME: Duration = Duration::from_secs(300);
/// Nonces whose numbers are remembered. Only whoever knows a password takes one of these places.
const MOST_NONCES: usize = 4096;

/// What tells our nonces from others, and which of their numbers are used up.
#[derive(Default)]
pub(super) struct Gate {
    /// Made with the first challenge.
    seal: Option<Seal>,
    used: BTreeMap<String, Numbers>,
    /// Nonces of this second and before are refused: what is remembered of them had to make room.
    forgotten: Option<u64>,
}

struct Seal {
    key: hmac::Key,
    epoch: Instant,
}

/// The numbers of a nonce that were used: the highest, and which of the 63 below it.
#[derive(Debug, Default)]
struct Numbers {
    highest: u32,
    below: u64,
}

impl Numbers {
    /// Takes a number, once. One that is far behind the highest counts as used.
    fn take(&mut self, number: u32) -> bool {
        if number > self.highest {
            let ahead = number - self.highest;
            self.below = self.below.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = number;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - number).unwrap_or(0);
        let fresh = bit != 0 && self.below & bit == 0;
        self.below |= bit;
        fresh
    }
}

impl Gate {
    /// Makes the seal, unless there is one.
    pub(super) fn open(&mut self, entropy: &mut Entropy, now: Instant) {
        self.seal.get_or_insert_with(|| {
            let secret: Vec<u8> = (0..4).flat_map(|_| entropy().to_be_bytes()).collect();
            Seal {
                key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
                epoch: now,
            }
        });
    }

    fn tag(&self, text: &str, source: IpAddr) -> Option<String> {
        let signed = format!("{text} {source}");
        let tag = hmac::sign(&self.seal.as_ref()?.key, signed.as_bytes());
        Some(
            tag.as_ref()
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    fn seconds(&self, now: Instant) -> u64 {
        self.seal.as_ref().map_or(0, |seal| {
            now.saturating_duration_since(seal.epoch).as_secs()
        })
    }

    /// A nonce for one source: when it was made, something that makes it one of its kind, and our seal.
    pub(super) fn nonce(&self, unique: &str, source: IpAddr, now: Instant) -> Option<String> {
        let text = format!("{:08x}{unique}", self.seconds(now));
        let tag = self.tag(&text, source)?;
        Some(text + &tag)
    }

    /// Uses a number of a nonce up; `false`: the nonce is not ours, too old, or the number was used before.
    pub(super) fn take(
        &mut self,
        (nonce, number): (&str, u32),
        source: IpAddr,
        now: Instant,
    ) -> bool {
        let Some((text, tag)) = nonce.split_at_checked(24) else {
            return false;
        };
        let ours = self.tag(text, source).is_some_and(|ours| ours == tag);
        let made = text
            .get(..8)
            .and_then(|made| u64::from_str_radix(made, 16).ok());
        let Some(made) = made.filter(|_| ours) else {
            return false;
        };
        let seconds = self.seconds(now);
        let fresh = seconds.saturating_sub(made) <= LIFETIME.as_secs();
        if !fresh || self.forgotten.is_some_and(|forgotten| made <= forgotten) {
            return false;
        }
        let taken = self.used.entry(nonce.to_owned()).or_default().take(number);
        self.make_room(seconds);
        taken
    }

    /// Forgets nonces that are too old, and where that is not enough the oldest one, which is refused from then on. They
    /// are in the order of their age.
    fn make_room(&mut self, seconds: u64) {
        let made = |nonce: &str| {
            nonce
                .get(..8)
                .and_then(|made| u64::from_str_radix(made, 16).ok())
        };
        while let Some(oldest) = self.used.first_entry() {
            let age = made(oldest.key()).unwrap_or_default();
            let old = seconds.saturating_sub(age) > LIFETIME.as_secs();
            if !old && self.used.len() <= MOST_NONCES {
                return;
            }
            if !old {
                self.forgotten = Some(age);
            }
            self.used.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_once_in_any_order_and_never_from_far_behind() {
        let mut numbers = Numbers::default();
        let taken = [
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
        let fresh = taken.map(|number| numbers.take(number));
        let expected = [
            true, false, true, true, false, false, true, true, true, false, true, false, true,
            false, false,
        ];
        assert_eq!(fresh, expected);
    }

    fn gate() -> (Gate, Instant) {
        let epoch = Instant::now();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        (
            Gate {
                seal: Some(Seal { key, epoch }),
                ..Gate::default()
            },
            epoch,
        )
    }

    #[test]
    fn a_nonce_is_for_one_source_and_for_a_while() {
        let (mut gate, epoch) = gate();
        let [source, other] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let nonce = gate.nonce("0123456789abcdef", source, epoch).unwrap();
        assert!(!gate.take((&nonce, 1), other, epoch));
        assert!(gate.take((&nonce, 1), source, epoch));
        assert!(!gate.take((&nonce, 1), source, epoch));
        assert!(gate.take((&nonce, 2), source, epoch + LIFETIME));
        assert!(!gate.take(
            (&nonce, 3),
            source,
            epoch + LIFETIME + Duration::from_secs(1)
        ));
        for forged in [
            "",
            "00000000",
            &nonce.replace('0', "1"),
            "äääääääääääääääääääää",
        ] {
            assert!(!gate.take((forged, 1), source, epoch), "{forged}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_made_room_is_refused() {
        let (mut gate, epoch) = gate();
        let source = IpAddr::from([192, 0, 2, 1]);
        let first = gate.nonce("0000000000000000", source, epoch).unwrap();
        assert!(gate.take((&first, 1), source, epoch));
        let later = epoch + Duration::from_secs(1);
        for count in 0..MOST_NONCES {
            let nonce = gate.nonce(&format!("{count:016x}"), source, later).unwrap();
            assert!(gate.take((&nonce, 1), source, later));
        }
        assert_eq!(gate.used.len(), MOST_NONCES);
        assert!(
            !gate.take((&first, 1), source, later),
            "its numbers are forgotten"
        );
        let last = later + LIFETIME + Duration::from_secs(1);
        let nonce = gate.nonce("0000000000000000", source, last).unwrap();
        assert!(gate.take((&nonce, 1), source, last));
        assert_eq!(gate.used.len(), 1, "what is too old is not kept");
    }
}
