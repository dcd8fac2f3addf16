//! Reload of the configuration: what a running server takes over, and what needs a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::values::RawValue;
use super::{Config, Trunk};

/// Keys that a running server takes over.
const LIVE: &[&str] = &[
    "http.rate_burst",
    "http.rate_limit",
    "log.level",
    "media.prompts",
    "node.drain_timeout",
    "sip.max_calls",
    "sip.tenant_calls_per_second",
    "sip.tenant_max_calls",
];
/// Keys of the connection to a trunk, which a running server does not take over.
const CONNECTION: &[&str] = &[
    "keep_alive",
    "media_ports",
    "media_public_address",
    "name",
    "outbound_proxy",
    "password",
    "peer",
    "public_address",
    "realm",
    "register",
    "tls_ca",
    "tls_certificate",
    "tls_key",
    "tls_peer_name",
    "username",
];

/// Values as written, by key. They may contain secrets.
#[derive(Clone, Default)]
pub(super) struct Written(pub(super) BTreeMap<String, RawValue>);

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written(…)")
    }
}

/// Result of [`Config::reload`].
#[derive(Debug)]
pub struct Reload {
    /// The running configuration with the values that a server takes over.
    pub config: Config,
    /// Changed keys that the server takes over.
    pub changed: BTreeSet<String>,
    /// Changed keys that need a restart; `trunks` if trunks are added, removed, renamed or in another order.
    pub needs_restart: BTreeSet<String>,
}

impl Config {
    /// Compares the running configuration with one that was read again.
    pub fn reload(&self, new: &Self) -> Reload {
        let same_trunks = names(&self.trunks).eq(names(&new.trunks));
        let mut config = self.clone();
        config.http.rate_limit = new.http.rate_limit;
        config.log_level = new.log_level;
        config.drain_timeout = new.drain_timeout;
        config.media.prompts.clone_from(&new.media.prompts);
        config.sip.max_calls = new.sip.max_calls;
        config.sip.tenant_limit = new.sip.tenant_limit;
        if same_trunks {
            let pairs = self.trunks.iter().zip(&new.trunks);
            config.trunks = pairs.map(|(old, new)| with_connection(old, new)).collect();
        }
        let (mut changed, mut needs_restart) = (BTreeSet::new(), BTreeSet::new());
        for key in changed_keys(&self.written, &new.written) {
            match (key.starts_with("trunks."), is_live(&key)) {
                (true, _) if !same_trunks => {
                    needs_restart.insert("trunks".to_owned());
                }
                (_, true) => {
                    config.written.copy(&key, &new.written);
                    changed.insert(key);
                }
                (_, false) => {
                    needs_restart.insert(key);
                }
            }
        }
        Reload {
            config,
            changed,
            needs_restart,
        }
    }
}

impl Written {
    fn copy(&mut self, key: &str, from: &Self) {
        match from.0.get(key) {
            Some(value) => self.0.insert(key.to_owned(), value.clone()),
            None => self.0.remove(key),
        };
    }
}

fn names(trunks: &[Trunk]) -> impl Iterator<Item = &str> {
    trunks.iter().map(|trunk| trunk.name.as_str())
}

fn changed_keys(old: &Written, new: &Written) -> BTreeSet<String> {
    let keys = old.0.keys().chain(new.0.keys());
    let changed = keys.filter(|key| old.0.get(*key) != new.0.get(*key));
    changed.cloned().collect()
}

fn is_live(key: &str) -> bool {
    match key.strip_prefix("trunks.") {
        Some(of_trunk) => {
            let (_, name) = of_trunk.split_once('.').unwrap_or_default();
            !CONNECTION.contains(&name)
        }
        None => LIVE.contains(&key),
    }
}

/// Returns the new settings of a trunk with its present connection.
fn with_connection(old: &Trunk, new: &Trunk) -> Trunk {
    let (present, wanted) = (&old.sip, &new.sip);
    let is_given = !wanted.accept_resolved && wanted.tls_peer_name.is_none();
    let has_same_peer = present.peer == wanted.peer
        && present.outbound_proxy == wanted.outbound_proxy
        && present.tls_peer_name == wanted.tls_peer_name;
    // Without `accept_from` the networks are those of the peer.
    let accepting = if is_given || has_same_peer {
        wanted
    } else {
        present
    };
    Trunk {
        name: old.name.clone(),
        media_address: old.media_address,
        media_ports: old.media_ports.clone(),
        tls_ca: old.tls_ca.clone(),
        tls_identity: old.tls_identity.clone(),
        sip: signalling::Trunk {
            peer: present.peer.clone(),
            outbound_proxy: present.outbound_proxy.clone(),
            advertised: present.advertised,
            tls_peer_name: present.tls_peer_name.clone(),
            keep_alive: present.keep_alive,
            register: present.register,
            credentials: present.credentials.clone(),
            accept_from: accepting.accept_from.clone(),
            accept_resolved: accepting.accept_resolved,
            ..wanted.clone()
        },
        ..new.clone()
    }
}
