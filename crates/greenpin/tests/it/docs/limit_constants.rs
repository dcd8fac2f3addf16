//! Each constant that limits something is either on the page of limits or listed here as internal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with limits, each with the name under which `limits.rs` refers to it.
const AREAS: [(&str, &str); 9] = [
    ("call_limits", "../call/src"),
    ("signalling_limits", "../signalling/src"),
    ("calls", "src/calls"),
    ("config", "src/config"),
    ("http", "src/http"),
    ("recordings", "src/recordings"),
    ("server", "src/server"),
    ("store", "src/store"),
    ("webhooks", "src/webhooks"),
];

/// Constants that no row of the page names, by the reason for it.
const INTERNAL: &[(&str, &[&str])] = &[
    (
        "no time of a call or session is longer: its own limit is lower",
        &[
            "call_limits::MAX_CONFIRMATION_WAIT",
            "call_limits::MAX_DELAY",
            "signalling_limits::MAX_DELAY",
        ],
    ),
    (
        "more than a session has: the offer is rejected",
        &["signalling_limits::MAX_MEDIA_LINES"],
    ),
    (
        "size of a datagram: a larger INVITE goes over TCP",
        &["signalling_limits::MAX_UDP_REQUEST_BYTES"],
    ),
    (
        "more values than a header has: the rest is ignored",
        &[
            "signalling_limits::MAX_REASON_VALUES",
            "signalling_limits::MAX_SERVICE_ROUTES",
            "signalling_limits::MAX_SERVICE_ROUTE_BYTES",
        ],
    ),
    (
        "range of `pin_length` in requests",
        &["call_limits::MAX_PIN_LENGTH", "store::MAX_PIN_LENGTH"],
    ),
    (
        "keys that wait for the ACK: more than a PIN has",
        &["call_limits::MAX_WAITING_KEYS"],
    ),
    (
        "range of a request field: the test takes it from the OpenAPI document",
        &[
            "http::MAX_DURATION",
            "http::MAX_ENDPOINTS",
            "http::MAX_NUMBERS",
            "http::MAX_RETENTION_DAYS",
            "http::MIN_DURATION",
            "store::MAX_URL_LENGTH",
        ],
    ),
    (
        "range of keys in the reference of the configuration",
        &["config::MAX_LIMIT"],
    ),
    (
        "size of one step of a longer work",
        &[
            "calls::MAX_DATAGRAMS_PER_TURN",
            "calls::MAX_GATHERED",
            "calls::MAX_TICK_DELAY",
            "http::MAX_EVENTS_PER_READ",
            "store::MAX_BATCH_CALLS",
            "store::MAX_BATCH_JOBS",
            "store::MAX_BATCH_KEYS",
            "store::MAX_BATCH_NUMBERS",
            "store::MAX_BATCH_PINS",
            "store::MAX_BATCH_ROWS",
            "store::MAX_BATCH_TENANTS",
            "store::MAX_LEASES_IN_A_ROW",
            "calls::MAX_BATCH_TRACES",
            "store::MAX_PAGE",
        ],
    ),
    (
        "size of a cache or table: beyond it the server only works more",
        &[
            "calls::MAX_CACHED_TENANTS",
            "http::MAX_CACHED",
            "http::MAX_SOURCES",
            "signalling_limits::MAX_NONCES",
            "signalling_limits::MIN_CAPACITY",
            "signalling_limits::MAX_SLACK",
            "signalling_limits::MIN_PEAK",
            "store::MAX_CACHED_STATEMENTS",
            "store::MAX_REMEMBERED_COLUMNS",
            "store::MAX_IDLE_CHANGES",
            "store::MAX_IDLE_CONNECTIONS",
            "store::MAX_KNOWN_CALLS",
            "store::MAX_KNOWN_NUMBERS",
            "store::MAX_ROUTE_TRIES",
            "store::MAX_LOOK_GAP",
            "store::MAX_NUMBERS",
            "store::MAX_RESERVE",
            "store::MAX_TENANTS",
            "store::MAX_CACHED_SAMPLES",
            "store::MIN_RESERVE",
        ],
    ),
    (
        "part of the OpenAPI document, and of masked texts",
        &[
            "http::MAX_QUERY_LENGTH",
            "http::MIN_QUERY_LENGTH",
            "http::MAX_LINE_DEPTH",
            "http::MAX_DIGITS",
            "http::MIN_DIGITS",
        ],
    ),
    (
        "no response of the API is as large",
        &["http::MAX_MASKED_BYTES"],
    ),
    (
        "time after the end of a call in which its last events are written",
        &["http::LAST_EVENT_TIMEOUT"],
    ),
    (
        "interval of a background job",
        &[
            "calls::REPORT_INTERVAL",
            "calls::BATCH_INTERVAL",
            "calls::SWEEP_INTERVAL",
            "calls::TICK_INTERVAL",
            "http::FILE_POLL_INTERVAL",
            "http::POLL_INTERVAL",
            "store::USE_INTERVAL",
            "http::RELEASE_RETRY_INTERVAL",
            "recordings::POLL_INTERVAL",
            "server::EXPIRY_INTERVAL",
            "server::LOOK_INTERVAL",
            "server::RETENTION_INTERVAL",
            "server::TRIM_INTERVAL",
            "store::CHECKPOINT_INTERVAL",
            "store::CHECK_INTERVAL",
            "store::POLL_INTERVAL",
            "webhooks::MAX_POLL_INTERVAL",
            "webhooks::MIN_POLL_INTERVAL",
        ],
    ),
    (
        "wait inside the store or for its database",
        &[
            "store::ANSWER_TIMEOUT",
            "store::BUSY_TIMEOUT",
            "store::LONG_ANSWER_TIMEOUT",
            "store::UNACKNOWLEDGED_TIMEOUT",
            "store::MAX_LINGER",
            "store::MAX_SHARED_AGE",
            "store::MEMORY_RELEASE_TIMEOUT",
            "store::TRUNCATE_TIMEOUT",
        ],
    ),
    (
        "wait within a stop or a single request",
        &[
            "calls::END_CALLS_TIMEOUT",
            "calls::LINGER_TIMEOUT",
            "calls::UNREGISTER_TIMEOUT",
            "calls::WRITE_TRACES_TIMEOUT",
            "http::EVICTED_GOAWAY_TIMEOUT",
            "http::GOAWAY_TIMEOUT",
            "http::MIN_COMPRESSED_BYTES",
            "http::RELEASE_RETRY_TIMEOUT",
            "http::RELEASE_TIMEOUT",
            "http::LINGER_TIMEOUT",
            "http::SHUTDOWN_TIMEOUT",
            "http::LINGER_IDLE_TIMEOUT",
            "recordings::RETRY_TIMEOUT",
            "server::STOP_TIMEOUT",
        ],
    ),
    (
        "bound that only a broken or hostile peer, or a failed disk, can reach",
        &[
            "call_limits::MAX_PROMPT_DURATION",
            "calls::MAX_BACKLOG_SAMPLES",
            "calls::MAX_ARRIVING_MESSAGES",
            "calls::MAX_CALL_ID_BYTES",
            "calls::MAX_OPAQUE_CHARACTERS",
            "calls::MAX_REFUSED_REPORTS",
            "calls::MAX_TAILS",
            "calls::MAX_TRACE_LEGS",
            "calls::MAX_UNANSWERED_ADDRESSES",
            "calls::MAX_UNANSWERED_OCTETS",
            "signalling_limits::MAX_CALL_ID_CHARACTERS",
            "calls::MAX_PORT_ATTEMPTS",
            "calls::MAX_QUEUED_MESSAGES",
            "calls::MAX_QUEUED_RESPONSES",
            "calls::MAX_WAITING_MESSAGES",
            "calls::MAX_PAGE_PACKETS",
            "http::MAX_FIELD_CHARACTERS",
            "http::MAX_MESSAGE_CHARACTERS",
            "http::MAX_LINGER_BYTES",
            "http::MAX_RESPONSE_BYTES",
            "webhooks::MAX_KEPT_CONNECTION_RETRIES",
            "webhooks::MAX_RESOLVER_THREADS",
            "signalling_limits::MAX_FORK_BRANCHES",
            "signalling_limits::MAX_WAITING_REFUSALS",
            "store::MAX_ENCODED_BYTES",
            "signalling_limits::MAX_INFO_KEYS",
            "signalling_limits::MAX_IDENTITIES",
            "signalling_limits::MAX_PARTS",
            "signalling_limits::MAX_KEY_BYTES",
            "signalling_limits::MAX_PARTIAL_BYTES",
            "signalling_limits::MAX_REPEATED_BYTES",
            "signalling_limits::MAX_URI_PARAMETERS",
        ],
    ),
    (
        "part of the trace of a call, whose mask or writing they bound",
        &[
            "calls::MAX_ATTEMPTS",
            "calls::MIN_FREE_TEXT_DIGITS",
            "calls::MIN_NUMBER_DIGITS",
            "calls::MIN_PIN_DIGITS",
            "http::MAX_TRACED_EVENTS",
            "store::LAST_EVENT_TIMEOUT",
            "store::MAX_READ_EVENTS",
        ],
    ),
    (
        "part of a diagnosis by `greenpin doctor`",
        &["calls::RETRANSMIT_INTERVAL"],
    ),
    (
        "way of drawing a PIN, or version of a library",
        &[
            "store::MAX_BLIND_DRAWS",
            "store::MAX_SEARCH_SPACE",
            "store::MIN_SQLITE_VERSION",
        ],
    ),
];

