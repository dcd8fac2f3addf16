//! Types that only the document has: texts of a certain form, and the bodies that are read field by field.

use serde_json::{Value, json};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, Ref, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

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
    DeliveryForm = EndpointFormat::ALL.map(EndpointFormat::as_str);
    /// `pending`: it is still tried, or waits for an earlier event or for its endpoint; `delivered`: it was answered with a status from 200 to 299; `dead`: it was given up, and goes again only if it is asked for.
    DeliveryStanding = ["pending", "delivered", "dead"];
    /// Only what was given up.
    DeadOnly = ["dead"];
    /// `timeout`: no answer within 15 s; `no_connection`: none could be made; `address_refused`: the address is not public; `broken_answer`: the connection ended, or what came is no HTTP; `not_sent`: a fault of the server.
    AttemptFailure = AttemptError::ALL.map(AttemptError::as_str);
    /// State of a new tenant.
    NewTenantState = ["active"];
    /// State of a tenant.
    TenantState = ["active", "suspended", "erasing", "erased"];
    /// Way in which an operator acts.
    ActorKind = ["operator", "command line"];
    /// State of a number that was removed.
    RemovedNumberState = ["removed"];
    /// Progress of a call under way.
    LiveCallState = ["collecting", "dialling", "bridged", "ending"];
    /// State of a call that is being hung up.
    EndedCallState = ["ending"];
    /// Way of the audio between carriers.
    MediaWord = ["relay", "direct"];
    /// Encryption of the audio.
    SrtpWord = ["off", "optional", "required"];
    /// Form of numbers.
    NumberFormatWord = ["e164", "digits", "00", "national"];
    /// Name of a codec.
    CodecWord = ["pcma", "pcmu", "g722", "opus"];
    /// Header with the number of the caller.
    CallerFromWord = ["p-asserted-identity", "p-preferred-identity", "remote-party-id", "from"];
    /// Place of the number that was called.
    CalledFromWord = ["request-uri", "to"];
    /// State of a trunk.
    TrunkStateWord = ["up", "away"];
    /// What an event tells of.
    EventKind = EventType::ALL.map(EventType::as_str);
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

/// Schemas that only parameters name. The library collects none for those.
pub(crate) fn parameter_schemas() -> Vec<(&'static str, Value)> {
    let value = |schema: RefOr<Schema>| serde_json::to_value(schema).unwrap_or_default();
    vec![
        ("DeadOnly", value(DeadOnly::schema())),
        ("CallProgress", value(CallProgress::schema())),
        ("Nothing", empty_body()),
    ]
}

/// Returns the schema of the body of a call that needs none.
fn empty_body() -> Value {
    json!({
        "type": "object",
        "description": "No fields: the body can be left out.",
        "additionalProperties": false,
        "maxProperties": 0,
    })
}
