//! Commands of the first steps and guides, run as they stand.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use super::markdown::{blocks, pages, root};
use crate::support::process::send_signal;
use crate::support::server::{SID, Server, TENANT, TOKEN};
use crate::support::time_limit;

/// Token of the operator API on the servers of these tests.
pub const OPERATOR_TOKEN: &str = "fictional-operator-token";
/// Page for the server of `greenpin demo`.
const FIRST_CALL: &str = "first-call.md";
/// Shell code before each page: an error of the server fails the test.
const PRELUDE: &str = "set -eu\ncurl() { command curl --fail-with-body \"$@\"; }\n";

/// Returns the commands of a page that are to be run.
fn script(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    let blocks = blocks(&text).into_iter();
    blocks
        .filter(|block| block.language == "sh" && !block.is_skipped)
        .map(|block| block.text)
        .collect()
}

/// Runs the commands of a page in a folder, with `greenpin` in the `PATH`.
pub fn run(page: &Path, script: &str, folder: &Path, variables: &[(&str, String)]) {
    let programs = folder.join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_greenpin"), programs.join("greenpin")).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", &format!("{PRELUDE}{script}")])
        .current_dir(folder)
        .env("PATH", path)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}: {}\n{}\n{}",
        page.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_commands_of_the_guides_run() {
    let docs = root().join("docs");
    let mut ran = 0;
    for page in [pages(&docs.join("start")), pages(&docs.join("guides"))].concat() {
        let script = script(&page);
        if script.is_empty() || page.ends_with(FIRST_CALL) {
            continue;
        }
        let server = Server::with_operator(OPERATOR_TOKEN, "");
        server.add_number("+914000000001", &[]);
        // An ended allocation leaves events behind, and the number free.
        let allocation = server
            .allocate(&json!({ "caller_id_number": "+914000000001", "from": "+919900000001" }));
        let path = format!("/greenpin/{}", allocation["greenpin_id"].as_str().unwrap());
        assert_eq!(server.request("DELETE", &path, None).0, 200);
        let variables = [
            ("API", format!("http://{}/v1/tenants/{TENANT}", server.http)),
            ("AUTH", format!("{SID}:{TOKEN}")),
            ("ADMIN", format!("http://{}/v1/admin", server.http)),
            ("OPERATOR_TOKEN", OPERATOR_TOKEN.to_owned()),
        ];
        run(
            &page,
            &script,
            server.database().parent().unwrap(),
            &variables,
        );
        ran += 1;
    }
    assert!(ran >= 10, "only {ran} pages have commands");
}

/// `greenpin demo --keep`, stopped with the test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        send_signal(&self.0, Signal::INT);
        let _ = self.0.wait();
    }
}

#[test]
fn the_commands_of_the_first_call_run() {
    time_limit::watch();
    let page = root().join("docs/start").join(FIRST_CALL);
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_greenpin"))
        .args(["demo", "--keep"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let _demo = Demo(child);
    let mut variables = vec![];
    let mut account = String::new();
    for line in output.lines().map(Result::unwrap) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["API", address] => variables.push(("API", address.to_owned())),
            ["account", sid] => sid.clone_into(&mut account),
            ["token", token] => variables.push(("AUTH", format!("{account}:{token}"))),
            ["SIP", address] => variables.push(("SIP", address.to_owned())),
            ["CONFIG", file] => variables.push(("CONFIG", file.to_owned())),
            _ => {}
        }
        if line.contains("/calls") {
            break;
        }
    }
    assert_eq!(variables.len(), 4, "{variables:?}");
    run(&page, &script(&page), folder.path(), &variables);
}
