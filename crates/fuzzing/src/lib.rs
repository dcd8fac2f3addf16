//! Fuzz targets: functions that accept any octets and must not panic. Each asserts its further
//! properties.
//!
//! `fuzz/` runs them with cargo-fuzz. `tests/corpus.rs` runs them with a stable compiler, over the
//! corpora and over mutations from [`mutate_seed`].

mod audio;
mod calls;
mod mutation;
mod packets;
mod sip;

pub use mutation::{field_variants, mutate_seed, number_variants};

/// Name of a target, equal to the name of its corpus in `fuzz/corpus/`, and its function.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[FuzzTarget] = &[
    ("sip", sip::messages),
    ("framer", sip::stream),
    ("sdp", sip::description),
    ("sdes", sip::crypto_line),
    ("rtp", packets::rtp),
    ("rtcp", packets::rtcp),
    ("srtp", packets::srtp),
    ("digits", audio::digits),
    ("opus", audio::opus),
    ("wav", audio::prompt),
    ("call", calls::operations),
];

/// Runs the target with this name; does nothing for an unknown name.
pub fn run(name: &str, input: &[u8]) {
    TARGETS
        .iter()
        .filter(|(target, _)| *target == name)
        .for_each(|(_, target)| target(input));
}
