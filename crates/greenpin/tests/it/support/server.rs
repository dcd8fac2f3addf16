//! The server binary in a temporary folder, with free ports. It ends with the test.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use greenpin::store::{Database, Store, StoreOptions};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::operator_api::OPERATOR;
use super::ports::free_port;
use super::process::send_signal;
use super::time_limit;

/// Timeout of each wait in a test.
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// Tenant of every test server.
pub const TENANT: &str = "acme";
/// Account SID of the tenant.
pub const SID: &str = "AC0001";
/// Token of the tenant.
pub const TOKEN: &str = "fictional-token-of-acme";

/// Returns the configuration of a trunk: it accepts calls from this machine and sends calls to `peer`. OPTIONS are
/// off, unless `more` enables them.
pub fn trunk(name: &str, peer: SocketAddr, more: &str) -> String {
    let quiet = if more.contains("keep_alive") {
        ""
    } else {
        "keep_alive = 0\n"
    };
    format!(
        "[[trunks]]\nname = \"{name}\"\npeer = \"sip:{peer}\"\naccept_from = [\"127.0.0.1/32\"]\n{quiet}{more}\n"
    )
}

/// Running server.
pub struct Server {
    /// Address of the HTTP API.
    pub http: SocketAddr,
    /// Address of SIP over UDP and TCP.
    pub sip: SocketAddr,
    process: Child,
    folder: TempDir,
    client: reqwest::Client,
    runtime: Runtime,
    starts: u32,
}

impl Server {
    /// Starts a server with one trunk to `agent`.
    pub fn start(agent: SocketAddr) -> Self {
        Self::with(&trunk("carrier", agent, ""))
    }

    /// Starts a server with further configuration. `{folder}` stands for the server's folder.
    pub fn with(configuration: &str) -> Self {
        Self::configured("", configuration)
    }

    /// Like [`Server::with`], with an operator token.
    pub fn with_operator(token: &str, configuration: &str) -> Self {
        Self::configured(&format!("operator_token = \"{token}\"\n"), configuration)
    }

    /// Like [`Server::with`], with further keys of `[http]`.
    pub fn with_http(keys: &str, configuration: &str) -> Self {
        Self::configured(&format!("{keys}\n"), configuration)
    }

    fn configured(http: &str, configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let head = format!(
            "{http}[store]\nurl = \"sqlite:{}/greenpin.db\"",
            folder.path().display()
        );
        Self::on(folder, &head, configuration)
    }

    /// Starts two servers on one PostgreSQL database.
    pub fn two_nodes(configuration: &str) -> [Self; 2] {
        Self::two_nodes_on(&crate::support::postgres::new_database(), configuration)
    }

    /// Starts two servers on the PostgreSQL database of a URL, with the operator API.
    pub fn two_nodes_on(url: &str, configuration: &str) -> [Self; 2] {
        let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let key = first.path().join("master.key");
        let store = format!(
            "operator_token = {OPERATOR:?}\n[store]\nurl = {url:?}\nencryption_key_file = {key:?}"
        );
        let node = |name: &str| format!("{configuration}[node]\nname = \"{name}\"\nlease = 3\n");
        [
            Self::on(first, &store, &node("one")),
            Self::on(second, &store, &node("two")),
        ]
    }

    fn on(folder: TempDir, head: &str, configuration: &str) -> Self {
        time_limit::watch();
        let recordings = match configuration.contains("[recordings]") {
            true => String::new(),
            false => format!(
                "[recordings]\nurl = \"file:{}/recordings\"\nshared = true\n",
                folder.path().display()
            ),
        };
        let sip = match configuration.contains("[sip]") {
            true => "",
            false => "[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n",
        };
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n{head}\n{sip}\
             {recordings}[webhooks]\nallow_private = true\n{configuration}"
        );
        let text = text.replace("{folder}", &folder.path().display().to_string());
        File::create(folder.path().join("greenpin.toml"))
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let make = [
            "tenant",
            "create",
            TENANT,
            "--account-sid",
            SID,
            "--token",
            TOKEN,
        ];
        let made = command(folder.path(), &make);
        let known = String::from_utf8_lossy(&made.stderr).contains("already");
        assert!(made.status.success() || known, "{made:?}");
        let process = spawn(folder.path(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        // The server may close an idle connection, so connections are not reused.
        let client = reqwest::Client::builder()
            .pool_idle_timeout(Duration::from_secs(2))
            .build()
            .unwrap();
        let mut server = Self {
            http: nowhere,
            sip: nowhere,
            process,
            folder,
            client,
            runtime,
            starts: 1,
        };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(ready) = self.log().lines().find_map(ready_line) {
                let (_, http) = ready["http"].as_str().unwrap().split_once("://").unwrap();
                self.http = http.parse().unwrap();
                let sip = ready["sip"].as_str().unwrap().split(' ').next().unwrap();
                let sip: SocketAddr = sip.trim_start_matches("udp:").parse().unwrap();
                self.sip = SocketAddr::new(sip.ip().to_canonical(), sip.port());
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "not ready: {ended:?}\n{}",
                self.log()
            );
            std::thread::yield_now();
        }
    }

