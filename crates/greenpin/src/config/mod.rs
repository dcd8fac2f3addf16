//! The configuration: a TOML file, overridden by the environment, parsed into checked types.

mod address;
mod error;
mod source;
pub mod trunk;
pub(crate) mod values;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::calls::TrunkSettings as Trunk;
use crate::calls::media::RecordingFormat;
use crate::calls::sip::{Identity, TlsListen};
use crate::recordings::BucketOptions;
use crate::store::{CallLimit, RateLimit};

pub use crate::crypto::secret::Secret;
pub use error::{ConfigError, Fault};
use source::Source;
use values::RecordingsUrl;

use crate::store::Database;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// File that is read without `--config`, if it exists.
const DEFAULT_FILE: &str = "greenpin.toml";

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
    /// Listen address for UDP.
    pub udp: SocketAddr,
    /// Listen address for TCP, if it is served.
    pub tcp: Option<SocketAddr>,
    /// Listen address for TLS, if it is served.
    pub tls: Option<TlsListen>,
    /// DNS server that resolves the names of trunks; `None`: those of the system.
    pub dns: Option<SocketAddr>,
    /// Address at which peers reach this server.
    pub public_address: IpAddr,
    /// Maximum number of calls.
    pub max_calls: usize,
    /// `sip.tenant_max_calls`, `sip.tenant_calls_per_second`: limits of tenants without their own
    /// in the settings.
    pub tenant_limit: CallLimit,
}

