//! Types that only the document has: texts of a certain form, and the bodies that are read field by field.

use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, Ref, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::http::tenant::allocations::allocation::{
    DEFAULT_ATTEMPTS, DEFAULT_DURATION, LONGEST_CUSTOM_FIELD, MOST_ATTEMPTS, MOST_NUMBERS,
};
use crate::http::tenant::allocations::bulk_update::MOST_ITEMS;
use crate::http::tenant::settings::{
    LONGEST_DURATION, LONGEST_WARNING, MOST_DAYS, MOST_ENDPOINTS, SHORTEST_DURATION,
};
use crate::http::tenant::webhooks::{DEFAULT_OVERLAP, LONGEST_OVERLAP};
use crate::store::{AttemptError, EndpointFormat, EventType};

macro_rules! texts {
    ($($(#[doc = $doc:literal])* $name:ident = $pattern:literal, $example:literal;)*) => { $(
        $(#[doc = $doc])*
        pub(in crate::http) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text(concat!($($doc),*), $pattern, $example)
            }
        }

        impl ToSchema for $name {}
    )* };
}

texts! {
    /// A telephone number in E.164 form: `+`, a first digit from 1 to 9, 7 to 15 digits in all.
    E164 = r"^\+[1-9][0-9]{6,14}$", "+914000000001";
    /// The id of an allocation. Ids sort by the time of their making.
    AllocationId = "^gp_[0-9a-hjkmnp-tv-z]{26}$", "gp_01jxs0d4e8v6m2q9r7t5w3y1zk";
    /// The id of a call.
    CallId = "^call_[0-9a-hjkmnp-tv-z]{26}$", "call_01jxs0h2c6p4n8b5d9f3g7k1ma";
    /// The id of an event.
    EventLogId = "^evt_[0-9a-hjkmnp-tv-z]{26}$", "evt_01jxs0h2f1r8s4t6v9w2x5y7za";
    /// The id of a webhook endpoint.
    WebhookId = "^ep_[0-9a-hjkmnp-tv-z]{26}$", "ep_01jxs0b7a3c5e9g1j4k6m8n2pq";
    /// A PIN: a text, since zeros may lead. 4 digits on an exclusive number, 4 to 8 on a shared one.
    PinText = "^[0-9]{4,8}$", "4821";
}

fn text(description: &str, pattern: &str, example: &str) -> RefOr<Schema> {
    let object = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description.trim()))
        .pattern(Some(pattern))
        .examples([Value::from(example)]);
    RefOr::T(Schema::Object(object.build()))
}

macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident = $words:expr;)*) => { $(
        $(#[doc = $doc])*
        pub(in crate::http) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let object = ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some(concat!($($doc),*).trim_ascii()))
                    .enum_values(Some($words));
                RefOr::T(Schema::Object(object.build()))
            }
        }

        impl ToSchema for $name {}
    )* };
}

