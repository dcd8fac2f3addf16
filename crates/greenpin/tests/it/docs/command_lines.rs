//! Commands of the pages outside the first steps and guides: they run, or the program at least accepts them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::Arg;

use super::commands::{OPERATOR_TOKEN, run};
use super::markdown::{Block, blocks, pages, prose, read, root};
use super::shell::{commands, greenpin_arguments, lines};
use crate::support::server::{SID, Server, TOKEN};

/// Beginnings of lines that this test does not run, each with the reason.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "greenpin serve",
        "runs until SIGTERM; every other test with a server starts it",
    ),
    ("greenpin demo", "the test of the first call runs it"),
    (
        "greenpin call ",
        "needs an agent that answers; the test of the first call runs it",
    ),
    (
        "greenpin doctor",
        "the carrier of this configuration does not answer; the test of the guides runs it",
    ),
    ("greenpin bench", "measures for minutes"),
    ("greenpin calls show", "needs an ended call"),
    ("greenpin trace", "needs an ended call"),
    ("greenpin events tail", "follows the log until Ctrl-C"),
    (
        "greenpin restore",
        "needs a place without a database; the test of the guides runs it",
    ),
    (
        "greenpin completions bash > /etc/",
        "writes a file of the system",
    ),
    ("cargo ", "builds the project"),
    ("FUZZ_INPUTS=", "fuzzes for minutes"),
    ("./test", "runs this test"),
    ("tcpdump ", "needs root, and captures until Ctrl-C"),
];

/// Values for placeholders of pages.
const PLACEHOLDERS: [(&str, &str); 1] = [("NNNN", "4821")];

const TENANTS: &str = "greenpin tenant create acme --account-sid AC0001\ngreenpin tenant create other --account-sid AC0002\n";
const NUMBER: &str = "greenpin number add --tenant acme +914000000001\n";
const ALLOCATION: &str = "ID=$(greenpin allocation create +914000000001 --tenant acme --from +919900000001 --json \
                          | grep -o 'gp_[a-z0-9]*' | head -1)\n";

/// Commands before a block. The first entry whose text the block contains applies.
const PREPARATIONS: [(&str, &[&str]); 5] = [
    ("greenpin tenant create", &[]),
    ("greenpin number add", &[TENANTS]),
    ("greenpin number import", &[TENANTS]),
    ("gp_", &[TENANTS, NUMBER, ALLOCATION]),
    ("", &[TENANTS, NUMBER]),
];

/// Block of a page.
struct PageBlock {
    place: String,
    block: Block,
}

/// Returns the `sh` blocks that the test of the first steps and guides does not run.
fn other_blocks() -> Vec<PageBlock> {
    let docs = root().join("docs");
    let is_run = |path: &Path| {
        ["start", "guides"]
            .iter()
            .any(|name| path.starts_with(docs.join(name)))
    };
    let mut found = Vec::new();
    for path in pages(&root()) {
        let blocks = blocks(&fs::read_to_string(&path).unwrap());
        let wanted = blocks
            .into_iter()
            .filter(|block| block.language == "sh" && (block.is_skipped || !is_run(&path)));
        found.extend(wanted.map(|block| PageBlock {
            place: format!("{}:{}", path.display(), block.line),
            block,
        }));
    }
    found
}

/// Returns the beginning in [`NOT_RUN`] that a line has.
fn not_run(line: &str) -> Option<&'static str> {
    let starts = NOT_RUN.iter().map(|(start, _)| *start);
    starts
        .into_iter()
        .find(|start| line.trim_start().starts_with(start))
}

/// Returns the error of the program for a command line, if it does not accept it.
fn rejection(arguments: &[String]) -> Option<String> {
    let arguments = arguments.iter().map(|argument| {
        let value = PLACEHOLDERS.iter().find(|(name, _)| name == argument);
        value.map_or(argument.as_str(), |(_, value)| value)
    });
    let words = std::iter::once("greenpin").chain(arguments);
    let parsed = greenpin::cli::definition().try_get_matches_from(words);
    parsed.err().map(|error| error.to_string())
}

