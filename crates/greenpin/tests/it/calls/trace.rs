//! Trace of a call: JSON, capture and command; masked numbers; retention; refused INVITEs and the list of ended calls.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, CallSetup, VN, pin_of};
use crate::support::http_client::{basic, raw, request};
use crate::support::operator_api::operator_request;
use crate::support::server::{SID, TENANT, TIMEOUT, TOKEN};

/// Connects and ends a call with a wrong and a right PIN. Returns its id and the PIN.
fn ended_call(setup: &mut CallSetup) -> (String, String) {
    let allocation = setup.allocate(&json!({ "record": true }));
    let pin = pin_of(&allocation).to_owned();
    let wrong = if pin == "1357" { "1358" } else { "1357" };
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.press(wrong);
    setup.inbox.wait_for_event("call.pin_failed");
    setup.customer.wait_until_quiet();
    setup.customer.press(&pin);
    setup.agent_answers();
    setup.both_talk();
    setup.hang_up();
    let completed = setup.inbox.wait_for_event("call.completed");
    let sid = completed["data"]["call_sid"].as_str().unwrap().to_owned();
    let why = completed["data"]["why"].as_str().unwrap();
    assert!(
        why.starts_with("The caller entered a wrong PIN once, then talked for "),
        "{why}"
    );
    assert_eq!(completed["data"]["cause"], "completed");
    (sid, pin)
}

fn get(setup: &CallSetup, path: &str) -> (u16, Value) {
    setup.server.request("GET", path, None)
}

/// Waits for the trace of a call.
fn trace(setup: &CallSetup, sid: &str) -> Value {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let (status, mut body) = get(setup, &format!("/calls/{sid}/trace"));
        if status == 200 {
            return body["response"].take();
        }
        assert!(Instant::now() < deadline, "no trace: {body}");
    }
}

fn of_kind<'a>(trace: &'a Value, kind: &str) -> Vec<&'a Value> {
    let entries = trace["entries"].as_array().unwrap().iter();
    entries.filter(|entry| entry["kind"] == kind).collect()
}

#[test]
fn the_trace_of_a_call_has_both_dialogs_in_order_and_no_number_or_pin() {
    let mut setup = CallSetup::start();
    let (sid, pin) = ended_call(&mut setup);
    let trace = trace(&setup, &sid);
    let legs: Vec<_> = trace["legs"].as_array().unwrap().iter().collect();
    assert_eq!(legs.len(), 2);
    assert_eq!(
        (&legs[0]["leg"], &legs[1]["leg"]),
        (&json!("caller"), &json!("callee-1"))
    );
    assert_eq!(legs[1]["trunk"], "carrier");
    for leg in ["caller", "callee-1"] {
        let messages = of_kind(&trace, "sip");
        let of_leg = messages.iter().filter(|entry| entry["leg"] == leg);
        let steps: Vec<String> = of_leg
            .map(|entry| format!("{} {}", entry["method"].as_str().unwrap(), entry["status"]))
            .collect();
        for step in [
            "INVITE null",
            "INVITE 200",
            "ACK null",
            "BYE null",
            "BYE 200",
        ] {
            assert!(
                steps.iter().any(|other| other == step),
                "{leg}: {step} in {steps:?}"
            );
        }
    }
    assert_eq!(of_kind(&trace, "digit").len(), 8);
    for kind in ["decision", "dial", "media", "event", "webhook", "recording"] {
        assert!(!of_kind(&trace, kind).is_empty(), "{kind}");
    }
    let offsets: Vec<f64> = of_kind(&trace, "sip")
        .iter()
        .map(|entry| entry["offset_ms"].as_f64().unwrap())
        .collect();
    assert!(offsets.is_sorted());
    check_masked(&trace, &pin);
}

/// Checks that a trace shows no number of the call and no PIN.
fn check_masked(trace: &Value, pin: &str) {
    let mut shown = trace.clone();
    // Ids and times may hold the digits of a PIN by chance.
    for entry in shown["entries"].as_array_mut().unwrap() {
        for field in [
            "at",
            "offset_ms",
            "event_id",
            "endpoint_id",
            "source",
            "destination",
            "text",
        ] {
            entry.as_object_mut().unwrap().remove(field);
        }
        if let Some(message) = entry["message"].as_str() {
            let lines = message
                .lines()
                .filter(|line| !line.contains("branch=") && !line.contains("tag="));
            let lines: Vec<&str> = lines.filter(|line| !line.starts_with("Call-ID")).collect();
            entry["message"] = lines.join("\n").into();
        }
    }
    let text = trace.to_string();
    for number in [VN, AGENT, CUSTOMER] {
        assert!(!text.contains(&number[3..]), "{number}");
    }
    let words = shown["entries"].to_string();
    let has_pin = words
        .split(|character: char| !character.is_ascii_digit())
        .any(|run| run == pin);
    assert!(!has_pin, "{words}");
}

