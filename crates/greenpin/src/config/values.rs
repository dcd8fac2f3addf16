//! Kinds of values, each with its rule.

use crate::store::{Database, TenantId};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use rlibphonenumber::Region;
use signalling::sdes::SrtpMode;
use signalling::sdp::Codec;
use signalling::{CalledFrom, CallerFrom, Digest, IdentityHeader, Network, Transport};
use tokio_rustls::rustls::pki_types::ServerName;
use toml::de::DeValue;

use crate::calls::media::RecordingFormat;
use crate::calls::{Dscp, NumberFormat};
use crate::crypto::secret::Secret;
use crate::destinations::NumberPrefix;

/// Levels of the log, the quietest first.
pub(crate) const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A value as written.
#[derive(Clone, PartialEq)]
pub(super) enum RawValue {
    Text(String),
    /// From the environment, in which every value is a text.
    Environment(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<String>),
    Integers(Vec<i64>),
    Other,
}

impl fmt::Debug for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawValue(…)")
    }
}

/// Reads a level of the log.
pub(super) fn log_level(raw: &RawValue) -> Result<&'static str, InvalidValue> {
    let found = raw
        .text()
        .and_then(|text| LOG_LEVELS.iter().find(|level| **level == text));
    found.copied().ok_or_else(|| {
        InvalidValue(
            "must be \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"".to_owned(),
        )
    })
}

/// The rule that a value breaks: a phrase that follows the key.
pub(super) struct InvalidValue(pub(super) String);

impl RawValue {
    pub(super) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other, Self::Integer),
            DeValue::Array(items) => {
                let items = || items.iter().map(|item| Self::of(item.get_ref()));
                let texts = items().map(|item| item.text().map(str::to_owned));
                let integers = items().map(|item| item.integer());
                let list = texts.collect::<Option<_>>().map(Self::List);
                list.or_else(|| integers.collect::<Option<_>>().map(Self::Integers))
                    .unwrap_or(Self::Other)
            }
            _ => Self::Other,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Environment(text) => Some(text),
            _ => None,
        }
    }

    fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Environment(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Environment(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Returns a list of texts. In the environment they are separated by commas.
    pub(super) fn list(&self) -> Option<Vec<String>> {
        match self {
            Self::List(items) => Some(items.clone()),
            Self::Environment(text) => {
                Some(text.split(',').map(|item| item.trim().to_owned()).collect())
            }
            _ => None,
        }
    }
}

impl RawValue {
    /// Returns a list of integers. In the environment they are separated by commas.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        match self {
            Self::Integers(items) => Some(items.clone()),
            Self::List(items) if items.is_empty() => Some(Vec::new()),
            Self::Environment(text) => {
                let items = text.split(',').map(|item| item.trim().parse().ok());
                items.collect()
            }
            _ => None,
        }
    }
}

pub(super) fn require<T>(value: Option<T>, rule: &str) -> Result<T, InvalidValue> {
    value.ok_or_else(|| InvalidValue(format!("must be {rule}")))
}

pub(super) fn address(raw: &RawValue) -> Result<SocketAddr, InvalidValue> {
    require(
        raw.text().and_then(|text| text.parse().ok()),
        "an address and a port, such as \"127.0.0.1:8080\"",
    )
}

pub(super) fn ip(raw: &RawValue) -> Result<IpAddr, InvalidValue> {
    let ip = raw
        .text()
        .and_then(|text| text.parse().ok())
        .filter(|ip: &IpAddr| !ip.is_unspecified());
    require(
        ip,
        "an IP address that peers can reach, such as \"192.0.2.1\"",
    )
}

/// Reads a local address, which may be that of all interfaces.
pub(super) fn any_ip(raw: &RawValue) -> Result<IpAddr, InvalidValue> {
    require(
        raw.text().and_then(|text| text.parse().ok()),
        "an IP address of this machine, such as \"192.0.2.1\" or \"0.0.0.0\"",
    )
}

