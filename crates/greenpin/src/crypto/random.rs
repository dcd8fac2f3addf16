//! Random numbers from a cryptographic generator seeded by the operating system.

use std::cell::RefCell;

/// Octets per draw. A draw costs about the same for one octet as for hundreds.
const BUFFER_BYTES: usize = 512;

/// Random octets drawn ahead by one thread. Used octets are wiped.
struct RandomBuffer {
    octets: [u8; BUFFER_BYTES],
    used: usize,
}

thread_local! {
    static RANDOM_BUFFER: RefCell<RandomBuffer> = const { RefCell::new(RandomBuffer { octets: [0; BUFFER_BYTES], used: BUFFER_BYTES }) };
}

/// Fills a buffer with random octets.
///
/// # Panics
///
/// If the system has no randomness, because no safe operation is possible without it.
pub(crate) fn fill(buffer: &mut [u8]) {
    if buffer.len() > BUFFER_BYTES {
        return draw(buffer);
    }
    RANDOM_BUFFER.with_borrow_mut(|buffered| buffered.copy_out(buffer));
}

/// Returns a random number with a uniform distribution.
pub(crate) fn u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// Returns a random number below the limit; 0 for a limit of 0.
pub(crate) fn below(limit: u64) -> u64 {
    u64().checked_rem(limit).unwrap_or(0)
}

impl RandomBuffer {
    /// Fills a buffer of at most [`BUFFER_BYTES`].
    fn copy_out(&mut self, buffer: &mut [u8]) {
        if BUFFER_BYTES - self.used < buffer.len() {
            draw(&mut self.octets);
            self.used = 0;
        }
        for (to, from) in buffer
            .iter_mut()
            .zip(self.octets.iter_mut().skip(self.used))
        {
            *to = std::mem::take(from);
        }
        self.used += buffer.len();
    }
}

#[allow(clippy::expect_used)]
fn draw(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the operating system's random numbers");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_octet_is_used_twice() {
        let drawn: HashSet<u64> = (0..10_000).map(|_| u64()).collect();
        assert_eq!(drawn.len(), 10_000);
        let lengths = [1, 500, 8, 512, 3, 600, 511];
        let mut all = HashSet::new();
        for length in lengths.into_iter().cycle().take(700) {
            let mut buffer = vec![0; length];
            fill(&mut buffer);
            if length >= 8 {
                assert!(buffer.iter().any(|octet| *octet != 0));
                assert!(all.insert(buffer));
            }
        }
    }
}
