//! `greenpin doctor` before the first start, beside a running server, and with planted faults.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::party::header;
use crate::support::ports::free_port;
use crate::support::postgres;
use crate::support::server::{Server, TIMEOUT};
use crate::support::time_limit;
use crate::support::tls::{Certificates, Tunnel};
use crate::support::webhook_inbox::WebhookInbox;

const TOKEN: &str = "fictional-operator-token";
const PASSWORD: &str = "fictional-password";

/// Configuration in a folder of its own, without a server.
struct Installation {
    folder: TempDir,
    sip: u16,
}

impl Installation {
    /// Writes a configuration. `{folder}` stands for its folder, `{sip}` for a free port; sections that it lacks get
    /// sound values.
    fn new(configuration: &str) -> Self {
        time_limit::watch();
        let folder = tempfile::tempdir().unwrap();
        let [http, sip] = [free_port(), free_port()];
        let sections = [
            (
                "[http]",
                format!("listen = \"127.0.0.1:{http}\"\noperator_token = \"{TOKEN}\""),
            ),
            (
                "[store]",
                "url = \"sqlite:{folder}/data/greenpin.db\"".to_owned(),
            ),
            (
                "[sip]",
                "listen = [\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\"]".to_owned(),
            ),
            (
                "[recordings]",
                "url = \"file:{folder}/data/recordings\"".to_owned(),
            ),
            (
                "[[trunks]]",
                "name = \"phone\"\naccept_from = [\"127.0.0.1/32\"]".to_owned(),
            ),
        ];
        let missing = sections
            .iter()
            .filter(|(section, _)| !configuration.contains(section));
        let missing: String = missing
            .map(|(section, keys)| format!("{section}\n{keys}\n"))
            .collect();
        let text = format!("{missing}{configuration}\n")
            .replace("{folder}", &folder.path().display().to_string())
            .replace("{sip}", &sip.to_string());
        let file = folder.path().join("greenpin.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
        Self { folder, sip }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Creates the database with a tenant, and returns its file.
    fn create_store(&self, options: &[&str]) -> PathBuf {
        let create = ["tenant", "create", "acme", "--account-sid", "AC0001"];
        let created = self.command(&[&create[..], options].concat());
        assert!(created.status.success(), "{created:?}");
        self.path("data/greenpin.db")
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenpin"));
        command
            .arg("--config")
            .arg(self.path("greenpin.toml"))
            .stdin(Stdio::null());
        command
    }

    fn command(&self, arguments: &[&str]) -> Output {
        self.program().args(arguments).output().unwrap()
    }

    fn doctor(&self) -> Report {
        Report::of(self.command(&["doctor", "--json"]))
    }

    /// Returns all files and folders.
    fn files(&self) -> Vec<PathBuf> {
        fn below(folder: &Path) -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).unwrap();
            let paths = entries.map(|entry| entry.unwrap().path());
            paths
                .flat_map(|path| match path.is_dir() {
                    true => [vec![path.clone()], below(&path)].concat(),
                    false => vec![path],
                })
                .collect()
        }
        let mut files = below(self.folder.path());
        files.sort();
        files
    }
}

/// Output of the command, as JSON.
struct Report {
    exit_code: i32,
    text: String,
    document: Value,
}

impl Report {
    fn of(output: Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
        Self {
            exit_code: output.status.code().unwrap(),
            text,
            document,
        }
    }

    fn findings(&self) -> &Vec<Value> {
        self.document["checks"].as_array().unwrap()
    }

    /// Returns the finding of a check whose subject contains a text.
    fn find(&self, check: &str, subject: &str) -> &Value {
        let mut found = self.findings().iter().filter(|finding| {
            finding["check"] == check && finding["subject"].as_str().unwrap().contains(subject)
        });
        found
            .next()
            .unwrap_or_else(|| panic!("no {check} {subject}: {:#}", self.document))
    }

    /// Asserts that a finding is in order, with a text in its reason.
    fn expect_ok(&self, check: &str, subject: &str, reason: &str) {
        let contains =
            |finding: &Value, key: &str, text: &str| finding[key].as_str().unwrap().contains(text);
        let is_ok = self.findings().iter().any(|finding| {
            finding["check"] == check
                && finding["result"] == "ok"
                && contains(finding, "subject", subject)
                && contains(finding, "reason", reason)
        });
        assert!(
            is_ok,
            "no {check} {subject:?}: {reason:?} in {:#}",
            self.document
        );
    }