/// Audio.
#[derive(Debug, Clone)]
pub struct Media {
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
    /// Reads the given file, else `./greenpin.toml` if it exists. The environment overrides its
    /// values.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.exists().then_some(default));
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
        Self::read(&name, &text, std::env::vars())
    }

    /// Reads a text and an environment. `name` stands for the text in errors.
    pub fn read(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut source = Source::parse(name, text)?;
        source.overlay(environment);
        let config = Self::take(&mut source);
        source.finish(config)
    }

    fn take(source: &mut Source) -> Self {
        let http = Http {
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
        };
        let database = source.get_or(
            "store.url",
            values::database,
            Database::File("data/greenpin.db".into()),
        );
        let tls_ca = source.get("store.tls_ca", values::path);
        if tls_ca.is_some() && !database.is_encrypted() {
            source.fault(
                "store.tls_ca",
                "is for nothing where store.url has no \"sslmode=require\"",
            );
        }
        let key_file = source.get("store.encryption_key_file", values::path);
        let beside = || match &database {
            Database::File(file) => file.with_file_name("master.key"),
            Database::Server(_) => "data/master.key".into(),
        };
        let key_file = key_file.unwrap_or_else(beside);
        let node = source.get("node.name", values::node_name);
        let node = node.unwrap_or_else(|| default_node(&database, http.listen));
        let lease = source.get_or("node.lease", values::lease, Duration::from_secs(15));
        let media = Media {
            ports: source.get_or("media.ports", values::ports, 20_000..=29_999),
            threads: source.get_or("media.threads", values::threads, 1),
            prompts: source.get("media.prompts", values::path),
        };
        Self {
            http,
            node,
            lease,
            store: Store {
                database,
                key_file,
                tls_ca,
            },
            sip: Self::take_sip(source),
            media,
            recordings: Self::take_recordings(source),
            trunks: (0..source.count("trunks"))
                .map(|index| trunk::read(source, index))
                .collect(),
            webhooks_allow_private: source.get_or("webhooks.allow_private", values::boolean, false),
            webhooks_disable_after: source.get_or("webhooks.disable_after", values::days, 5 * DAY),
        }
    }

    fn take_sip(source: &mut Source) -> Sip {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 5060));
        let default = address::ListenAddresses {
            udp: loopback,
            tcp: Some(loopback),
            tls: None,
        };
        let address::ListenAddresses { udp, tcp, tls } =
            source.get_or("sip.listen", address::listen, default);
        let tls = Self::take_tls(source, tls);
        let public_address = source.get("sip.public_address", values::ip);
        if public_address.is_none() && udp.ip().is_unspecified() {
            source.fault(
                "sip.public_address",
                "must be given where sip.listen names no address of its own",
            );
        }
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
            udp,
            tcp,
            tls,
            dns: source.get("sip.dns", values::address),
            public_address: public_address.unwrap_or(udp.ip()),
            max_calls,
            tenant_limit,
        }
    }

    fn take_tls(source: &mut Source, address: Option<SocketAddr>) -> Option<TlsListen> {
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
        Some(TlsListen {
            address: address?,
            identity: identity?,
            client_ca,
        })
    }

    /// Reads `tls_certificate` and `tls_key` of a section.
    fn read_identity(source: &mut Source, section: &str) -> Option<Identity> {
        let [certificate, key] = ["tls_certificate", "tls_key"]
            .map(|name| source.get(&format!("{section}.{name}"), values::path));
        if certificate.is_some() != key.is_some() {
            source.fault(
                &format!("{section}.tls_certificate"),
                "must be given together with tls_key",
            );
        }
        Some(Identity {
            certificate: certificate?,
            key: key?,
        })
    }

    fn take_recordings(source: &mut Source) -> Recordings {
        let url = source.get("recordings.url", values::recordings);
        let spool = source.get("recordings.spool", values::path);
        let encrypt = source.get_or("recordings.encrypt", values::boolean, false);
        let format = source.get_or(
            "recordings.format",
            values::recording_format,
            RecordingFormat::Wav,
        );
        let given = BucketOptions {
            endpoint: source.get("recordings.endpoint", values::http_url),
            region: source.get("recordings.region", values::word),
            access_key_id: source.get("recordings.access_key_id", values::word),
            secret_access_key: source.get("recordings.secret_access_key", values::issued_secret),
            ..BucketOptions::default()
        };
        if given.access_key_id.is_some() != given.secret_access_key.is_some() {
            source.fault(
                "recordings.access_key_id",
                "must be given together with recordings.secret_access_key",
            );
        }
        match url {
            Some(RecordingsUrl::Bucket { name, prefix }) => Recordings {
                folder: spool.unwrap_or_else(|| "data/spool".into()),
                bucket: Some(BucketOptions {
                    name,
                    prefix,
                    ..given
                }),
                encrypt,
                format,
            },
            other => {
                if spool.is_some() || given != BucketOptions::default() {
                    source.fault("recordings.url", "must name a bucket, such as \"s3://bucket/prefix\", where others of [recordings] are given");
                }
                let folder = match other {
                    Some(RecordingsUrl::Folder(folder)) => folder,
                    _ => "data/recordings".into(),
                };
                Recordings {
                    folder,
                    bucket: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::read("greenpin.toml", text, [])
    }

    fn error(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_gives_the_documented_defaults() {
        let config = Config::default();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.store.database.to_string(), "sqlite:data/greenpin.db");
        assert_eq!(config.store.key_file, Path::new("data/master.key"));
        assert_eq!(
            (config.sip.udp.to_string(), config.sip.tcp),
            ("127.0.0.1:5060".into(), Some(config.sip.udp))
        );
        assert_eq!(config.media.ports, 20_000..=29_999);
        assert!(config.trunks.is_empty() && !config.webhooks_allow_private);
    }

    #[test]
    fn the_documented_file_is_read_whole() {
        let config = read(
            r#"
            [http]
            listen = "127.0.0.1:8081"
            operator_token = "fictional-operator-token"
            rate_limit = 50
            rate_burst = 100
            [store]
            url = "sqlite:elsewhere/greenpin.db"
            [sip]
            listen = ["udp:127.0.0.1:5061", "tcp:127.0.0.1:5061"]
            public_address = "192.0.2.1"
            [media]
            ports = "30000-30999"
            [recordings]
            url = "file:elsewhere/recordings"
            format = "opus"
            [[trunks]]
            name = "carrier"
            codecs = ["opus", "pcma"]
            peer = "sip:127.0.0.1:5070;transport=tcp"
            accept_from = ["127.0.0.1/32", "192.0.2.0/24"]
            username = ""
            password = ""
            register = false
            country = "IN"
            [webhooks]
            allow_private = true
            disable_after = 3
            "#,
        )
        .unwrap();
        assert_eq!(config.store.key_file, Path::new("elsewhere/master.key"));
        assert_eq!(
            config.http.rate_limit,
            RateLimit {
                requests_per_second: 50,
                burst: 100
            }
        );
        assert_eq!(config.sip.public_address.to_string(), "192.0.2.1");
        assert_eq!(config.webhooks_disable_after, 3 * DAY);
        assert_eq!(config.recordings.format, RecordingFormat::Opus);
        let trunk = &config.trunks[0];
        assert_eq!(
            trunk.sip.codecs,
            [signalling::sdp::Codec::Opus, signalling::sdp::Codec::Pcma]
        );
        assert_eq!(
            trunk.sip.peer.as_ref().unwrap().transport,
            signalling::Transport::Tcp
        );
        assert_eq!(
            (trunk.sip.accept_from.len(), trunk.country.is_some()),
            (2, true)
        );
        assert!(
            !format!("{config:?}").contains("fictional"),
            "secrets are not printed"
        );
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let environment = [
            ("GREENPIN_HTTP__LISTEN", "127.0.0.1:1"),
            ("GREENPIN_SIP__LISTEN", "udp:127.0.0.1:2"),
            ("GREENPIN_TRUNKS__0__NAME", "env"),
            ("GREENPIN_WEBHOOKS__ALLOW_PRIVATE", "true"),
            ("GREENPIN_LOG", "debug"),
            ("PATH", "/bin"),
        ];
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = Config::read("", "http.listen = \"127.0.0.1:9\"", environment).unwrap();
        assert_eq!(
            (
                config.http.listen.port(),
                config.sip.udp.port(),
                config.sip.tcp
            ),
            (1, 2, None)
        );
        assert_eq!(config.trunks[0].name, "env");
        assert!(config.webhooks_allow_private);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one_and_its_place() {
        let error =
            error("[http]\nlisten = \"127.0.0.1:1\"\n[sip]\npublic_adress = \"127.0.0.1\"\n");
        assert_eq!(
            error,
            "greenpin.toml:4: unknown key sip.public_adress: did you mean sip.public_address?"
        );
        let environment = [("GREENPIN_HTTP__LISTN".to_owned(), "x".to_owned())];
        let error = Config::read("", "", environment).unwrap_err().to_string();
        assert_eq!(
            error,
            "GREENPIN_HTTP__LISTN: unknown key http.listn: did you mean http.listen?"
        );
    }

    #[test]
    fn every_fault_is_told_with_its_rule() {
        let text = "http.listen = 7\nmedia.ports = \"9-1\"\n[[trunks]]\npeer = \"sip:192.0.2.256\"\nregister = true\n";
        let error = error(text);
        for expected in [
            "greenpin.toml:1: http.listen must be",
            "greenpin.toml:2: media.ports must be",
            "trunks.0.name must be given",
            "greenpin.toml:4: trunks.0.peer must be",
            "trunks.0.register must not",
        ] {
            assert!(error.contains(expected), "{expected} in:\n{error}");
        }
    }

    #[test]
    fn an_operator_token_that_can_be_guessed_is_refused_without_being_told() {
        for token in ["fifteen-letters", "sixteen letters!", ""] {
            let error = error(&format!("http.operator_token = \"{token}\""));
            assert!(
                error.contains("http.operator_token") && error.contains("at least 16"),
                "{error}"
            );
            assert!(token.is_empty() || !error.contains(token), "{error}");
        }
        assert!(read("http.operator_token = \"sixteen-letters!\"").is_ok());
    }

    #[test]
    fn a_database_url_that_cannot_be_read_is_refused_without_being_told() {
        for url in [
            "postgres://u:p@h/d?sslmode=perhaps",
            "postgres:///d",
            "mysql://u:p@h/d",
        ] {
            let error = error(&format!("store.url = \"{url}\""));
            assert!(
                error.contains("store.url") && !error.contains("u:p@h"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_authority_of_the_database_is_for_an_encrypted_way_to_it() {
        let url = |mode: &str| {
            format!("store.url = \"postgres://u:p@h/d{mode}\"\nstore.tls_ca = \"ca.pem\"")
        };
        assert!(read(&url("?sslmode=require")).is_ok());
        assert!(error(&url("")).contains("store.tls_ca"));
    }

    #[test]
    fn a_peer_is_an_address_or_a_name_over_each_transport() {
        let read = |peer: &str| {
            let config = read(&format!("[[trunks]]\nname = \"a\"\npeer = \"{peer}\"")).ok()?;
            trunk::peer_uri(config.trunks.first()?)
        };
        for (written, shown) in [
            ("sip:192.0.2.1", "sip:192.0.2.1:5060;transport=udp"),
            (
                "sip:192.0.2.1;transport=tls",
                "sip:192.0.2.1:5061;transport=tls",
            ),
            (
                "sip:[2001:db8::1]:5070;transport=tcp",
                "sip:[2001:db8::1]:5070;transport=tcp",
            ),
            ("sip:carrier.example", "sip:carrier.example"),
            (
                "sip:carrier.example;transport=udp",
                "sip:carrier.example;transport=udp",
            ),
            (
                "sip:carrier.example:5070;transport=TCP",
                "sip:carrier.example:5070;transport=tcp",
            ),
            ("sips:carrier.example", "sip:carrier.example;transport=tls"),
        ] {
            assert_eq!(read(written).as_deref(), Some(shown), "{written}");
        }
        for wrong in [
            "carrier.example",
            "sip:",
            "sip:192.0.2.256",
            "sip:carrier..example",
            "sip:-carrier.example",
            "sip:carrier_1.example",
            "sip:carrier.example:0",
            "sip:carrier.example:99999",
            "sip:user@carrier.example",
            "sip:carrier.example;transport=sctp",
            "sips:carrier.example;transport=udp",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table of wrong values")]
    fn a_value_that_breaks_its_rule_is_reported_by_its_key() {
        for (text, key) in [
            (
                "[[trunks]]\nname = \"a\"\nnumber_format = \"national\"",
                "trunks.0.number_format",
            ),
            (
                "[[trunks]]\nname = \"a\"\nprefix = \"9\"",
                "trunks.0.prefix",
            ),
            (
                "[[trunks]]\nname = \"a\"\nmax_calls = 0",
                "trunks.0.max_calls",
            ),
            (
                "[[trunks]]\nname = \"a\"\nmax_calls_per_second = 0",
                "trunks.0.max_calls_per_second",
            ),
            ("[[trunks]]\nname = \"a\"\ncodecs = []", "trunks.0.codecs"),
            (
                "[[trunks]]\nname = \"a\"\ncodecs = [\"pcma\", \"speex\"]",
                "trunks.0.codecs",
            ),
            ("[recordings]\nformat = \"ogg\"", "recordings.format"),
            (
                "[[trunks]]\nname = \"a\"\ncodecs = [\"pcma\", \"pcma\"]",
                "trunks.0.codecs",
            ),
            (
                "[[trunks]]\nname = \"a\"\naccept_digest = [\"sha-1\"]",
                "trunks.0.accept_digest",
            ),
            (
                "[[trunks]]\nname = \"a\"\ncaller_from = \"contact\"",
                "trunks.0.caller_from",
            ),
            (
                "[[trunks]]\nname = \"a\"\ncalled_from = \"from\"",
                "trunks.0.called_from",
            ),
            (
                "[[trunks]]\nname = \"a\"\naccept_username = \"pbx\"",
                "trunks.0.accept_username",
            ),
            (
                "[[trunks]]\nname = \"a\"\naccept_username = \"p\"\naccept_password = \"too short\"",
                "trunks.0.accept_password",
            ),
            (
                "[[trunks]]\nname = \"a\"\noutbound_proxy = \"sip:192.0.2.1\"",
                "trunks.0.outbound_proxy",
            ),
            (
                "[[trunks]]\nname = \"a\"\npeer = \"sip:192.0.2.1\"\ntls_ca = \"ca.pem\"",
                "trunks.0.tls_ca",
            ),
            (
                "[[trunks]]\nname = \"a\"\nmedia = \"direct\"\nsymmetric_rtp = true",
                "trunks.0.media",
            ),
            (
                "[[trunks]]\nname = \"a\"\nmedia = \"direct\"\nsrtp = \"required\"",
                "trunks.0.media",
            ),
            (
                "sip.listen = [\"udp:127.0.0.1:5060\", \"tls:127.0.0.1:5061\"]",
                "sip.tls_certificate",
            ),
            ("sip.tls_certificate = \"a.pem\"", "sip.tls_certificate"),
            (
                "sip.tls_certificate = \"a.pem\"\nsip.tls_key = \"b.pem\"",
                "sip.tls_certificate",
            ),
            ("sip.tls_client_ca = \"ca.pem\"", "sip.tls_client_ca"),
            (
                "[[trunks]]\nname = \"a\"\npeer = \"sips:a.example\"\ntls_key = \"a.key\"",
                "trunks.0.tls_certificate",
            ),
            (
                "[[trunks]]\nname = \"a\"\npeer = \"sip:192.0.2.1\"\ntls_certificate = \"a\"\ntls_key = \"b\"",
                "trunks.0.tls_certificate",
            ),
            ("sip.tenant_max_calls = 0", "sip.tenant_max_calls"),
            (
                "sip.tenant_calls_per_second = 1000001",
                "sip.tenant_calls_per_second",
            ),
            ("sip.dns = \"dns.example\"", "sip.dns"),
            (
                "[[trunks]]\nname = \"a\"\nkeep_alive = 3601",
                "trunks.0.keep_alive",
            ),
            (
                "[[trunks]]\nname = \"a\"\nkeep_alive = 30",
                "trunks.0.keep_alive",
            ),
            (
                "[[trunks]]\nname = \"a\"\npeer = \"sip:192.0.2.1\"\nregister = true",
                "trunks.0.register",
            ),
            ("recordings.url = \"s3://B/prefix\"", "recordings.url"),
            (
                "recordings.endpoint = \"http://127.0.0.1:9000\"",
                "recordings.url",
            ),
            ("http.public_url = \"ftp://a.example\"", "http.public_url"),
            (
                "recordings.access_key_id = \"A\"\nrecordings.url = \"s3://bucket\"",
                "recordings.access_key_id",
            ),
        ] {
            let error = error(text);
            assert!(
                error.contains(key) && !error.contains("this version"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_bucket_is_read_with_its_prefix_and_its_secret_is_not_printed() {
        let text = r#"
            http.public_url = "https://greenpin.example.com/"
            [recordings]
            url = "s3://bucket/some/prefix/"
            access_key_id = "a-key"
            secret_access_key = "fictional"
            "#;
        let config = read(text).unwrap();
        let bucket = config.recordings.bucket.as_ref().unwrap();
        assert_eq!(
            (bucket.name.as_str(), bucket.prefix.as_str()),
            ("bucket", "some/prefix")
        );
        assert_eq!(config.recordings.folder, Path::new("data/spool"));
        assert_eq!(
            config.http.public_url.as_deref(),
            Some("https://greenpin.example.com")
        );
        assert!(!format!("{config:?}").contains("fictional"));
    }

    #[test]
    fn a_text_that_is_not_toml_is_told_with_its_place() {
        assert!(
            error("[http\n").starts_with("greenpin.toml:1: "),
            "{}",
            error("[http\n")
        );
    }
}
