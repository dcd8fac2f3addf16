//! sipp as carrier, caller and called party: an independent implementation of SIP, RTP and RFC 4733.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::call_setup::{CUSTOMER, VN};
use super::ports::free_port;
use super::server::Server;

/// Starts sipp for one call.
pub fn sipp(folder: &Path, arguments: &[&str]) -> Child {
    super::time_limit::watch();
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

/// sipp as the called party, over `udp` or `tcp`.
pub struct SippAgent {
    transport: &'static str,
    port: String,
}

impl SippAgent {
    /// Creates an agent on a free port.
    pub fn somewhere(transport: &'static str) -> Self {
        Self {
            transport,
            port: free_port().to_string(),
        }
    }

    /// Returns the configuration of a trunk to the agent that accepts calls from a network.
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

/// Runs a masked call. The caller's transport is `u1` or `t1`, the names of sipp.
pub fn masked_call(server: &Server, allocation: &Value, transport: &str, agent: &SippAgent) {
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

/// Returns sipp's log of unexpected messages.
pub fn errors(folder: &Path) -> String {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let errors = files.filter(|path| path.to_string_lossy().ends_with("_errors.log"));
    errors
        .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
        .collect()
}

/// Returns the folder of the scenarios.
pub fn scenarios() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sipp"))
}

/// Writes a scenario with its parts included, as a file for sipp.
pub fn expanded(side: &str, name: &str, folder: &Path) -> String {
    let mut text = fs::read_to_string(scenarios().join(side).join(format!("{name}.xml"))).unwrap();
    while let Some((before, rest)) = text.split_once("{{") {
        let (part, after) = rest.split_once("}}").unwrap();
        let part =
            fs::read_to_string(scenarios().join("parts").join(format!("{part}.xml"))).unwrap();
        text = [before, part.trim_end_matches('\n'), after].concat();
    }
    let file = folder.join(format!("{side}.xml"));
    fs::write(&file, text).unwrap();
    file.display().to_string()
}
