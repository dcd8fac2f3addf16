//! sipp plays carrier, caller and called party: SIP, RTP and RFC 4733 that nobody here wrote.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::hook::Hook;
use super::server::Server;

const VN: &str = "+914000000001";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn sipp(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new("sipp");
    command.args([
        "-i",
        "127.0.0.1",
        "-mi",
        "127.0.0.1",
        "-m",
        "1",
        "-nostdin",
        "-timeout",
        "40",
        "-timeout_error",
    ]);
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("sipp is installed: ./test does it")
}

/// A call whose caller and called party use a transport each: `u1` or `t1` in the words of sipp.
fn call_over(transport: &str, called_transport: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (agent_port, agent_media) = (free_port().to_string(), free_port().to_string());
    let agent: SocketAddr = format!("127.0.0.1:{agent_port}").parse().unwrap();
    let parameter = if called_transport == "t1" { "tcp" } else { "udp" };
    let server = Server::with(&format!(
        "[[trunks]]\nname = \"carrier\"\npeer = \"sip:{agent};transport={parameter}\"\naccept_from = [\"127.0.0.1/32\"]\n\
         keep_alive = 0\n"
    ));
    server.add_number(VN, &[]);
    let mut hook = Hook::open();
    server.send_events_to(&hook.url);
    let allocation = server.allocate(&json!({ "caller_id_number": VN, "from": AGENT, "to": CUSTOMER }));
    let mut called = sipp(
        folder.path(),
        &["-sn", "uas", "-p", &agent_port, "-mp", &agent_media, "-rtp_echo", "-t", called_transport],
    );
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sipp/caller.xml");
    let (port, media) = (free_port().to_string(), free_port().to_string());
    let target = server.sip.to_string();
    let mut caller = sipp(
        folder.path(),
        &[
            &target,
            "-sf",
            scenario,
            "-p",
            &port,
            "-mp",
            &media,
            "-t",
            transport,
            "-key",
            "vn",
            VN,
            "-key",
            "caller",
            CUSTOMER,
            "-key",
            "keys",
            allocation["pin"].as_str().unwrap(),
        ],
    );
    assert!(caller.wait().unwrap().success(), "the caller's scenario failed");
    assert!(called.wait().unwrap().success(), "the called party's scenario failed");
    let record = hook.event("call.completed");
    assert_eq!(record["data"]["call_type"], "completed", "{record}");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_over_udp() {
    call_over("u1", "u1");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_over_tcp() {
    call_over("t1", "u1");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_that_speaks_tcp() {
    call_over("u1", "t1");
}