pub(super) fn dscp(raw: &RawValue) -> Result<Dscp, InvalidValue> {
    let value = raw.integer().and_then(|value| u8::try_from(value).ok());
    require(value.and_then(Dscp::new), "a DSCP from 0 to 63; 0: no mark")
}

/// Reads a number of whole seconds in a range.
fn seconds(
    raw: &RawValue,
    range: RangeInclusive<u64>,
    rule: &str,
) -> Result<Duration, InvalidValue> {
    let seconds = raw.integer().and_then(|number| u64::try_from(number).ok());
    let seconds = seconds.filter(|seconds| range.contains(seconds));
    require(seconds.map(Duration::from_secs), rule)
}

/// Reads a number of milliseconds.
fn milliseconds(
    raw: &RawValue,
    range: RangeInclusive<u64>,
    rule: &str,
) -> Result<Duration, InvalidValue> {
    let milliseconds = raw.integer().and_then(|number| u64::try_from(number).ok());
    let milliseconds = milliseconds.filter(|milliseconds| range.contains(milliseconds));
    require(milliseconds.map(Duration::from_millis), rule)
}

pub(super) fn timer_t1(raw: &RawValue) -> Result<Duration, InvalidValue> {
    let rule = "a number of milliseconds from 100 to 2000";
    milliseconds(raw, 100..=2000, rule)
}

pub(super) fn timer_t2(raw: &RawValue) -> Result<Duration, InvalidValue> {
    let rule = "a number of milliseconds from 1000 to 16000";
    milliseconds(raw, 1000..=16_000, rule)
}

pub(super) fn silence_timeout(raw: &RawValue) -> Result<Duration, InvalidValue> {
    seconds(raw, 10..=3600, "a number of seconds from 10 to 3600")
}

pub(super) fn secret(raw: &RawValue) -> Result<Secret, InvalidValue> {
    let fit =
        |text: &&str| text.len() >= 16 && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    let secret = raw
        .text()
        .filter(fit)
        .map(|text| Secret::new(text.to_owned()));
    require(
        secret,
        "a text of at least 16 printable ASCII characters without spaces",
    )
}

pub(super) fn path(raw: &RawValue) -> Result<PathBuf, InvalidValue> {
    require(
        raw.text()
            .filter(|text| !text.is_empty())
            .map(PathBuf::from),
        "a path",
    )
}

/// Database with the CA certificates that its URL names.
pub(super) struct DatabaseUrl {
    pub(super) database: Database,
    /// `sslrootcert`, as libpq calls it.
    pub(super) ca: Option<PathBuf>,
}

/// Parameters of a PostgreSQL URL that are passed on.
const DATABASE_PARAMETERS: [&str; 16] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "port",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

pub(super) fn database(raw: &RawValue) -> Result<DatabaseUrl, InvalidValue> {
    let text = raw.text().unwrap_or_default();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return database_server(text);
    }
    let file = text.strip_prefix("sqlite:").filter(|file| !file.is_empty());
    let file = require(
        file,
        "\"sqlite:\" and a file, such as \"sqlite:data/greenpin.db\", or \"postgres://user:password@host/database\"",
    )?;
    if file == ":memory:" || file.starts_with("//") {
        let rule = "must name a file, as a path: \"sqlite:data/greenpin.db\" or \"sqlite:/var/lib/greenpin/greenpin.db\"";
        return Err(InvalidValue(rule.to_owned()));
    }
    Ok(DatabaseUrl {
        database: Database::File(file.into()),
        ca: None,
    })
}

fn unknown_parameter(name: &str) -> InvalidValue {
    // A password with an unescaped `?` must not be shown.
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let shown = match name.bytes().all(is_name) {
        true => format!(" {name:?}"),
        false => String::new(),
    };
    let known = DATABASE_PARAMETERS.join(", ");
    InvalidValue(format!(
        "has an unknown parameter{shown}: use sslmode, sslrootcert, {known}"
    ))
}

