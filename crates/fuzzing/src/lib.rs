//! The targets of fuzzing: functions that take any octets and must not panic. What else must hold is asserted in each.
//!
//! `fuzz/` runs them under cargo-fuzz; `tests/corpus.rs` runs them on stable over the corpora and over [`mutate_seed`] ones.

mod audio;
mod calls;
mod mutation;
mod packets;
mod sip;

pub use mutation::mutate_seed;

/// A target: its name, which is that of its corpus in `fuzz/corpus/`, and its function.
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

/// Runs the target of that name; nothing where there is none.
pub fn run(name: &str, input: &[u8]) {
    TARGETS
        .iter()
        .filter(|(target, _)| *target == name)
        .for_each(|(_, target)| target(input));
}
