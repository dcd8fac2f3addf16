//! The page of limits has a row for each limit of the program, with the value that the code uses.

use std::collections::BTreeMap;
use std::time::Duration;

use call::PhoneNumber;
use call::limits as call_limits;
use greenpin::calls::limits as calls;
use greenpin::calls::media::MediaSettings;
use greenpin::config::Config;
use greenpin::http::Code;
use greenpin::http::limits as http;
use greenpin::prompt_file;
use greenpin::recordings::limits as recordings;
use greenpin::server::limits as server;
use greenpin::store::limits as store;
use greenpin::store::{NewAllocation, NewNumber, NumberMode, TenantId, TenantSettings};
use greenpin::webhooks::WebhookSettings;
use greenpin::webhooks::limits as webhooks;
use serde_json::Value;
use signalling::limits as signalling_limits;

use super::markdown::{read, rows};

const PAGE: &str = "docs/reference/limits.md";

/// Row of the page: the name of the limit, and the value that the page must show.
type Row = (&'static str, String);

/// Makes the rows of a table.
macro_rules! limits {
    ($($name:literal => $value:expr,)*) => {
        vec![$(($name, $value)),*]
    };
}

/// Returns a number with separators from 10,000 on.
fn number(number: usize) -> String {
    let digits = number.to_string();
    match digits.len() {
        0..=4 => digits,
        length => format!("{},{}", &digits[..length - 3], &digits[length - 3..]),
    }
}

/// Returns a size in the greatest unit that fits.
fn size(bytes: usize) -> String {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    match bytes {
        bytes if bytes % MIB == 0 => format!("{} MiB", bytes / MIB),
        bytes if bytes % KIB == 0 => format!("{} KiB", bytes / KIB),
        bytes => format!("{} bytes", number(bytes)),
    }
}

/// Returns a duration in the greatest unit that fits, such as `15 min`.
fn time(time: Duration) -> String {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    match time.as_secs() {
        seconds if seconds % DAY == 0 && seconds > DAY => format!("{} days", seconds / DAY),
        seconds if seconds % HOUR == 0 => format!("{} h", seconds / HOUR),
        seconds if seconds % 60 == 0 && seconds > 60 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// Returns two durations with the greatest units that fit.
fn pause(least: Duration, greatest: Duration) -> String {
    format!("{} to {}", time(least), time(greatest))
}

/// Returns the declaration of a request field in the OpenAPI document. `path` leads to the field.
fn field(path: &[&str]) -> Value {
    let document: Value = serde_json::from_str(greenpin::http::openapi()).unwrap();
    let schemas = document["components"]["schemas"].clone();
    path.iter()
        .enumerate()
        .fold(schemas, |schema, (depth, name)| {
            let inner = if depth == 0 {
                &schema
            } else {
                &schema["properties"]
            };
            assert!(inner[name].is_object(), "no field {path:?}");
            inner[name].clone()
        })
}

fn integer(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Returns the range of an integer field.
fn range(path: &[&str]) -> String {
    let field = field(path);
    let (least, greatest) = (integer(&field["minimum"]), integer(&field["maximum"]));
    format!("{least} to {greatest}")
}

/// Returns the range of a field in seconds, with the maximum also in a greater unit.
fn seconds(path: &[&str]) -> String {
    let greatest = Duration::from_secs(integer(&field(path)["maximum"]));
    format!("{} s ({})", range(path), time(greatest))
}

/// Returns the number of items of a list of telephone numbers.
fn items(path: &[&str]) -> String {
    let list = &field(path)["oneOf"][0];
    format!(
        "{} to {}",
        integer(&list["minItems"]),
        integer(&list["maxItems"])
    )
}

/// Returns the least and the greatest of the numbers up to 1000 that pass a check.
fn accepted(check: impl Fn(usize) -> bool) -> String {
    let passing: Vec<usize> = (0..=1000).filter(|number| check(*number)).collect();
    match passing[..] {
        [only] => only.to_string(),
        [least, .., greatest] => format!("{least} to {greatest}"),
        [] => panic!("no number passes"),
    }
}

/// Returns whether a line of the configuration is accepted.
fn is_configurable(section: &str, line: &str) -> bool {
    Config::read("limits.toml", &format!("[{section}]\n{line}\n"), []).is_ok()
}

/// Returns whether the arguments of a command are accepted.
fn is_command(arguments: &[&str]) -> bool {
    greenpin::cli::definition()
        .try_get_matches_from(arguments)
        .is_ok()
}

fn request_rows() -> Vec<Row> {
    let config = Config::default().http;
    let rate = config.rate_limit;
    let failures = http::FAILURE_LIMIT;
    let file = format!(
        "{}, {} numbers",
        size(http::MAX_FILE_BYTES),
        number(http::MAX_LINES)
    );
    limits! {
        "JSON body" => size(http::MAX_JSON_BYTES),
        "prompt" => format!("{}, {} s", size(http::MAX_WAV_BYTES), prompt_file::MAX_PROMPT_SECONDS),
        "import of numbers" => file,
        "headers of a request" => size(http::MAX_HEADER_BYTES),
        "concurrent requests of an HTTP/2 connection" => http::MAX_STREAMS.to_string(),
        "time for the headers to arrive" => format!("{} for all of them", time(http::HEADER_TIMEOUT)),
        "time for a body to arrive" => format!("{} for all of it", time(http::BODY_TIMEOUT)),
        "time in which a client reads nothing of its response" => time(http::WRITE_TIMEOUT),
        "idle HTTP connection" => format!("{} (`http.idle_timeout`)", time(config.idle_timeout)),
        "HTTP connections of a node" => format!(
            "{} (`http.max_connections`), at most a quarter of the open files",
            number(config.max_connections),
        ),
        "HTTP connections of an address" => format!(
            "{} (`http.max_connections_per_address`)",
            number(config.max_connections_per_address),
        ),
        "items of a bulk update" => number(http::MAX_ITEMS),
        "faults in an error response" => number(http::MAX_FAULTS),
        "items of a page" => format!("1 to {}, default {}", http::MAX_PAGE_ITEMS, http::DEFAULT_PAGE_ITEMS),
        "`wait` of `GET /events`" => format!("0 to {} s", http::MAX_WAIT_SECONDS),
        "open streams of a tenant, on a node" => number(http::MAX_STREAMS_PER_TENANT),
        "open streams of an address, on a node" => number(http::MAX_STREAMS_PER_SOURCE),
        "duration of a stream" => time(http::MAX_STREAM_DURATION),
        "comments on an idle stream" => format!("every {}", time(http::STREAM_HEARTBEAT_INTERVAL)),
        "requests of a tenant in the request log of a node" =>
            format!("{}, of {} tenants", http::MAX_LOGGED_REQUESTS, http::MAX_LOGGED_TENANTS),
        "results of `GET /search`" => format!("{} calls, {} allocations", http::MAX_FOUND, http::MAX_FOUND),
        "calls and allocations that a search by last digits reads, and calls by a `Call-ID`" => format!("{} each", number(http::MAX_SEARCHED as usize)),
        "events that the list of a call or an allocation reads" => number(http::MAX_SCANNED_EVENTS as usize),
        "session of the console" => format!(
            "{}, {} without a request",
            time(store::MAX_SESSION_AGE),
            time(store::SESSION_IDLE_TIMEOUT),
        ),
        "sessions of a credential" => number(store::MAX_SESSIONS as usize),
        "requests of a tenant" => format!(
            "{} a second, bursts of {} (`http.rate_limit`, `http.rate_burst`)",
            rate.requests_per_second,
            rate.burst,
        ),
        "wrong credentials of an address" => format!(
            "{} in a row, then {} a second",
            failures.burst,
            failures.requests_per_second,
        ),
    }
}

fn queue_rows() -> Vec<Row> {
    limits! {
        "`Idempotency-Key`" => format!("1 to {} printable ASCII characters", http::MAX_KEY_LENGTH),
        "stored response of an `Idempotency-Key`" => format!(
            "{} compressed, for {}",
            size(http::MAX_STORED_RESPONSE_BYTES),
            time(store::ANSWER_TTL),
        ),
        "`Idempotency-Key` of a request that a crash interrupted" => time(store::CLAIM_TIMEOUT),
        "waiting writes of a node" => number(store::MAX_QUEUED_JOBS),
        "waiting reads of a node with PostgreSQL" => number(store::MAX_QUEUED_READS),
        "time for the database to answer a request" => time(store::READ_TIMEOUT.max(store::WRITE_TIMEOUT)),
        "time for the database to answer `/readyz`" => time(store::READINESS_TIMEOUT),
        "time to connect to PostgreSQL" => time(store::CONNECT_TIMEOUT),
        "events of one `POST /events/redeliver`" => (store::MAX_BATCH_EVENTS * store::MAX_BATCHES).to_string(),
        "attempts in `GET /events/{event_id}/deliveries`" => store::MAX_SHOWN_ATTEMPTS.to_string(),
    }
}

fn tenant_rows() -> Vec<Row> {
    let create = |sid: &str, token: &str| {
        let options = ["--account-sid", sid, "--token", token];
        is_command(&[&["greenpin", "tenant", "create", "acme"], &options[..]].concat())
    };
    let characters = |accepted: String| format!("{accepted} characters");
    let retention = range(&["UpdateSettings", "retention", "calls"]);
    for name in ["recordings", "ended_allocations"] {
        assert_eq!(range(&["UpdateSettings", "retention", name]), retention);
    }
    limits! {
        "name of a tenant" => characters(accepted(|length| TenantId::parse(&"a".repeat(length)).is_some())),
        "account SID" => characters(accepted(|length| create(&"a".repeat(length), "token"))),
        "token of `greenpin tenant create`" => characters(accepted(|length| create("AC0001", &"a".repeat(length)))),
        "label of a credential" => format!(
            "{} characters",
            integer(&field(&["CreateCredential", "label"])["maxLength"]),
        ),
        "overlap of two credentials" => format!(
            "{}, default: until revoked",
            seconds(&["RotateCredential", "overlap"]),
        ),
        "prefixes in a list of destination rules" => number(greenpin::destinations::MAX_PREFIXES),
        "`retention`" => format!(
            "{retention} days, default: no deletion; `trace` {} days, default {}",
            range(&["UpdateSettings", "retention", "trace"]),
            TenantSettings::default().retention.trace,
        ),
        "time before an event can be deleted" => format!("{} days", store::MIN_EVENT_DAYS),
    }
}

/// Returns whether a virtual number can be added.
fn is_number(mode: NumberMode, pin_length: usize, max_active: Option<u32>) -> bool {
    let vn = PhoneNumber::parse("+914000000001").unwrap();
    let length = u8::try_from(pin_length).ok();
    length.is_some() && NewNumber::with_defaults(vn, mode, length, max_active).is_ok()
}

fn allocation_rows() -> Vec<Row> {
    let settings = TenantSettings::default();
    let shared = |max| is_number(NumberMode::Shared, 4, Some(max));
    let half = 10_u32.pow(4) / 2;
    assert!(!shared(0) && shared(1) && shared(half) && !shared(half + 1));
    let vn = PhoneNumber::parse("+914000000001").unwrap();
    let default = NewNumber::with_defaults(vn, NumberMode::Shared, None, None).unwrap();
    limits! {
        "numbers in `from`" => items(&["CreateAllocation", "from"]),
        "numbers in `to`" => items(&["CreateAllocation", "to"]),
        "`duration`" => format!(
            "{}, default {}; a tenant's `min_duration` and `max_duration` narrow it",
            seconds(&["CreateAllocation", "duration"]),
            NewAllocation::DEFAULT_DURATION,
        ),
        "`max_pin_attempts`" => format!(
            "{}, default {}",
            range(&["CreateAllocation", "max_pin_attempts"]),
            NewAllocation::DEFAULT_PIN_ATTEMPTS,
        ),
        "`custom_field`" => format!(
            "{} characters",
            integer(&field(&["CreateAllocation", "custom_field"])["maxLength"]),
        ),
        "PIN length" => format!(
            "{} on an exclusive number, {} on a shared one",
            accepted(|length| is_number(NumberMode::Exclusive, length, None)),
            accepted(|length| is_number(NumberMode::Shared, length, None)),
        ),
        "shortest PIN with an empty `to` on a shared number" => format!("{} digits", store::OPEN_PIN_LENGTH),
        "`max_active` of a shared number" => format!("1 to half of the PIN space, default {}", default.max_active),
        "cool-off of a PIN (`pin_cooloff`)" => format!(
            "{}, default {}",
            seconds(&["UpdateSettings", "pin_cooloff"]),
            settings.pin_cooloff,
        ),
    }
}

/// Returns a budget of wrong PINs in words.
fn budget(limit: store::BudgetLimit) -> String {
    format!(
        "{}, refilled by one every {}",
        limit.burst,
        time(limit.refill)
    )
}

fn guessing_rows() -> Vec<Row> {
    limits! {
        "wrong PINs of an allocation" => format!(
            "`max_pin_attempts`, default {}",
            NewAllocation::DEFAULT_PIN_ATTEMPTS,
        ),
        "wrong PINs in one call" => format!(
            "`max_pin_attempts` of the allocation; {} for an unlisted caller on a shared number",
            store::UNLISTED_CALLER_ATTEMPTS,
        ),
        "wrong PINs of an unlisted caller on a shared number" => store::MAX_WRONG_ATTEMPTS.to_string(),
        "wrong PINs of all unlisted callers on a shared number" => format!(
            "{}, refilled by one every {}",
            store::UNLISTED_BURST,
            time(store::REFILL_INTERVAL),
        ),
        "wrong PINs of the unlisted callers of one trunk, with `max_guess_odds`" => budget(store::TRUNK_BUDGET),
        "wrong PINs of the unlisted callers of one block of 10,000 numbers, with `max_guess_odds`" =>
            budget(store::BLOCK_BUDGET),
        "wrong PINs of a caller after a right one, with `max_guess_odds`" => format!(
            "{}; for {}",
            budget(store::OWN_BUDGET),
            time(store::OWN_BUDGET_TTL),
        ),
    }
}

fn call_rows() -> Vec<Row> {
    let settings = TenantSettings::default();
    let prompts = 1 + u32::from(call_limits::MAX_PROMPT_REPEATS);
    limits! {
        "concurrent calls of a node" => format!("{} (`sip.max_calls`)", Config::default().sip.max_calls),
        "time for the first digit" => time(call_limits::FIRST_DIGIT_TIMEOUT),
        "time between digits" => time(call_limits::NEXT_DIGIT_TIMEOUT),
        "prompts without any digit" => prompts.to_string(),
        "`ring_timeout`" => format!(
            "{} s for each number, default {}",
            range(&["UpdateSettings", "ring_timeout"]),
            settings.ring_timeout,
        ),
        "`max_call_duration`" => format!(
            "{}, default {}",
            seconds(&["UpdateSettings", "max_call_duration"]),
            settings.max_call_duration,
        ),
        "`warning_tone`" => format!(
            "{}, default {}",
            seconds(&["UpdateSettings", "warning_tone"]),
            settings.warning_tone,
        ),
        "time for the database to answer while a caller waits" => time(call_limits::STORE_TIMEOUT),
        "time for the key press with `accept_call = \"key\"`" => time(call_limits::ACCEPT_KEY_TIMEOUT),
        "leg without RTP" => format!("{} (`media.silence_timeout`)", time(MediaSettings::default().silence_limit)),
        "attempts in a call record" => number(store::MAX_RECORDED_ATTEMPTS),
        "calls by `media.ports`" => "a quarter of the ports: four are reserved for each call when it is admitted".to_owned(),
        "addresses in `sip.listen`" => number(calls::MAX_LISTEN_ADDRESSES),
        "first response to an INVITE" => format!("{} (`trunks.response_timeout`)", time(calls::RESPONSE_TIMEOUT)),
        "sending to an address that no RTP or RTCP has ever come from" => time(MediaSettings::default().unanswered_limit),
        "calls of a trunk before the ACK of the answer" => number(calls::MAX_UNPROVEN_CALLS),
        "trace of a call" => format!(
            "{} of SIP messages, {} entries",
            size(calls::MAX_TRACE_BYTES),
            calls::MAX_TRACE_ENTRIES,
        ),
        "media facts of open legs in a trace" => number(calls::MAX_MEDIA_FACTS),
        "trace of a call before the ACK of the answer" =>
            format!("{} of SIP messages", size(calls::MAX_UNPROVEN_TRACE_BYTES)),
        "traces of ended calls that wait for the store" => number(calls::MAX_QUEUED_TRACES),
        "refused INVITEs in the list of operators" => format!(
            "{} for each trunk and unknown source, {} unknown sources",
            calls::MAX_REFUSED_INVITES,
            calls::MAX_REFUSED_SOURCES,
        ),
        "attempts to write the record of an ended call that the store refuses" => format!("{}, one a second", calls::MAX_END_ATTEMPTS),
        "live calls after SIGTERM" => format!("{} (`node.drain_timeout`)", time(Config::default().drain_timeout)),
    }
}

fn sip_rows() -> Vec<Row> {
    let (message, header) = signalling_limits::message_bytes();
    limits! {
        "shortest session timer" => time(signalling_limits::MIN_SESSION_INTERVAL),
        "longest session timer" => time(signalling_limits::MAX_SESSION_INTERVAL),
        "session timer for a caller that proposes none" => time(signalling_limits::DEFAULT_SESSION_INTERVAL),
        "time to answer OPTIONS" => time(signalling_limits::PROBE_TIMEOUT),
        "attempts of direct media in a call" => calls::MAX_DIRECT_ATTEMPTS.to_string(),
        "attempts of a re-INVITE that gets 491" => signalling_limits::MAX_REINVITE_ATTEMPTS.to_string(),
        "SIP message" => format!("{}, over UDP {}", size(message), size(calls::MAX_DATAGRAM_BYTES)),
        "header of a SIP message" => size(header),
        "TCP and TLS connections" => number(calls::MAX_CONNECTIONS),
        "TCP and TLS connections from outside all trunks" => format!(
            "{}, {} from one address",
            number(calls::MAX_UNLISTED_CONNECTIONS),
            calls::MAX_CONNECTIONS_PER_SOURCE,
        ),
        "TCP or TLS connection without a first message" => time(calls::FIRST_MESSAGE_TIMEOUT),
        "TCP or TLS connection whose peer acknowledges nothing" => time(calls::UNACKNOWLEDGED_TIMEOUT),
        "idle TCP or TLS connection" => time(calls::IDLE_TIMEOUT),
        "time to open a TCP or TLS connection" => time(calls::CONNECT_TIMEOUT),
        "time for the rest of a SIP message over TCP or TLS" => time(calls::MESSAGE_TIMEOUT),
        "time until a changed certificate is used" => time(calls::RELOAD_INTERVAL),
    }
}

fn trunk_rows() -> Vec<Row> {
    limits! {
        "lifetime of a registration" => format!(
            "{}, default {}",
            pause(signalling_limits::MIN_EXPIRY, signalling_limits::MAX_EXPIRY),
            signalling_limits::DEFAULT_EXPIRY.as_secs(),
        ),
        "pause between attempts to register" =>
            pause(signalling_limits::INITIAL_RETRY_DELAY, signalling_limits::MAX_RETRY_DELAY),
        "pause between DNS lookups" => pause(calls::MIN_LOOKUP_INTERVAL, calls::MAX_LOOKUP_INTERVAL),
        "DNS lookup of a host name in a session description" => format!(
            "{}, {} at once", time(calls::MEDIA_HOST_TIMEOUT), calls::MAX_MEDIA_HOST_LOOKUPS
        ),
        "pause between DNS lookups of a name without records" => time(calls::EMPTY_LOOKUP_INTERVAL),
        "pause between DNS lookups while no server answers" =>
            pause(calls::MIN_RETRY_DELAY, calls::MAX_RETRY_DELAY),
    }
}

fn webhook_rows() -> Vec<Row> {
    limits! {
        "endpoints of a tenant" => integer(&field(&["UpdateSettings", "webhooks"])["maxItems"]).to_string(),
        "URL of an endpoint" => format!("{} characters", integer(&field(&["WebhookRequest", "url"])["maxLength"])),
        "time to respond to a webhook" => time(webhooks::RESPONSE_TIMEOUT),
        "body of a response" => format!(
            "{} within {}, {} stored",
            size(webhooks::MAX_READ_BYTES),
            time(webhooks::BODY_TIMEOUT),
            size(webhooks::MAX_STORED_BYTES),
        ),
        "interim responses (`1xx`) to a webhook" => number(webhooks::MAX_INTERIM_RESPONSES),
        "response to a webhook, in all" => size(webhooks::MAX_RESPONSE_BYTES),
        "`Retry-After` of a receiver" => time(webhooks::MAX_RETRY_AFTER),
        "pause between attempts of a delivery" => pause(webhooks::FIRST_PAUSE, webhooks::MAX_PAUSE),
        "test events of the console under way on a node" => number(webhooks::MAX_TEST_EVENTS),
        "retries of a delivery" => format!("for {}", time(webhooks::LIFETIME)),
        "concurrent deliveries to an endpoint" => format!(
            "{}, at first {}",
            webhooks::MAX_PER_ENDPOINT,
            webhooks::INITIAL_PER_ENDPOINT,
        ),
        "concurrent deliveries of a tenant, on a node" => webhooks::MAX_PER_TENANT.to_string(),
        "concurrent deliveries of a node" => webhooks::MAX_DELIVERIES.to_string(),
    }
}

fn endpoint_rows() -> Vec<Row> {
    let disable_after = Config::default().webhooks_disable_after;
    assert_eq!(WebhookSettings::default().disable_after, disable_after);
    limits! {
        "time without a successful delivery" => format!(
            "{} (`webhooks.disable_after`), in at least {} attempts",
            time(disable_after),
            store::MIN_FAILURES,
        ),
        "events of a paused or disabled endpoint" => time(store::ATTEMPT_RETENTION),
        "overlap of two webhook secrets" => format!(
            "{}, default {}",
            seconds(&["RotateSecret", "overlap"]),
            integer(&field(&["RotateSecret", "overlap"])["default"]),
        ),
    }
}

fn recording_rows() -> Vec<Row> {
    limits! {
        "validity of a recording link" => format!(
            "{}, default {}",
            seconds(&["LinkRecording", "duration"]),
            integer(&field(&["LinkRecording", "duration"])["default"]),
        ),
        "concurrent uploads of a node" => recordings::MAX_CONCURRENT.to_string(),
        "request to the bucket" => time(recordings::REQUEST_TIMEOUT),
        "pause between attempts of an upload" => pause(recordings::FIRST_PAUSE, recordings::MAX_PAUSE),
    }
}

fn node_rows() -> Vec<Row> {
    let lease = accepted(|seconds| is_configurable("node", &format!("lease = {seconds}")));
    // One connection writes.
    // One more writer for the rows without a tenant, and one for all rows.
    let connections = store::TENANT_SHARDS + 2 + 2 * store::READER_THREADS;
    limits! {
        "`node.lease`" => format!("{lease} s, default {}", Config::default().lease.as_secs()),
        "heartbeats in a lease" => server::HEARTBEATS_PER_LEASE.to_string(),
        "database connections of a node with PostgreSQL" => connections.to_string(),
    }
}

/// Returns the rows that the page must have, in all of its tables.
fn program_rows() -> BTreeMap<&'static str, String> {
    let groups = [
        request_rows(),
        queue_rows(),
        tenant_rows(),
        allocation_rows(),
        guessing_rows(),
        call_rows(),
        sip_rows(),
        trunk_rows(),
        webhook_rows(),
        endpoint_rows(),
        recording_rows(),
        node_rows(),
    ];
    let rows: Vec<Row> = groups.into_iter().flatten().collect();
    let count = rows.len();
    let rows = BTreeMap::from_iter(rows);
    assert_eq!(rows.len(), count, "a limit is named twice");
    rows
}

/// Returns the cells of the rows of the page, without the heads of its tables.
fn page_rows(page: &str) -> Vec<[&str; 3]> {
    rows(page)
        .filter(|row| row[0] != "limit" && !row[0].starts_with("---"))
        .map(|row| <[&str; 3]>::try_from(row).unwrap())
        .collect()
}

#[test]
fn the_page_of_limits_shows_every_limit_with_its_value() {
    let page = read(PAGE);
    let mut program = program_rows();
    let mut faults = Vec::new();
    for [limit, value, _] in page_rows(&page) {
        match program.remove(limit) {
            Some(expected) if expected == value => {}
            Some(expected) => faults.push(format!("{limit}: shown {value}, in fact {expected}")),
            None => faults.push(format!(
                "{limit}: this test knows no such limit, or it is shown twice"
            )),
        }
    }
    let missing = program.iter();
    faults.extend(missing.map(|(limit, value)| format!("{limit}: no row, the value is {value}")));
    assert!(faults.is_empty(), "{PAGE}:\n{}", faults.join("\n"));
}

#[test]
fn the_page_of_limits_names_error_codes_with_their_status() {
    let page = read(PAGE);
    for [limit, _, beyond] in page_rows(&page) {
        for part in beyond
            .split("; ")
            .filter(|part| part.starts_with(char::is_numeric))
        {
            let Some((status, name)) = part.split_once(" `") else {
                continue;
            };
            let name = name.trim_end_matches('`');
            let code = Code::ALL.iter().find(|code| code.as_str() == name);
            let code = code.unwrap_or_else(|| panic!("{limit}: no error code {name}"));
            assert_eq!(code.status().to_string(), status, "{limit}: {name}");
        }
    }
}

#[test]
fn the_page_of_limits_shows_how_long_an_unlisted_caller_is_refused() {
    let page = read(PAGE);
    let rows = page_rows(&page);
    let row = rows
        .iter()
        .find(|[limit, ..]| limit.ends_with("of an unlisted caller on a shared number"));
    let expected = format!(
        "The caller is refused for {}, doubling up to {}.",
        time(store::MIN_LOCKOUT),
        time(store::MAX_LOCKOUT)
    );
    assert_eq!(row.unwrap()[2], expected);
}

/// Returns the range of a query parameter at each request that has it, without repeats.
fn parameter_ranges(name: &str) -> Vec<(Value, Value)> {
    let document: Value = serde_json::from_str(greenpin::http::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let requests = paths.flat_map(|path| path.as_object().unwrap().values());
    let parameters = requests.filter_map(|request| request["parameters"].as_array());
    let mut ranges: Vec<(Value, Value)> = parameters
        .flatten()
        .filter(|parameter| parameter["name"] == name)
        .map(|parameter| &parameter["schema"])
        .map(|schema| (schema["minimum"].clone(), schema["maximum"].clone()))
        .collect();
    ranges.dedup();
    ranges
}

#[test]
fn the_document_of_the_api_has_the_limits_of_query_parameters() {
    let range = |least: u64, greatest: u64| vec![(Value::from(least), Value::from(greatest))];
    assert_eq!(
        parameter_ranges("limit"),
        range(1, http::MAX_PAGE_ITEMS.into())
    );
    assert_eq!(parameter_ranges("wait"), range(0, http::MAX_WAIT_SECONDS));
}