    /// Asserts that a fault is named, with texts in its reason and its remedy.
    fn expect(&self, result: &str, check: &str, reason: &str, remedy: &str) {
        let contains = |finding: &Value, key: &str, text: &str| {
            finding[key]
                .as_str()
                .is_some_and(|value| value.contains(text))
        };
        let named = self.findings().iter().any(|finding| {
            finding["check"] == check
                && finding["result"] == result
                && contains(finding, "reason", reason)
                && contains(finding, "remedy", remedy)
        });
        assert!(
            named,
            "no {check}: {reason:?}, {remedy:?} in {:#}",
            self.document
        );
    }

    /// Asserts that there is no fault, and that the counts are right.
    fn expect_no_fault(&self) {
        let count = |result: &str| {
            let found = self.findings().iter();
            found.filter(|finding| finding["result"] == result).count()
        };
        let faults = self.document["faults"].as_u64().unwrap();
        assert!(faults == 0 && self.exit_code == 0, "{:#}", self.document);
        assert_eq!(self.document["ok"], count("ok"));
        assert_eq!(self.document["warnings"], count("warning"));
    }
}

/// Carrier that answers OPTIONS, and REGISTER only with credentials, or never.
struct Carrier {
    address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
}

impl Carrier {
    fn open(takes_credentials: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = received.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let is_known = request.contains("\r\nAuthorization: Digest ") && takes_credentials;
                let status = match request.starts_with("REGISTER ") && !is_known {
                    true => {
                        "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\""
                    }
                    false => "200 OK",
                };
                let repeated = ["Via", "From", "To", "Call-ID", "CSeq"]
                    .map(|name| format!("{name}: {}\r\n", header(&request, name)))
                    .concat();
                let response = format!("SIP/2.0 {status}\r\n{repeated}Content-Length: 0\r\n\r\n");
                seen.lock().unwrap().push(request);
                let _ = socket.send_to(response.as_bytes(), peer);
            }
        });
        Self { address, received }
    }

    /// Returns the configuration of a trunk that registers here.
    fn trunk(&self) -> String {
        format!(
            "[[trunks]]\nname = \"carrier\"\npeer = \"sip:{}\"\nregister = true\nusername = \"user\"\npassword = \"{PASSWORD}\"\n",
            self.address
        )
    }

    fn requests(&self, method: &str) -> Vec<String> {
        let received = self.received.lock().unwrap();
        let of_method = received
            .iter()
            .filter(|request| request.starts_with(method));
        of_method.cloned().collect()
    }
}

#[test]
fn an_installation_before_its_first_start_is_healthy_and_stays_untouched() {
    let carrier = Carrier::open(true);
    let installation = Installation::new(&carrier.trunk());
    let before = installation.files();
    let report = installation.doctor();
    report.expect_no_fault();
    for (check, subject, reason) in [
        ("configuration", "greenpin.toml", "valid"),
        ("ports", "udp:127.0.0.1", "free"),
        ("ports", "tcp:127.0.0.1", "free"),
        ("ports", "http:127.0.0.1", "free"),
        ("public_address", "sip.public_address", "arrive here"),
        ("trunks", "carrier: UDP", "answers 200"),
        ("trunks", "carrier: registration", "accepts the credentials"),
        ("store", "greenpin.db", "will be made at the first start"),
        ("key_file", "master.key", "will be made at the first start"),
        ("recordings", "file:", "will be made at the first start"),
        ("webhooks", "all", "no endpoints"),
        ("limits", "calls", "media.ports"),
    ] {
        report.expect_ok(check, subject, reason);
    }
    assert_eq!(installation.files(), before, "nothing was made");
    let queries = carrier.requests("REGISTER ");
    assert_eq!(queries.len(), 2, "one answers the challenge");
    assert!(
        queries.iter().all(|query| !query.contains("\r\nContact:")),
        "a query without Contact changes no binding: {queries:?}"
    );
}

/// Starts a server with a carrier, on ports of its configuration.
fn server_of(carrier: &Carrier) -> Server {
    let port = free_port();
    let listen = format!("listen = [\"udp:127.0.0.1:{port}\", \"tcp:127.0.0.1:{port}\"]");
    Server::with_operator(TOKEN, &format!("[sip]\n{listen}\n{}", carrier.trunk()))
}

