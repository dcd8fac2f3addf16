//! The server that runs with the same configuration, if there is one.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::deadline::blocking;
use super::socket_owner::{Protocol, bound_sockets, processes};
use crate::config::Config;
use crate::server::DatabaseLock;
use crate::server::local_client::LocalServer;
use crate::store::Database;

/// Time limit of the server's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Running server.
pub(super) struct RunningServer {
    /// Process; `None` if the system does not show it.
    pub(super) pid: Option<u32>,
    /// Client of its API; `None`: it does not answer at the configured address.
    pub(super) api: Option<LocalServer>,
    /// Its metrics.
    metrics: Option<String>,
}

impl RunningServer {
    /// Looks for the server: it holds the lock of the database, or answers at its HTTP address.
    pub(super) async fn find(config: &Config) -> Option<Self> {
        let database = config.store.database.clone();
        let holder = blocking(move || match &database {
            Database::File(file) => (DatabaseLock::holder(file), is_hidden(file)),
            Database::Server(_) => (None, true),
        });
        let (holder, may_be_unknown) = holder.await.unwrap_or_default();
        let api = LocalServer::new(&config.http, ANSWER_TIMEOUT);
        let api = match api.filter(|_| config.http.listen.port() != 0) {
            // A server with another SQLite database is another server.
            Some(api) if (holder.is_some() || may_be_unknown) && is_alive(&api).await => Some(api),
            _ => None,
        };
        let pid = match (holder, &api) {
            (Some(pid), _) => Some(pid),
            (None, Some(_)) => listener(config.http.listen.port()).await,
            (None, None) => return None,
        };
        let metrics = match &api {
            Some(api) => metrics(api).await,
            None => None,
        };
        Some(Self { pid, api, metrics })
    }

    /// Creates a server that does not answer.
    #[cfg(test)]
    pub(super) fn with_pid(pid: u32) -> Self {
        Self {
            pid: Some(pid),
            api: None,
            metrics: None,
        }
    }

    /// Returns the value of a gauge of a trunk in the metrics of the server.
    pub(super) fn trunk_gauge(&self, name: &str, trunk: &str) -> Option<i64> {
        gauge(self.metrics.as_ref()?, name, trunk)
    }

    /// Returns whether a socket of this process belongs to the server. An unknown process is taken for it.
    pub(super) fn owns(&self, process: Option<u32>) -> bool {
        match (self.pid, process) {
            (Some(own), Some(process)) => own == process,
            _ => true,
        }
    }

    /// Describes the server: `the server (pid 4711)`.
    pub(super) fn name(&self) -> String {
        match self.pid {
            Some(pid) => format!("the server (pid {pid})"),
            None => "the server".to_owned(),
        }
    }
}

/// Returns whether this user may not see a file, so that the holder of its lock is not known.
fn is_hidden(file: &Path) -> bool {
    let found = file.metadata();
    found.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

async fn is_alive(api: &LocalServer) -> bool {
    let Ok(answer) = api.get("/healthz").await else {
        return false;
    };
    let body: Option<serde_json::Value> = answer.json().await.ok();
    body.is_some_and(|body| body.get("status").is_some_and(|status| status == "alive"))
}

async fn metrics(api: &LocalServer) -> Option<String> {
    let answer = api.get("/metrics").await.ok()?;
    answer.error_for_status().ok()?.text().await.ok()
}

/// Returns the process that listens on a TCP port.
async fn listener(port: u16) -> Option<u32> {
    let found = blocking(move || {
        let sockets = bound_sockets(Protocol::Tcp);
        let inodes = sockets
            .iter()
            .filter(|socket| socket.address.port() == port);
        let inodes: HashSet<u64> = inodes.map(|socket| socket.inode).collect();
        processes(&inodes).into_values().next()
    });
    found.await.flatten().map(|process| process.pid)
}

/// Returns the value of a gauge with the label of a trunk in the text format of Prometheus.
fn gauge(metrics: &str, name: &str, trunk: &str) -> Option<i64> {
    let series = format!("{name}{{trunk=\"{trunk}\"}} ");
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&series))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_of_a_trunk_is_found_by_its_name() {
        let metrics = "# TYPE greenpin_trunk_up gauge\n\
                       greenpin_trunk_up{trunk=\"carrier\"} 1\n\
                       greenpin_trunk_up{trunk=\"carrier-2\"} 0\n";
        assert_eq!(gauge(metrics, "greenpin_trunk_up", "carrier"), Some(1));
        assert_eq!(gauge(metrics, "greenpin_trunk_up", "carrier-2"), Some(0));
        assert_eq!(gauge(metrics, "greenpin_trunk_up", "carrier-3"), None);
        assert_eq!(gauge(metrics, "greenpin_trunk_registered", "carrier"), None);
    }
}