/// Reads a PostgreSQL URL. Errors name the parameter, and never the URL, which has a password.
fn database_server(text: &str) -> Result<DatabaseUrl, InvalidValue> {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let (mut passed, mut ca) = (Vec::new(), None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match (name, value) {
            // The certificate and the name of the server are always verified.
            ("sslmode", "require" | "verify-ca" | "verify-full") => {
                passed.push("sslmode=require".to_owned());
            }
            ("sslmode", "disable" | "allow" | "prefer") => {
                passed.push("sslmode=disable".to_owned());
            }
            ("sslmode", _) => {
                let rule = "has an unknown sslmode: use disable, require, verify-ca or verify-full";
                return Err(InvalidValue(rule.to_owned()));
            }
            ("sslrootcert", "system") => {}
            ("sslrootcert", path) => {
                let decoded = url::form_urlencoded::parse(path.as_bytes()).next();
                ca = decoded.map(|(path, _)| PathBuf::from(path.into_owned()));
            }
            (name, _) if DATABASE_PARAMETERS.contains(&name) => passed.push(parameter.to_owned()),
            (name, _) => return Err(unknown_parameter(name)),
        }
    }
    let server = format!("{address}?{}", passed.join("&"))
        .parse::<tokio_postgres::Config>()
        .ok()
        .filter(|server| !server.get_hosts().is_empty());
    let server = require(
        server,
        "a PostgreSQL URL such as \"postgres://user:password@host/database\"",
    )?;
    Ok(DatabaseUrl {
        database: Database::Server(Box::new(server)),
        ca,
    })
}

pub(super) fn node_name(raw: &RawValue) -> Result<String, InvalidValue> {
    let fits = |text: &&str| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:_-".contains(&byte))
    };
    require(
        raw.text().filter(fits).map(str::to_owned),
        "1 to 64 letters, digits, '.', ':', '_' or '-'",
    )
}

/// Storage of recordings.
pub(super) enum RecordingsUrl {
    Folder(PathBuf),
    Bucket { name: String, prefix: String },
}

pub(super) fn recordings(raw: &RawValue) -> Result<RecordingsUrl, InvalidValue> {
    let text = raw.text().unwrap_or_default();
    let url = match text.strip_prefix("s3://") {
        Some(rest) => bucket(rest),
        None => text
            .strip_prefix("file:")
            .filter(|folder| !folder.is_empty())
            .map(|folder| RecordingsUrl::Folder(folder.into())),
    };
    require(
        url,
        "\"file:\" and a folder, such as \"file:data/recordings\", or \"s3://bucket/prefix\"",
    )
}

/// Parses the name of a bucket, by Amazon's rule, and the prefix of keys.
fn bucket(text: &str) -> Option<RecordingsUrl> {
    let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
    let prefix = prefix.trim_matches('/');
    let in_name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let in_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_".contains(&byte);
    let fits = (3..=63).contains(&name.len())
        && name.bytes().all(in_name)
        && prefix.bytes().all(in_prefix)
        && !prefix.split('/').any(|part| part == "." || part == "..")
        && !prefix.contains("//");
    fits.then(|| RecordingsUrl::Bucket {
        name: name.into(),
        prefix: prefix.into(),
    })
}

/// Parses an HTTP URL without a query: `https://greenpin.example.com`.
pub(super) fn http_url(raw: &RawValue) -> Result<String, InvalidValue> {
    let fits = |text: &&str| {
        reqwest::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        })
    };
    let url = raw
        .text()
        .filter(fits)
        .map(|text| text.trim_end_matches('/').to_owned());
    require(
        url,
        "an address such as \"https://greenpin.example.com\", without user, query or fragment",
    )
}