/// Examines a running server. Its configuration lets the system choose the port for HTTP, so that it is given here.
fn examine(server: &Server) -> Report {
    let mut command = server.program();
    command.env("GREENPIN_HTTP__LISTEN", server.http.to_string());
    Report::of(command.args(["doctor", "--json"]).output().unwrap())
}

#[test]
fn beside_a_running_server_its_ports_and_its_store_are_in_order() {
    let carrier = Carrier::open(true);
    let inbox = WebhookInbox::open();
    let server = server_of(&carrier);
    server.send_events_to(&inbox.url);
    let deadline = Instant::now() + TIMEOUT;
    let mut report = examine(&server);
    while report.find("trunks", "registration")["result"] != "ok" {
        assert!(Instant::now() < deadline, "{:#}", report.document);
        report = examine(&server);
    }
    report.expect_no_fault();
    let in_use = format!("in use by the server (pid {})", server.pid());
    for (check, subject, reason) in [
        ("http", "readiness", "is ready"),
        ("http", "console", "/console"),
        ("ports", "udp:", in_use.as_str()),
        ("ports", "tcp:", in_use.as_str()),
        ("ports", "http:", in_use.as_str()),
        ("public_address", "sip.public_address", "arrive here"),
        ("trunks", "carrier: UDP", "answers 200"),
        ("trunks", "registration", "the server is registered"),
        ("store", "greenpin.db", "a read takes"),
        ("key_file", "master.key", "the key of the database"),
        ("recordings", "file:", "written, read back and deleted"),
        ("webhooks", "acme: http://127.0.0.1", "reachable"),
        ("clock", "greenpin.db", "no event in the future"),
        ("limits", "open files", "for the server"),
    ] {
        report.expect_ok(check, subject, reason);
    }
    for secret in [TOKEN, PASSWORD, "/hook", "fictional"] {
        assert!(!report.text.contains(secret), "{secret} in {}", report.text);
    }
    assert_eq!(server.readiness(), Some(200));
}

#[test]
fn a_port_that_the_server_has_not_taken_over_is_a_warning() {
    let server = server_of(&Carrier::open(true));
    let mut command = server.program();
    command.env(
        "GREENPIN_SIP__LISTEN",
        format!("udp:127.0.0.1:{}", free_port()),
    );
    let report = Report::of(command.args(["doctor", "--json"]).output().unwrap());
    report.expect(
        "warning",
        "ports",
        "nothing listens here",
        "restart the server",
    );
    report.expect(
        "warning",
        "public_address",
        "not checked",
        "restart the server",
    );
}

#[test]
fn a_node_on_postgresql_is_examined_without_a_write() {
    let url = postgres::new_database();
    let key = tempfile::tempdir().unwrap();
    let store = format!(
        "[store]\nurl = \"{url}\"\nencryption_key_file = \"{}/master.key\"\n\
         [recordings]\nurl = \"file:{{folder}}/recordings\"\nshared = true\n",
        key.path().display()
    );
    let installation = Installation::new(&store);
    let report = installation.doctor();
    report.expect_no_fault();
    report.expect_ok("store", "postgres://", "PostgreSQL");
    report.expect_ok("key_file", "master.key", "will be made");
    assert!(!key.path().join("master.key").exists());
    let [first, second] = Server::two_nodes_on(&url, "");
    let report = examine(&first);
    report.expect_no_fault();
    report.expect_ok("store", "postgres://", "a read takes");
    report.expect_ok("clock", "postgres://", "the same");
    report.expect_ok("key_file", "master.key", "the key of the database");
    let in_use = format!("in use by the server (pid {})", first.pid());
    report.expect_ok("ports", "http:", &in_use);
    assert_eq!(second.readiness(), Some(200));
    let other = installation.doctor();
    other.expect(
        "fault",
        "key_file",
        "the key file is missing",
        "restore the key file",
    );
}

#[test]
fn an_older_schema_is_a_warning_and_is_not_migrated() {
    let installation = Installation::new("");
    let file = installation.create_store(&[]);
    let database = rusqlite::Connection::open(&file).unwrap();
    let newest =
        "DELETE FROM schema_version WHERE version = (SELECT MAX(version) FROM schema_version)";
    database.execute(newest, []).unwrap();
    let version = || {
        let newest = "SELECT MAX(version) FROM schema_version";
        let version: i64 = database.query_row(newest, [], |row| row.get(0)).unwrap();
        version
    };
    let before = version();
    let report = installation.doctor();
    report.expect_no_fault();
    report.expect(
        "warning",
        "store",
        "the next start migrates it",
        "greenpin backup",
    );
    report.expect_ok("key_file", "master.key", "the key of the database");
    report.expect("warning", "webhooks", "not checked", "correct the store");
    assert_eq!(version(), before);
}

