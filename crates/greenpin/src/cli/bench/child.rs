//! The measured server: its own process, so that the load generator is not counted.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use call::PhoneNumber;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::delay_proxy;
use crate::store::{
    Allocation, Database, NewAllocation, NewNumber, NewTenant, NumberMode, RateLimit, Store,
    StoreOptions, TenantId, TenantSettings, Timestamp,
};

pub(super) const TENANT: &str = "bench";
pub(super) const SID: &str = "AC-bench";
pub(super) const TOKEN: &str = "fictional-token-of-the-bench";
/// Rate limit above any measured rate.
const UNLIMITED: RateLimit = RateLimit {
    requests_per_second: 10_000_000,
    burst: 10_000_000,
};
/// Name of its configuration file.
const CONFIGURATION: &str = "greenpin.toml";
/// Clock ticks a second in /proc, fixed on Linux.
const TICKS: f64 = 100.0;

/// Database of the measured server.
#[derive(Default)]
pub(super) struct BenchStore {
    /// An empty PostgreSQL database; `None` for a temporary SQLite file.
    pub(super) url: Option<String>,
    /// Round trip to the server of the database.
    pub(super) round_trip: Duration,
}

impl BenchStore {
    /// Returns the URL with the address of a proxy that makes the round trip.
    fn through_proxy(&self, url: &str, server: &tokio_postgres::Config) -> Result<String, String> {
        if self.round_trip.is_zero() {
            return Ok(url.to_owned());
        }
        let (host, port) = match (server.get_hosts(), server.get_ports()) {
            ([tokio_postgres::config::Host::Tcp(host)], ports) => {
                (host, ports.first().copied().unwrap_or(5432))
            }
            _ => return Err("--round-trip needs one TCP host in --store".to_owned()),
        };
        let target = (host.as_str(), port).to_socket_addrs();
        let target = target.ok().and_then(|mut addresses| addresses.next());
        let target = target.ok_or_else(|| format!("{host}: no such host"))?;
        let proxy = delay_proxy::start(target, self.round_trip);
        let proxy = proxy.map_err(|error| error.to_string())?;
        let with_port = format!("{host}:{port}");
        match url.contains(&with_port) {
            true => Ok(url.replacen(&with_port, &proxy.to_string(), 1)),
            false => Ok(url.replacen(host.as_str(), &proxy.to_string(), 1)),
        }
    }
}

/// A running server and its folder.
pub(super) struct Server {
    pub(super) http: SocketAddr,
    pub(super) sip: SocketAddr,
    process: Child,
    folder: TempDir,
    /// Time from the start of the process until it was ready.
    pub(super) took: Duration,
}

/// A folder with a store to fill before the server starts.
pub(super) struct Prepared {
    folder: TempDir,
    pub(super) store: Store,
    url: String,
}

impl Prepared {
    /// Creates a store with one tenant, on an empty PostgreSQL database if one is given.
    pub(super) async fn on(store: &BenchStore) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = folder.path().join("greenpin.db");
        let (database, url) = match store.url.as_deref() {
            None => (
                Database::File(file.clone()),
                format!("sqlite:{}", file.display()),
            ),
            Some(url) => {
                let server: tokio_postgres::Config = url
                    .parse()
                    .map_err(|_| "the store must be a PostgreSQL URL".to_owned())?;
                let proxied = store.through_proxy(url, &server)?;
                (Database::Server(Box::new(server)), proxied)
            }
        };
        let options = StoreOptions::new(database, folder.path().join("master.key"));
        let store = Store::open(&options).map_err(|error| error.to_string())?;
        let tenant = NewTenant {
            tenant_id: tenant()?,
            account_sid: SID.to_owned(),
            token: Some(TOKEN.to_owned()),
            settings: TenantSettings {
                rate_limit: Some(UNLIMITED),
                ..TenantSettings::default()
            },
            webhooks: Vec::new(),
        };
        store
            .create_tenant(tenant, Timestamp::now())
            .await
            .map_err(|error| error.to_string())?;
        Ok(Self { folder, store, url })
    }

    pub(super) async fn add_number(
        &self,
        number: PhoneNumber,
        mode: NumberMode,
    ) -> Result<(), String> {
        let (pin_length, max_active) = match mode {
            NumberMode::Exclusive => (4, 1),
            NumberMode::Shared => (8, 50_000_000),
        };
        let new = NewNumber {
            virtual_number: number,
            mode,
            pin_length,
            max_active,
        };
        self.store
            .add_number(tenant()?, new, Timestamp::now())
            .await
            .map_err(|error| error.to_string())
    }

    /// Creates an allocation.
    pub(super) async fn allocate(
        &self,
        number: PhoneNumber,
        record: bool,
    ) -> Result<Allocation, String> {
        let new = NewAllocation {
            max_pin_attempts: 10,
            record,
            ..NewAllocation::new(number, vec![agent()?])
        };
        let made = self
            .store
            .tenant(tenant()?)
            .create_allocation(new, Timestamp::now())
            .await;
        made.map_err(|error| error.to_string())
    }

    /// Starts the server. Its trunk sends calls to `agent`.
    pub(super) async fn start(self, agent: SocketAddr) -> Result<Server, String> {
        drop(self.store);
        let (folder, url) = (self.folder.path().display(), &self.url);
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = {url:?}\nencryption_key_file = \"{folder}/master.key\"\n[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n\
             [recordings]\nurl = \"file:{folder}/recordings\"\nshared = true\n[[trunks]]\nname = \"bench\"\npeer = \"sip:{agent}\"\nkeep_alive = 0\n\
             [webhooks]\nallow_private = true\n"
        );
        std::fs::write(self.folder.path().join(CONFIGURATION), text)
            .map_err(|error| error.to_string())?;
        Server::start(self.folder).await
    }
}

