//! The configuration: a TOML file, overridden by the environment, parsed into checked types.

mod address;
mod error;
mod reload;
mod source;
#[cfg(test)]
mod tests;
pub mod trunk;
pub(crate) mod values;

use std::collections::HashSet;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use signalling::{SipTimers, Transport};

pub use crate::calls::TrunkSettings as Trunk;
use crate::calls::media::{MediaSettings, RecordingFormat};
use crate::calls::sip::{Identity, Listen, TlsServer, first_address};
use crate::calls::{Dscp, ListenSettings};
use crate::recordings::BucketOptions;
use crate::store::{CallLimit, RateLimit};

pub use crate::crypto::secret::Secret;
pub use error::{ConfigError, Fault};
pub use reload::Reload;
use source::Source;
use values::{RawValue, RecordingsUrl};

use crate::store::Database;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// File that is read without `--config`, if it exists.
pub(crate) const DEFAULT_FILE: &str = "greenpin.toml";

/// The whole configuration. `Default` equals an empty file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[http]`
    pub http: Http,
    /// `node.name`: identity of this server among those on the same database. It is the same after
    /// a restart.
    pub node: String,
    /// `node.lease`: time without a heartbeat after which other nodes close the calls of this one,
    /// 3 to 300 seconds.
    pub lease: Duration,
    /// `node.drain_timeout`: time for live calls to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// `[store]`
    pub store: Store,
    /// `[sip]`
    pub sip: Sip,
    /// `[media]`
    pub media: Media,
    /// `[recordings]`
    pub recordings: Recordings,
    /// `[[trunks]]`
    pub trunks: Vec<Trunk>,
    /// `webhooks.allow_private`: allow webhooks to loopback, private and link-local addresses.
    pub webhooks_allow_private: bool,
    /// `webhooks.disable_after`, in days: time without a successful delivery after which an
    /// endpoint is disabled.
    pub webhooks_disable_after: Duration,
    /// `log.level`; `None`: `info`. The environment variable `GREENPIN_LOG` comes first.
    pub log_level: Option<&'static str>,
    /// All values as written, to find what a reload changes.
    written: reload::Written,
}

/// The HTTP API.
#[derive(Debug, Clone)]
pub struct Http {
    /// Listen address. Port 0 selects a free one.
    pub listen: SocketAddr,
    /// Prefix of `/v1/…` in links of events and responses; `None`: the listen address.
    pub public_url: Option<String>,
    /// The operator's token, at least 16 characters; `None`: the operator API is off.
    pub operator_token: Option<Secret>,
    /// Rate limit of tenants without one in their settings.
    pub rate_limit: RateLimit,
    /// Maximum number of open connections.
    pub max_connections: usize,
    /// Maximum number of open connections of one address.
    pub max_connections_per_address: usize,
    /// Time between two requests after which a connection is closed.
    pub idle_timeout: Duration,
    /// `http.tls_certificate`, `http.tls_key`: certificate for HTTPS; `None`: HTTP without TLS.
    pub identity: Option<Identity>,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    /// Location of the database.
    pub database: Database,
    /// File of the master key. It is created at the first start.
    pub key_file: PathBuf,
    /// PEM file with the CA certificates used to verify the database server; `None`: the CAs of the
    /// system.
    pub tls_ca: Option<PathBuf>,
}

/// SIP.
#[derive(Debug, Clone)]
pub struct Sip {
    /// Listen addresses for UDP, TCP and TLS, in this order. The first one is for UDP.
    pub listen: Vec<Listen>,
    /// Certificates for TLS, if it is served.
    pub tls: Option<TlsServer>,
    /// DNS server that resolves the names of trunks; `None`: those of the system.
    pub dns: Option<SocketAddr>,
    /// Address at which peers reach this server.
    pub public_address: IpAddr,
    /// Mark of SIP packets over UDP.
    pub dscp: Dscp,
    /// `sip.timer_t1`, `sip.timer_t2`, in milliseconds.
    pub timers: SipTimers,
    /// `sip.silence`: transports on which strangers get no response.
    pub silent: Vec<Transport>,
    /// Maximum number of calls.
    pub max_calls: usize,
    /// `sip.tenant_max_calls`, `sip.tenant_calls_per_second`: limits of tenants without their own
    /// in the settings.
    pub tenant_limit: CallLimit,
}

