//! Fields of a tenant's settings. A new setting needs a declaration here and a field in
//! [`TenantSettings`](crate::store::TenantSettings).

use serde_json::{Value, json};

use crate::http::middleware::field::{
    Boolean, Clearable, Field, FieldKind, Integer, Keyword, Object, Odds, Parsed, RequestBody as _,
    request_body,
};
use crate::http::middleware::problem::{Code, FieldError};
use crate::http::middleware::validation::{FieldValue, Fields};
use crate::numbering;
use crate::store::{
    AcceptCall, CallLimit, CallerPolicy, DialStrategy, EndpointFormat, EndpointId, EndpointSpec,
    EventType, RateLimit, Retention, TenantSettings, WEBHOOK_URL_RULE, canonical_webhook_url,
};

/// Lower bound of `min_duration`, in seconds.
pub(crate) const MIN_DURATION: u32 = 300;
/// Upper bound of `max_duration`, in seconds: 170 days.
pub(crate) const MAX_DURATION: u32 = 14_688_000;
/// Maximum number of webhook endpoints of a tenant.
pub(crate) const MAX_ENDPOINTS: usize = 20;
/// Maximum retention, in days: ten years.
const MAX_RETENTION_DAYS: u32 = 3650;

pub(crate) const TIMEZONE: Field<Parsed<String>> = Field::new(
    "timezone",
    Parsed {
        parse: parse_timezone,
        rule: "must be an IANA time zone such as Asia/Kolkata",
        schema: r#"{ "type": "string" }"#,
    },
    "IANA time zone of timestamps.",
)
.with_example(r#""Asia/Kolkata""#);

const COUNTRY: Field<Clearable<Parsed<String>>> = Field::new(
    "country",
    Parsed {
        parse: parse_country,
        rule: "must be an ISO 3166-1 code such as IN",
        schema: r#"{ "type": "string", "pattern": "^[A-Z]{2}$" }"#,
    },
    "ISO 3166-1 code of the country for national numbers, without `+`, from a trunk that has no country of its own.",
)
.with_example(r#""IN""#)
.clearable();

const CALLER_POLICY: Field<Keyword<CallerPolicy>> = Field::new(
    "caller_policy",
    Keyword {
        words: &[("any", CallerPolicy::Any), ("listed", CallerPolicy::Listed)],
        schema: "CallerPolicy",
    },
    "Callers allowed to use a PIN: anyone (`any`), or only numbers in `from` or `to` (`listed`).",
);

const MAX_GUESS_ODDS: Field<Clearable<Odds>> = Field::new(
    "max_guess_odds",
    Odds,
    "Maximum probability that unlisted callers guess a PIN of a shared number within a year. A create that exceeds it is \
     rejected, and the limits of wrong PINs count by trunk and block of caller numbers, too. `null`: no limit.",
)
.with_example("0.01")
.clearable();

const DIAL_STRATEGY: Field<Keyword<DialStrategy>> = Field::new(
    "dial_strategy",
    Keyword {
        words: &[
            ("sequential", DialStrategy::Sequential),
            ("parallel", DialStrategy::Parallel),
        ],
        schema: "DialStrategy",
    },
    "Order of calls to several numbers of a side: one after the other, or all at once.",
);

const ACCEPT_CALL: Field<Keyword<AcceptCall>> = Field::new(
    "accept_call",
    Keyword {
        words: &[("answer", AcceptCall::Answer), ("key", AcceptCall::Key)],
        schema: "AcceptCall",
    },
    "Action to accept a call: answering it, or pressing 1. Pressing 1 excludes voice mailboxes.",
);

/// Declares a number of seconds in a range.
const fn seconds(name: &'static str, min: u32, max: u32, doc: &'static str) -> Field<Integer> {
    Field::new(name, Integer { min, max }, doc)
}

/// Declares a number of days. `null` disables the removal.
const fn days(name: &'static str, doc: &'static str) -> Field<Clearable<Integer>> {
    Field::new(
        name,
        Integer {
            min: 1,
            max: MAX_RETENTION_DAYS,
        },
        doc,
    )
    .clearable()
}

/// Declares a required positive number. The operator's limit narrows its range.
const fn positive(name: &'static str, doc: &'static str) -> Field<Integer> {
    Field::new(
        name,
        Integer {
            min: 1,
            max: u32::MAX,
        },
        doc,
    )
    .required()
}

/// Language of prompts, limited to the languages available on the node.
#[derive(Clone, Copy)]
pub(crate) struct Language;

impl FieldKind for Language {
    type Value = String;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<String> {
        fields.choice(name)
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "enum": ["en", "hi"] })
    }
}