/// Starts this program as a child and waits for `message` in its log.
pub(super) async fn spawn(arguments: &[&str], message: &str) -> Result<(Child, Value), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("GREENPIN_LOG", "info")
        .env("GREENPIN_LOG_FORMAT", "json");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut process = command.spawn().map_err(|error| error.to_string())?;
    let log = process.stderr.take().ok_or("the server has no log")?;
    let mut lines = BufReader::new(log).lines();
    loop {
        let line = lines.next_line().await.map_err(|error| error.to_string())?;
        let line = line.ok_or("the server ended at once")?;
        let line: Value =
            serde_json::from_str(&line).map_err(|_| format!("the server said: {line}"))?;
        if line.get("message").and_then(Value::as_str) == Some(message) {
            // Unread output would block the server.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((process, line));
        }
    }
}

pub(super) fn address(ready: &Value, key: &str) -> Result<SocketAddr, String> {
    let text = ready.get(key).and_then(Value::as_str).unwrap_or_default();
    let text = text
        .trim_start_matches("http://")
        .trim_start_matches("udp:");
    text.parse()
        .map_err(|_| format!("the server names no address for {key}"))
}

impl Server {
    async fn start(folder: TempDir) -> Result<Self, String> {
        let file = folder.path().join(CONFIGURATION).display().to_string();
        let begun = Instant::now();
        let (process, ready) = spawn(&["--config", &file, "serve"], "greenpin is ready").await?;
        let took = begun.elapsed();
        let (http, sip) = (address(&ready, "http")?, address(&ready, "sip")?);
        Ok(Self {
            http,
            sip,
            process,
            folder,
            took,
        })
    }

    /// Kills the server and starts it again on the same store.
    pub(super) async fn restart(mut self) -> Result<Self, String> {
        self.process
            .kill()
            .await
            .map_err(|error| error.to_string())?;
        Self::start(self.folder).await
    }

    /// Returns its CPU time so far.
    pub(super) fn cpu(&self) -> Result<Duration, String> {
        cpu_of(&self.process)
    }

    /// Returns its resident memory in kB.
    pub(super) fn resident(&self) -> Result<f64, String> {
        self.memory("VmRSS:")
    }

    /// Returns its anonymous memory in kB. Pages of the program and of libraries are not counted:
    /// the system loads and drops them.
    pub(super) fn own(&self) -> Result<f64, String> {
        self.memory("RssAnon:")
    }

    /// Returns its peak resident memory in kB.
    pub(super) fn peak(&self) -> Result<f64, String> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Result<f64, String> {
        let status = proc(&self.process, "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| format!("no {field} in /proc"))
    }

    /// Returns the folder of its store.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Returns the CPU time of a process so far.
pub(super) fn cpu_of(process: &Child) -> Result<Duration, String> {
    let stat = proc(process, "stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    Ok(Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS))
}

fn proc(process: &Child, file: &str) -> Result<String, String> {
    let pid = process.id().ok_or("the server has ended")?;
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|error| {
        format!("figures of a process are read from /proc, as Linux has it: {error}")
    })
}

pub(super) fn tenant() -> Result<TenantId, String> {
    TenantId::parse(TENANT).ok_or_else(|| "the bench's tenant has a bad name".to_owned())
}

/// Returns a virtual number of the benchmark.
pub(super) fn number(index: u32) -> Result<PhoneNumber, String> {
    PhoneNumber::parse(&format!("+9140{index:08}")).map_err(|error| error.to_string())
}

pub(super) fn agent() -> Result<PhoneNumber, String> {
    PhoneNumber::parse("+919900000001").map_err(|error| error.to_string())
}

/// Returns loopback with port 0, for any free port.
pub(super) fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}