#[test]
fn a_configuration_with_faults_is_a_finding_with_its_place_and_the_rest_is_not_checked() {
    let installation = Installation::new("[http]\nlisen = \"127.0.0.1:8080\"");
    let report = installation.doctor();
    assert_eq!(report.exit_code, 1);
    let unknown = "unknown key http.lisen: did you mean http.listen?";
    report.expect("fault", "configuration", unknown, "correct it");
    let place = report.find("configuration", "greenpin.toml:");
    assert_eq!(place["result"], "fault");
    for check in ["ports", "store", "trunks", "limits"] {
        report.expect(
            "warning",
            check,
            "not checked: the configuration has faults",
            "",
        );
    }
}

#[test]
fn text_has_a_line_for_each_finding_its_remedy_below_it_and_no_colour_in_a_pipe() {
    let installation = Installation::new("[http]\nlisten = \"127.0.0.1:0\"");
    let output = installation.command(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!text.contains('\u{1b}'), "{text}");
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("warning  operator token"));
    let warning = lines.next().unwrap();
    assert!(warning.contains("http.operator_token is not set"), "{text}");
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("         -> set http.operator_token")
    );
    let last = text.lines().last().unwrap();
    assert!(last.ends_with(" warnings, 0 faults"), "{last}");
}

/// DNS server on loopback that knows no name.
fn empty_dns() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            // The question ends with the root of its name, type and class.
            let root = 12
                + buffer[12..length]
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap();
            buffer[2..4].copy_from_slice(&[0x81, 0x83]);
            buffer[6..12].fill(0);
            let _ = socket.send_to(&buffer[..root + 5], client);
        }
    });
    address
}

/// Writes a certificate of the past with its key, and returns its configuration.
fn expired_identity(folder: &Path) -> String {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let path = |name: &str| folder.join(name);
    fs::write(path("expired.pem"), certificate.pem()).unwrap();
    fs::write(path("expired.key"), key.serialize_pem()).unwrap();
    format!(
        "tls_certificate = {:?}\ntls_key = {:?}\n",
        path("expired.pem"),
        path("expired.key")
    )
}

/// Asserts that a planted fault is named, with exit code 1.
fn expect_fault(installation: &Installation, check: &str, reason: &str, remedy: &str) {
    let report = installation.doctor();
    assert_eq!(report.exit_code, 1, "{:#}", report.document);
    report.expect("fault", check, reason, remedy);
}

#[test]
fn planted_faults_of_the_configuration_and_of_ports_are_named() {
    let misspelt = Installation::new("[media]\nportz = \"20000-29999\"");
    expect_fault(
        &misspelt,
        "configuration",
        "media.portz: did you mean media.ports?",
        "correct",
    );

    let taken = Installation::new("");
    let _other = UdpSocket::bind(("127.0.0.1", taken.sip)).unwrap();
    let reason = format!(
        "port {} is in use by process {}",
        taken.sip,
        std::process::id()
    );
    expect_fault(&taken, "ports", &reason, "another port in sip.listen");

    let unheard = Installation::new(
        "[sip]\nlisten = [\"udp:127.0.0.1:{sip}\"]\npublic_address = \"127.0.0.2\"",
    );
    expect_fault(
        &unheard,
        "public_address",
        "nothing listens at udp:127.0.0.2",
        "sip.listen",
    );
}

#[test]
fn planted_faults_of_key_and_store_are_named() {
    let exposed = Installation::new("");
    exposed.create_store(&[]);
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(exposed.path("data/master.key"), open).unwrap();
    expect_fault(
        &exposed,
        "key_file",
        "others can use the key file",
        "chmod 600",
    );

    let foreign = Installation::new("");
    foreign.create_store(&[]);
    fs::write(foreign.path("data/master.key"), [7; 32]).unwrap();
    expect_fault(
        &foreign,
        "key_file",
        "another master key",
        "copy the key file",
    );

    let newer = Installation::new("");
    let file = newer.create_store(&[]);
    let database = rusqlite::Connection::open(file).unwrap();
    let insert = "INSERT INTO schema_version (version, applied_at) VALUES (999, 0)";
    database.execute(insert, []).unwrap();
    expect_fault(&newer, "store", "schema version 999", "or a newer one");

    let blocked = Installation::new("");
    fs::write(blocked.path("data"), "a file").unwrap();
    expect_fault(&blocked, "store", "is not a folder", "remove that file");

    let absent = Installation::new(
        "[store]\nurl = \"postgres://greenpin@127.0.0.1:1/greenpin\"\n\
         [recordings]\nurl = \"file:{folder}/recordings\"\nshared = true",
    );
    expect_fault(&absent, "store", "database server", "check store.url");
}

