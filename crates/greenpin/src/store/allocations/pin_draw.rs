//! Random choice of a free PIN: one at a time, or in advance where each lookup costs a round trip.

use std::collections::{HashMap, HashSet};

use call::Pin;

use crate::crypto::random;
use crate::store::Tx;
use crate::store::allocations::sql;
use crate::store::{GreenpinId, StoreError, Timestamp};

/// Number of random draws before the free PINs are listed. With half of the space in use, one of 65,536 claims gets
/// that far.
const MAX_BLIND_DRAWS: u32 = 16;
/// Maximum size of a PIN space whose used values are listed: five digits.
const MAX_SEARCH_SPACE: u64 = 100_000;
/// Number of PINs in the first reserve. Each further reserve is twice as large, up to [`MAX_RESERVE`].
const MIN_RESERVE: usize = 8;
const MAX_RESERVE: usize = 512;

/// Use of a PIN.
pub(crate) struct PinClaim<'a> {
    pub(crate) number_key: &'a str,
    pub(crate) greenpin_id: &'a GreenpinId,
    pub(crate) pin_length: u8,
    pub(crate) active_until: Timestamp,
    pub(crate) free_at: Timestamp,
    /// The PIN counts against the limit of active allocations.
    pub(crate) counted: bool,
}

/// Claims a non-trivial PIN; `None` if every PIN is in use or cooling off.
pub(crate) fn claim(
    tx: &Tx<'_>,
    claim: &PinClaim<'_>,
    now: Timestamp,
) -> Result<Option<Pin>, StoreError> {
    let space = 10_u64.pow(claim.pin_length.into());
    for _ in 0..MAX_BLIND_DRAWS {
        let value = uniform_below(space);
        if is_trivial(value, claim.pin_length) {
            continue;
        }
        let drawn = try_claim(tx, claim, value, now)?;
        if drawn.is_some() {
            return Ok(drawn);
        }
    }
    match draw_free(tx, claim, space, now)? {
        Some(value) => try_claim(tx, claim, value, now),
        None => Ok(None),
    }
}

fn try_claim(
    tx: &Tx<'_>,
    claim: &PinClaim<'_>,
    value: u64,
    now: Timestamp,
) -> Result<Option<Pin>, StoreError> {
    let pin = pin(value, claim.pin_length)?;
    let row = (
        claim.number_key,
        tx.keys().pin_key(claim.number_key, &pin),
        claim.greenpin_id.as_str(),
        claim.active_until.micros(),
        claim.free_at.micros(),
        i64::from(claim.counted),
        now.micros(),
    );
    Ok((tx.execute(sql::PIN_CLAIM, row)? == 1).then_some(pin))
}

/// Free PINs of a number, drawn in advance. No other node has written since, so they are still free.
#[derive(Default)]
pub(crate) struct PinReserve {
    drawn: Vec<ReservedPin>,
    /// Size of the last draw.
    last_draw: usize,
}

struct ReservedPin {
    pin: Pin,
    /// Index key of the PIN.
    key: String,
    /// A row of an earlier use exists.
    is_stored: bool,
}

impl PinReserve {
    /// Claims a reserved PIN; `None` if no drawn PIN is free.
    pub(crate) fn claim(
        &mut self,
        tx: &Tx<'_>,
        claim: &PinClaim<'_>,
        now: Timestamp,
    ) -> Result<Option<Pin>, StoreError> {
        if self.drawn.is_empty() {
            self.draw(tx, claim, now)?;
        }
        let Some(drawn) = self.drawn.pop() else {
            return Ok(None);
        };
        let row = (
            claim.number_key,
            drawn.key,
            claim.greenpin_id.as_str(),
            claim.active_until.micros(),
            claim.free_at.micros(),
            i64::from(claim.counted),
        );
        // Most PINs were never in use and need no conflict check.
        tx.insert_batched(
            if drawn.is_stored {
                sql::PIN_CLAIM_FREE
            } else {
                sql::PIN_INSERT
            },
            row,
        )?;
        Ok(Some(drawn.pin))
    }

