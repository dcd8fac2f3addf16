//! A log that cannot be written loses lines, and nothing else.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, PipeWriter, Write as _, pipe};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::call_setup::{CUSTOMER, CallSetup};
use crate::support::http_client::{raw_text, request};
use crate::support::party::Party;
use crate::support::server::TIMEOUT;

/// Returns the number of lost lines from the metrics.
fn lost_lines(setup: &CallSetup) -> u64 {
    let (_, text) = raw_text(setup.server.http, &request("GET", "/metrics", "", b""));
    let mut values = text
        .lines()
        .filter_map(|line| line.strip_prefix("greenpin_log_lines_lost_total "));
    values.next().unwrap().parse().unwrap()
}

fn wait_for_lost_line(setup: &CallSetup) {
    let deadline = Instant::now() + TIMEOUT;
    while lost_lines(setup) == 0 {
        assert!(Instant::now() < deadline, "no line is lost");
    }
}

/// Makes one call from allocation to webhook, and stops the server during a second one.
fn check_calls_and_shutdown(setup: &mut CallSetup) {
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.both_talk();
    setup.hang_up();
    assert_eq!(setup.completed()["call_type"], "completed");
    setup.customer = Party::new(CUSTOMER, setup.server.sip);
    setup.connect(&allocation);
    setup.server.terminate();
    let deadline = Instant::now() + TIMEOUT;
    while setup.server.readiness() == Some(200) {
        assert!(Instant::now() < deadline, "the server does not drain");
    }
    setup.both_talk();
    setup.hang_up();
    assert_eq!(setup.server.exit_code(), Some(0));
    setup.server.start_again();
    let calls = setup.server.get("/calls");
    let types: Vec<&Value> = calls
        .as_array()
        .unwrap()
        .iter()
        .map(|call| &call["call_type"])
        .collect();
    assert_eq!(types, ["completed", "completed"], "{calls}");
}

#[test]
fn a_server_whose_log_reader_has_gone_makes_calls_and_drains() {
    let mut setup = CallSetup::start();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    setup.restart_with_log(writer);
    wait_for_lost_line(&setup);
    check_calls_and_shutdown(&mut setup);
}

#[test]
fn a_server_whose_log_disk_is_full_makes_calls_and_drains() {
    let mut setup = CallSetup::start();
    setup.restart_with_log(full_disk());
    wait_for_lost_line(&setup);
    check_calls_and_shutdown(&mut setup);
}

#[test]
fn a_server_whose_log_reader_stalls_makes_calls_and_drains() {
    let mut setup = CallSetup::start();
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    setup.restart_with_log(writer);
    check_calls_and_shutdown(&mut setup);
    drop(reader);
}

#[test]
fn a_reader_that_stalled_gets_the_queued_lines_in_order() {
    let mut setup = CallSetup::start();
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    setup.restart_with_log(writer);
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    let mut messages: Vec<String> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_str(&line).unwrap();
        let message = line["message"].as_str().unwrap_or_default().to_owned();
        if message == "greenpin is ready" {
            setup.server.terminate();
        }
        messages.push(message);
    }
    assert!(
        messages
            .iter()
            .any(|message| message == "greenpin is ready")
    );
    assert_eq!(setup.server.exit_code(), Some(0));
}

#[test]
fn a_start_that_fails_ends_although_the_log_reader_stalls() {
    let mut setup = CallSetup::start();
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    let mut second = setup.server.program();
    second
        .env("GREENPIN_HTTP__LISTEN", setup.server.http.to_string())
        .stderr(writer);
    let status = second.arg("serve").status().unwrap();
    assert_eq!(status.code(), Some(1));
    drop(reader);
    setup.server.kill();
}

fn full_disk() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

/// Fills a pipe with empty lines.
fn fill(pipe: &PipeWriter) {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let mut options = File::options();
    // Without O_NONBLOCK the last write would wait for a reader. The other end keeps its own flags.
    options.write(true).custom_flags(libc::O_NONBLOCK);
    let mut pipe = options.open(path).unwrap();
    let full = loop {
        if let Err(error) = pipe.write(&[b'\n'; 1000]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    // A write of up to 4096 bytes is atomic, so the rest is filled byte by byte.
    while pipe.write(b"\n").is_ok() {}
}
