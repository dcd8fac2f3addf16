//! sipp plays carrier, caller and called party: SIP, RTP and RFC 4733 that nobody here wrote.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::hook::Hook;
use super::ports::free_port;
use super::server::Server;

const VN: &str = "+914000000001";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";

/// Starts sipp for one call.
pub fn sipp(folder: &Path, arguments: &[&str]) -> Child {
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
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("sipp is installed: ./test does it")
}

/// Where sipp takes the calls that go out, over `udp` or `tcp`.
pub struct Agent {
    transport: &'static str,
    port: String,
}

impl Agent {
    /// An agent on a free port.
    pub fn somewhere(transport: &'static str) -> Self {
        Self {
            transport,
            port: free_port().to_string(),
        }
    }

    /// The trunk of a configuration that leads to it, and that brings calls from a network.
    pub fn trunk(&self, network: &str) -> String {
        format!(
            "[[trunks]]\nname = \"carrier\"\npeer = \"sip:127.0.0.1:{};transport={}\"\naccept_from = [\"{network}\"]\nkeep_alive = 0\n",
            self.port, self.transport
        )
    }

    fn answering(&self, folder: &Path) -> Child {
        let transport = if self.transport == "tcp" { "t1" } else { "u1" };
        let media = free_port().to_string();
        sipp(
            folder,
            &[
                "-sn",
                "uas",
                "-p",
                &self.port,
                "-mp",
                &media,
                "-rtp_echo",
                "-t",
                transport,
            ],
        )
    }
}

/// One whole masked call of an allocation, whose caller uses a transport: `u1` or `t1` in the words of sipp.
pub fn masked_call(server: &Server, allocation: &Value, transport: &str, agent: &Agent) {
    let folder = tempfile::tempdir().unwrap();
    let mut called = agent.answering(folder.path());
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sipp/caller.xml");
    let (port, media) = (free_port().to_string(), free_port().to_string());
    let (target, pin) = (server.sip.to_string(), allocation["pin"].as_str().unwrap());
    let place = [
        &target, "-sf", scenario, "-p", &port, "-mp", &media, "-t", transport,
    ];
    let keys = [
        "-key", "vn", VN, "-key", "caller", CUSTOMER, "-key", "keys", pin,
    ];
    let mut caller = sipp(folder.path(), &[&place[..], &keys].concat());
    assert!(
        caller.wait().unwrap().success(),
        "the caller's scenario failed"
    );
    assert!(
        called.wait().unwrap().success(),
        "the called party's scenario failed"
    );
}

/// A call whose caller and called party use a transport each.
fn call_over(transport: &str, called_transport: &'static str) {
    let agent = Agent::somewhere(called_transport);
    let server = Server::with(&agent.trunk("127.0.0.1/32"));
    server.add_number(VN, &[]);
    let mut hook = Hook::open();
    server.send_events_to(&hook.url);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": AGENT, "to": CUSTOMER }));
    masked_call(&server, &allocation, transport, &agent);
    let record = hook.event("call.completed");
    assert_eq!(record["data"]["call_type"], "completed", "{record}");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_over_udp() {
    call_over("u1", "udp");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_over_tcp() {
    call_over("t1", "udp");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_that_speaks_tcp() {
    call_over("u1", "tcp");
}
