//! `greenpin call`: the exit code and the printed result say whether the other party was connected.

use std::process::Output;
use std::thread;

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, CallSetup, VN, pin_of};
use crate::support::server::{Server, trunk};

/// Runs a test call; returns its output.
fn call(server: &Server, pin: &str, more: &[&str]) -> Output {
    let address = server.sip.to_string();
    let call = [
        "call",
        VN,
        "--from",
        CUSTOMER,
        "--pin",
        pin,
        "--server",
        &address,
        "--duration",
        "2",
        "--json",
    ];
    server.command(&[&call, more].concat())
}

/// Returns the last printed event and its text.
fn result(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    ["event", "text"]
        .map(|key| last[key].as_str().unwrap().to_owned())
        .into()
}

/// Runs a test call with a right PIN, which the agent answers.
fn answered_call(setup: &mut CallSetup) -> Output {
    let allocation = setup.allocate(&json!({}));
    let (server, agent) = (&setup.server, &mut setup.agent);
    thread::scope(|scope| {
        let called = scope.spawn(|| call(server, pin_of(&allocation), &[]));
        agent.receive_invite();
        agent.respond(200);
        agent.serve("ACK");
        agent.serve("BYE");
        called.join().unwrap()
    })
}

#[test]
fn a_connected_call_ends_with_exit_code_0() {
    let mut setup = CallSetup::start();
    let output = answered_call(&mut setup);
    assert!(output.status.success(), "{output:?}");
    let (event, why) = result(&output);
    assert_eq!(event, "connected");
    assert!(why.starts_with("The parties talked for "), "{why}");
}

#[test]
fn the_result_is_that_of_the_call_itself_and_not_of_one_just_before() {
    let mut setup = CallSetup::start();
    let unused = call(&setup.server, "0000", &["--expect", "refused"]);
    assert!(unused.status.success(), "{unused:?}");
    let output = answered_call(&mut setup);
    assert_eq!(result(&output).0, "connected", "{output:?}");
}

#[test]
fn a_call_without_a_connection_ends_with_exit_code_1_and_the_reason() {
    let setup = CallSetup::start();
    let unused = call(&setup.server, "0000", &[]);
    assert_eq!(unused.status.code(), Some(1));
    let why = "No allocation was active on the virtual number.".to_owned();
    assert_eq!(result(&unused), ("not_connected".into(), why.clone()));
    let expected = call(&setup.server, "0000", &["--expect", "refused"]);
    assert!(expected.status.success(), "{expected:?}");
    assert_eq!(result(&expected).1, why);
    let errors = String::from_utf8_lossy(&unused.stderr).into_owned();
    assert!(errors.contains("the call was not connected"), "{errors}");
}

#[test]
fn a_server_on_ipv6_is_called() {
    let own_trunk = trunk("carrier", "127.0.0.1:9".parse().unwrap(), "");
    let own_trunk = own_trunk.replace("127.0.0.1/32", "::1/128");
    let server = Server::with(&format!(
        "[sip]\nlisten = [\"udp:[::1]:0\"]\npublic_address = \"::1\"\n{own_trunk}"
    ));
    let output = call(&server, "0000", &["--expect", "refused"]);
    assert!(output.status.success(), "{output:?}");
    let why = "The server rejected the call with SIP status 404.";
    assert_eq!(result(&output), ("not_connected".into(), why.into()));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains(&format!("calling {}", server.sip)),
        "{shown}"
    );
    assert!(!shown.contains(AGENT));
}