words! {
    /// `active`; `expired`: its time is over; `deleted`: by a request.
    AllocationStatus = ["active", "expired", "deleted"];
    /// Calls come in.
    CallerDirection = ["incoming"];
    /// `completed`: both talked; `incomplete`: nobody answered; `call-attempt`: nobody was dialled; `client-hangup`: the caller left while it rang.
    CallKind = ["completed", "incomplete", "call-attempt", "client-hangup"];
    /// How the dialled leg ended.
    DialOutcome = ["completed", "busy", "no-answer", "failed", "canceled"];
    /// Who ended the call; `system`: greenpin, by a rule or a fault.
    HangupParty = ["caller", "callee", "system"];
    /// Whether a call lasts.
    CallProgress = ["active", "ended"];
    /// `exclusive`: one active allocation at a time; `shared`: many, each with a PIN of its own.
    SharingMode = ["exclusive", "shared"];
    /// What became of an item.
    ItemStatus = ["updated", "error"];
    /// `unknown_number`: not in your pool; `not_in_use`: no allocation is active; `collect_pin`: a PIN would be asked for; `connect`: to the first of `dial` that answers; `refuse`: the digits would be refused.
    ResolvedOutcome = ["unknown_number", "not_in_use", "collect_pin", "connect", "refuse"];
    /// Why. `pin_required`: no `digits` were given; `locked`: too many wrong PINs before; `caller_not_listed`: the PIN is right, the caller is on neither side and must be; `throttled`: too many wrong PINs of this caller, or of strangers on this number; `no_one_to_connect`: the PIN is right and the other side names nobody.
    ResolvedReason = [
        "number_not_in_pool", "no_active_allocation", "pin_required", "right_pin", "wrong_pin", "locked",
        "allocation_not_active", "caller_not_listed", "throttled", "no_one_to_connect",
    ];
    /// `standard`: the event's JSON with its fields in `data`; `flat`: all fields on one level. Headers and signatures are those of Standard Webhooks either way.
    DeliveryForm = EndpointFormat::WORDS.iter().copied();
    /// `pending`: it is still tried, or waits for an earlier event or for its endpoint; `delivered`: it was answered with a status from 200 to 299; `dead`: it was given up, and goes again only if it is asked for.
    DeliveryStanding = ["pending", "delivered", "dead"];
    /// Only what was given up.
    DeadOnly = ["dead"];
    /// `timeout`: no answer within 15 s; `no_connection`: none could be made; `address_refused`: the address is not public; `broken_answer`: the connection ended, or what came is no HTTP; `not_sent`: a fault of the server.
    AttemptFailure = AttemptError::WORDS.iter().copied();
    /// What an event tells of.
    EventKind = EventType::WORDS.iter().copied();
}

/// Types of event, or `null` for all.
pub(in crate::http) enum EventTypes {}

impl PartialSchema for EventTypes {
    fn schema() -> RefOr<Schema> {
        let array = ArrayBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
            .items(Ref::from_schema_name("EventKind"))
            .description(Some("Types of event; `null`: all."));
        RefOr::T(Schema::Array(array.build()))
    }
}

impl ToSchema for EventTypes {}

/// An event. Its body was written when it happened, and goes out as it is.
#[derive(ToSchema)]
#[schema(description = "Something that happened.")]
#[allow(dead_code)]
pub(in crate::http) struct Event {
    event_id: EventLogId,
    /// What it tells of.
    r#type: EventKind,
    /// Its place among the events of its allocation, counted from 1; 0 without an allocation.
    sequence: u64,
    /// When it happened.
    occurred_at: Moment,
    /// Whose it is.
    tenant_id: String,
    /// The allocation; `null`: it is of none.
    #[schema(required)]
    greenpin_id: Option<AllocationId>,
    /// The allocation's own text.
    #[schema(required)]
    custom_field: Option<String>,
    /// What is told: each type has its own fields.
    #[schema(value_type = Object)]
    data: Value,
}

/// A moment in RFC 3339, whole seconds, with the offset of the tenant's time zone.
pub(in crate::http) enum Moment {}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let object = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "A moment in RFC 3339, whole seconds, with the offset of the tenant's time zone.",
            ))
            .examples([Value::from("2026-06-15T10:30:00+05:30")]);
        RefOr::T(Schema::Object(object.build()))
    }
}

impl ToSchema for Moment {}

/// The schemas that no type derives: requests, which are read field by field so that every fault is told at once.
pub(crate) fn requests() -> Vec<(&'static str, Value)> {
    vec![
        ("CreateAllocation", create_allocation()),
        ("UpdateAllocation", update_allocation()),
        ("UpdateAllocations", update_allocations()),
        ("UpdateItem", update_item()),
        ("ResolveRequest", resolve_request()),
        ("Nothing", nothing()),
        // Only parameters have these, and of those no schemas are collected.
        (
            "DeadOnly",
            serde_json::to_value(DeadOnly::schema()).unwrap_or_default(),
        ),
        (
            "CallProgress",
            serde_json::to_value(CallProgress::schema()).unwrap_or_default(),
        ),
        ("UpdateSettings", update_settings()),
        ("WebhookRequest", webhook_request()),
        ("RotateSecret", rotate_secret()),
        ("ReplayEvents", replay_events()),
        ("LinkRecording", link_recording()),
    ]
}