/// Parses a secret that another program has issued, in any form.
pub(super) fn issued_secret(raw: &RawValue) -> Result<Secret, InvalidValue> {
    require(
        raw.text()
            .filter(|text| !text.is_empty())
            .map(|text| Secret::new(text.to_owned())),
        "a text",
    )
}

pub(super) fn word(raw: &RawValue) -> Result<String, InvalidValue> {
    let fits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    require(
        raw.text().filter(fits).map(str::to_owned),
        "a text without spaces",
    )
}

pub(super) fn ports(raw: &RawValue) -> Result<RangeInclusive<u16>, InvalidValue> {
    let range = raw.text().and_then(|text| {
        let (first, last) = text.split_once('-')?;
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first >= 1024 && last >= first.saturating_add(3)).then_some(first..=last)
    });
    require(
        range,
        "two ports from 1024 to 65535 with at least four ports, such as \"20000-29999\": a call needs four",
    )
}

pub(super) fn threads(raw: &RawValue) -> Result<usize, InvalidValue> {
    let number = raw.integer().filter(|number| (1..=64).contains(number));
    require(
        number.and_then(|number| usize::try_from(number).ok()),
        "a number from 1 to 64",
    )
}

pub(super) fn lease(raw: &RawValue) -> Result<Duration, InvalidValue> {
    seconds(raw, 3..=300, "a number of seconds from 3 to 300")
}

pub(super) fn drain_timeout(raw: &RawValue) -> Result<Duration, InvalidValue> {
    seconds(raw, 0..=86_400, "a number of seconds from 0 to 86400")
}

pub(super) fn calls(raw: &RawValue) -> Result<usize, InvalidValue> {
    let number = raw
        .integer()
        .filter(|number| (1..=1_000_000).contains(number));
    require(
        number.and_then(|number| usize::try_from(number).ok()),
        "a number from 1 to 1000000",
    )
}

pub(super) fn connections(raw: &RawValue) -> Result<usize, InvalidValue> {
    let number = raw
        .integer()
        .filter(|number| (16..=100_000).contains(number));
    require(
        number.and_then(|number| usize::try_from(number).ok()),
        "a number from 16 to 100000",
    )
}

pub(super) fn idle_timeout(raw: &RawValue) -> Result<Duration, InvalidValue> {
    seconds(raw, 5..=3600, "a number of seconds from 5 to 3600")
}

/// Maximum value of a limit.
pub(super) const MAX_LIMIT: u32 = 1_000_000;

pub(super) fn rate(raw: &RawValue) -> Result<u32, InvalidValue> {
    let number = raw
        .integer()
        .filter(|number| (1..=i64::from(MAX_LIMIT)).contains(number));
    require(
        number.and_then(|number| u32::try_from(number).ok()),
        "a number from 1 to 1000000",
    )
}

pub(super) fn days(raw: &RawValue) -> Result<Duration, InvalidValue> {
    let days = raw
        .integer()
        .filter(|days| (1..=365).contains(days))
        .and_then(|days| u64::try_from(days).ok());
    require(
        days.map(|days| Duration::from_secs(days * 24 * 3600)),
        "a number of days from 1 to 365",
    )
}

pub(super) fn boolean(raw: &RawValue) -> Result<bool, InvalidValue> {
    require(raw.boolean(), "true or false")
}

const SRTP: [(&str, SrtpMode); 3] = [
    ("off", SrtpMode::Off),
    ("optional", SrtpMode::Optional),
    ("required", SrtpMode::Required),
];

/// Words of `media`; `true`: direct media is allowed.
const MEDIA: [(&str, bool); 2] = [("relay", false), ("direct", true)];

const RECORDING_FORMATS: [(&str, RecordingFormat); 2] = [
    ("wav", RecordingFormat::Wav),
    ("opus", RecordingFormat::Opus),
];