    /// Returns the address of SIP over TLS.
    pub fn sip_tls(&self) -> SocketAddr {
        self.sip_addresses("tls:")[0]
    }

    /// Returns the addresses of SIP over a transport, such as `udp:`.
    pub fn sip_addresses(&self, transport: &str) -> Vec<SocketAddr> {
        let ready = self.log().lines().find_map(ready_line).unwrap();
        let words = ready["sip"].as_str().unwrap().to_owned();
        let addresses = words
            .split(' ')
            .filter_map(|word| word.strip_prefix(transport));
        addresses.map(|word| word.parse().unwrap()).collect()
    }

    /// Returns the log since the last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("log{}", self.starts)))
            .unwrap_or_default()
    }

    /// Waits until the log contains a text, and returns the log since the last start.
    pub fn wait_for_log(&self, text: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            assert!(
                Instant::now() < deadline,
                "the log never says {text:?}:\n{log}"
            );
            std::thread::yield_now();
        }
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns the path of the database file.
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("greenpin.db")
    }

    /// Opens the server's store directly, for data that would take thousands of requests or a trunk.
    pub fn store(&self) -> Store {
        let path = self.database();
        let key_file = path.with_file_name("master.key");
        Store::open(&StoreOptions::new(Database::File(path), key_file)).unwrap()
    }

    /// Returns the resident memory of the process, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let held = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        held.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP, which makes the server reload its files.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Replaces a text in the configuration, and makes the server read it again.
    pub fn change_configuration(&self, old: &str, new: &str) {
        let file = self.folder.path().join("greenpin.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{old:?} is in {text}");
        // Replaced at once: the server may still read the last version.
        let written = file.with_extension("new");
        std::fs::write(&written, text.replacen(old, new, 1)).unwrap();
        std::fs::rename(written, file).unwrap();
        self.hang_up();
    }

    /// Like [`Server::change_configuration`], and returns what the log says about it.
    pub fn log_of_change(&self, old: &str, new: &str) -> String {
        let before = self.log().len();
        self.change_configuration(old, new);
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let log = self.log().split_off(before);
            if log.contains("configuration reloaded") || log.contains("is not reloaded") {
                return log;
            }
            assert!(Instant::now() < deadline, "no reload: {log}");
            std::thread::yield_now();
        }
    }

    /// Stops the process with SIGSTOP, like a machine that hangs.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes a stopped process.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        send_signal(&self.process, signal);
    }

    /// Kills the process, like a power failure.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Restarts the server in the same folder, with new ports.
    pub fn start_again(&mut self) {
        self.starts += 1;
        self.process = spawn(self.folder.path(), self.starts);
        self.wait_until_ready();
    }

    /// Restarts the server in the same folder, with a limit of open files that it cannot raise.
    pub fn start_again_with_open_files(&mut self, files: u64) {
        self.starts += 1;
        let log = File::create(self.folder.path().join(format!("log{}", self.starts))).unwrap();
        let served = serve(self.folder.path());
        self.process = Command::new("sh")
            .args(["-c", &format!("ulimit -n {files} && exec \"$@\""), "sh"])
            .arg(served.get_program())
            .args(served.get_args())
            .envs(
                served
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.wait_until_ready();
    }

    /// Restarts the server in the same folder, with the level of the log of its configuration.
    pub fn start_again_with_configured_log(&mut self) {
        self.kill();
        self.starts += 1;
        let log = File::create(self.folder.path().join(format!("log{}", self.starts))).unwrap();
        self.process = serve(self.folder.path())
            .env_remove("GREENPIN_LOG")
            .stderr(log)
            .spawn()
            .unwrap();
        self.wait_until_ready();
    }

    /// Restarts the server in the same folder, with another HTTP address.
    pub fn start_again_on(&mut self, http: &str) {
        self.starts += 1;
        let log = File::create(self.folder.path().join(format!("log{}", self.starts))).unwrap();
        self.process = serve(self.folder.path())
            .env("GREENPIN_HTTP__LISTEN", http)
            .stderr(log)
            .spawn()
            .unwrap();
        self.wait_until_ready();
    }

    /// Restarts the server in the same folder, with another standard error than the file of [`Server::log`].
    pub fn restart_with_log(&mut self, log: impl Into<Stdio>) {
        self.kill();
        // Without a log the ports are chosen here.
        let any = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        (self.http, self.sip) = (any(), any());
        self.process = serve(self.folder.path())
            .env("GREENPIN_HTTP__LISTEN", self.http.to_string())
            .env("GREENPIN_SIP__LISTEN", format!("udp:{}", self.sip))
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while self.readiness() != Some(200) {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "not ready: {ended:?}"
            );
            std::thread::yield_now();
        }
    }

    /// Returns the status of `/readyz`; `None`: the server does not answer.
    pub fn readiness(&self) -> Option<u16> {
        let url = format!("http://{}/readyz", self.http);
        let request = self.client.get(url).timeout(TIMEOUT);
        let response = self.runtime.block_on(async { request.send().await });
        Some(response.ok()?.status().as_u16())
    }

    /// Waits for the end of the process and returns its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::yield_now();
        }
    }

    /// Returns a command with the same configuration, without arguments.
    pub fn program(&self) -> Command {
        program(self.folder.path())
    }

    /// Runs a command with the same configuration.
    pub fn command(&self, arguments: &[&str]) -> Output {
        command(self.folder.path(), arguments)
    }

    /// Runs a command with configuration from the environment.
    pub fn command_with(&self, arguments: &[&str], environment: &[(&str, &Path)]) -> Output {
        program(self.folder.path())
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// Starts a command, so that its output can be read while it runs.
    pub fn spawn_command(&self, arguments: &[&str]) -> Child {
        program(self.folder.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a command and kills it as soon as a condition holds, if it has not ended before.
    pub fn kill_command_when(&self, arguments: &[&str], condition: impl Fn() -> bool) {
        let mut command = self.spawn_command(arguments);
        while !condition() && command.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = command.kill();
        command.wait().unwrap();
    }

    /// Creates another tenant with these credentials.
    pub fn add_tenant(&self, name: &str, account_sid: &str, token: &str) {
        let sid = ["--account-sid", account_sid];
        let arguments = [&["tenant", "create", name], &sid[..], &["--token", token]].concat();
        let created = self.command(&arguments);
        assert!(created.status.success(), "{created:?}");
    }

    /// Adds a number to the tenant's pool.
    pub fn add_number(&self, number: &str, options: &[&str]) {
        let arguments = [&["number", "add", "--tenant", TENANT, number], options].concat();
        let added = self.command(&arguments);
        assert!(added.status.success(), "{added:?}");
    }

    /// Sends a request with the tenant's credentials and returns status and JSON.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("http://{}/v1/tenants/{TENANT}{path}", self.http);
        let mut request = self
            .client
            .request(method.parse().unwrap(), url)
            .basic_auth(SID, Some(TOKEN));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.runtime.block_on(async {
            let response = request.timeout(TIMEOUT).send().await.unwrap();
            (
                response.status().as_u16(),
                response.json().await.unwrap_or(Value::Null),
            )
        })
    }

    /// Returns `response` of a successful request.
    pub fn get(&self, path: &str) -> Value {
        let (status, mut body) = self.request("GET", path, None);
        assert_eq!(status, 200, "{body}");
        body["response"].take()
    }

    /// Repeats a request until `response` matches, at a rate below the rate limit.
    pub fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = self.get(path);
            if wanted(&found) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{path} is never as wanted: {found}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Creates an allocation.
    pub fn allocate(&self, body: &Value) -> Value {
        let (status, mut response) = self.request("POST", "/greenpin", Some(body));
        assert_eq!(status, 201, "{response}");
        response["response"].take()
    }

    /// Changes settings of the tenant.
    pub fn update_settings(&self, settings: &Value) -> Value {
        let (status, mut response) = self.request("PUT", "/settings", Some(settings));
        assert_eq!(status, 200, "{response}");
        response["response"].take()
    }

    /// Registers a webhook endpoint and returns its secret.
    pub fn send_events_to(&self, url: &str) -> String {
        let settings = self.update_settings(&json!({ "webhooks": [{ "url": url }] }));
        settings["webhooks"][0]["secret"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Returns the recording of a call.
    pub fn recording(&self, call_sid: &str) -> Vec<u8> {
        self.audio(&format!("/calls/{call_sid}/recording"))
    }

    /// Returns the audio at a path.
    pub fn audio(&self, path: &str) -> Vec<u8> {
        let url = format!("http://{}/v1/tenants/{TENANT}{path}", self.http);
        let request = self.client.get(url).basic_auth(SID, Some(TOKEN));
        self.runtime.block_on(async {
            request
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap()
                .to_vec()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

fn ready_line(line: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "greenpin is ready").then_some(line)
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenpin"));
    command
        .arg("--config")
        .arg(folder.join("greenpin.toml"))
        .stdin(Stdio::null());
    command
}

fn command(folder: &Path, arguments: &[&str]) -> Output {
    program(folder).args(arguments).output().unwrap()
}

fn spawn(folder: &Path, start: u32) -> Child {
    let log = File::create(folder.join(format!("log{start}"))).unwrap();
    serve(folder).stderr(log).spawn().unwrap()
}

fn serve(folder: &Path) -> Command {
    let mut command = program(folder);
    command
        .arg("serve")
        .env("GREENPIN_LOG", "trace")
        .env("GREENPIN_LOG_FORMAT", "json")
        .stdout(Stdio::null());
    command
}

/// Returns a time of a response in seconds since the Unix epoch.
pub fn unix_seconds(time: &Value) -> i64 {
    let text = time.as_str().unwrap();
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}