/// A list of numbers without repeats, or a single one.
fn numbers(least: usize, description: &str, example: &str) -> Value {
    json!({
        "description": description,
        "oneOf": [
            {
                "type": "array",
                "items": { "$ref": "#/components/schemas/E164" },
                "minItems": least,
                "maxItems": MOST_NUMBERS,
                "uniqueItems": true,
            },
            { "$ref": "#/components/schemas/E164" },
        ],
        "examples": [[example]],
    })
}

/// The same, or not given.
fn optional_numbers(description: &str, example: &str) -> Value {
    let mut schema = numbers(0, description, example);
    if let Some(choices) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.push(json!({ "type": "null" }));
    }
    schema
}

fn link_recording() -> Value {
    json!({
        "type": "object",
        "description": "How long a link is to last.",
        "additionalProperties": false,
        "properties": {
            "duration": {
                "type": ["integer", "null"],
                "minimum": 30,
                "maximum": 86_400,
                "default": 300,
                "description": "Seconds.",
                "examples": [300],
            },
        },
    })
}

fn create_allocation() -> Value {
    json!({
        "type": "object",
        "description": "What to allocate. `null` for an optional field means \"not given\".",
        "required": ["caller_id_number", "from"],
        "additionalProperties": false,
        "properties": {
            "caller_id_number": {
                "$ref": "#/components/schemas/E164",
                "description": "The virtual number that parties call. It must be in the tenant's pool.",
                "examples": ["+914000000001"],
            },
            "from": numbers(
                1,
                "A-party: the numbers of the agent's or seller's side, called in this order. One text stands for a list of one.",
                "+919900000001",
            ),
            "to": optional_numbers(
                "B-party: the numbers of the customer's side; none of them may be in `from`. When it is empty, anyone with the PIN is connected to `from`. On a shared number with PINs of fewer than six digits it must not be empty.",
                "+918800000001",
            ),
            "duration": duration(),
            "max_pin_attempts": attempts(),
            "record": record(),
            "custom_field": custom_field(),
        },
        "examples": [{
            "caller_id_number": "+914000000001",
            "from": ["+919900000001"],
            "to": ["+918800000001"],
            "duration": 3600,
            "max_pin_attempts": 3,
            "record": false,
            "custom_field": "order_id=12345",
        }],
    })
}

fn update_allocation() -> Value {
    json!({
        "type": "object",
        "description": "What to change; what is left out, or `null`, stays as it is, but for `custom_field`, which `null` takes away.",
        "additionalProperties": false,
        "properties": changes(),
        "examples": [{ "to": ["+918800000001"], "duration": 7200 }],
    })
}

fn changes() -> Map<String, Value> {
    let mut attempts = attempts();
    let mut record = record();
    let mut duration = duration();
    let mut from = numbers(1, "A-party: replaces the list.", "+919900000001");
    for field in [&mut attempts, &mut record, &mut duration] {
        field
            .as_object_mut()
            .and_then(|field| field.shift_remove("default"));
    }
    if let Some(choices) = from.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.push(json!({ "type": "null" }));
    }
    let to = optional_numbers(
        "B-party: replaces the list. No number may be on both sides afterwards.",
        "+918800000001",
    );
    let fields = [
        ("from", from),
        ("to", to),
        ("duration", duration),
        ("max_pin_attempts", attempts),
        ("record", record),
        ("custom_field", custom_field()),
    ];
    fields
        .map(|(name, field)| (name.to_owned(), field))
        .into_iter()
        .collect()
}

