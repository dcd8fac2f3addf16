//! `/calls/{call_sid}/trace` and `/calls/{call_sid}/trace.pcap`: the trace of a call.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::middleware::auth::Tenant;
use crate::http::middleware::problem::not_found;
use crate::http::middleware::problem::{Code, Problem};
use crate::http::openapi::problems::problems;
use crate::http::openapi::schemas::{CallId, Moment, PreciseMoment};
use crate::http::tenant::calls::trace_pcap;
use crate::http::tenant::calls::trace_text;
use crate::http::{Success, success};
use crate::store::{
    Attempt, AttemptError, CallEvent, CallRecord, CallSid, CallTrace, EventId, StoreError,
    TenantStore, Timestamp, TraceEntry, TraceFact,
};

/// Maximum number of events of a call in its trace.
const MAX_TRACED_EVENTS: usize = 100;

problems! {
    TraceProblems: [NotFound, TraceNotFound];
}

/// Read the trace of a call
///
/// Returns the SIP messages of both legs, pressed keys without the digits, decisions, dialled legs, media statistics,
/// events and webhook attempts, in the order of time. Numbers are masked. The trace is written within two seconds after the
/// end of the call, and kept for `retention.trace` days.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/calls/{call_sid}/trace",
    operation_id = "read_trace",
    tag = "Calls",
    responses(
        (status = 200, description = "The trace.", body = Success<TraceDetails>),
        TraceProblems,
    )
)]
pub(crate) async fn read(
    Tenant(store): Tenant,
    Path((_, call_sid)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (record, trace) = find(&store, &call_sid).await?;
    let details = TraceDetails::of(&store, &record, &trace).await?;
    Ok(success(StatusCode::OK, details))
}

/// A capture.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary, content_media_type = "application/vnd.tcpdump.pcap")]
pub(crate) struct Capture(#[allow(dead_code)] Vec<u8>);

/// Download the SIP messages of a call
///
/// Returns the masked SIP messages of both legs as a capture in pcap format. Every message is a UDP datagram between the
/// addresses of its leg, whatever its transport was.
#[utoipa::path(
    get,
    path = "/v1/tenants/{tenant_id}/calls/{call_sid}/trace.pcap",
    operation_id = "read_trace_capture",
    tag = "Calls",
    responses(
        (status = 200, description = "The capture.", content_type = "application/vnd.tcpdump.pcap", body = inline(Capture)),
        TraceProblems,
    )
)]
pub(crate) async fn capture(
    Tenant(store): Tenant,
    Path((_, call_sid)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (record, trace) = find(&store, &call_sid).await?;
    let octets = trace_pcap::capture(&trace, record.started_at);
    let mut response = Response::new(Body::from(octets));
    let media_type = HeaderValue::from_static("application/vnd.tcpdump.pcap");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

async fn find(store: &TenantStore, call_sid: &str) -> Result<(CallRecord, CallTrace), Problem> {
    let call_sid = CallSid::parse(call_sid).ok_or_else(not_found)?;
    let record = store.call(&call_sid).await?.ok_or_else(not_found)?;
    let trace = store.trace(&call_sid).await?;
    let trace = trace.ok_or_else(|| Problem::plain(Code::TraceNotFound))?;
    Ok((record, trace))
}

/// The trace of a call.
#[derive(Serialize, ToSchema)]
#[schema(as = CallTrace, description = "The trace of a call.")]
pub(crate) struct TraceDetails {
    #[schema(value_type = CallId)]
    pub(crate) call_sid: String,
    /// Time of the incoming call.
    #[schema(value_type = Moment)]
    pub(crate) start_time: String,
    /// The trace has reached its limit of 64 KiB of SIP messages or 500 entries. The rest is missing.
    pub(crate) truncated: bool,
    /// Legs: the caller, then each dialled leg.
    pub(crate) legs: Vec<TraceLegDetails>,
    /// Entries in the order of time.
    pub(crate) entries: Vec<TraceEntryDetails>,
}

/// A leg of a trace.
#[derive(Serialize, ToSchema)]
#[schema(as = TraceLeg, description = "A leg of a trace.")]
pub(crate) struct TraceLegDetails {
    /// Key of the leg: `caller`, `callee-1` and so on.
    #[schema(pattern = "^(caller|callee-[0-9]+)$", examples("callee-1"))]
    pub(crate) leg: String,
    /// `caller` or `callee`.
    #[schema(pattern = "^(caller|callee)$", examples("callee"))]
    role: &'static str,
    /// Masked number; `null`: withheld or unknown.
    #[schema(required, examples("+9199…01"))]
    pub(crate) number: Option<String>,
    /// Trunk of the leg.
    pub(crate) trunk: String,
    /// Address of greenpin; `null`: the trace has no message of the leg.
    #[schema(required)]
    local: Option<String>,
    /// Address of the peer.
    #[schema(required)]
    pub(crate) peer: Option<String>,
    /// `udp`, `tcp` or `tls`.
    #[schema(required)]
    transport: Option<String>,
}

/// An entry of a trace. Fields that do not fit the `kind` are absent.
#[derive(Serialize, ToSchema, Default)]
#[schema(as = TraceEntry, description = "An entry of a trace. Fields that do not fit the `kind` are absent.")]
pub(crate) struct TraceEntryDetails {
    /// Time of the entry.
    #[schema(value_type = PreciseMoment)]
    at: String,
    /// Milliseconds since the start of the call.
    pub(crate) offset_ms: f64,
    /// `sip`, `digit`, `decision`, `dial`, `dial_end`, `media`, `recording`, `event` or `webhook`.
    #[schema(pattern = "^[a-z_]+$", examples("sip"))]
    kind: &'static str,
    /// Key of the leg; `null`: the call itself.
    #[schema(required)]
    pub(crate) leg: Option<String>,
    /// `in`: from the peer; `out`: to the peer; `null`: neither.
    #[schema(required)]
    pub(crate) direction: Option<&'static str>,
    /// The entry in one line, for people.
    pub(crate) text: String,
    /// `sip`: method of the `CSeq`. `digit`: `rfc4733`, `info` or `in_band`.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// `sip`: status of a response. `webhook`: HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// `sip`: number of the `CSeq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cseq: Option<u32>,
    /// `sip`: the same message was sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmission: Option<bool>,
    /// `sip`: `udp`, `tcp` or `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<String>,
    /// `sip`: address of the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// `sip`: address of the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    /// `sip`: masked text of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// `decision`: name of the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// `decision`: reason of the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// `dial`, `dial_end`: trunk of the leg; absent if the number was not dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    trunk: Option<String>,
    /// `dial`: masked number.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    /// `dial_end`: final status of a rejected leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    sip_status: Option<u16>,
    /// `dial_end`: reason for the end, as in `attempts` of the call record.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// `media`: codec of the leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<String>,
    /// `media`: received packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_received: Option<u64>,
    /// `media`: lost packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_lost: Option<u64>,
    /// `media`: sent packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_sent: Option<u64>,
    /// `media`: interarrival jitter in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_ms: Option<f64>,
    /// `media`: estimated mean opinion score.
    #[serde(skip_serializing_if = "Option::is_none")]
    mos: Option<f64>,
    /// `recording`: `started`, `finished` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// `recording`: length in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    /// `event`, `webhook`: id of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// `event`, `webhook`: type of the event.
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    event_type: Option<String>,
    /// `webhook`: id of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<String>,
    /// `webhook`: number of the attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<usize>,
    /// `webhook`: reason for a missing response.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    /// `webhook`: milliseconds until the response or the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

/// Start of a call and the zone of its times.
struct Clock<'a> {
    started_at: Timestamp,
    zone: &'a TimeZone,
}

impl TraceDetails {
    /// Merges the stored trace with the events of the call and their webhook attempts.
    pub(crate) async fn of(
        store: &TenantStore,
        record: &CallRecord,
        trace: &CallTrace,
    ) -> Result<Self, StoreError> {
        let zone = store.settings().await?.zone();
        let clock = Clock {
            started_at: record.started_at,
            zone: &zone,
        };
        let mut entries = stored_entries(trace, &clock);
        for event in store
            .events_of_call(record)
            .await?
            .iter()
            .take(MAX_TRACED_EVENTS)
        {
            entries.push(event_entry(event, &clock));
            let Some(event_id) = EventId::parse(&event.event_id) else {
                continue;
            };
            for delivery in store.deliveries(&event_id).await?.unwrap_or_default() {
                let attempts = delivery.attempts.iter().rev().enumerate();
                let endpoint = delivery.endpoint_id.to_string();
                entries.extend(attempts.map(|(index, attempt)| {
                    webhook_entry(event, &endpoint, index.saturating_add(1), attempt, &clock)
                }));
            }
        }
        entries.sort_by(|one, other| one.offset_ms.total_cmp(&other.offset_ms));
        Ok(Self {
            call_sid: record.call_sid.to_string(),
            start_time: record.started_at.rfc3339(&zone),
            truncated: trace.truncated,
            legs: legs(trace),
            entries,
        })
    }
}

fn leg_key(index: u16) -> String {
    match index {
        0 => "caller".to_owned(),
        index => format!("callee-{index}"),
    }
}

fn legs(trace: &CallTrace) -> Vec<TraceLegDetails> {
    let legs = trace.legs.iter().zip(0_u16..);
    let details = legs.map(|(leg, index)| {
        let first = trace.entries.iter().find_map(|entry| match &entry.fact {
            TraceFact::Sip {
                transport,
                local,
                peer,
                ..
            } if entry.leg == Some(index) => Some((local, peer, transport)),
            _ => None,
        });
        TraceLegDetails {
            leg: leg_key(index),
            role: if index == 0 { "caller" } else { "callee" },
            number: leg.number.clone(),
            trunk: leg.trunk.clone(),
            local: first.map(|(local, ..)| local.to_string()),
            peer: first.map(|(_, peer, _)| peer.to_string()),
            transport: first.map(|(.., transport)| transport.to_string()),
        }
    });
    details.collect()
}

impl Clock<'_> {
    fn entry(&self, micros: i64, kind: &'static str, text: String) -> TraceEntryDetails {
        let at = self.started_at.micros().saturating_add(micros);
        TraceEntryDetails {
            at: Timestamp::from_micros(at).rfc3339_micros(self.zone),
            offset_ms: micros as f64 / 1000.0,
            kind,
            text,
            ..TraceEntryDetails::default()
        }
    }
}

fn stored_entries(trace: &CallTrace, clock: &Clock<'_>) -> Vec<TraceEntryDetails> {
    let mut shown = Vec::with_capacity(trace.entries.len());
    for (index, entry) in trace.entries.iter().enumerate() {
        let earlier = trace.entries.get(..index).unwrap_or_default();
        let mut details = stored_entry(trace, entry, earlier, clock);
        details.leg = entry.leg.map(leg_key);
        shown.push(details);
    }
    shown
}

fn stored_entry(
    trace: &CallTrace,
    entry: &TraceEntry,
    earlier: &[TraceEntry],
    clock: &Clock<'_>,
) -> TraceEntryDetails {
    let text = trace_text::line(&entry.fact);
    let entry_of = |kind| clock.entry(entry.at, kind, text.clone());
    match &entry.fact {
        TraceFact::Sip { .. } => sip_entry(entry, earlier, entry_of("sip")),
        TraceFact::Digit { method } => TraceEntryDetails {
            direction: Some("in"),
            method: Some(method.to_string()),
            ..entry_of("digit")
        },
        TraceFact::Decision { action, reason, .. } => TraceEntryDetails {
            action: Some(action.to_string()),
            reason: reason.as_ref().map(ToString::to_string),
            ..entry_of("decision")
        },
        TraceFact::Dial { trunk, number } => TraceEntryDetails {
            trunk: trunk.clone(),
            number: Some(number.clone()),
            ..entry_of("dial")
        },
        TraceFact::DialEnd { sip_status, cause } => {
            let leg = entry.leg.and_then(|leg| trace.legs.get(usize::from(leg)));
            TraceEntryDetails {
                trunk: leg.map(|leg| leg.trunk.clone()),
                sip_status: *sip_status,
                cause: Some(cause.to_string()),
                ..entry_of("dial_end")
            }
        }
        TraceFact::Media {
            codec,
            packets_received,
            packets_lost,
            packets_sent,
            jitter_ms,
            mos,
        } => TraceEntryDetails {
            codec: codec.as_ref().map(ToString::to_string),
            packets_received: Some(*packets_received),
            packets_lost: Some(*packets_lost),
            packets_sent: Some(*packets_sent),
            jitter_ms: Some(*jitter_ms),
            mos: *mos,
            ..entry_of("media")
        },
        TraceFact::Recording { state, duration } => TraceEntryDetails {
            state: Some(state.to_string()),
            duration: *duration,
            ..entry_of("recording")
        },
    }
}

fn sip_entry(
    entry: &TraceEntry,
    earlier: &[TraceEntry],
    details: TraceEntryDetails,
) -> TraceEntryDetails {
    let TraceFact::Sip {
        received,
        transport,
        local,
        peer,
        text,
    } = &entry.fact
    else {
        return details;
    };
    let is_copy = |other: &TraceEntry| {
        matches!(&other.fact, TraceFact::Sip { received: by_peer, text: copy, .. } if by_peer == received && copy == text)
            && other.leg == entry.leg
    };
    let (source, destination) = match received {
        true => (peer, local),
        false => (local, peer),
    };
    let head = trace_text::SipHead::read(text);
    TraceEntryDetails {
        direction: Some(if *received { "in" } else { "out" }),
        method: Some(head.method.to_owned()),
        status: head.status,
        cseq: head.cseq,
        retransmission: Some(earlier.iter().any(is_copy)),
        transport: Some(transport.to_string()),
        source: Some(source.to_string()),
        destination: Some(destination.to_string()),
        message: Some(text.clone()),
        ..details
    }
}

fn event_entry(event: &CallEvent, clock: &Clock<'_>) -> TraceEntryDetails {
    let micros = event.occurred_at.micros();
    let after = micros.saturating_sub(clock.started_at.micros());
    TraceEntryDetails {
        event_id: Some(event.event_id.clone()),
        event_type: Some(event.event_type.clone()),
        ..clock.entry(after, "event", format!("event {}", event.event_type))
    }
}

fn webhook_entry(
    event: &CallEvent,
    endpoint_id: &str,
    number: usize,
    attempt: &Attempt,
    clock: &Clock<'_>,
) -> TraceEntryDetails {
    let begun = attempt.begun_at.micros();
    let after = begun.saturating_sub(clock.started_at.micros());
    let result = match (attempt.status, attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.as_str().to_owned(),
        (None, None) => "no response".to_owned(),
    };
    let text = format!("webhook {} to {endpoint_id}: {result}", event.event_type);
    TraceEntryDetails {
        direction: Some("out"),
        event_id: Some(event.event_id.clone()),
        event_type: Some(event.event_type.clone()),
        endpoint_id: Some(endpoint_id.to_owned()),
        attempt: Some(number),
        status: attempt.status,
        error: attempt.error.map(AttemptError::as_str),
        duration_ms: Some(u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX)),
        ..clock.entry(after, "webhook", text)
    }
}