const NUMBER_FORMATS: [(&str, NumberFormat); 4] = [
    ("e164", NumberFormat::E164),
    ("digits", NumberFormat::Digits),
    ("00", NumberFormat::DoubleZero),
    ("national", NumberFormat::National),
];

const CODECS: [(&str, Codec); 4] = [
    ("pcma", Codec::Pcma),
    ("pcmu", Codec::Pcmu),
    ("g722", Codec::G722),
    ("opus", Codec::Opus),
];

const CALLER_FROM: [(&str, CallerFrom); 4] = [
    ("p-asserted-identity", CallerFrom::AssertedIdentity),
    ("p-preferred-identity", CallerFrom::PreferredIdentity),
    ("remote-party-id", CallerFrom::RemotePartyId),
    ("from", CallerFrom::From),
];

const IDENTITY_HEADER: [(&str, IdentityHeader); 4] = [
    ("p-asserted-identity", IdentityHeader::Asserted),
    ("p-preferred-identity", IdentityHeader::Preferred),
    ("remote-party-id", IdentityHeader::RemoteParty),
    ("none", IdentityHeader::None),
];

const CALLED_FROM: [(&str, CalledFrom); 2] = [
    ("request-uri", CalledFrom::RequestUri),
    ("to", CalledFrom::To),
];

const DIGESTS: [(&str, Digest); 2] = [("sha-256", Digest::Sha256), ("md5", Digest::Md5)];

const TRANSPORTS: [(&str, Transport); 3] = [
    ("udp", Transport::Udp),
    ("tcp", Transport::Tcp),
    ("tls", Transport::Tls),
];

/// Reads the transports on which strangers get no response: all, none, or a list.
pub(super) fn silence(raw: &RawValue) -> Result<Vec<Transport>, InvalidValue> {
    let all = || TRANSPORTS.map(|(_, transport)| transport).to_vec();
    let transports = match raw.boolean() {
        Some(true) => Some(all()),
        Some(false) => Some(Vec::new()),
        None => values_of(&TRANSPORTS, raw),
    };
    require(
        transports,
        "true, false, or a list of \"udp\", \"tcp\" and \"tls\"",
    )
}

pub(super) fn digests(raw: &RawValue) -> Result<Vec<Digest>, InvalidValue> {
    require(
        values_of(&DIGESTS, raw),
        "a list of \"sha-256\" and \"md5\", one or both of them",
    )
}

pub(super) fn codecs(raw: &RawValue) -> Result<Vec<Codec>, InvalidValue> {
    let rule =
        "a list of \"pcma\", \"pcmu\", \"g722\" and \"opus\", one or more of them, each once";
    require(values_of(&CODECS, raw), rule)
}

/// Parses a list of one or more words without repeats.
fn values_of<T: Copy + PartialEq>(words: &[(&str, T)], raw: &RawValue) -> Option<Vec<T>> {
    let known = |item: &String| {
        words
            .iter()
            .find(|(word, _)| item == word)
            .map(|(_, meaning)| *meaning)
    };
    let meanings: Vec<T> = raw.list()?.iter().map(known).collect::<Option<_>>()?;
    let count = |meaning: &T| meanings.iter().filter(|other| *other == meaning).count();
    let once = !meanings.is_empty() && meanings.iter().all(|meaning| count(meaning) == 1);
    once.then_some(meanings)
}

pub(crate) fn codec_names(codecs: &[Codec]) -> Vec<&'static str> {
    codecs
        .iter()
        .map(|codec| name_of(&CODECS, *codec))
        .collect()
}

pub(super) fn caller_from(raw: &RawValue) -> Result<CallerFrom, InvalidValue> {
    let rule =
        "one of \"p-asserted-identity\", \"p-preferred-identity\", \"remote-party-id\", \"from\"";
    require(value_of(&CALLER_FROM, raw), rule)
}

pub(crate) fn caller_from_name(from: CallerFrom) -> &'static str {
    name_of(&CALLER_FROM, from)
}