fn update_item() -> Value {
    let mut properties = Map::new();
    properties.insert(
        "greenpin_id".into(),
        json!({ "$ref": "#/components/schemas/AllocationId" }),
    );
    properties.extend(changes());
    json!({
        "type": "object",
        "description": "One change among many.",
        "required": ["greenpin_id"],
        "additionalProperties": false,
        "properties": properties,
        "examples": [{ "greenpin_id": "gp_01jxs0d4e8v6m2q9r7t5w3y1zk", "duration": 7200 }],
    })
}

fn update_allocations() -> Value {
    json!({
        "type": "array",
        "description": "The changes, in their order; together at most 64 KiB.",
        "minItems": 1, "maxItems": MOST_ITEMS,
        "items": { "$ref": "#/components/schemas/UpdateItem" },
    })
}

fn resolve_request() -> Value {
    json!({
        "type": "object",
        "description": "A call that might come.",
        "required": ["virtual_number"],
        "additionalProperties": false,
        "properties": {
            "virtual_number": { "$ref": "#/components/schemas/E164", "description": "The number that would be called." },
            "caller": {
                "oneOf": [{ "$ref": "#/components/schemas/E164" }, { "type": "null" }],
                "description": "Who would call; `null`: the number is withheld.",
                "examples": ["+918800000001"],
            },
            "digits": {
                "type": ["string", "null"],
                "pattern": "^[0-9]{1,8}$",
                "description": "What the caller would key in. Digits beyond a complete PIN count for nothing, as in a call.",
                "examples": ["4821"],
            },
        },
        "examples": [{ "virtual_number": "+914000000001", "caller": "+918800000001", "digits": "4821" }],
    })
}

/// The body of a call that needs none.
fn nothing() -> Value {
    json!({
        "type": "object",
        "description": "No fields: the body can be left out.",
        "additionalProperties": false,
        "maxProperties": 0,
    })
}

fn attempts() -> Value {
    json!({
        "type": ["integer", "null"],
        "minimum": 1, "maximum": MOST_ATTEMPTS, "default": DEFAULT_ATTEMPTS,
        "description": "Wrong PINs after which the allocation is locked.",
    })
}

fn record() -> Value {
    json!({
        "type": ["boolean", "null"],
        "default": false,
        "description": "Record every call of the allocation.",
    })
}

fn duration() -> Value {
    json!({
        "type": ["integer", "null"],
        "minimum": SHORTEST_DURATION, "maximum": LONGEST_DURATION, "default": DEFAULT_DURATION,
        "description": "Seconds from now until the allocation expires. The tenant's `min_duration` and `max_duration` may narrow the range.",
        "examples": [3600],
    })
}

fn custom_field() -> Value {
    json!({
        "type": ["string", "null"],
        "maxLength": LONGEST_CUSTOM_FIELD,
        "pattern": "^[^\\u0000]*$",
        "default": null,
        "description": "Any text of yours, such as an order's id. It comes back in every event of the allocation.",
        "examples": ["order_id=12345"],
    })
}