request_body! {
    /// Prompts for callers. Upload your own audio to `/prompts/{name}`.
    PromptsRequest {
        language: Language = Field::new(
            "language",
            Language,
            "Language of the built-in prompts. The operator can add languages.",
        ),
    }
}

request_body! {
    /// Rate limit of API requests, up to the operator's limit; `null`: the operator's limit.
    RateLimitRequest {
        requests_per_second: Integer = positive("requests_per_second", "Sustained rate, in requests per second."),
        burst: Integer = positive("burst", "Maximum burst of requests."),
    }
}

request_body! {
    /// Limit of calls per node, up to the operator's limit; `null`: the operator's limit.
    CallLimitRequest {
        max_calls: Integer = positive("max_calls", "Maximum number of concurrent calls."),
        calls_per_second: Integer = positive(
            "calls_per_second",
            "Maximum rate of new calls per second, also the maximum burst.",
        ),
    }
}

request_body! {
    /// Days until data is deleted, counted from its end. Omitted fields stay unchanged; `null` disables the
    /// deletion, except of traces: `null` leaves their days unchanged.
    RetentionRequest {
        calls: Clearable<Integer> = days("calls", "Days to keep call records. A recording is deleted with its record at the latest."),
        recordings: Clearable<Integer> = days("recordings", "Days to keep recordings."),
        ended_allocations: Clearable<Integer> = days(
            "ended_allocations",
            "Days to keep expired and deleted allocations.",
        ),
        trace: Integer = Field::new(
            "trace",
            Integer {
                min: 0,
                max: MAX_RETENTION_DAYS,
            },
            "Days to keep the traces of calls. A trace is deleted with its call record at the latest. 0: no trace is recorded.",
        ),
    }
}

