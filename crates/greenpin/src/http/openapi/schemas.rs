//! Schemas without a Rust type: strings with a pattern, enumerations, and bodies read field by field.

use serde_json::{Value, json};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, Ref, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::store::{AttemptError, CallCause, CallerVerification, EndpointFormat, EventType};

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
    /// Id of an allocation. Ids sort by time of creation.
    AllocationId = "^gp_[0-9a-hjkmnp-tv-z]{26}$", "gp_01jxs0d4e8v6m2q9r7t5w3y1zk";
    /// Id of a call.
    CallId = "^call_[0-9a-hjkmnp-tv-z]{26}$", "call_01jxs0h2c6p4n8b5d9f3g7k1ma";
    /// Id of an event.
    EventLogId = "^evt_[0-9a-hjkmnp-tv-z]{26}$", "evt_01jxs0h2f1r8s4t6v9w2x5y7za";
    /// Id of a webhook endpoint.
    WebhookId = "^ep_[0-9a-hjkmnp-tv-z]{26}$", "ep_01jxs0b7a3c5e9g1j4k6m8n2pq";
    /// A PIN, as a string because it can start with zeros. Exclusive numbers use 4 digits, shared numbers 4 to 8.
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
    /// `active`; `expired`: past `expires_at`; `deleted`: deleted by a request.
    AllocationStatus = ["active", "expired", "deleted"];
    /// Calls are always incoming.
    CallerDirection = ["incoming"];
    /// `completed`: both parties were connected; `incomplete`: no party answered; `call-attempt`: no number was
    /// dialled; `client-hangup`: the caller hung up during ringing.
    CallKind = ["completed", "incomplete", "call-attempt", "client-hangup"];
    /// Reason for the result of a call or of an attempt.
    CallCauseWord = CallCause::WORDS.iter().copied();
    /// Outcome of the dialled leg.
    DialOutcome = ["completed", "busy", "no-answer", "failed", "canceled"];
    /// Party that ended the call; `system`: greenpin, because of a limit or a failure.
    HangupParty = ["caller", "callee", "system"];
    /// Result of the carrier's check of the caller's number. `failed`: the number may be forged; `not_validated`: the
    /// carrier has not checked it.
    CallerVerificationWord = CallerVerification::WORDS.iter().copied();
    /// Progress of a call.
    CallProgress = ["active", "ended"];
    /// `exclusive`: one active allocation at a time; `shared`: many, each with its own PIN.
    SharingMode = ["exclusive", "shared"];
    /// Outcome of an item.
    ItemStatus = ["updated", "error"];
    /// `unknown_number`: not in your pool; `not_in_use`: no active allocation; `collect_pin`: the call is asked
    /// for a PIN; `connect`: connected to the first number of `dial` to answer; `refuse`: the digits are rejected.
    ResolvedOutcome = ["unknown_number", "not_in_use", "collect_pin", "connect", "refuse"];
    /// Reason for the outcome. `pin_required`: the request has no `digits`; `locked`: too many wrong PINs;
    /// `caller_not_listed`: the PIN is correct, but the caller must be in `from` or `to` and is not; `throttled`:
    /// too many wrong PINs from this caller, or from unlisted callers of this number; `no_one_to_connect`: the PIN
    /// is correct, but the other side has no numbers.
    ResolvedReason = [
        "number_not_in_pool", "no_active_allocation", "pin_required", "right_pin", "wrong_pin", "locked",
        "allocation_not_active", "caller_not_listed", "throttled", "no_one_to_connect",
    ];
    /// `standard`: the JSON of the event, with its fields in `data`; `flat`: all fields on one level. Both use the
    /// headers and signatures of Standard Webhooks.
    DeliveryForm = EndpointFormat::WORDS.iter().copied();
    /// `pending`: to be attempted, or waiting for an earlier event or for a paused or disabled endpoint; `delivered`: the endpoint
    /// responded with a status from 200 to 299; `dead`: attempts have ended, and only a redelivery request sends
    /// it again.
    DeliveryStanding = ["pending", "delivered", "dead"];
    /// Only deliveries without further attempts.
    DeadOnly = ["dead"];
    /// Start of a log that is followed from its end on.
    FromNow = ["now"];
    /// `timeout`: no response within 15 s; `name_not_resolved`: the host name does not resolve; `no_connection`: the
    /// connection failed; `tls_failed`: the TLS handshake failed; `no_ca_certificates`: the server has no CA
    /// certificates; `address_refused`: the address is not public; `broken_answer`: the connection ended early, or the
    /// response was not HTTP; `not_sent`: the server failed to send it.
    AttemptFailure = AttemptError::WORDS.iter().copied();
    /// State of a new tenant.
    NewTenantState = ["active"];
    /// State of a tenant.
    TenantState = ["active", "suspended", "erasing", "erased"];
    /// Means of the operator's action.
    ActorKind = ["operator", "command line", "console"];
    /// Kind of a search: by the id of a call, an allocation or an event, by a number, its last digits, or a `Call-ID`.
    SearchKind = ["call", "allocation", "event", "number", "digits", "sip_call_id"];
    /// State of a removed number.
    RemovedNumberState = ["removed"];
    /// Progress of a call.
    LiveCallState = ["collecting", "dialling", "bridged", "ending"];
    /// State of a call after a hangup request.
    EndedCallState = ["ending"];
    /// Path of the audio between carriers.
    MediaWord = ["relay", "direct"];
    /// Encryption of the audio.
    SrtpWord = ["off", "optional", "required"];
    /// Form of telephone numbers.
    NumberFormatWord = ["e164", "digits", "00", "national"];
    /// Name of a codec.
    CodecWord = ["pcma", "pcmu", "g722", "opus"];
    /// Header with the caller's number.
    CallerFromWord = ["p-asserted-identity", "p-preferred-identity", "remote-party-id", "from"];
    /// Header with the virtual number.
    IdentityHeaderWord = ["p-asserted-identity", "p-preferred-identity", "remote-party-id", "none"];
    /// Location of the called number.
    CalledFromWord = ["request-uri", "to"];
    /// State of a trunk.
    TrunkStateWord = ["up", "away"];
    /// Type of an event.
    EventKind = EventType::WORDS.iter().copied();
}

