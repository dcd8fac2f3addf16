//! Every target over its corpus and over mutations of it, the same each time. Under cargo-fuzz the search goes on, see
//! `fuzz/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fuzzing::{TARGETS, mutate_seed};

/// Inputs of a target in one run; `FUZZ_INPUTS` asks for more.
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

/// The corpus of a target; the torture messages are seeds, too.
fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut seeds = files(&corpora().join(name));
    if matches!(name, "sip" | "framer") {
        let torture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../greenpin/tests/torture");
        for rfc in ["rfc4475", "rfc5118"] {
            // The stream's first octet is how it is cut.
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

/// Runs a target on an input; on a panic the input is written where it can be found.
fn assert_survives(name: &str, target: fn(&[u8]), input: &[u8], seed_path: &Path) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let input_path = std::env::temp_dir().join(format!("greenpin-fuzz-{name}"));
        std::fs::write(&input_path, input).unwrap();
        panic!(
            "{name} fails on {}, made of {}",
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
    any_messages_from_a_trunk_are_survived_and_forgotten: "sip",
    any_stream_is_cut_or_refused: "framer",
    any_session_description_is_read_or_refused: "sdp",
    any_crypto_line_is_read_or_passed_over: "sdes",
    any_rtp_is_forwarded_or_dropped: "rtp",
    any_rtcp_is_read_or_dropped: "rtcp",
    any_srtp_is_opened_once_or_never: "srtp",
    any_keys_are_counted_once: "digits",
    any_opus_is_decoded_or_made_up: "opus",
    any_prompt_is_read_or_refused: "wav",
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