request_body! {
    /// Changes to the settings. Fields that are omitted or `null` stay unchanged, except `country`, `max_guess_odds`, `rate_limit`,
    /// `call_limit` and `retention`: `null` clears them.
    UpdateSettings {
        timezone: Parsed<String> = TIMEZONE,
        country: Clearable<Parsed<String>> = COUNTRY,
        min_duration: Integer = seconds(
            "min_duration",
            MIN_DURATION,
            MAX_DURATION,
            "Minimum duration of an allocation, in seconds. Must not exceed `max_duration`.",
        ),
        max_duration: Integer = seconds(
            "max_duration",
            MIN_DURATION,
            MAX_DURATION,
            "Maximum duration of an allocation, in seconds.",
        ),
        pin_cooloff: Integer = seconds(
            "pin_cooloff",
            0,
            2_592_000,
            "Seconds before a freed PIN can be drawn again on its number.",
        ),
        caller_policy: Keyword<CallerPolicy> = CALLER_POLICY,
        max_guess_odds: Clearable<Odds> = MAX_GUESS_ODDS,
        dial_strategy: Keyword<DialStrategy> = DIAL_STRATEGY,
        ring_timeout: Integer = seconds("ring_timeout", 5, 180, "Ringing time of each number, in seconds."),
        max_call_duration: Integer = seconds(
            "max_call_duration",
            10,
            86_400,
            "Maximum duration of a connected call, in seconds.",
        ),
        accept_call: Keyword<AcceptCall> = ACCEPT_CALL,
        whisper: Boolean = Field::new(
            "whisper",
            Boolean,
            "Announce the kind of call to a dialled party before connecting it.",
        ),
        warning_tone: Integer = seconds(
            "warning_tone",
            0,
            3600,
            "Seconds before `max_call_duration` at which both parties hear a tone; 0: no tone.",
        ),
        record_announcement: Boolean = Field::new(
            "record_announcement",
            Boolean,
            "Announce the recording to both parties.",
        ),
        prompts: Object<PromptsRequest> = Field::new(
            "prompts",
            Object::<PromptsRequest>::new(),
            "Prompts for callers. Upload your own audio to `/prompts/{name}`.",
        )
        .with_example(r#"{ "language": "hi" }"#),
        rate_limit: Clearable<Object<RateLimitRequest>> = Field::new(
            "rate_limit",
            Object::<RateLimitRequest>::new(),
            "Rate limit of API requests, up to the operator's limit; `null`: the operator's limit.",
        )
        .with_example(r#"{ "requests_per_second": 10, "burst": 20 }"#)
        .clearable(),
        call_limit: Clearable<Object<CallLimitRequest>> = Field::new(
            "call_limit",
            Object::<CallLimitRequest>::new(),
            "Limit of calls per node, up to the operator's limit; `null`: the operator's limit.",
        )
        .with_example(r#"{ "max_calls": 100, "calls_per_second": 10 }"#)
        .clearable(),
        retention: Clearable<Object<RetentionRequest>> = Field::new(
            "retention",
            Object::<RetentionRequest>::new(),
            "Days until data is deleted, counted from its end. Omitted fields stay unchanged; `null` disables the deletion.",
        )
        .with_example(r#"{ "recordings": 90 }"#)
        .clearable(),
        webhooks: Webhooks = Field::new(
            "webhooks",
            Webhooks,
            "Webhook endpoints. The list replaces the stored one. An endpoint with a known `id` or `url` keeps its secret. Each `url` can appear once.",
        ),
    }
    example r#"{ "ring_timeout": 45, "webhooks": [{ "url": "https://example.com/greenpin", "types": ["call.completed"] }] }"#
}

/// Replaces stored values by those present in a request.
macro_rules! apply {
    ($request:expr => $settings:expr, $($field:ident),* $(,)?) => {
        $(if let Some(value) = &$request.$field {
            $settings.$field.clone_from(value);
        })*
    };
}

impl UpdateSettings {
    /// Applies the request to the settings.
    pub(crate) fn apply(&self, settings: &mut TenantSettings) {
        apply!(self => settings, timezone, country, min_duration, max_duration, pin_cooloff, caller_policy,
            max_guess_odds,            dial_strategy, ring_timeout, max_call_duration, accept_call, whisper, warning_tone, record_announcement);
        if let Some(prompts) = &self.prompts {
            apply!(prompts => settings.prompts, language);
        }
        if let Some(limit) = &self.rate_limit {
            settings.rate_limit = limit.as_ref().and_then(RateLimitRequest::value);
        }
        if let Some(limit) = &self.call_limit {
            settings.call_limit = limit.as_ref().and_then(CallLimitRequest::value);
        }
        match &self.retention {
            Some(Some(retention)) => {
                apply!(retention => settings.retention, calls, recordings, ended_allocations, trace);
            }
            Some(None) => settings.retention = Retention::default(),
            None => {}
        }
    }
}

impl RateLimitRequest {
    fn value(&self) -> Option<RateLimit> {
        Some(RateLimit {
            requests_per_second: self.requests_per_second?,
            burst: self.burst?,
        })
    }
}

impl CallLimitRequest {
    fn value(&self) -> Option<CallLimit> {
        Some(CallLimit {
            max_calls: self.max_calls?,
            calls_per_second: self.calls_per_second?,
        })
    }
}

/// List of webhook endpoints.
#[derive(Clone, Copy)]
pub(crate) struct Webhooks;

impl FieldKind for Webhooks {
    type Value = Vec<EndpointSpec>;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<Vec<EndpointSpec>> {
        let items = match fields.remove(name)? {
            Value::Array(items) => items,
            _ => {
                fields.add_fault(name, Code::WrongType, "must be an array of objects");
                return None;
            }
        };
        if items.len() > MAX_ENDPOINTS {
            let message = format!("must have at most {MAX_ENDPOINTS} endpoints");
            fields.add_fault(name, Code::TooMany, message);
            return None;
        }
        let mut specs: Vec<EndpointSpec> = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let item_path = format!("{name}[{index}]");
            match read_endpoint(item) {
                Ok(spec) => {
                    if let Some(field) = repeated_field(&specs, &spec) {
                        let field = format!("{item_path}.{field}");
                        fields.add_fault(field, Code::Repeated, "is already in the list");
                    }
                    specs.push(spec);
                }
                Err(faults) => add_faults(fields, &item_path, faults),
            }
        }
        Some(specs)
    }

    fn schema(&self) -> Value {
        json!({
            "type": "array",
            "maxItems": MAX_ENDPOINTS,
            "items": { "$ref": "#/components/schemas/WebhookRequest" },
        })
    }
}

/// Returns the field of an endpoint that an earlier one of the list has with the same value.
fn repeated_field(earlier: &[EndpointSpec], spec: &EndpointSpec) -> Option<&'static str> {
    if earlier.iter().any(|other| other.url == spec.url) {
        return Some("url");
    }
    let has_id = spec.id.is_some() && earlier.iter().any(|other| other.id == spec.id);
    has_id.then_some("id")
}

/// Adds the faults of one endpoint under its position in the list.
fn add_faults(fields: &mut Fields, item_path: &str, faults: Vec<FieldError>) {
    for fault in faults {
        let field = if fault.field.is_empty() {
            item_path.to_owned()
        } else {
            format!("{item_path}.{}", fault.field)
        };
        fields.add_fault(field, fault.code, fault.message);
    }
}

/// List of event types. Absent: all types.
#[derive(Clone, Copy)]
pub(crate) struct EventTypeList;

impl FieldKind for EventTypeList {
    type Value = Vec<String>;

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<Vec<String>> {
        let items = match fields.remove(name)? {
            Value::Array(items) => items,
            _ => {
                fields.add_fault(name, Code::WrongType, "must be an array of event types");
                return None;
            }
        };
        let mut types = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let known = EventType::ALL
                .iter()
                .map(|known| known.as_str())
                .find(|known| item.as_str() == Some(*known));
            match known {
                Some(known) => types.push(known.to_owned()),
                None => fields.add_fault(
                    format!("{name}[{index}]"),
                    Code::InvalidValue,
                    "is not an event type",
                ),
            }
        }
        Some(types)
    }

    fn schema(&self) -> Value {
        json!({ "type": "array", "items": { "$ref": "#/components/schemas/EventKind" } })
    }
}

/// Field of a response that a request may repeat. Its value is ignored.
#[derive(Clone, Copy)]
pub(crate) struct Ignored;

impl FieldKind for Ignored {
    type Value = ();

    fn read(&self, fields: &mut Fields, name: &'static str) -> FieldValue<()> {
        fields.remove(name).map(|_| ())
    }

    fn schema(&self) -> Value {
        json!({ "type": "string" })
    }
}

/// Declares the id of a webhook endpoint.
pub(crate) const fn endpoint_id(
    name: &'static str,
    doc: &'static str,
) -> Field<Parsed<EndpointId>> {
    Field::new(
        name,
        Parsed {
            parse: EndpointId::parse,
            rule: "must be an endpoint id: ep_ and 26 characters",
            schema: r#"{ "type": "string", "pattern": "^ep_[0-9a-hjkmnp-tv-z]{26}$" }"#,
        },
        doc,
    )
    .with_example(r#""ep_01jxs0b7a3c5e9g1j4k6m8n2pq""#)
}

/// Declares a filter by event type.
pub(crate) const fn event_types(doc: &'static str) -> Field<EventTypeList> {
    Field::new("types", EventTypeList, doc)
}

request_body! {
    /// Webhook endpoint to create or change.
    WebhookRequest {
        url: Parsed<String> = Field::new(
            "url",
            Parsed {
                parse: canonical_webhook_url,
                rule: WEBHOOK_URL_RULE,
                schema: r#"{ "type": "string", "format": "uri", "maxLength": 2048, "pattern": "^https?://[^/@]+" }"#,
            },
            "Destination of events: an http or https URL without credentials. It is stored and shown in its canonical form.",
        )
        .required()
        .with_example(r#""https://example.com/greenpin""#),
        types: EventTypeList = event_types("Event types to send. Omitted: all types, including those of later versions.")
            .with_example(r#"["call.completed", "recording.ready"]"#),
        format: Keyword<EndpointFormat> = Field::new(
            "format",
            Keyword {
                words: &[
                    ("standard", EndpointFormat::Standard),
                    ("flat", EndpointFormat::Flat),
                ],
                schema: "DeliveryForm",
            },
            "Format of deliveries.",
        )
        .with_default(r#""standard""#),
        paused: Boolean = Field::new("paused", Boolean, "`true` keeps events pending until the pause ends.").with_default("false"),
        id: Parsed<EndpointId> = endpoint_id(
            "id",
            "Endpoint to change. Omitted: the endpoint with the same URL, or a new one.",
        ),
        failing_since: Ignored = Field::new("failing_since", Ignored, "Read-only; ignored in requests."),
        disabled_at: Ignored = Field::new(
            "disabled_at",
            Ignored,
            "Read-only; ignored in requests. Including an endpoint in the list enables it.",
        ),
        previous_secret_expires_at: Ignored = Field::new(
            "previous_secret_expires_at",
            Ignored,
            "Read-only; ignored in requests.",
        ),
    }
}

fn read_endpoint(item: Value) -> Result<EndpointSpec, Vec<FieldError>> {
    let Value::Object(object) = item else {
        return Err(vec![FieldError {
            field: String::new(),
            code: Code::WrongType,
            message: "must be an object".to_owned(),
        }]);
    };
    let mut fields = Fields::new(object);
    let request = WebhookRequest::read(&mut fields);
    fields.into_faults()?;
    Ok(EndpointSpec {
        id: request.id,
        url: request.url.unwrap_or_default(),
        types: request.types,
        format: request.format.unwrap_or(EndpointFormat::Standard),
        paused: request.paused.unwrap_or(false),
    })
}

fn parse_timezone(name: &str) -> Option<String> {
    jiff::tz::TimeZone::get(name)
        .is_ok()
        .then(|| name.to_owned())
}

fn parse_country(code: &str) -> Option<String> {
    numbering::country(code).map(|_| code.to_owned())
}