/// Event types, or `null` for all.
pub(in crate::http) enum EventTypes {}

impl PartialSchema for EventTypes {
    fn schema() -> RefOr<Schema> {
        let array = ArrayBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
            .items(Ref::from_schema_name("EventKind"))
            .description(Some("Event types; `null`: all."));
        RefOr::T(Schema::Array(array.build()))
    }
}

impl ToSchema for EventTypes {}

/// An event. `openapi/events.rs` has the schema of each type.
#[derive(ToSchema)]
#[schema(as = Event)]
#[allow(dead_code)]
pub(in crate::http) struct EventBody {
    r#type: EventKind,
}

/// An RFC 3339 time in whole seconds, with the offset of the tenant's time zone.
pub(in crate::http) enum Moment {}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let object = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "An RFC 3339 time in whole seconds, with the offset of the tenant's time zone.",
            ))
            .examples([Value::from("2026-06-15T10:30:00+05:30")]);
        RefOr::T(Schema::Object(object.build()))
    }
}

impl ToSchema for Moment {}

/// An RFC 3339 time in microseconds, with the offset of the tenant's time zone.
pub(in crate::http) enum PreciseMoment {}

impl PartialSchema for PreciseMoment {
    fn schema() -> RefOr<Schema> {
        let object = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "An RFC 3339 time in microseconds, with the offset of the tenant's time zone.",
            ))
            .examples([Value::from("2026-06-15T10:30:00.250000+05:30")]);
        RefOr::T(Schema::Object(object.build()))
    }
}

impl ToSchema for PreciseMoment {}

/// Returns schemas referenced only by parameters, because the library does not collect those.
pub(crate) fn parameter_schemas() -> Vec<(&'static str, Value)> {
    let value = |schema: RefOr<Schema>| serde_json::to_value(schema).unwrap_or_default();
    vec![
        ("DeadOnly", value(DeadOnly::schema())),
        ("CallProgress", value(CallProgress::schema())),
        ("FromNow", value(FromNow::schema())),
        ("Nothing", empty_body()),
    ]
}

/// Returns the schema of an empty body.
fn empty_body() -> Value {
    json!({
        "type": "object",
        "description": "An empty object. The body is optional.",
        "additionalProperties": false,
        "maxProperties": 0,
    })
}
