//! Schemas of the events: one for each type, with its own fields of `data`. The event log, the stream and webhooks have the
//! same events.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::reference;
use super::schemas::{
    AllocationId, AllocationStatus, CallCauseWord, CallId, CallKind, CallerDirection, DialOutcome,
    E164, EventLogId, HangupParty, Moment, WebhookId,
};
use crate::store::EventType;

/// Type of `data` of each event type.
const fn data_schema(event: EventType) -> &'static str {
    match event {
        EventType::AllocationCreated => "AllocationEventData",
        EventType::AllocationUpdated => "AllocationUpdatedData",
        EventType::AllocationExpired => "AllocationExpiredData",
        EventType::AllocationDeleted => "AllocationDeletedData",
        EventType::AllocationLocked | EventType::AllocationUnlocked => "PinAttemptsData",
        EventType::AllocationPinRotated | EventType::NumberPinAttack => "VirtualNumberData",
        EventType::CallInitiated
        | EventType::CallPinAccepted
        | EventType::CallRinging
        | EventType::CallAnswered => "CallEventData",
        EventType::CallPinFailed => "CallPinFailedData",
        EventType::CallCompleted => "CallCompletedData",
        EventType::RecordingReady => "RecordingReadyData",
        EventType::NumberCapacityLow => "NumberCapacityData",
        EventType::EndpointDisabled => "EndpointDisabledData",
    }
}

/// Fields of every event.
#[derive(ToSchema)]
#[allow(dead_code)]
struct EventEnvelope {
    event_id: EventLogId,
    /// Position among the events of its allocation, starting at 1; 0 for an event without an allocation.
    sequence: u64,
    /// Time of the event.
    occurred_at: Moment,
    /// Tenant of the event.
    tenant_id: String,
    /// Allocation of the event, or `null`.
    #[schema(required)]
    greenpin_id: Option<AllocationId>,
    /// `custom_field` of the allocation.
    #[schema(required)]
    custom_field: Option<String>,
}

