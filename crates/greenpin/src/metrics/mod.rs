//! Metrics of the process, for `GET /metrics`.
//!
//! A label is a fixed word, the template of a route, or the name of a trunk. No number, PIN or id can become a label.
//! Metrics belong to the process, like its log.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

mod process;
pub(crate) mod text_format;

/// Histogram buckets in seconds, from a cache lookup to an abandoned request.
const DURATION_BUCKETS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Histogram buckets in seconds for the time until a callee is alerted.
const DIAL_BUCKETS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
/// Outcomes of an attempt to reach a number over a trunk.
const TRUNK_OUTCOMES: [&str; 8] = [
    "answered",
    "3xx",
    "4xx",
    "5xx",
    "6xx",
    "no_response",
    "no_answer",
    "canceled",
];
/// Histogram buckets for the jobs in a commit, up to the maximum of 256.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Labels of an answered HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabel {
    /// Template of the route, or `unmatched`.
    pub(crate) route: String,
    pub(crate) method: &'static str,
    /// Class of the status, such as `2xx`.
    pub(crate) status: &'static str,
}

/// Labels of an HTTP route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabel {
    pub(crate) route: String,
    pub(crate) method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallTypeLabel {
    call_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrunkLabel {
    trunk: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrunkAttemptLabel {
    trunk: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrunkLegLabel {
    trunk: String,
    direction: &'static str,
}

/// Counter by outcome.
type Outcomes = Family<OutcomeLabel, Counter>;

/// Gauges read from the store. `None`: the store did not answer, and the previous value stays.
#[derive(Default)]
pub(crate) struct StoreFigures {
    pub(crate) webhook_backlog: Option<u64>,
    pub(crate) endpoints_disabled: Option<u64>,
    pub(crate) upload_backlog: Option<u64>,
}

/// Metrics of the process.
pub(crate) struct Metrics {
    registry: Registry,
    process: process::Process,
    requests: Family<RequestLabel, Counter>,
    request_duration: Family<RouteLabel, Histogram>,
    pub(crate) http_connections: Gauge,
    http_connections_refused: Family<ReasonLabel, Counter>,
    http_connections_ended: Family<ReasonLabel, Counter>,
    pub(crate) calls_active: Gauge,
    pub(crate) calls_started: Counter,
    calls_ended: Family<CallTypeLabel, Counter>,
    pin_attempts: Outcomes,
    destinations_refused: Family<ReasonLabel, Counter>,
    sip_refusals: Family<StatusLabel, Counter>,
    pub(crate) sip_dropped: Counter,
    trunk_up: Family<TrunkLabel, Gauge>,
    trunk_registered: Family<TrunkLabel, Gauge>,
    trunk_attempts: Family<TrunkAttemptLabel, Counter>,
    trunk_legs: Family<TrunkLegLabel, Gauge>,
    post_dial_delay: Family<TrunkLabel, Histogram>,
    certificate_expiry: Family<TrunkLabel, Gauge>,
    http_certificate_expiry: Gauge,
    pub(crate) rtp_port_pairs: Gauge,
    pub(crate) rtp_received: Counter,
    pub(crate) rtp_lost: Counter,
    pub(crate) rtp_late: Counter,
    pub(crate) store_queue: Gauge,
    pub(crate) store_jobs: Counter,
    pub(crate) store_batch: Histogram,
    pub(crate) store_commit: Histogram,
    webhook_deliveries: Outcomes,
    webhook_backlog: Gauge,
    webhook_endpoints_disabled: Gauge,
    recording_uploads: Outcomes,
    recording_upload_backlog: Gauge,
    task_failures: Family<TaskLabel, Counter>,
    pub(crate) event_panics: Counter,
    pub(crate) unproven_calls_ended: Counter,
    pub(crate) traces_dropped: Counter,
    pub(crate) sip_connections_refused: Counter,
    /// Requests with wrong credentials of a tenant or with a wrong operator token.
    pub(crate) http_wrong_credentials: Counter,
    pub(crate) log_lines_lost: Counter,
    /// Log lines left out by the limit on repeated lines.
    pub(crate) log_lines_suppressed: Counter,
}

/// Metrics of this process.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

impl Metrics {
    fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("greenpin"),
            process: process::Process::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            http_connections: Gauge::default(),
            http_connections_refused: Family::default(),
            http_connections_ended: Family::default(),
            calls_active: Gauge::default(),
            calls_started: Counter::default(),
            calls_ended: Family::default(),
            pin_attempts: Family::default(),
            destinations_refused: Family::default(),
            sip_refusals: Family::default(),
            sip_dropped: Counter::default(),
            trunk_up: Family::default(),
            trunk_registered: Family::default(),
            trunk_attempts: Family::default(),
            trunk_legs: Family::default(),
            post_dial_delay: Family::new_with_constructor(|| Histogram::new(DIAL_BUCKETS)),
            certificate_expiry: Family::default(),
            http_certificate_expiry: Gauge::default(),
            rtp_port_pairs: Gauge::default(),
            rtp_received: Counter::default(),
            rtp_lost: Counter::default(),
            rtp_late: Counter::default(),
            store_queue: Gauge::default(),
            store_jobs: Counter::default(),
            store_batch: Histogram::new(BATCH_BUCKETS),
            store_commit: Histogram::new(DURATION_BUCKETS),
            webhook_deliveries: Family::default(),
            webhook_backlog: Gauge::default(),
            webhook_endpoints_disabled: Gauge::default(),
            recording_uploads: Family::default(),
            recording_upload_backlog: Gauge::default(),
            task_failures: Family::default(),
            event_panics: Counter::default(),
            unproven_calls_ended: Counter::default(),
            traces_dropped: Counter::default(),
            sip_connections_refused: Counter::default(),
            http_wrong_credentials: Counter::default(),
            log_lines_lost: Counter::default(),
            log_lines_suppressed: Counter::default(),
        };
        metrics.register();
        metrics.create_counters();
        metrics
    }

    fn register(&mut self) {
        let mut registry = std::mem::take(&mut self.registry);
        self.register_http(&mut registry);
        self.register_calls(&mut registry);
        self.register_sip(&mut registry);
        self.register_rtp(&mut registry);
        self.register_store(&mut registry);
        self.register_deliveries(&mut registry);
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register(
            "build",
            "Version of the running program",
            Info::new(version),
        );
        self.register_tasks(&mut registry);
        let help = "Log lines lost because they could not be written in time";
        registry.register("log_lines_lost", help, self.log_lines_lost.clone());
        let help = "Log lines left out, because their place in the program writes too many";
        let suppressed = self.log_lines_suppressed.clone();
        registry.register("log_lines_suppressed", help, suppressed);
        self.process.register(&mut registry);
        self.registry = registry;
    }

    fn register_tasks(&self, to: &mut Registry) {
        let help = "Long-lived tasks and threads that ended unexpectedly";
        to.register("task_failures", help, self.task_failures.clone());
        let help = "Events of calls whose processing failed; each ends its call";
        to.register("event_panics", help, self.event_panics.clone());
    }

    fn register_http(&self, to: &mut Registry) {
        let help = "HTTP requests answered";
        to.register("http_requests", help, self.requests.clone());
        let help = "Time from the head of a request to the head of its response";
        let duration = self.request_duration.clone();
        to.register_with_unit("http_request_duration", help, Unit::Seconds, duration);
        let help = "Expiry of the certificate for HTTPS, since 1970-01-01T00:00:00Z";
        let expiry = self.http_certificate_expiry.clone();
        let name = "http_certificate_expiry_time";
        to.register_with_unit(name, help, Unit::Seconds, expiry);
        let help = "Open HTTP connections";
        to.register("http_connections", help, self.http_connections.clone());
        let help = "HTTP connections closed at once because a limit was reached";
        let refused = self.http_connections_refused.clone();
        to.register("http_connections_refused", help, refused);
        let help = "Requests with wrong credentials of a tenant, or with a wrong operator token";
        let wrong = self.http_wrong_credentials.clone();
        to.register("http_wrong_credentials", help, wrong);
        let help =
            "HTTP connections ended to make room for others, or because the client was too slow";
        let ended = self.http_connections_ended.clone();
        to.register("http_connections_ended", help, ended);
    }

    fn register_calls(&self, to: &mut Registry) {
        let help =
            "TCP and TLS connections for SIP that were closed at once because too many were open";
        to.register(
            "sip_connections_refused",
            help,
            self.sip_connections_refused.clone(),
        );
        let help =
            "Calls ended before the ACK of their answer because their trunk had too many of them";
        to.register(
            "unproven_calls_ended",
            help,
            self.unproven_calls_ended.clone(),
        );
        to.register(
            "traces_dropped",
            "Traces of calls that were not written because the store was too slow or away",
            self.traces_dropped.clone(),
        );
        let help = "Masked calls in progress";
        to.register("calls_active", help, self.calls_active.clone());
        let help = "Incoming calls admitted";
        to.register("calls_started", help, self.calls_started.clone());
        let help = "Calls ended, by call type";
        to.register("calls_ended", help, self.calls_ended.clone());
        let help = "Completed digit blocks, by outcome";
        to.register("pin_tries", help, self.pin_attempts.clone());
        let help = "Numbers that were not dialled because a rule denies them, by reason";
        let refused = self.destinations_refused.clone();
        to.register("destinations_refused", help, refused);
    }

    fn register_sip(&self, to: &mut Registry) {
        let help = "SIP responses from 400 to 699 sent";
        to.register("sip_refusals_sent", help, self.sip_refusals.clone());
        let help = "Received datagrams that are not SIP";
        to.register("sip_messages_dropped", help, self.sip_dropped.clone());
        let help = "1 if the trunk answers or is not monitored, else 0";
        to.register("trunk_up", help, self.trunk_up.clone());
        let help = "1 if the trunk has accepted our registration, else 0";
        to.register("trunk_registered", help, self.trunk_registered.clone());
        let help = "Attempts to reach a number over a trunk, by outcome";
        to.register("trunk_attempts", help, self.trunk_attempts.clone());
        let help = "Legs in use, by trunk and direction";
        to.register("trunk_legs", help, self.trunk_legs.clone());
        let help = "Time from the INVITE until the callee is alerted or answers";
        let delay = self.post_dial_delay.clone();
        to.register_with_unit("trunk_post_dial_delay", help, Unit::Seconds, delay);
        let help = "Expiry of a certificate for SIP over TLS, since 1970-01-01T00:00:00Z";
        let expiry = self.certificate_expiry.clone();
        to.register_with_unit("tls_certificate_expiry_time", help, Unit::Seconds, expiry);
    }

    fn register_rtp(&self, to: &mut Registry) {
        let help = "Pairs of RTP and RTCP ports in use";
        to.register("rtp_port_pairs_in_use", help, self.rtp_port_pairs.clone());
        let help = "RTP packets received, of ended legs";
        to.register("rtp_packets_received", help, self.rtp_received.clone());
        let help = "RTP packets sent to us and not received, of ended legs";
        to.register("rtp_packets_lost", help, self.rtp_lost.clone());
        let help = "RTP packets received too late to be decoded, or twice, of ended legs";
        to.register("rtp_packets_late", help, self.rtp_late.clone());
    }

    fn register_store(&self, to: &mut Registry) {
        let help = "Writes waiting for the store or in progress";
        to.register("store_queue_jobs", help, self.store_queue.clone());
        let help = "Writes finished by the store";
        to.register("store_jobs", help, self.store_jobs.clone());
        let help = "Writes committed together";
        to.register("store_batch_jobs", help, self.store_batch.clone());
        let help = "Time from the first write of a batch until the whole batch is durable";
        let commit = self.store_commit.clone();
        to.register_with_unit("store_commit_duration", help, Unit::Seconds, commit);
    }

    fn register_deliveries(&self, to: &mut Registry) {
        let help = "Webhook deliveries attempted, by outcome";
        to.register("webhook_deliveries", help, self.webhook_deliveries.clone());
        let help = "Webhooks not delivered yet";
        to.register("webhook_backlog", help, self.webhook_backlog.clone());
        let help = "Webhook endpoints disabled after days of failed deliveries";
        let disabled = self.webhook_endpoints_disabled.clone();
        to.register("webhook_endpoints_disabled", help, disabled);
        let help = "Recording uploads attempted, by outcome";
        to.register("recording_uploads", help, self.recording_uploads.clone());
        let help = "Recordings on this node's disk that wait for upload";
        let backlog = self.recording_upload_backlog.clone();
        to.register("recording_upload_backlog", help, backlog);
    }

    /// Creates the counters at zero, because a rate needs a sample from before the first event.
    fn create_counters(&self) {
        for call_type in ["completed", "incomplete", "call-attempt", "client-hangup"] {
            self.calls_ended
                .get_or_create(&CallTypeLabel { call_type })
                .inc_by(0);
        }
        for outcome in ["accepted", "refused", "failed"] {
            self.pin_attempts
                .get_or_create(&OutcomeLabel { outcome })
                .inc_by(0);
        }
        for reason in ["address_limit", "node_limit"] {
            self.http_connections_refused
                .get_or_create(&ReasonLabel { reason })
                .inc_by(0);
        }
        for reason in ["evicted", "head_timeout", "write_timeout"] {
            self.http_connections_ended
                .get_or_create(&ReasonLabel { reason })
                .inc_by(0);
        }
        for reason in ["tenant", "trunks", "hourly_limit"] {
            self.destinations_refused
                .get_or_create(&ReasonLabel { reason })
                .inc_by(0);
        }
        for outcome in ["delivered", "retried", "given_up"] {
            self.webhook_deliveries
                .get_or_create(&OutcomeLabel { outcome })
                .inc_by(0);
        }
        for outcome in ["uploaded", "failed"] {
            self.recording_uploads
                .get_or_create(&OutcomeLabel { outcome })
                .inc_by(0);
        }
        for status in [403, 404, 503] {
            self.sip_refusals
                .get_or_create(&StatusLabel { status })
                .inc_by(0);
        }
    }

    /// Counts an HTTP request and its duration in seconds.
    pub(crate) fn count_request(&self, request: RequestLabel, seconds: f64) {
        let route = RouteLabel {
            route: request.route.clone(),
            method: request.method,
        };
        self.request_duration.get_or_create(&route).observe(seconds);
        self.requests.get_or_create(&request).inc();
    }

    /// Counts a request that was refused before its route was known, because its head cannot be read.
    pub(crate) fn count_unreadable_request(&self) {
        let label = RequestLabel {
            route: "unmatched".to_owned(),
            method: "other",
            status: "4xx",
        };
        self.requests.get_or_create(&label).inc();
    }

    /// Counts an HTTP connection that was closed at once; `reason` is the limit.
    pub(crate) fn count_http_connection_refused(&self, reason: &'static str) {
        self.http_connections_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// Counts an HTTP connection that the server ended early.
    pub(crate) fn count_http_connection_ended(&self, reason: &'static str) {
        self.http_connections_ended
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// Counts unexpected ends of a long-lived task or thread; 0 makes the counter visible.
    pub(crate) fn count_task_failures(&self, task: &'static str, count: u64) {
        let label = TaskLabel { task };
        self.task_failures.get_or_create(&label).inc_by(count);
    }

    /// Counts the end of a call by the call type in its record.
    pub(crate) fn count_call_end(&self, call_type: &'static str) {
        self.calls_ended
            .get_or_create(&CallTypeLabel { call_type })
            .inc();
    }

    /// Counts a block of digits as `accepted`, `refused`, or `failed` if the store failed.
    pub(crate) fn count_pin_attempt(&self, outcome: &'static str) {
        self.pin_attempts
            .get_or_create(&OutcomeLabel { outcome })
            .inc();
    }

    /// Counts a number that was not dialled because a rule denies it.
    pub(crate) fn count_destination_refused(&self, reason: &'static str) {
        self.destinations_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// Creates the counters of a trunk at zero.
    pub(crate) fn create_trunk(&self, trunk: &str) {
        for outcome in TRUNK_OUTCOMES {
            let trunk = trunk.to_owned();
            self.trunk_attempts
                .get_or_create(&TrunkAttemptLabel { trunk, outcome })
                .inc_by(0);
        }
        for direction in ["incoming", "outgoing"] {
            self.add_trunk_legs(trunk, direction, 0);
        }
        let trunk = trunk.to_owned();
        drop(self.post_dial_delay.get_or_create(&TrunkLabel { trunk }));
    }

    /// Counts the end of an attempt to reach a number over a trunk, or its answer.
    pub(crate) fn count_trunk_attempt(&self, trunk: String, outcome: &'static str) {
        self.trunk_attempts
            .get_or_create(&TrunkAttemptLabel { trunk, outcome })
            .inc();
    }

    /// Adds to the legs in use of a trunk, in one direction.
    pub(crate) fn add_trunk_legs(&self, trunk: &str, direction: &'static str, change: i64) {
        let label = TrunkLegLabel {
            trunk: trunk.to_owned(),
            direction,
        };
        self.trunk_legs.get_or_create(&label).inc_by(change);
    }

    /// Records the time from an INVITE until the callee was alerted or answered.
    pub(crate) fn observe_post_dial_delay(&self, trunk: String, delay: Duration) {
        self.post_dial_delay
            .get_or_create(&TrunkLabel { trunk })
            .observe(delay.as_secs_f64());
    }

    /// Sets the state of a trunk; `registered` is `None` for a trunk without registration.
    pub(crate) fn set_trunk(&self, name: &str, up: bool, registered: Option<bool>) {
        let label = TrunkLabel {
            trunk: name.to_owned(),
        };
        self.trunk_up.get_or_create(&label).set(up.into());
        if let Some(registered) = registered {
            self.trunk_registered
                .get_or_create(&label)
                .set(registered.into());
        }
    }

    /// Sets the expiry of a client certificate in seconds since 1970-01-01T00:00:00Z. The server certificate has an
    /// empty trunk name.
    pub(crate) fn set_certificate_expiry(&self, trunk: &str, at: i64) {
        self.certificate_expiry
            .get_or_create(&TrunkLabel {
                trunk: trunk.to_owned(),
            })
            .set(at);
    }

    /// Sets the expiry of the certificate for HTTPS, in seconds since 1970-01-01T00:00:00Z.
    pub(crate) fn set_http_certificate_expiry(&self, at: i64) {
        self.http_certificate_expiry.set(at);
    }

    /// Counts a webhook delivery as `delivered`, `retried` or `given_up`.
    pub(crate) fn count_delivery(&self, outcome: &'static str) {
        self.webhook_deliveries
            .get_or_create(&OutcomeLabel { outcome })
            .inc();
    }

    /// Counts an upload of a recording. A failed upload is retried.
    pub(crate) fn count_upload(&self, uploaded: bool) {
        let outcome = if uploaded { "uploaded" } else { "failed" };
        self.recording_uploads
            .get_or_create(&OutcomeLabel { outcome })
            .inc();
    }

    /// Counts a sent SIP message if it is an error response.
    pub(crate) fn count_sip_message(&self, message: &[u8]) {
        if let Some(status) = refusal(message) {
            self.sip_refusals
                .get_or_create(&StatusLabel { status })
                .inc();
        }
    }

    /// Renders all metrics in the text format of OpenMetrics 1.0, as read by Prometheus.
    pub(crate) fn render(&self, stored: &StoreFigures) -> String {
        for (gauge, found) in [
            (&self.webhook_backlog, stored.webhook_backlog),
            (&self.webhook_endpoints_disabled, stored.endpoints_disabled),
            (&self.recording_upload_backlog, stored.upload_backlog),
        ] {
            if let Some(found) = found {
                gauge.set(i64::try_from(found).unwrap_or(i64::MAX));
            }
        }
        self.process.read();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Returns the status of a SIP error response.
fn refusal(message: &[u8]) -> Option<u16> {
    let status = message.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    let status: u16 = std::str::from_utf8(status).ok()?.parse().ok()?;
    (400..=699).contains(&status).then_some(status)
}

/// Counter of seconds with a value from the system.
type SecondsCounter = Counter<f64, AtomicU64>;

fn store_seconds(counter: &SecondsCounter, seconds: f64) {
    counter.inner().store(seconds.to_bits(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_error_responses_count_as_refusals() {
        assert_eq!(refusal(b"SIP/2.0 403 Forbidden\r\n"), Some(403));
        for other in [
            "SIP/2.0 200 OK\r\n",
            "INVITE sip:x SIP/2.0\r\n",
            "SIP/2.0 ",
            "SIP/2.0 4x4 ",
            "",
        ] {
            assert_eq!(refusal(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn process_memory_and_times_are_read() {
        let text = METRICS.render(&StoreFigures::default());
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("greenpin_process_resident_memory_bytes ") > 1_000_000.0);
        assert!(value("greenpin_process_start_time_seconds ") > 1_700_000_000.0);
        assert!(value("greenpin_process_cpu_seconds_total ") >= 0.0);
        assert!(value("greenpin_process_open_file_descriptors ") > 2.0);
    }
}
