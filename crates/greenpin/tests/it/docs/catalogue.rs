//! Reference pages name everything that the program has, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use greenpin::config::Config;
use greenpin::http::Code;
use greenpin::store::{CallCause, EventType};
use serde_json::Value;

use super::markdown::{blocks, read, root, rows};
use crate::support::documented_events::assert_documented;

/// Tables of the configuration.
const SECTIONS: [&str; 8] = [
    "http",
    "node",
    "store",
    "sip",
    "media",
    "recordings",
    "webhooks",
    "trunks",
];

#[test]
fn every_cause_of_a_call_has_a_meaning() {
    let page = read("docs/reference/call-record.md");
    let causes = page.split("### Causes").nth(1).unwrap();
    let causes = causes.split("\n## ").next().unwrap();
    let documented: BTreeSet<_> = rows(causes)
        .filter_map(|row| row.first()?.strip_prefix('`')?.strip_suffix('`'))
        .filter(|word| *word != "cause")
        .map(str::to_owned)
        .collect();
    let known = CallCause::WORDS.iter().map(|word| (*word).to_owned());
    assert_eq!(documented, known.collect::<BTreeSet<_>>());
}

#[test]
fn every_error_code_has_its_status_a_cause_and_a_remedy() {
    let page = read("docs/reference/errors.md");
    let mut documented = BTreeSet::new();
    for row in rows(&page) {
        if let [code, status, cause, remedy] = row[..]
            && status.parse::<u16>().is_ok()
        {
            assert!(!cause.is_empty() && !remedy.is_empty(), "{code}");
            documented.insert((code.trim_matches('`').to_owned(), status.to_owned()));
        }
    }
    let codes = Code::ALL
        .iter()
        .map(|code| (code.as_str().to_owned(), code.status().to_string()));
    assert_eq!(documented, codes.collect());
}

#[test]
fn every_event_type_has_a_payload() {
    let page = read("docs/reference/events.md");
    let blocks = blocks(&page);
    for &name in EventType::WORDS {
        let heading = format!("### `{name}`");
        let at = page.lines().position(|line| line == heading);
        let at = at.unwrap_or_else(|| panic!("events.md lacks {heading}"));
        let payload = blocks.iter().find(|block| block.line > at).unwrap();
        let payload: Value = serde_json::from_str(&payload.text).unwrap();
        assert_eq!(payload["type"], name);
        assert_documented(&payload);
    }
    let headings = page.lines().filter(|line| line.starts_with("### `"));
    assert_eq!(headings.count(), EventType::WORDS.len());
}

/// Returns the keys that the reader of the configuration knows. Every word of its sources is offered to it as a key of
/// every section.
fn known_keys() -> BTreeSet<String> {
    let folder = root().join("crates/greenpin/src/config");
    let mut words = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let found = text.split(|sign: char| !(sign.is_ascii_lowercase() || sign == '_'));
        words.extend(found.filter(|word| !word.is_empty()).map(str::to_owned));
    }
    let mut keys = BTreeSet::new();
    for section in SECTIONS {
        let (header, path) = match section {
            "trunks" => ("[[trunks]]".to_owned(), "trunks.0".to_owned()),
            section => (format!("[{section}]"), section.to_owned()),
        };
        for word in &words {
            let text = format!("{header}\n{word} = true\n");
            let unknown = format!("unknown key {path}.{word}");
            let is_unknown = Config::read("a.toml", &text, [])
                .is_err_and(|error| format!("{error}\n").contains(&format!("{unknown}:")));
            if !is_unknown {
                keys.insert(format!("{section}.{word}"));
            }
        }
    }
    keys
}

#[test]
fn every_configuration_key_is_documented_and_no_other() {
    let page = read("docs/reference/configuration.md");
    let documented: BTreeSet<String> = rows(&page)
        .map(|row| row[0].trim_matches('`').to_owned())
        .filter(|key| {
            key.split_once('.').is_some_and(|(section, name)| {
                SECTIONS.contains(&section)
                    && name
                        .chars()
                        .all(|sign| sign.is_ascii_lowercase() || sign == '_')
            })
        })
        .collect();
    assert_eq!(documented, known_keys());
}

/// Returns the help text of a command.
fn help(path: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_greenpin"))
        .args(path)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the subcommands in a help text.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let list = list.split("\n\n").next().unwrap_or_default();
    let names = list
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split(' ').next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Returns the long options in a text whose lines begin with `start`.
fn options(text: &str, start: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .filter(|line| line.trim_start().starts_with(start));
    let options = lines.filter_map(|line| {
        let from = line.find("--")?;
        let option = line.get(from..)?;
        let end = option.find(|sign: char| !(sign.is_ascii_lowercase() || sign == '-'));
        Some(option[..end.unwrap_or(option.len())].to_owned())
    });
    options
        .filter(|option| !["--config", "--help", "--version"].contains(&option.as_str()))
        .collect()
}

#[test]
fn every_command_and_option_is_documented_and_no_other() {
    let page = read("docs/reference/commands.md");
    let mut waiting = vec![Vec::<String>::new()];
    let mut commands = 0;
    while let Some(path) = waiting.pop() {
        let help = help(&path);
        let below = subcommands(&help);
        if below.is_empty() {
            commands += 1;
            let heading = format!("# `greenpin {}`\n", path.join(" "));
            let section = page.split(&heading).nth(1);
            let section = section.unwrap_or_else(|| panic!("commands.md lacks {heading}"));
            let section = section.split("\n#").next().unwrap();
            assert_eq!(options(section, "| `"), options(&help, "-"), "{heading}");
        }
        for name in below {
            waiting.push([path.as_slice(), &[name]].concat());
        }
    }
    assert_eq!(
        page.matches("# `greenpin ").count(),
        commands + groups(&page)
    );
}

/// Counts the headings of commands that only hold others: those without a table and an example.
fn groups(page: &str) -> usize {
    let sections = page.split("# `greenpin ").skip(1);
    sections
        .filter(|section| !section.contains("```sh"))
        .count()
}

/// Returns whether a row of a page that begins with a name holds both numbers.
fn names_range(page: &str, name: &str, least: &Value, greatest: &Value) -> bool {
    let numbers = [least.to_string(), greatest.to_string()];
    page.lines()
        .filter(|line| line.starts_with('|') && line.contains(&format!("`{name}`")))
        .any(|line| {
            let words: BTreeSet<&str> = line.split(|sign: char| !sign.is_ascii_digit()).collect();
            numbers.iter().all(|number| words.contains(number.as_str()))
        })
}

#[test]
fn the_ranges_of_request_fields_are_documented() {
    let schemas: Value = serde_json::from_str(&read("docs/openapi.json")).unwrap();
    for (schema, page) in [
        ("CreateAllocation", "docs/reference/api.md"),
        ("UpdateSettings", "docs/reference/api.md"),
    ] {
        let text = read(page);
        let fields = &schemas["components"]["schemas"][schema]["properties"];
        for (name, field) in fields.as_object().unwrap() {
            if let (Some(least), Some(greatest)) = (field.get("minimum"), field.get("maximum")) {
                assert!(
                    names_range(&text, name, least, greatest),
                    "{page} lacks {name}: {least} to {greatest}"
                );
            }
        }
    }
}