impl Sip {
    /// Returns the first listen address for UDP.
    pub fn udp(&self) -> SocketAddr {
        let udp = first_address(&self.listen, Transport::Udp);
        udp.unwrap_or(SocketAddr::new(self.public_address, 0))
    }

    /// Returns `true` for an address that peers reach at `public_address`: the first one, also over other transports, and
    /// those that name none.
    fn is_public(&self, listen: &Listen) -> bool {
        let ip = listen.address.ip();
        ip == self.udp().ip() || ip.is_unspecified()
    }
}

/// Audio.
#[derive(Debug, Clone)]
pub struct Media {
    /// Local address of the ports; `None`: that of SIP over UDP.
    pub listen: Option<IpAddr>,
    /// Address at which peers reach the ports; `None`: that of SIP.
    pub public_address: Option<IpAddr>,
    /// Mark of media packets.
    pub dscp: Dscp,
    /// Time without RTP after which a leg ends.
    pub silence_timeout: Duration,
    /// UDP ports, two for each leg.
    pub ports: RangeInclusive<u16>,
    /// Threads that carry audio.
    pub threads: usize,
    /// Folder with the operator's own prompts.
    pub prompts: Option<PathBuf>,
}

/// Recordings.
#[derive(Debug, Clone)]
pub struct Recordings {
    /// Folder in which they are written: `recordings.url`, or `recordings.spool` if the URL names a
    /// bucket.
    pub folder: PathBuf,
    /// Bucket that they are uploaded to.
    pub bucket: Option<BucketOptions>,
    /// `recordings.shared`: all nodes see the same folder.
    pub shared: bool,
    /// `recordings.encrypt`: encrypt recordings with a key derived from the master key.
    pub encrypt: bool,
    /// `recordings.format`: format of the files.
    pub format: RecordingFormat,
}

/// Returns the default name of this node. An embedded store has one node; nodes of a cluster differ
/// in their host or in their HTTP address.
fn default_node(database: &Database, http: SocketAddr) -> String {
    match database {
        Database::File(_) => "local".into(),
        Database::Server(_) => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}:{}", host.trim(), http.port())
        }
    }
}

impl Config {
    /// Reads the address of a database, such as `sqlite:data/greenpin.db`, as `store.url` has it.
    ///
    /// # Errors
    ///
    /// The rule that the address breaks. It does not contain the address, which may have a password.
    pub fn database(address: &str) -> Result<Database, String> {
        let parsed = values::database(&RawValue::Text(address.to_owned()));
        parsed.map(|url| url.database).map_err(|error| error.0)
    }