    fn draw(
        &mut self,
        tx: &Tx<'_>,
        claim: &PinClaim<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.last_draw = (2 * self.last_draw).clamp(MIN_RESERVE, MAX_RESERVE);
        let space = 10_u64.pow(claim.pin_length.into());
        let values: HashSet<u64> = (0..self.last_draw)
            .map(|_| uniform_below(space))
            .filter(|value| !is_trivial(*value, claim.pin_length))
            .collect();
        let drawn = values.into_iter().map(|value| {
            let pin = pin(value, claim.pin_length)?;
            let key = tx.keys().pin_key(claim.number_key, &pin);
            Ok(ReservedPin {
                pin,
                key,
                is_stored: false,
            })
        });
        self.drawn = drawn.collect::<Result<_, StoreError>>()?;
        let keys: Vec<&str> = self.drawn.iter().map(|drawn| drawn.key.as_str()).collect();
        let key = (claim.number_key, keys.join(" "));
        let stored = tx.rows(sql::PINS_STORED, key, |row| {
            Ok((row.get::<String>("pin_key")?, row.get::<i64>("free_at")?))
        })?;
        let stored: HashMap<String, i64> = stored.into_iter().collect();
        self.drawn.retain_mut(|drawn| match stored.get(&drawn.key) {
            Some(free_at) => {
                drawn.is_stored = true;
                *free_at <= now.micros()
            }
            None => true,
        });
        Ok(())
    }
}

/// Returns whether a guess would start with this PIN: one repeated digit, or digits in ascending or descending order,
/// modulo ten (`0000`, `1234`, `7890`, `4321`).
fn is_trivial(value: u64, length: u8) -> bool {
    trivial(length).any(|trivial| trivial == value)
}

/// Returns the trivial values of a length.
fn trivial(length: u8) -> impl Iterator<Item = u64> {
    // Same digit, ascending, descending, modulo ten.
    let steps = [0_u64, 1, 9];
    let run = move |first: u64, step: u64| {
        (0..u64::from(length)).fold(0, |value, index| value * 10 + (first + step * index) % 10)
    };
    steps
        .into_iter()
        .flat_map(move |step| (0..10).map(move |first| run(first, step)))
}

/// Returns a free value with uniform probability; `None` for a space too large to list, which is never nearly full.
fn draw_free(
    tx: &Tx<'_>,
    claim: &PinClaim<'_>,
    space: u64,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    if space > MAX_SEARCH_SPACE {
        return Ok(None);
    }
    let taken = tx.rows(sql::PINS_IN_USE, (claim.number_key, now.micros()), |row| {
        row.get::<String>("pin_key")
    })?;
    let taken: HashSet<String> = taken.into_iter().collect();
    let used = u64::try_from(taken.len() + trivial(claim.pin_length).count()).unwrap_or(u64::MAX);
    let Some(free @ 1..) = space.checked_sub(used) else {
        return Ok(None);
    };
    // This many draws miss every free value in one of 10^13 cases.
    for _ in 0..(30 * space / free) {
        let value = uniform_below(space);
        if !is_trivial(value, claim.pin_length)
            && !taken.contains(
                &tx.keys()
                    .pin_key(claim.number_key, &pin(value, claim.pin_length)?),
            )
        {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn pin(value: u64, length: u8) -> Result<Pin, StoreError> {
    let digits = format!("{value:0width$}", width = usize::from(length));
    Pin::parse(&digits).map_err(|_| StoreError::Unreadable("PIN length"))
}

/// Draws uniformly from `0..bound`. Values that would favour low results are rejected.
fn uniform_below(bound: u64) -> u64 {
    let fair = u64::MAX - u64::MAX % bound.max(1);
    loop {
        let drawn = random::u64();
        if drawn < fair {
            return drawn % bound.max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obvious_guesses_are_trivial() {
        for (text, expected) in [
            ("0000", true),
            ("9999", true),
            ("0123", true),
            ("1234", true),
            ("7890", true),
            ("4321", true),
            ("3210", true),
            ("0987", true),
            ("123456", true),
            ("99999999", true),
            ("1235", false),
            ("1122", false),
            ("1212", false),
            ("2468", false),
            ("000000", true),
            ("000001", false),
        ] {
            let length = u8::try_from(text.len()).unwrap();
            assert_eq!(
                is_trivial(text.parse().unwrap(), length),
                expected,
                "{text}"
            );
        }
        assert_eq!(
            (0..10_000).filter(|value| is_trivial(*value, 4)).count(),
            30
        );
    }

    #[test]
    fn uniform_draws_cover_the_range_and_stay_below_the_bound() {
        let drawn: Vec<u64> = (0..1000).map(|_| uniform_below(10)).collect();
        assert!((0..10).all(|value| drawn.contains(&value)));
        assert!(drawn.iter().all(|value| *value < 10));
    }
}
