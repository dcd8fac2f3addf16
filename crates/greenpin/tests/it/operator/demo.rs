//! `greenpin demo --keep`: the printed commands work while the server stays up.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::process::send_signal;
use crate::support::time_limit;

/// Starts the demo; returns it with its output up to the last printed command.
fn start() -> (Child, Vec<String>) {
    time_limit::watch();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_greenpin"))
        .args(["demo", "--keep"])
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.ends_with("/calls"))
    {
        lines.push(output.next().expect("the demo printed commands").unwrap());
    }
    (demo, lines)
}

/// Runs a printed command in a shell; returns its output.
fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_demo_ends_without_an_error_in_its_log() {
    time_limit::watch();
    let output = Command::new(env!("CARGO_BIN_EXE_greenpin"))
        .arg("demo")
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("ERROR"), "{log}");
}

#[test]
fn every_printed_command_works_while_the_demo_stays_up() {
    let (mut demo, lines) = start();
    let commands: Vec<&String> = lines
        .iter()
        .skip_while(|line| !line.starts_with("Try"))
        .filter(|line| line.contains(" call +") || line.contains("curl "))
        .collect();
    let [call, allocate, list] = commands[..] else {
        panic!("{lines:?}");
    };
    assert!(run(call).contains("The parties talked for "));
    let json = |line: &str| serde_json::from_str::<Value>(&run(line)).unwrap()["response"].clone();
    assert_eq!(json(allocate)["pin"].as_str().unwrap().len(), 6);
    assert_eq!(
        json(allocate)["status"],
        "active",
        "it works more than once"
    );
    let calls = json(list);
    let calls = calls.as_array().unwrap();
    assert_eq!(
        calls.len(),
        2,
        "the demo's call and the printed one: {calls:?}"
    );
    assert!(
        calls.iter().all(|call| call["call_type"] == "completed"),
        "{calls:?}"
    );
    send_signal(&demo, Signal::INT);
    assert!(demo.wait().unwrap().success());
}