fn update_settings() -> Value {
    json!({
        "type": "object",
        "description": "What to change; what is left out, or `null`, stays as it is, but for `country`, `rate_limit`, `call_limit` and `retention`, which `null` clears.",
        "additionalProperties": false,
        "properties": {
            "timezone": {
                "type": ["string", "null"],
                "description": "IANA name of the zone that times are written in.",
                "examples": ["Asia/Kolkata"],
            },
            "country": {
                "type": ["string", "null"],
                "pattern": "^[A-Z]{2}$",
                "description": "ISO 3166-1 code of the country whose national form is meant when a trunk presents a number without `+`.",
                "examples": ["IN"],
            },
            "min_duration": seconds(SHORTEST_DURATION, LONGEST_DURATION, "Shortest duration of an allocation, not over `max_duration`."),
            "max_duration": seconds(SHORTEST_DURATION, LONGEST_DURATION, "Longest duration of an allocation."),
            "pin_cooloff": seconds(0, 2_592_000, "How long a PIN is not drawn again on its number."),
            "caller_policy": {
                "oneOf": [{ "$ref": "#/components/schemas/CallerPolicy" }, { "type": "null" }],
                "description": "Who may open an allocation with its PIN: anyone, or only numbers in `from` or `to`.",
            },
            "dial_strategy": {
                "oneOf": [{ "$ref": "#/components/schemas/DialStrategy" }, { "type": "null" }],
                "description": "Whether several numbers of the other side are called one after the other, or all at once.",
            },
            "ring_timeout": seconds(5, 180, "How long each number is rung."),
            "max_call_duration": seconds(10, 86_400, "How long two parties may talk."),
            "accept_call": {
                "oneOf": [{ "$ref": "#/components/schemas/AcceptCall" }, { "type": "null" }],
                "description": "When a dialled party has taken a call: when it answers, or when it presses 1. A mailbox that answers never presses 1.",
            },
            "whisper": {
                "type": ["boolean", "null"],
                "description": "Tell a dialled party what kind of call this is before it is connected.",
            },
            "warning_tone": seconds(0, LONGEST_WARNING, "How long before the end of the longest call both parties hear a tone; 0: never."),
            "record_announcement": {
                "type": ["boolean", "null"],
                "description": "Tell both parties that they are recorded.",
            },
            "prompts": {
                "type": ["object", "null"],
                "title": "PromptsRequest",
                "additionalProperties": false,
                "properties": {
                    "language": {
                        "type": ["string", "null"],
                        "enum": ["en", "hi", null],
                        "description": "The language of prompts that the tenant has no audio of its own for. The operator can add languages.",
                    },
                },
                "description": "What callers hear; own audio is put at `/prompts/{name}`.",
                "examples": [{ "language": "hi" }],
            },
            "rate_limit": {
                "type": ["object", "null"],
                "title": "RateLimitRequest",
                "required": ["requests_per_second", "burst"],
                "additionalProperties": false,
                "properties": {
                    "requests_per_second": { "type": "integer", "minimum": 1, "description": "Requests a second in the long run." },
                    "burst": { "type": "integer", "minimum": 1, "description": "Requests at once after a quiet time." },
                },
                "description": "How often the API may be asked, at most what the operator grants; `null`: what the operator grants.",
                "examples": [{ "requests_per_second": 10, "burst": 20 }],
            },
            "call_limit": {
                "type": ["object", "null"],
                "title": "CallLimitRequest",
                "required": ["max_calls", "calls_per_second"],
                "additionalProperties": false,
                "properties": {
                    "max_calls": { "type": "integer", "minimum": 1, "description": "Calls at once." },
                    "calls_per_second": { "type": "integer", "minimum": 1, "description": "New calls a second, and as many at once after a quiet time." },
                },
                "description": "How many calls a node takes for the tenant, at most what the operator grants; `null`: what the operator grants.",
                "examples": [{ "max_calls": 100, "calls_per_second": 10 }],
            },
            "retention": {
                "type": ["object", "null"],
                "title": "RetentionRequest",
                "additionalProperties": false,
                "properties": {
                    "calls": days("Call records. A recording goes with its record at the latest."),
                    "recordings": days("Recordings."),
                    "ended_allocations": days("Allocations that have expired or were deleted."),
                },
                "description": "Days after which something is removed, counted from its end. What is left out stays; `null` keeps for ever.",
                "examples": [{ "recordings": 90 }],
            },
            "webhooks": {
                "type": ["array", "null"],
                "maxItems": MOST_ENDPOINTS,
                "items": { "$ref": "#/components/schemas/WebhookRequest" },
                "description": "The endpoints that events go to. The list replaces the one before; an endpoint with a known `id` or `url` stays and keeps its secret. Every `url` can be in it once.",
            },
        },
        "examples": [{ "ring_timeout": 45, "webhooks": [{ "url": "https://example.com/greenpin", "types": ["call.completed"] }] }],
    })
}

