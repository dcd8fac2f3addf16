//! Recordings in a bucket, with a real call and moto's S3 server, which verifies every signature.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::call_setup::{
    AGENT, AGENT_SAYS, CUSTOMER, CUSTOMER_SAYS, CallSetup, VN, pin_of,
};
use crate::support::http_client::raw;
use crate::support::party::{Party, exchange_audio};
use crate::support::server::{Server, TENANT, TIMEOUT, trunk};

/// S3 server with one bucket (`tests/s3/serve.py`). It ends with the test.
struct S3 {
    process: Child,
    commands: ChildStdin,
    responses: Mutex<BufReader<ChildStdout>>,
    place: Value,
}

impl S3 {
    fn start() -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3");
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/s3/venv/bin/python");
        assert!(
            python.exists(),
            "./test installs the S3 server into target/s3"
        );
        let mut process = Command::new(python)
            .arg(tests.join("serve.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let responses = Mutex::new(BufReader::new(process.stdout.take().unwrap()));
        let mut server = Self {
            process,
            commands,
            responses,
            place: Value::Null,
        };
        server.place = server.response();
        server
    }

    fn response(&self) -> Value {
        let mut line = String::new();
        self.responses.lock().unwrap().read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Stops answering, after the server has checked the bucket.
    fn stop_answering(&mut self, servers: &[&Server]) {
        for server in servers {
            server.wait_for_log("the recordings bucket is usable");
        }
        self.order("down");
    }

    fn order(&mut self, command: &str) -> Value {
        writeln!(self.commands, "{command}").unwrap();
        self.response()
    }

    /// Returns all keys with their lengths.
    fn list(&mut self) -> Vec<(String, u64)> {
        serde_json::from_value(self.order("list")).unwrap()
    }

    fn secret(&self) -> &str {
        self.place["secret_access_key"].as_str().unwrap()
    }

    fn configuration(&self, secret: &str) -> String {
        let text = |name: &str| self.place[name].as_str().unwrap().to_owned();
        format!(
            "[recordings]\nurl = \"s3://{}/calls\"\nspool = \"{{folder}}/spool\"\nendpoint = \"{}\"\nregion = \"{}\"\n\
             access_key_id = \"{}\"\nsecret_access_key = \"{secret}\"\n",
            text("bucket"),
            text("endpoint"),
            text("region"),
            text("access_key_id"),
        )
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl CallSetup {
    fn over(s3: &S3) -> Self {
        Self::recording(s3, "")
    }

    /// Starts a server with further keys in `[recordings]`.
    fn recording(s3: &S3, more: &str) -> Self {
        Self::start_with("", &(s3.configuration(s3.secret()) + more))
    }

    /// Runs a recorded call and returns its id.
    fn recorded_call(&mut self) -> String {
        let allocation = self.allocate(&json!({ "record": true }));
        self.connect(&allocation);
        self.both_talk();
        self.hang_up();
        let completed = self.completed();
        let url = completed["recording_url"].as_str().unwrap();
        assert!(
            url.starts_with(&format!("http://{}/v1/", self.server.http)),
            "{url}"
        );
        completed["call_sid"].as_str().unwrap().to_owned()
    }

    fn on_disk(&self) -> Vec<PathBuf> {
        let spool = self.server.database().with_file_name("spool");
        std::fs::read_dir(spool)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }
}

#[test]
fn a_recording_as_ogg_opus_is_uploaded_under_its_own_ending_and_read_from_there() {
    let mut s3 = S3::start();
    let mut setup = CallSetup::recording(&s3, "format = \"opus\"\n");
    let call_sid = setup.recorded_call();
    setup.inbox.wait_for_event("recording.ready");
    let opus = setup.server.recording(&call_sid);
    assert!(opus.starts_with(b"OggS"), "{:?}", opus.get(..8));
    let key = format!("calls/{TENANT}/{call_sid}.opus");
    assert_eq!(s3.list(), [(key, opus.len() as u64)]);
    assert!(setup.on_disk().is_empty(), "{:?}", setup.on_disk());
}

#[test]
fn a_recording_is_uploaded_announced_read_whole_and_by_range_and_erased() {
    let mut s3 = S3::start();
    let mut setup = CallSetup::over(&s3);
    let call_sid = setup.recorded_call();
    let ready = setup.inbox.wait_for_event("recording.ready");
    assert_eq!(ready["data"]["call_sid"], call_sid.as_str());
    let wav = setup.server.recording(&call_sid);
    assert!(wav.starts_with(b"RIFF") && wav.len() > 44, "{}", wav.len());
    let key = format!("calls/{TENANT}/{call_sid}.wav");
    assert_eq!(s3.list(), [(key, wav.len() as u64)]);
    assert!(setup.on_disk().is_empty(), "{:?}", setup.on_disk());
    assert!(!setup.server.log().contains(s3.secret()));

    let path = format!("/calls/{call_sid}/recording/link");
    let (status, link) = setup
        .server
        .request("POST", &path, Some(&json!({ "duration": 60 })));
    assert_eq!(status, 200, "{link}");
    let url = link["response"]["url"].as_str().unwrap();
    let path = url
        .strip_prefix(&format!("http://{}", setup.server.http))
        .unwrap();
    let ask = |path: &str, range: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{range}connection: close\r\n\r\n");
        raw(setup.server.http, request.as_bytes())
    };
    let part = ask(path, "range: bytes=4-7\r\n");
    let range = format!("bytes 4-7/{}", wav.len());
    assert_eq!(
        (part.status, part.header("content-range")),
        (206, Some(range.as_str()))
    );
    assert_eq!(
        (ask(path, "").status, part.header("cache-control")),
        (200, Some("private, no-store"))
    );
    assert_eq!(ask(path, "range: bytes=99999999-\r\n").status, 416);
    let forged = ask(&path.replacen(TENANT, "acmf", 1), "");
    assert_eq!((forged.status, forged.code()), (403, "link_invalid"));

    assert!(
        setup
            .server
            .command(&["tenant", "suspend", TENANT])
            .status
            .success()
    );
    assert_eq!(ask(path, "").code(), "tenant_suspended");
    let erased = setup.server.command(&["tenant", "erase", TENANT, "--yes"]);
    assert!(erased.status.success(), "{erased:?}");
    assert_eq!(s3.list(), []);
}

#[test]
fn recordings_wait_on_disk_while_the_bucket_is_unreachable_even_across_a_crash() {
    let mut s3 = S3::start();
    let mut setup = CallSetup::over(&s3);
    s3.stop_answering(&[&setup.server]);
    let call_sid = setup.recorded_call();
    setup.server.wait_for_log("uploading a recording failed");
    assert_eq!(setup.on_disk().len(), 1);
    let wav = setup.server.recording(&call_sid);
    assert!(
        wav.starts_with(b"RIFF"),
        "until then it is read from the disk"
    );
    setup.server.kill();
    s3.order("up");
    setup.server.start_again();
    let ready = setup.inbox.wait_for_event("recording.ready");
    assert_eq!(ready["data"]["call_sid"], call_sid.as_str());
    assert_eq!(s3.list().len(), 1);
    assert_eq!(setup.server.recording(&call_sid), wav);
}

#[test]
fn an_erasure_waits_for_the_node_with_a_recording_that_was_not_uploaded() {
    let mut s3 = S3::start();
    let mut agent = Party::unconnected(AGENT);
    let trunk = trunk("carrier", agent.address(), "");
    let [mut first, second] = Server::two_nodes(&(trunk + &s3.configuration(s3.secret())));
    agent.set_server(first.sip);
    let mut customer = Party::new(CUSTOMER, first.sip);
    first.add_number(VN, &[]);
    let body = json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER], "record": true });
    let allocation = first.allocate(&body);
    s3.stop_answering(&[&first, &second]);
    assert_eq!(customer.call(VN), 200);
    customer.press(pin_of(&allocation));
    agent.receive_invite();
    agent.respond(200);
    agent.serve("ACK");
    exchange_audio(&mut customer, CUSTOMER_SAYS, &mut agent, AGENT_SAYS);
    customer.bye();
    agent.serve("BYE");
    first.wait_for_log("uploading a recording failed");
    let erase = || second.command(&["tenant", "erase", TENANT, "--yes"]);
    let pending = erase();
    let said = String::from_utf8_lossy(&pending.stderr).into_owned();
    assert!(
        !pending.status.success() && said.contains("lie on other nodes (one)"),
        "{said}"
    );
    first.kill();
    s3.order("up");
    first.start_again();
    let deadline = Instant::now() + TIMEOUT;
    while !erase().status.success() {
        assert!(Instant::now() < deadline, "{}", first.log());
    }
    let spool = first.database().with_file_name("spool");
    assert_eq!(std::fs::read_dir(spool).unwrap().count(), 0);
    assert_eq!(s3.list(), []);
}

