//! Commands whose output cannot be written, and an environment that is not UTF-8.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{PipeWriter, pipe};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Output, Stdio};

use crate::support::call_setup::VN;
use crate::support::server::{Server, TENANT};

/// Commands that print.
const PRINTING: [&[&str]; 10] = [
    &["openapi"],
    &["completions", "bash"],
    &["trunk", "list"],
    &["tenant", "list"],
    &["tenant", "list", "--json"],
    &["tenant", "show", TENANT],
    &["tenant", "credential", "list", TENANT],
    &["number", "list"],
    &["allocation", "list", "--tenant", TENANT],
    &["events", "tail"],
];

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn closed_pipe() -> PipeWriter {
    pipe().unwrap().1
}

/// Asserts an exit code, and that no command panics. Returns standard error.
fn expect_code(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!error.contains("panic"), "{error}");
    error
}

/// Starts a server with a trunk, a number and an allocation, so that each command prints.
fn server() -> Server {
    let server = Server::start("127.0.0.1:9".parse().unwrap());
    server.add_number(VN, &[]);
    let from = ["--from", "+919900000001"];
    let create = [&["allocation", "create", VN, "--tenant", TENANT][..], &from].concat();
    expect_code(&server.command(&create), 0);
    server
}

#[test]
fn a_command_whose_output_cannot_be_written_fails_with_the_reason() {
    let server = server();
    for arguments in PRINTING {
        let mut command = server.program();
        let output = command.args(arguments).stdout(full_disk()).output();
        let error = expect_code(&output.unwrap(), 1);
        assert!(
            error.starts_with("greenpin: cannot write to standard output: No space left on device"),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn a_command_ends_quietly_when_its_reader_has_enough() {
    let server = server();
    for arguments in PRINTING {
        let mut command = server.program();
        let output = command.args(arguments).stdout(closed_pipe()).output();
        assert_eq!(expect_code(&output.unwrap(), 0), "", "{arguments:?}");
    }
}

#[test]
fn a_token_that_cannot_be_printed_is_reported_as_lost() {
    let server = server();
    let create = |name, sid| ["tenant", "create", name, "--account-sid", sid];
    let mut command = server.program();
    command.args(create("full", "AC2")).stdout(full_disk());
    let error = expect_code(&command.output().unwrap(), 1);
    assert!(error.contains("tenant full was created"), "{error}");
    let mut command = server.program();
    command.args(create("closed", "AC3")).stdout(closed_pipe());
    let error = expect_code(&command.output().unwrap(), 1);
    assert!(
        error.contains("greenpin tenant credential create closed"),
        "{error}"
    );
    let mut command = server.program();
    command
        .args([
            "tenant",
            "credential",
            "create",
            TENANT,
            "--account-sid",
            "AC4",
        ])
        .stdout(full_disk());
    let error = expect_code(&command.output().unwrap(), 1);
    assert!(error.contains("credential AC4 was created"), "{error}");
}

#[test]
fn an_error_that_cannot_be_printed_leaves_the_exit_code_as_it_is() {
    let server = server();
    let fails = ["tenant", "show", "nobody"];
    for errors in [Stdio::from(full_disk()), closed_pipe().into()] {
        let mut command = server.program();
        let output = command.args(fails).stderr(errors).output();
        expect_code(&output.unwrap(), 1);
    }
    let mut command = server.program();
    command
        .args(["tenant", "create", "short", "--account-sid", "AC5"])
        .args(["--token", "short"]);
    let warned = command.stderr(full_disk()).output();
    expect_code(&warned.unwrap(), 0);
}

#[test]
fn a_variable_that_is_not_utf_8_matters_only_if_it_is_ours() {
    let server = Server::with("");
    let run = |name: &[u8]| {
        let mut command = server.program();
        let value = OsStr::from_bytes(b"\xff");
        command.env(OsStr::from_bytes(name), value);
        command.args(["tenant", "list"]).output().unwrap()
    };
    for other in [&b"OTHER"[..], b"\xff"] {
        assert_eq!(expect_code(&run(other), 0), "");
    }
    for ours in ["GREENPIN_HTTP__LISTEN", "GREENPIN_LOG"] {
        let error = expect_code(&run(ours.as_bytes()), 1);
        assert!(error.contains(ours) && error.contains("UTF-8"), "{error}");
    }
}

#[test]
fn faults_of_the_configuration_are_lines_of_json_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.toml");
    std::fs::write(&file, "[http]\nlisten = 1\n[sip]\nmax_calls = 0\n").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_greenpin"))
        .arg("--config")
        .arg(&file)
        .arg("serve")
        .env("GREENPIN_LOG_FORMAT", "json")
        .output()
        .unwrap();
    let text = expect_code(&output, 1);
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (line, place, key) in [(0, ":2", "http.listen"), (1, ":4", "sip.max_calls")] {
        let (origin, message) = (&lines[line]["origin"], &lines[line]["message"]);
        assert!(origin.as_str().unwrap().ends_with(place), "{text}");
        assert!(message.as_str().unwrap().starts_with(key), "{text}");
    }
}
