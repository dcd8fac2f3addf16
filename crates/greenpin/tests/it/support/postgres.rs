//! PostgreSQL server of the tests. It ends with the test process.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Creates and starts a cluster, then stops and removes it at the end of its input. The English collation, common
/// in production, reveals code that relies on byte order.
const SCRIPT: &str = r#"
set -e
bin=$1 folder=$2 port=$3
"$bin/initdb" -D "$folder/data" -U postgres -A trust --no-sync -E UTF8 \
    --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US >"$folder/log" 2>&1
"$bin/pg_ctl" -D "$folder/data" -w -l "$folder/log" -o \
    "-h 127.0.0.1 -p $port -k '$folder' -c fsync=off -c max_connections=500 -c ssl=on \
     -c ssl_cert_file='$folder/server.pem' -c ssl_key_file='$folder/server.key'" start >>"$folder/log" 2>&1
echo ready
cat >/dev/null
"$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1
rm -rf "$folder"
"#;

struct Cluster {
    bin: PathBuf,
    port: u16,
    folder: PathBuf,
    // Dropping it closes the script's input.
    _script: Child,
}

/// Creates an empty database and returns its URL.
pub(crate) fn new_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cluster = cluster();
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let port = cluster.port.to_string();
    let made = Command::new(cluster.bin.join("createdb"))
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", &name])
        .status();
    assert!(made.unwrap().success());
    format!("postgres://postgres@127.0.0.1:{port}/{name}")
}

/// Returns all data of a database as text.
#[allow(
    dead_code,
    reason = "of the two programs of tests that share this file one needs it"
)]
pub(crate) fn dump(database: &str) -> Vec<u8> {
    let port = cluster().port.to_string();
    let arguments = [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "postgres",
        "--data-only",
        database,
    ];
    Command::new(cluster().bin.join("pg_dump"))
        .args(arguments)
        .output()
        .unwrap()
        .stdout
}

/// Path of the CA certificate of the server.
#[allow(
    dead_code,
    reason = "of the two programs of tests that share this file one needs it"
)]
pub(crate) fn authority() -> PathBuf {
    cluster().folder.join("ca.pem")
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

impl Cluster {
    fn start() -> Self {
        let bin = binaries().expect("PostgreSQL's server is needed: apt-get install postgresql");
        let folder = tempfile::tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut script = Command::new("sh");
        script
            .args(["-c", SCRIPT, "sh"])
            .args([&bin, &folder])
            .arg(port.to_string());
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        prove(&folder);
        // PostgreSQL refuses to run as root.
        if let Some((user, group)) = unprivileged(&folder) {
            for path in [folder.clone(), folder.join("server.key")] {
                chown(path, Some(user), Some(group)).unwrap();
            }
            script.uid(user).gid(group).current_dir("/");
        }
        let mut script = script.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert_eq!(line, "ready\n", "PostgreSQL did not start: {}", log());
        Self {
            bin,
            port,
            folder,
            _script: script,
        }
    }
}

/// Creates a CA and a certificate for loopback. The key is readable only by its owner.
fn prove(folder: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let write = |name: &str, mode, text: String| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(folder.join(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    write("ca.pem", 0o644, authority.pem());
    write("server.pem", 0o644, server.pem());
    write("server.key", 0o600, key.serialize_pem());
}

/// Returns the folder of the newest installed server.
fn binaries() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = installed.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    folders.filter(|bin| bin.join("initdb").exists()).max()
}

fn unprivileged(folder: &Path) -> Option<(u32, u32)> {
    let root = std::fs::metadata(folder).ok()?.uid() == 0;
    let home = std::fs::metadata("/var/lib/postgresql").ok()?;
    root.then(|| (home.uid(), home.gid()))
}