/// The allocation, without its PIN.
#[derive(ToSchema)]
#[allow(dead_code)]
struct AllocationEventData {
    virtual_number: E164,
    from: Vec<E164>,
    to: Vec<E164>,
    status: AllocationStatus,
    created_at: Moment,
    expires_at: Moment,
    /// Limit of wrong PINs.
    max_pin_attempts: u8,
    /// Calls are recorded.
    record: bool,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct AllocationChange {
    /// Names of the changed fields.
    changed: Vec<String>,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct AllocationExpiredData {
    virtual_number: E164,
    expires_at: Moment,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct AllocationDeletedData {
    virtual_number: E164,
    deleted_at: Moment,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct PinAttemptsData {
    virtual_number: E164,
    /// Wrong PINs so far.
    failed_pin_attempts: u8,
    /// Limit of wrong PINs.
    max_pin_attempts: u8,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct VirtualNumberData {
    virtual_number: E164,
}

/// State of the call at the time of the event. A field that is not known yet is `null`.
#[derive(ToSchema)]
#[allow(dead_code)]
struct CallEventData {
    call_sid: CallId,
    virtual_number: E164,
    /// Caller; `null`: withheld or unknown.
    #[schema(required)]
    from: Option<E164>,
    /// Dialled number.
    #[schema(required)]
    to: Option<E164>,
    direction: CallerDirection,
    start_time: Moment,
    current_time: Moment,
    /// Result.
    #[schema(required)]
    call_type: Option<CallKind>,
    /// Outcome of the dialled leg.
    #[schema(required)]
    dial_call_status: Option<DialOutcome>,
    /// Seconds of the dialled leg.
    #[schema(required)]
    dial_call_duration: Option<u64>,
    /// Seconds of the conversation.
    #[schema(required)]
    on_call_duration: Option<u64>,
    /// Address of the recording.
    #[schema(required)]
    recording_url: Option<String>,
    /// PINs entered.
    pin_attempts: u32,
    /// Party that ended the call.
    #[schema(required)]
    hangup_by: Option<HangupParty>,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct RefusalReason {
    /// `wrong_pin`, `locked`, `allocation_not_active`, `caller_not_listed` or `throttled`. Later versions may add others.
    reason: String,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct CallResult {
    /// Reason for the result.
    #[schema(required)]
    cause: Option<CallCauseWord>,
    /// Sentence that explains the result.
    #[schema(required)]
    why: Option<String>,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct RecordingReadyData {
    call_sid: CallId,
    virtual_number: E164,
    /// Address of the recording.
    #[schema(required)]
    recording_url: Option<String>,
    /// Seconds.
    recording_duration: u64,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct NumberCapacityData {
    virtual_number: E164,
    /// Active allocations.
    active_allocations: u32,
    /// Limit of active allocations.
    max_active: u32,
}

#[derive(ToSchema)]
#[allow(dead_code)]
struct EndpointDisabledData {
    endpoint_id: WebhookId,
    /// URL of the endpoint.
    url: String,
    failing_since: Moment,
}

/// Returns the schemas of the events and of their data.
pub(super) fn schemas() -> Vec<(String, Value)> {
    let mut data: Vec<(String, RefOr<Schema>)> = Vec::new();
    macro_rules! add {
        ($($name:ident)*) => { $(
            data.push((stringify!($name).into(), $name::schema()));
        )* };
    }
    add! {
        EventEnvelope AllocationEventData AllocationExpiredData AllocationDeletedData
        PinAttemptsData VirtualNumberData CallEventData RecordingReadyData NumberCapacityData EndpointDisabledData
    }
    let derived = data
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()));
    let extended = [
        (
            "AllocationUpdatedData",
            extend("AllocationEventData", &AllocationChange::schema()),
        ),
        (
            "CallPinFailedData",
            extend("CallEventData", &RefusalReason::schema()),
        ),
        (
            "CallCompletedData",
            extend("CallEventData", &CallResult::schema()),
        ),
    ];
    let events = EventType::ALL
        .iter()
        .map(|event| (schema_name(*event), event_schema(*event)));
    derived
        .chain(extended.map(|(name, schema)| (name.to_owned(), schema)))
        .chain(events)
        .chain([("Event".to_owned(), any_event())])
        .collect()
}

fn extend(base: &str, more: &RefOr<Schema>) -> Value {
    json!({ "allOf": [reference(base), more] })
}

/// Returns the name of the schema of a type, such as `CallCompletedEvent`.
fn schema_name(event: EventType) -> String {
    let name = super::sharing::camel_case(&event.as_str().replace('.', "_"));
    name + "Event"
}

fn event_schema(event: EventType) -> Value {
    let data = reference(data_schema(event));
    json!({
        "allOf": [
            reference("EventEnvelope"),
            {
                "type": "object",
                "required": ["type", "data"],
                "properties": { "type": { "const": event.as_str() }, "data": data },
            },
        ],
    })
}

fn any_event() -> Value {
    let name = |event: &EventType| reference(&schema_name(*event));
    let mapping: Map<String, Value> = EventType::ALL
        .iter()
        .map(|event| {
            let target = format!("#/components/schemas/{}", schema_name(*event));
            (event.as_str().to_owned(), target.into())
        })
        .collect();
    json!({
        "description": "An event. `type` says which one. It is stored when it happens and never changes.",
        "oneOf": EventType::ALL.iter().map(name).collect::<Vec<_>>(),
        "discriminator": { "propertyName": "type", "mapping": mapping },
    })
}

/// Headers of a delivery, by the names of their components.
const HEADERS: [(&str, &str, &str); 3] = [
    (
        "WebhookId",
        "webhook-id",
        "Id of the event, the same in each attempt.",
    ),
    (
        "WebhookTimestamp",
        "webhook-timestamp",
        "Time of the attempt, in seconds since 1970.",
    ),
    (
        "WebhookSignature",
        "webhook-signature",
        "`v1,` and the HMAC-SHA256 of id, timestamp and body in base64; one for each live secret, separated by spaces.",
    ),
];

/// Returns the headers of a delivery.
pub(super) fn webhook_headers() -> Value {
    let headers = HEADERS.map(|(name, header, description)| {
        let parameter = json!({
            "name": header, "in": "header", "required": true, "description": description, "schema": { "type": "string" },
        });
        (name.to_owned(), parameter)
    });
    Value::Object(headers.into_iter().collect())
}

/// Returns the requests that endpoints receive: one for each type.
pub(super) fn webhooks() -> Value {
    let webhooks = EventType::ALL.iter().map(|event| {
        let operation = json!({
            "operationId": format!("on_{}", event.as_str().replace('.', "_")),
            "parameters": HEADERS.map(|(name, ..)| json!({ "$ref": format!("#/components/parameters/{name}") })),
            "requestBody": { "required": true, "content": { "application/json": { "schema": reference(&schema_name(*event)) } } },
            "responses": { "2XX": { "description": "Delivered." } },
        });
        (event.as_str().to_owned(), json!({ "post": operation }))
    });
    Value::Object(webhooks.collect())
}
