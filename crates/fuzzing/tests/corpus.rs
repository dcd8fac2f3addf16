//! Runs every target over its corpus and over reproducible mutations. cargo-fuzz continues the
//! search; see `fuzz/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fuzzing::{TARGETS, field_variants, mutate_seed, number_variants};

/// Default number of mutations per target; `FUZZ_INPUTS` overrides it.
const DEFAULT_INPUTS: u64 = 6000;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.is_file() && path.extension().is_none_or(|extension| extension != "md")
    });
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// Targets whose input is text, and targets whose input is packets.
const TEXTS: &[&str] = &["sip", "framer", "sdp", "sdes"];
const PACKETS: &[&str] = &["rtp", "rtcp", "srtp"];
/// Maximum size of a packet whose fields are varied.
const MAX_PACKET: usize = 400;

/// Returns the seeds of a target: its corpus, and the torture messages for SIP targets.
fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut seeds = files(&corpora().join(name));
    if matches!(name, "sip" | "framer") {
        let torture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../greenpin/tests/torture");
        for rfc in ["rfc4475", "rfc5118"] {
            // The first octet of a stream is the length of its pieces.
            let cut = |octets: Vec<u8>| {
                if name == "framer" {
                    [&[b'x'][..], &octets].concat()
                } else {
                    octets
                }
            };
            seeds.extend(
                files(&torture.join(rfc))
                    .into_iter()
                    .map(|(path, octets)| (path, cut(octets))),
            );
        }
    }
    seeds
}

/// Runs a target on an input. After a panic the input is written to a file for analysis.
fn assert_survives(name: &str, target: fn(&[u8]), input: &[u8], seed_path: &Path) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let input_path = std::env::temp_dir().join(format!("greenpin-fuzz-{name}"));
        std::fs::write(&input_path, input).unwrap();
        panic!(
            "{name} fails on {}, mutated from {}",
            input_path.display(),
            seed_path.display()
        );
    }
}

fn run(name: &str) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("the target exists");
    let seeds = seeds(name);
    assert!(!seeds.is_empty());
    for (path, seed) in &seeds {
        assert_survives(name, *target, seed, path);
    }
    for (path, seed) in &seeds {
        if TEXTS.contains(&name) {
            number_variants(seed).for_each(|input| assert_survives(name, *target, &input, path));
        }
        if PACKETS.contains(&name) && seed.len() <= MAX_PACKET {
            field_variants(seed).for_each(|input| assert_survives(name, *target, &input, path));
        }
    }
    let inputs =
        std::env::var("FUZZ_INPUTS").map_or(DEFAULT_INPUTS, |inputs| inputs.parse().unwrap());
    for number in 0..inputs {
        let (path, seed) = &seeds[usize::try_from(number).unwrap() % seeds.len()];
        assert_survives(name, *target, &mutate_seed(seed, number), path);
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { run($name) })*
        const RUN: &[&str] = &[$($name),*];
    };
}

targets! {
    any_messages_from_a_trunk_leave_no_state: "sip",
    any_stream_is_split_or_rejected: "framer",
    any_session_description_is_parsed_or_rejected: "sdp",
    any_crypto_line_is_parsed_or_ignored: "sdes",
    any_rtp_is_forwarded_or_dropped: "rtp",
    any_rtcp_is_parsed_or_dropped: "rtcp",
    any_srtp_is_accepted_once_or_never: "srtp",
    any_keys_are_counted_once: "digits",
    any_opus_is_decoded_or_concealed: "opus",
    any_prompt_is_read_or_rejected: "wav",
    any_operations_end_a_call_once: "call",
}

#[test]
fn every_target_has_a_corpus_a_program_and_a_test() {
    let programs = corpora().join("../fuzz_targets");
    for (name, _) in TARGETS {
        assert!(
            RUN.contains(name) && programs.join(format!("{name}.rs")).is_file(),
            "{name}"
        );
    }
    assert_eq!(
        (RUN.len(), std::fs::read_dir(programs).unwrap().count()),
        (TARGETS.len(), TARGETS.len())
    );
}