#[test]
fn the_program_accepts_every_command_line_that_is_not_run() {
    let mut checked = 0;
    for PageBlock { place, block } in other_blocks() {
        for line in lines(&block.text) {
            for command in commands(&line) {
                if let Some(arguments) = greenpin_arguments(&command) {
                    let rejection = rejection(arguments);
                    assert!(
                        rejection.is_none(),
                        "{place}: {line}\n{}",
                        rejection.unwrap()
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 40, "only {checked} command lines");
}

/// Returns the part of a block that is run, and notes the beginnings of the other lines.
fn runnable(block: &Block, skipped: &mut BTreeSet<&'static str>) -> String {
    let mut script = String::new();
    for line in lines(&block.text) {
        match not_run(&line) {
            Some(start) => {
                skipped.insert(start);
            }
            None => script += &format!("{line}\n"),
        }
    }
    script
}

/// Replaces the id of an allocation in a script by that of the prepared one.
fn with_prepared_id(script: &str) -> String {
    let Some((before, rest)) = script.split_once("gp_") else {
        return script.to_owned();
    };
    let rest = rest.trim_start_matches(|sign: char| sign.is_ascii_alphanumeric());
    format!("{before}$ID{rest}")
}

/// Runs the commands of a block on a store of its own.
fn run_on_store(place: &Path, script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let configuration = "[store]\nurl = \"sqlite:greenpin.db\"\n[recordings]\nurl = \"file:recordings\"\n\
                         [[trunks]]\nname = \"carrier\"\npeer = \"sip:198.51.100.5\"\n";
    fs::write(path.join("greenpin.toml"), configuration).unwrap();
    let api = blocks(&read("docs/reference/api.md"));
    let csv = api.iter().find(|block| block.language == "csv").unwrap();
    fs::write(path.join("numbers.csv"), &csv.text).unwrap();
    let found = PREPARATIONS.iter().find(|(text, _)| script.contains(text));
    let preparation = found.unwrap().1.concat();
    run(
        place,
        &format!("{preparation}{}", with_prepared_id(script)),
        path,
        &[],
    );
}

/// Runs the requests of a block against a server.
fn run_on_server(place: &Path, script: &str) {
    let server = Server::with_operator(OPERATOR_TOKEN, "");
    server.add_number("+914000000001", &[]);
    let script = script
        .replace("127.0.0.1:8080", &server.http.to_string())
        .replace("AC0001:TOKEN", &format!("{SID}:{TOKEN}"));
    run(place, &script, server.database().parent().unwrap(), &[]);
}

#[test]
fn the_commands_of_the_other_pages_run() {
    let mut skipped = BTreeSet::new();
    let mut ran = 0;
    for PageBlock { place, block } in other_blocks() {
        if block.is_skipped {
            continue;
        }
        let script = runnable(&block, &mut skipped);
        if script.trim().is_empty() {
            continue;
        }
        if script.contains("curl ") {
            run_on_server(Path::new(&place), &script);
        } else {
            run_on_store(Path::new(&place), &script);
        }
        ran += 1;
    }
    assert!(ran >= 25, "only {ran} blocks ran");
    for (start, _) in NOT_RUN {
        assert!(
            skipped.contains(start),
            "no page has a line that begins with {start}"
        );
    }
}

/// Commands that a page names to say that they do not exist.
const MISSING_COMMANDS: [&str; 1] = ["greenpin node"];

/// Returns the fault of a command in the text of a page: an unknown command or option. Words in capital letters stand
/// for values.
fn fault(text: &str) -> Option<String> {
    let definition = greenpin::cli::definition();
    let mut command = &definition;
    let mut follows_option = false;
    let words = text.split([' ', '[', ']']).skip(1);
    for word in words.filter(|word| !word.is_empty()) {
        let is_value = std::mem::take(&mut follows_option);
        if let Some(name) = word.strip_prefix("--") {
            let arguments = command.get_arguments().chain(definition.get_arguments());
            let mut known = arguments
                .filter_map(Arg::get_long)
                .chain(["help", "version"]);
            if !known.any(|long| long == name) {
                return Some(format!("no option --{name}"));
            }
            follows_option = true;
        } else if !is_value && command.has_subcommands() && word.starts_with(char::is_lowercase) {
            match command.find_subcommand(word) {
                Some(found) => command = found,
                None => return Some(format!("no command {word}")),
            }
        }
    }
    None
}

#[test]
fn the_text_of_pages_names_no_unknown_command_or_option() {
    let mut missing = Vec::new();
    for path in pages(&root()) {
        let page = fs::read_to_string(&path).unwrap();
        let spans = prose(&page).flat_map(|line| line.split('`').skip(1).step_by(2));
        for span in spans.filter(|span| span.starts_with("greenpin ")) {
            if MISSING_COMMANDS.contains(&span) {
                missing.push(span.to_owned());
            } else if let Some(fault) = fault(span) {
                panic!("{}: `{span}`: {fault}", path.display());
            }
        }
    }
    assert_eq!(missing, MISSING_COMMANDS, "a page names each of them once");
}