    /// Reads the given file, else `./greenpin.toml` if it exists. The environment overrides its
    /// values.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        // A link that leads nowhere is an error, and not a missing file.
        let has_default = default.symlink_metadata().is_ok();
        let file = file.or_else(|| has_default.then_some(default));
        let text = match file {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                    path: path.to_owned(),
                    source,
                })?
            }
            None => String::new(),
        };
        let name = file
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        Self::read(&name, &text, std::env::vars_os())
    }

    /// Reads a text and an environment. `name` stands for the text in errors.
    pub fn read(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut source = Source::parse(name, text)?;
        source.overlay(environment);
        let written = reload::Written(source.values());
        let config = Self {
            written,
            ..Self::take(&mut source)
        };
        source.finish(config)
    }

    fn take(source: &mut Source) -> Self {
        let http = Self::take_http(source);
        let store = Self::take_store(source);
        let is_server = matches!(store.database, Database::Server(_));
        let recordings = Self::take_recordings(source, is_server);
        let node = source.get("node.name", values::node_name);
        let node = node.unwrap_or_else(|| default_node(&store.database, http.listen));
        let lease = source.get_or("node.lease", values::lease, Duration::from_secs(15));
        let drain_timeout = source.get_or(
            "node.drain_timeout",
            values::drain_timeout,
            Duration::from_secs(30 * 60),
        );
        let sip = Self::take_sip(source);
        let trunks = 0..source.count("trunks");
        let trunks: Vec<Trunk> = trunks.map(|index| trunk::read(source, index)).collect();
        Self::check_names(source, &trunks);
        Self::check_peer_names(source, &sip, &trunks);
        let media = Self::take_media(source);
        Self::check_media_ports(source, &media, &trunks);
        Self {
            http,
            node,
            lease,
            drain_timeout,
            store,
            sip,
            media,
            recordings,
            trunks,
            webhooks_allow_private: source.get_or("webhooks.allow_private", values::boolean, false),
            webhooks_disable_after: source.get_or("webhooks.disable_after", values::days, 5 * DAY),
            log_level: source.get("log.level", values::log_level),
            written: reload::Written::default(),
        }
    }

    fn take_store(source: &mut Source) -> Store {
        let default = values::DatabaseUrl {
            database: Database::File("data/greenpin.db".into()),
            ca: None,
        };
        let values::DatabaseUrl { database, ca } =
            source.get_or("store.url", values::database, default);
        let tls_ca = source.get("store.tls_ca", values::path);
        for (key, is_given) in [
            ("store.tls_ca", tls_ca.is_some()),
            ("store.url", ca.is_some()),
        ] {
            if is_given && !database.is_encrypted() {
                source.fault(
                    key,
                    "has CA certificates, which have no effect without sslmode=require in store.url",
                );
            }
        }
        let tls_ca = tls_ca.or(ca);
        let key_file = source.get("store.encryption_key_file", values::path);
        let beside = || match &database {
            Database::File(file) => file.with_file_name("master.key"),
            Database::Server(_) => "data/master.key".into(),
        };
        let key_file = key_file.unwrap_or_else(beside);
        Store {
            database,
            key_file,
            tls_ca,
        }
    }

    /// Notes a fault for each trunk with the name of an earlier one: records, logs and metrics tell trunks apart by it.
    fn check_names(source: &mut Source, trunks: &[Trunk]) {
        let mut names = HashSet::new();
        for (index, trunk) in trunks.iter().enumerate() {
            if !trunk.name.is_empty() && !names.insert(&trunk.name) {
                source.fault(
                    &format!("trunks.{index}.name"),
                    "must differ from the names of the other trunks",
                );
            }
        }
    }

    /// Notes a fault for each trunk that is known by a certificate which no listener asks for.
    fn check_peer_names(source: &mut Source, sip: &Sip, trunks: &[Trunk]) {
        let asks = sip.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        for (index, trunk) in trunks.iter().enumerate() {
            if trunk.sip.tls_peer_name.is_some() && !asks {
                source.fault(
                    &format!("trunks.{index}.tls_peer_name"),
                    "must not be given without \"tls:\" in sip.listen and sip.tls_client_ca",
                );
            }
        }
    }

    /// Notes a fault for each trunk whose media ports are also those of another trunk or of `media.ports`.
    fn check_media_ports(source: &mut Source, media: &Media, trunks: &[Trunk]) {
        let mut taken = vec![&media.ports];
        for (index, trunk) in trunks.iter().enumerate() {
            let Some(ports) = &trunk.media_ports else {
                continue;
            };
            let overlaps = |other: &&RangeInclusive<u16>| {
                ports.start() <= other.end() && other.start() <= ports.end()
            };
            if taken.iter().any(overlaps) {
                source.fault(
                    &format!("trunks.{index}.media_ports"),
                    "must not share ports with media.ports or with another trunk",
                );
            }
            taken.push(ports);
        }
    }

    fn take_http(source: &mut Source) -> Http {
        let max_connections = source.get_or("http.max_connections", values::connections, 4096);
        let per_address = "http.max_connections_per_address";
        let share = source.get(per_address, values::connections);
        if share.is_some_and(|share| share > max_connections) {
            source.fault(per_address, "must not exceed http.max_connections");
        }
        Http {
            listen: source.get_or(
                "http.listen",
                values::address,
                SocketAddr::from(([127, 0, 0, 1], 8080)),
            ),
            public_url: source.get("http.public_url", values::http_url),
            operator_token: source.get("http.operator_token", values::secret),
            rate_limit: RateLimit {
                requests_per_second: source.get_or("http.rate_limit", values::rate, 1000),
                burst: source.get_or("http.rate_burst", values::rate, 2000),
            },
            max_connections,
            max_connections_per_address: share.unwrap_or(max_connections.div_ceil(4)),
            idle_timeout: source.get_or(
                "http.idle_timeout",
                values::idle_timeout,
                Duration::from_secs(75),
            ),
            identity: Self::read_identity(source, "http"),
        }
    }

    fn take_media(source: &mut Source) -> Media {
        Media {
            listen: source.get("media.listen", values::any_ip),
            public_address: source.get("media.public_address", values::ip),
            dscp: source.get_or("media.dscp", values::dscp, Dscp::default()),
            silence_timeout: source.get_or(
                "media.silence_timeout",
                values::silence_timeout,
                MediaSettings::default().silence_limit,
            ),
            ports: source.get_or("media.ports", values::ports, 20_000..=29_999),
            threads: source.get_or("media.threads", values::threads, 1),
            prompts: source.get("media.prompts", values::path),
        }
    }

    fn take_sip(source: &mut Source) -> Sip {
        let default = [Transport::Udp, Transport::Tcp].map(|transport| Listen {
            transport,
            address: SocketAddr::from(([127, 0, 0, 1], 5060)),
        });
        let listen = source.get_or("sip.listen", address::listen, default.to_vec());
        let tls = Self::take_tls(source, &listen);
        let public_address = source.get("sip.public_address", values::ip);
        let public_address = Self::check_listen(source, &listen, public_address);
        let dscp = source.get_or("sip.dscp", values::dscp, Dscp::default());
        let max_calls = source.get_or("sip.max_calls", values::calls, 4000);
        let tenant_limit = CallLimit {
            max_calls: source.get_or("sip.tenant_max_calls", values::rate, values::MAX_LIMIT),
            calls_per_second: source.get_or(
                "sip.tenant_calls_per_second",
                values::rate,
                values::MAX_LIMIT,
            ),
        };
        Sip {
            listen,
            tls,
            dns: source.get("sip.dns", values::address),
            public_address,
            dscp,
            timers: Self::take_timers(source),
            silent: source.get_or("sip.silence", values::silence, Vec::new()),
            max_calls,
            tenant_limit,
        }
    }

    /// Notes a fault for addresses that exclude each other, and for one without an address for peers. Returns the address
    /// for peers.
    fn check_listen(source: &mut Source, listen: &[Listen], public: Option<IpAddr>) -> IpAddr {
        if let Some(rule) = address::listen_conflict(listen) {
            source.fault("sip.listen", rule);
        }
        let first = first_address(listen, Transport::Udp);
        let first = first.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |first| first.ip());
        if public.is_none() && first.is_unspecified() {
            source.fault(
                "sip.public_address",
                "must be given where sip.listen names no address of its own",
            );
        }
        let public = public.unwrap_or(first);
        let is_unreachable = |listen: &Listen| {
            let ip = listen.address.ip();
            ip.is_unspecified() && ip != first && ip.is_ipv4() != public.is_ipv4()
        };
        if listen.iter().any(is_unreachable) {
            source.fault(
                "sip.listen",
                "must name an address instead of 0.0.0.0 or [::] where sip.public_address has the other IP version",
            );
        }
        public
    }

    /// Returns the listen addresses with what peers see of each.
    pub fn listen_settings(&self) -> Vec<ListenSettings> {
        let (sip, media) = (&self.sip, &self.media);
        let public_media = media.public_address.unwrap_or(sip.public_address);
        let settings = |listen: &Listen| {
            let ip = listen.address.ip();
            let advertised = match sip.is_public(listen) {
                true => sip.public_address,
                false => ip.to_canonical(),
            };
            let shares_media = media.listen.is_some() || sip.is_public(listen);
            ListenSettings {
                listen: *listen,
                advertised,
                media_bind: media.listen.unwrap_or(ip),
                media_advertised: if shares_media {
                    public_media
                } else {
                    advertised
                },
            }
        };
        sip.listen.iter().map(settings).collect()
    }

    fn take_timers(source: &mut Source) -> SipTimers {
        let SipTimers { t1, t2 } = SipTimers::default();
        let timers = SipTimers {
            t1: source.get_or("sip.timer_t1", values::timer_t1, t1),
            t2: source.get_or("sip.timer_t2", values::timer_t2, t2),
        };
        if timers.t2 < timers.t1 {
            source.fault("sip.timer_t2", "must not be less than sip.timer_t1");
        }
        timers
    }

    fn take_tls(source: &mut Source, listen: &[Listen]) -> Option<TlsServer> {
        let address = first_address(listen, Transport::Tls);
        let identity = Self::read_identity(source, "sip");
        let client_ca = source.get("sip.tls_client_ca", values::path);
        if address.is_some() && identity.is_none() {
            source.fault(
                "sip.tls_certificate",
                "must be given where sip.listen has \"tls:\"",
            );
        }
        for (key, given) in [
            ("sip.tls_certificate", identity.is_some()),
            ("sip.tls_client_ca", client_ca.is_some()),
        ] {
            if address.is_none() && given {
                source.fault(key, "is for nothing where sip.listen has no \"tls:\"");
            }
        }
        address?;
        Some(TlsServer {
            identity: identity?,
            client_ca,
        })
    }

    /// Reads `tls_certificate` and `tls_key` of a section.
    fn read_identity(source: &mut Source, section: &str) -> Option<Identity> {
        let keys = ["tls_certificate", "tls_key"].map(|name| format!("{section}.{name}"));
        let [certificate, key] = keys.each_ref().map(|key| source.get(key, values::path));
        source.require_both([(&keys[0], certificate.is_some()), (&keys[1], key.is_some())]);
        Some(Identity {
            certificate: certificate?,
            key: key?,
        })
    }

    /// Reads the keys of a bucket other than its URL.
    fn take_bucket(source: &mut Source) -> BucketOptions {
        let given = BucketOptions {
            endpoint: source.get("recordings.endpoint", values::http_url),
            region: source.get("recordings.region", values::word),
            access_key_id: source.get("recordings.access_key_id", values::word),
            secret_access_key: source.get("recordings.secret_access_key", values::issued_secret),
            ..BucketOptions::default()
        };
        source.require_both([
            ("recordings.access_key_id", given.access_key_id.is_some()),
            (
                "recordings.secret_access_key",
                given.secret_access_key.is_some(),
            ),
        ]);
        given
    }

    /// `is_server`: several nodes may share the database.
    fn take_recordings(source: &mut Source, is_server: bool) -> Recordings {
        let url = source.get("recordings.url", values::recordings);
        let spool = source.get("recordings.spool", values::path);
        let shared = source.get("recordings.shared", values::boolean);
        let encrypt = source.get_or("recordings.encrypt", values::boolean, false);
        let format = source.get_or(
            "recordings.format",
            values::recording_format,
            RecordingFormat::Wav,
        );
        let given = Self::take_bucket(source);
        match url {
            Some(RecordingsUrl::Bucket { name, prefix }) => {
                if shared.is_some() {
                    source.fault(
                        "recordings.shared",
                        "has no effect where recordings.url names a bucket",
                    );
                }
                Recordings {
                    folder: spool.unwrap_or_else(|| "data/spool".into()),
                    bucket: Some(BucketOptions {
                        name,
                        prefix,
                        ..given
                    }),
                    shared: false,
                    encrypt,
                    format,
                }
            }
            other => {
                if spool.is_some() || given != BucketOptions::default() {
                    source.fault("recordings.url", "must name a bucket, such as \"s3://bucket/prefix\", where others of [recordings] are given");
                }
                let is_given = other.is_some();
                let folder = match other {
                    Some(RecordingsUrl::Folder(folder)) => folder,
                    _ => "data/recordings".into(),
                };
                let shared = shared.unwrap_or(false);
                // A node that keeps the default may be alone, or record nothing: it starts with a warning.
                if is_given && is_server && !shared {
                    source.fault("recordings.url", "must name a bucket where store.url names a PostgreSQL database; set recordings.shared = true if all nodes see the same folder");
                }
                Recordings {
                    folder,
                    bucket: None,
                    shared,
                    encrypt,
                    format,
                }
            }
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let mut nothing = Source::default();
        Self::take(&mut nothing)
    }
}