/// Returns the source files below a folder, without tests and benchmarks.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if ["tests", "bench"].contains(&stem) {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the name of the limit that a line of code defines.
fn limit(line: &str) -> Option<&str> {
    let (_, definition) = line.split_once("const ")?;
    let (name, kind) = definition.split_once(": ")?;
    let is_limit = name.starts_with("MAX_")
        || name.starts_with("MIN_")
        || ["_TIMEOUT", "_INTERVAL"]
            .iter()
            .any(|end| name.ends_with(end));
    let is_quantity = ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "Duration"]
        .iter()
        .any(|quantity| kind.starts_with(&format!("{quantity} =")));
    (is_limit && is_quantity).then_some(name)
}

/// Returns the limits that the code defines, such as `http::MAX_ITEMS`.
fn defined() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for (area, folder) in AREAS {
        for path in sources(&root.join(folder)) {
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            names.extend(
                code.lines()
                    .filter_map(limit)
                    .map(|name| format!("{area}::{name}")),
            );
        }
    }
    names
}

/// Returns whether a text contains a name that no further letter continues.
fn contains_name(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let next = text
            .get(at + name.len()..)
            .and_then(|rest| rest.chars().next());
        !next.is_some_and(|next| next == '_' || next.is_ascii_alphanumeric())
    })
}

#[test]
fn every_constant_that_limits_something_is_on_the_page_or_internal() {
    let defined = defined();
    let table = include_str!("limits.rs");
    let internal = INTERNAL.iter().flat_map(|(_, names)| *names);
    let internal: BTreeSet<&str> = internal.copied().collect();
    let mut faults = Vec::new();
    for name in &defined {
        match (internal.contains(name.as_str()), contains_name(table, name)) {
            (true, true) => faults.push(format!("{name} is both shown and internal")),
            (false, false) => faults.push(format!(
                "{name}: add a row to docs/reference/limits.md and to limits.rs, or list it as internal"
            )),
            _ => {}
        }
    }
    let stale = internal.iter().filter(|name| !defined.contains(**name));
    faults.extend(stale.map(|name| format!("{name} is listed as internal, but does not exist")));
    assert!(faults.is_empty(), "{faults:#?}");
}
