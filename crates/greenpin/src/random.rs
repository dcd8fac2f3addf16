//! Random numbers from the operating system's generator, for everything that must not be guessed.

/// Fills a buffer.
///
/// # Panics
/// If the system has no randomness to give: nothing safe can be done without it.
#[allow(clippy::expect_used)]
pub(crate) fn fill(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the operating system's random numbers");
}

/// A uniformly drawn number.
pub(crate) fn u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