fn days(description: &str) -> Value {
    json!({ "type": ["integer", "null"], "minimum": 1, "maximum": MOST_DAYS, "description": description })
}

fn seconds(least: u32, most: u32, description: &str) -> Value {
    json!({
        "type": ["integer", "null"],
        "minimum": least, "maximum": most,
        "description": format!("Seconds. {description}"),
    })
}

fn webhook_request() -> Value {
    json!({
        "type": "object",
        "description": "A webhook endpoint as it is asked for.",
        "required": ["url"],
        "additionalProperties": false,
        "properties": {
            "url": {
                "type": "string", "format": "uri", "maxLength": 2048,
                "pattern": "^https?://[^/@]+",
                "description": "Where events are POSTed to: http or https, without credentials in it.",
                "examples": ["https://example.com/greenpin"],
            },
            "types": {
                "type": ["array", "null"],
                "items": { "$ref": "#/components/schemas/EventKind" },
                "description": "The types of event that it takes; left out: all, also those to come.",
                "examples": [["call.completed", "recording.ready"]],
            },
            "format": {
                "oneOf": [{ "$ref": "#/components/schemas/DeliveryForm" }, { "type": "null" }],
                "default": "standard",
                "description": "The form of the delivery.",
            },
            "paused": {
                "type": ["boolean", "null"],
                "default": false,
                "description": "Events wait while it is set.",
            },
            "id": {
                "type": ["string", "null"],
                "pattern": "^ep_[0-9a-hjkmnp-tv-z]{26}$",
                "description": "The endpoint to change; left out: the one with the same URL, else a new one.",
                "examples": ["ep_01jxs0b7a3c5e9g1j4k6m8n2pq"],
            },
            "failing_since": shown("Shown; what is given here counts for nothing."),
            "disabled_at": shown("Shown; an endpoint that the list holds is enabled whatever is given here."),
            "previous_secret_expires_at": shown("Shown; what is given here counts for nothing."),
        },
    })
}

/// A field of an answer that may be given back as it is.
fn shown(description: &str) -> Value {
    json!({ "type": ["string", "null"], "description": description })
}

fn rotate_secret() -> Value {
    json!({
        "type": "object",
        "description": "How long both secrets are live. The body can be left out.",
        "additionalProperties": false,
        "properties": {
            "overlap": {
                "type": ["integer", "null"],
                "minimum": 0, "maximum": LONGEST_OVERLAP, "default": DEFAULT_OVERLAP,
                "description": "Seconds for which deliveries are signed with the previous secret as well; 0: it is dead at once.",
                "examples": [86_400],
            },
        },
    })
}

fn replay_events() -> Value {
    let time = |description: &str| json!({ "type": "string", "format": "date-time", "description": description, "examples": ["2026-06-15T10:30:00+05:30"] });
    json!({
        "type": "object",
        "description": "Which events are to go again.",
        "required": ["after", "before"],
        "additionalProperties": false,
        "properties": {
            "after": time("Events of this moment or later."),
            "before": time("Events before this moment."),
            "types": {
                "type": ["array", "null"],
                "items": { "$ref": "#/components/schemas/EventKind" },
                "description": "Of these types; left out: of all.",
            },
            "endpoint_id": {
                "type": ["string", "null"],
                "pattern": "^ep_[0-9a-hjkmnp-tv-z]{26}$",
                "description": "To this endpoint; left out: to each that asks for the type.",
                "examples": ["ep_01jxs0b7a3c5e9g1j4k6m8n2pq"],
            },
            "state": {
                "enum": ["dead", null],
                "description": "`dead`: only what was given up.",
            },
            "cursor": {
                "type": ["string", "null"],
                "pattern": "^evt_[0-9a-hjkmnp-tv-z]{26}$",
                "description": "`next_cursor` of the answer before.",
            },
        },
        "examples": [{ "after": "2026-06-15T10:30:00+05:30", "before": "2026-06-15T12:00:00+05:30", "state": "dead" }],
    })
}