pub(super) fn identity_header(raw: &RawValue) -> Result<IdentityHeader, InvalidValue> {
    let rule =
        "one of \"p-asserted-identity\", \"p-preferred-identity\", \"remote-party-id\", \"none\"";
    require(value_of(&IDENTITY_HEADER, raw), rule)
}

pub(crate) fn identity_header_name(header: IdentityHeader) -> &'static str {
    name_of(&IDENTITY_HEADER, header)
}

/// Reads the user part of a SIP URI (RFC 3261, section 25.1), without escapes.
pub(super) fn sip_user(raw: &RawValue) -> Result<String, InvalidValue> {
    let allowed = |character: char| {
        character.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(character)
    };
    let user = raw
        .text()
        .filter(|user| (1..=64).contains(&user.len()) && user.chars().all(allowed));
    require(
        user.map(str::to_owned),
        "the user part of a SIP URI: 1 to 64 letters, digits and -_.!~*'()&=+$,;?/",
    )
}

/// Reads a subject alternative name of a certificate: a DNS name or an IP address.
pub(super) fn certificate_name(raw: &RawValue) -> Result<String, InvalidValue> {
    let name = raw
        .text()
        .filter(|text| ServerName::try_from(*text).is_ok());
    require(
        name.map(str::to_owned),
        "a DNS name or an IP address, such as \"sbc.carrier.example\"",
    )
}

/// Reads the host of a SIP URI: a name or an address, without a port.
pub(super) fn sip_domain(raw: &RawValue) -> Result<String, InvalidValue> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-.".contains(character);
    let is_name = |text: &str| {
        (1..=253).contains(&text.len())
            && text.chars().all(allowed)
            && !text.starts_with(['-', '.'])
    };
    let is_ipv6 = |text: &str| {
        let inner = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        inner.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let domain = raw.text().filter(|text| is_name(text) || is_ipv6(text));
    require(
        domain.map(str::to_owned),
        "a domain or an address, such as \"sip.example.com\"",
    )
}

pub(super) fn tenants(raw: &RawValue) -> Result<Vec<TenantId>, InvalidValue> {
    let tenants = raw
        .list()
        .and_then(|items| items.iter().map(|item| TenantId::parse(item)).collect());
    require(tenants, "a list of names of tenants")
}

pub(super) fn called_from(raw: &RawValue) -> Result<CalledFrom, InvalidValue> {
    require(value_of(&CALLED_FROM, raw), "\"request-uri\" or \"to\"")
}

pub(crate) fn called_from_name(from: CalledFrom) -> &'static str {
    name_of(&CALLED_FROM, from)
}

pub(super) fn recording_format(raw: &RawValue) -> Result<RecordingFormat, InvalidValue> {
    require(value_of(&RECORDING_FORMATS, raw), "\"wav\" or \"opus\"")
}

pub(super) fn srtp(raw: &RawValue) -> Result<SrtpMode, InvalidValue> {
    require(
        value_of(&SRTP, raw),
        "\"off\", \"optional\" or \"required\"",
    )
}

pub(crate) fn srtp_name(mode: SrtpMode) -> &'static str {
    name_of(&SRTP, mode)
}

pub(super) fn media(raw: &RawValue) -> Result<bool, InvalidValue> {
    require(value_of(&MEDIA, raw), "\"relay\" or \"direct\"")
}

pub(crate) fn media_name(direct: bool) -> &'static str {
    name_of(&MEDIA, direct)
}

pub(super) fn number_format(raw: &RawValue) -> Result<NumberFormat, InvalidValue> {
    require(
        value_of(&NUMBER_FORMATS, raw),
        "one of \"e164\", \"digits\", \"00\", \"national\"",
    )
}

pub(crate) fn number_format_name(format: NumberFormat) -> &'static str {
    name_of(&NUMBER_FORMATS, format)
}