#[test]
fn a_bucket_that_rejects_the_key_is_reported_at_start_without_the_secret() {
    let s3 = S3::start();
    let wrong = s3.secret().chars().rev().collect::<String>();
    let server = Server::with(&s3.configuration(&wrong));
    let log = server.wait_for_log("cannot use the recordings bucket");
    assert!(log.contains("cannot write s3://"), "{log}");
    assert!(!log.contains(&wrong));
}

#[test]
fn doctor_tries_the_bucket_leaves_nothing_there_and_names_a_wrong_key() {
    let mut s3 = S3::start();
    let server = Server::with(&s3.configuration(s3.secret()));
    server.wait_for_log("the recordings bucket is usable");
    let examine = |environment: &[(&str, &Path)]| -> Value {
        let output = server.command_with(&["doctor", "--json"], environment);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut checks = report["checks"].as_array().unwrap().iter();
        let is_bucket =
            |found: &&Value| found["check"] == "recordings" && found["subject"] == "bucket";
        checks.find(is_bucket).unwrap().clone()
    };
    let found = examine(&[]);
    assert_eq!(found["result"], "ok", "{found:#}");
    assert_eq!(s3.list(), []);
    let wrong = s3.secret().chars().rev().collect::<String>();
    let key = "GREENPIN_RECORDINGS__SECRET_ACCESS_KEY";
    let found = examine(&[(key, Path::new(&wrong))]);
    let reason = found["reason"].as_str().unwrap();
    assert!(
        found["result"] == "fault" && reason.contains("cannot write s3://"),
        "{found:#}"
    );
    assert!(!found.to_string().contains(&wrong));
}