#[test]
fn planted_faults_of_trunks_are_named() {
    let trunk = |keys: &str| format!("[[trunks]]\nname = \"carrier\"\n{keys}\n");
    let sip = "[sip]\nlisten = [\"udp:127.0.0.1:{sip}\"]\n";
    let dns = empty_dns();
    let nameless = trunk("peer = \"sip:carrier.invalid\"");
    let nameless = Installation::new(&format!("{sip}dns = \"{dns}\"\n{nameless}"));
    expect_fault(
        &nameless,
        "dns",
        "no address for SIP",
        "records of the name",
    );

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = format!("peer = \"sip:{}\"", silent.local_addr().unwrap());
    let silent = Installation::new(&trunk(&peer));
    expect_fault(&silent, "trunks", "no answer within 5 s", "the firewall");

    let refusing = Carrier::open(false);
    let refusing = Installation::new(&refusing.trunk());
    let refused = "refuses the credentials (401)";
    expect_fault(&refusing, "trunks", refused, "username, password");

    let outside = Installation::new(&trunk("peer = \"sip:198.51.100.5\""));
    expect_fault(&outside, "trunks", "cannot be reached", "listen on 0.0.0.0");
}

#[test]
fn planted_faults_of_certificates_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let sip = "[sip]\nlisten = [\"udp:127.0.0.1:{sip}\", \"tls:127.0.0.1:{sip}\"]\n";
    let expired = Installation::new(&format!("{sip}{}", expired_identity(folder.path())));
    expect_fault(&expired, "tls", "expired on 2021-01-01", "renew");

    let (own, foreign) = (Certificates::new(), Certificates::new());
    for (shown, trusted) in [("other", &own), ("loopback", &foreign)] {
        let party = UdpSocket::bind("127.0.0.1:0").unwrap();
        let acceptor = own.acceptor(shown);
        let tunnel = Tunnel::accept(party.local_addr().unwrap(), Some(acceptor));
        let trunk = format!(
            "[[trunks]]\nname = \"carrier\"\npeer = \"sips:{}\"\ntls_ca = {:?}\n",
            tunnel.far,
            trusted.path("ca.pem")
        );
        let doubtful = Installation::new(&trunk);
        let report = doubtful.doctor();
        report.expect("fault", "tls", "certificate", "lead to a CA in tls_ca");
        report.expect(
            "warning",
            "trunks",
            "not checked",
            "correct the certificate",
        );
        assert_eq!(report.exit_code, 1);
    }
}

#[test]
fn planted_faults_of_recordings_webhooks_and_limits_are_named() {
    let recordings = Installation::new("");
    fs::create_dir(recordings.path("data")).unwrap();
    fs::write(recordings.path("data/recordings"), "a file").unwrap();
    expect_fault(
        &recordings,
        "recordings",
        "is not a folder",
        "remove that file",
    );

    let hook = "http://127.0.0.1:9/hook?secret=fictional";
    let private = Installation::new("");
    private.create_store(&["--webhook", hook]);
    expect_fault(
        &private,
        "webhooks",
        "the address is private",
        "webhooks.allow_private",
    );

    let refusing = Installation::new("[webhooks]\nallow_private = true");
    refusing.create_store(&["--webhook", hook]);
    let report = refusing.doctor();
    report.expect(
        "fault",
        "webhooks",
        "refused",
        "check that the receiver runs",
    );
    assert_eq!(
        report.find("webhooks", "")["subject"],
        "acme: http://127.0.0.1:9"
    );
    assert!(!report.text.contains("secret=") && report.exit_code == 1);

    let narrow = Installation::new("");
    let doctor = narrow.program();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 200 && exec \"$@\"", "sh"])
        .arg(doctor.get_program())
        .args(doctor.get_args())
        .args(["doctor", "--json"])
        .output();
    let report = Report::of(output.unwrap());
    report.expect("fault", "limits", "200 for this shell", "LimitNOFILE");
    assert_eq!(report.exit_code, 1);
}