#[test]
fn tshark_reads_both_dialogs_of_the_capture() {
    let mut setup = CallSetup::start();
    let (sid, _) = ended_call(&mut setup);
    trace(&setup, &sid);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("call.pcap");
    let printed = setup
        .server
        .command(&["trace", &sid, "--pcap", file.to_str().unwrap()]);
    assert!(printed.status.success(), "{printed:?}");
    let ladder = String::from_utf8(printed.stdout).unwrap();
    for line in [
        "caller    --> INVITE ",
        "callee-1  <-- INVITE ",
        "the PIN is refused",
        "200 OK (BYE)",
    ] {
        assert!(ladder.contains(line), "{line} in {ladder}");
    }
    let path = format!("/v1/tenants/{TENANT}/calls/{sid}/trace.pcap");
    let capture = request("GET", &path, &basic(SID, TOKEN), b"");
    let capture = raw(setup.server.http, &capture);
    assert_eq!(capture.status, 200);
    let read = Command::new("tshark")
        .args(["-r", file.to_str().unwrap(), "-T", "fields"])
        .args([
            "-e",
            "sip.Call-ID",
            "-e",
            "sip.Method",
            "-e",
            "sip.Status-Code",
        ])
        .output()
        .unwrap();
    assert!(read.status.success(), "{read:?}");
    let read = String::from_utf8(read.stdout).unwrap();
    let mut dialogs: Vec<&str> = read
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    dialogs.sort_unstable();
    dialogs.dedup();
    assert_eq!(dialogs.len(), 2, "{read}");
    for dialog in dialogs {
        for step in ["INVITE\t", "\t200", "ACK\t", "BYE\t"] {
            let line = format!("{dialog}\t{step}");
            assert!(
                read.lines().any(|other| other == line),
                "{line:?} in {read}"
            );
        }
    }
    assert!(fs::metadata(&file).unwrap().len() > 24);
}

#[test]
fn a_call_without_a_trace_is_told_apart_from_no_call() {
    let mut setup = CallSetup::start();
    setup
        .server
        .update_settings(&json!({ "retention": { "trace": 0 } }));
    let (sid, _) = ended_call(&mut setup);
    let (status, problem) = get(&setup, &format!("/calls/{sid}/trace"));
    assert_eq!((status, &problem["code"]), (404, &json!("trace_not_found")));
    let unknown = "call_06f2n7c8sd3k2q9w4m1x5z0ba7";
    let (status, problem) = get(&setup, &format!("/calls/{unknown}/trace.pcap"));
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    let printed = setup.server.command(&["trace", &sid]);
    assert_eq!(printed.status.code(), Some(1));
}

#[test]
fn the_trace_of_the_last_call_is_written_before_the_server_stops() {
    let mut setup = CallSetup::start();
    let (sid, _) = ended_call(&mut setup);
    setup.server.terminate();
    while setup.server.exit_code().is_none() {
        std::thread::yield_now();
    }
    let printed = setup.server.command(&["trace", &sid, "--json"]);
    assert!(printed.status.success(), "{printed:?}");
}

#[test]
fn refused_invites_are_listed_with_their_reason() {
    let mut setup = CallSetup::start_with_operator("");
    assert_eq!(setup.customer.call("+914000000009"), 404);
    let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
    let from = stranger.local_addr().unwrap();
    let invite = format!(
        "INVITE sip:{VN}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:x@{from}>;tag=1\r\nTo: <sip:{VN}@127.0.0.1>\r\nCall-ID: 1@{from}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:x@{from}>\r\nContent-Length: 0\r\n\r\n"
    );
    stranger
        .send_to(invite.as_bytes(), setup.server.sip)
        .unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let refused = loop {
        assert!(Instant::now() < deadline, "an INVITE is not listed");
        let answer = operator_request(&setup.server, "GET", "/refused");
        let list = answer.body["response"].as_array().unwrap().clone();
        if list.len() >= 2 {
            break list;
        }
    };
    let shown: Vec<_> = refused
        .iter()
        .map(|entry| {
            (
                &entry["source"],
                &entry["trunk"],
                &entry["status"],
                &entry["reason"],
            )
        })
        .collect();
    let expected = [
        (
            json!("127.0.0.9"),
            json!(null),
            json!(403),
            json!("unknown source"),
        ),
        (
            json!("127.0.0.1"),
            json!("carrier"),
            json!(404),
            json!("called number is unknown"),
        ),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|entry| (&entry.0, &entry.1, &entry.2, &entry.3))
        .collect();
    assert_eq!(shown, expected);
    assert_eq!(refused[0]["virtual_number"], "+9140…01");
    setup.server.wait_for_log("INVITE refused");
}

#[test]
fn ended_calls_of_all_tenants_are_listed_with_reason_and_attempts() {
    let mut setup = CallSetup::start_with_operator("");
    let (sid, _) = ended_call(&mut setup);
    let list = |query: &str| {
        let answer = operator_request(&setup.server, "GET", &format!("/call-records{query}"));
        assert_eq!(answer.status, 200, "{query}");
        answer.body["response"].as_array().unwrap().clone()
    };
    let of_tenant = format!("?tenant_id={TENANT}&trunk=carrier");
    for query in ["", "?cause=completed", &of_tenant] {
        let calls = list(query);
        assert_eq!(calls.len(), 1, "{query}");
        assert_eq!(calls[0]["call_sid"], *sid);
        assert_eq!(calls[0]["attempts"][0]["trunk"], "carrier");
        assert!(calls[0]["why"].is_string());
    }
    assert!(list("?cause=busy").is_empty() && list("?tenant_id=other").is_empty());
    assert!(list("?trunk=%00").is_empty());
    let answer = operator_request(&setup.server, "GET", "/call-records?cause=other");
    assert_eq!((answer.status, answer.code()), (400, "invalid_request"));
    let listed = setup
        .server
        .command(&["calls", "list", "--cause", "completed"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains(&sid) && listed.contains("wrong PIN once"),
        "{listed}"
    );
    let shown = setup.server.command(&["calls", "show", &sid]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("attempt") && !shown.contains(&AGENT[3..]),
        "{shown}"
    );
}