fn value_of<T: Copy>(words: &[(&str, T)], raw: &RawValue) -> Option<T> {
    words
        .iter()
        .find(|(word, _)| raw.text() == Some(word))
        .map(|(_, meaning)| *meaning)
}

/// Returns the word of a value.
pub(super) fn name_of<T: PartialEq>(words: &[(&'static str, T)], wanted: T) -> &'static str {
    words
        .iter()
        .find(|(_, meaning)| *meaning == wanted)
        .map_or("", |(word, _)| word)
}

pub(super) fn keep_alive(raw: &RawValue) -> Result<Duration, InvalidValue> {
    seconds(
        raw,
        0..=3600,
        "a number of seconds from 1 to 3600, or 0: never",
    )
}

pub(super) fn response_timeout(raw: &RawValue) -> Result<Duration, InvalidValue> {
    seconds(raw, 1..=32, "a number of seconds from 1 to 32")
}

pub(super) fn failover_statuses(raw: &RawValue) -> Result<Vec<u16>, InvalidValue> {
    let status = |number: &i64| {
        let status = u16::try_from(*number).ok();
        status.filter(|status| (400..700).contains(status))
    };
    let statuses = raw
        .integers()
        .and_then(|numbers| numbers.iter().map(status).collect());
    require(
        statuses,
        "a list of SIP statuses from 400 to 699, such as [408, 503]",
    )
}

pub(super) fn credential(raw: &RawValue) -> Result<String, InvalidValue> {
    let fits = |text: &&str| text.len() <= 128 && !text.chars().any(char::is_control);
    require(
        raw.text().filter(fits).map(str::to_owned),
        "a text of at most 128 characters, none of them a control",
    )
}

pub(super) fn priority(raw: &RawValue) -> Result<u16, InvalidValue> {
    require(
        raw.integer().and_then(|number| u16::try_from(number).ok()),
        "a number from 0 to 65535",
    )
}

pub(super) fn weight(raw: &RawValue) -> Result<u16, InvalidValue> {
    let number = raw.integer().filter(|number| (1..=100).contains(number));
    require(
        number.and_then(|number| u16::try_from(number).ok()),
        "a number from 1 to 100",
    )
}

pub(super) fn name(raw: &RawValue) -> Result<String, InvalidValue> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let name = raw
        .text()
        .filter(|name| (1..=64).contains(&name.len()) && name.chars().all(allowed));
    require(
        name.map(str::to_owned),
        "1 to 64 letters, digits, '-', '_' or '.'",
    )
}

pub(super) fn country(raw: &RawValue) -> Result<Region, InvalidValue> {
    require(
        raw.text().and_then(|text| text.parse().ok()),
        "a country code of two capital letters, such as \"IN\"",
    )
}

pub(super) fn digits(raw: &RawValue) -> Result<String, InvalidValue> {
    let fits = |text: &&str| text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit());
    require(
        raw.text().filter(fits).map(str::to_owned),
        "a text of at most 16 digits",
    )
}

pub(super) fn networks(raw: &RawValue) -> Result<Vec<Network>, InvalidValue> {
    let networks = raw
        .list()
        .and_then(|items| items.iter().map(|item| network(item)).collect());
    require(
        networks,
        "a list of addresses or networks, such as [\"192.0.2.0/24\"]",
    )
}

pub(super) fn number_prefixes(raw: &RawValue) -> Result<Vec<NumberPrefix>, InvalidValue> {
    let prefixes = raw
        .list()
        .and_then(|items| items.iter().map(|item| item.parse().ok()).collect());
    require(
        prefixes,
        "a list of number prefixes, such as [\"+91\", \"+44\"]",
    )
}

fn network(text: &str) -> Option<Network> {
    let (address, prefix) = text
        .split_once('/')
        .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix
        .map_or(Some(width), |prefix| prefix.parse().ok())
        .filter(|prefix| *prefix <= width)?;
    Some(Network { address, prefix })
}
