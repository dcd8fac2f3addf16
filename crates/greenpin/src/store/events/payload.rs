//! Payloads of the events: the fields of `data` for each type. Telephone numbers are in clear, because they belong to
//! the receiving tenant; PINs and pressed digits never appear. Times are RFC 3339 in the tenant's time zone.

use call::PhoneNumber;
use serde::Serialize;

use crate::store::{EventType, LocalTime, serialized};

/// Type of an event together with its `data`.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Payload<'a> {
    AllocationCreated(AllocationData<'a>),
    AllocationUpdated(ChangedAllocationData<'a>),
    AllocationExpired(ExpiredAllocationData),
    AllocationDeleted(DeletedAllocationData),
    AllocationLocked(PinAttemptsData),
    AllocationUnlocked(PinAttemptsData),
    AllocationPinRotated(VirtualNumberData),
    CallInitiated(CallData),
    CallPinFailed(RefusedCallData),
    CallPinAccepted(CallData),
    CallRinging(CallData),
    CallAnswered(CallData),
    CallCompleted(CompletedCallData),
    RecordingReady(RecordingData),
    NumberCapacityLow(CapacityData<'a>),
    NumberPinAttack(VirtualNumberData),
    EndpointDisabled(EndpointData<'a>),
}

impl Payload<'_> {
    /// Returns the type of the event.
    pub(crate) fn event_type(&self) -> EventType {
        match self {
            Self::AllocationCreated(_) => EventType::AllocationCreated,
            Self::AllocationUpdated(_) => EventType::AllocationUpdated,
            Self::AllocationExpired(_) => EventType::AllocationExpired,
            Self::AllocationDeleted(_) => EventType::AllocationDeleted,
            Self::AllocationLocked(_) => EventType::AllocationLocked,
            Self::AllocationUnlocked(_) => EventType::AllocationUnlocked,
            Self::AllocationPinRotated(_) => EventType::AllocationPinRotated,
            Self::CallInitiated(_) => EventType::CallInitiated,
            Self::CallPinFailed(_) => EventType::CallPinFailed,
            Self::CallPinAccepted(_) => EventType::CallPinAccepted,
            Self::CallRinging(_) => EventType::CallRinging,
            Self::CallAnswered(_) => EventType::CallAnswered,
            Self::CallCompleted(_) => EventType::CallCompleted,
            Self::RecordingReady(_) => EventType::RecordingReady,
            Self::NumberCapacityLow(_) => EventType::NumberCapacityLow,
            Self::NumberPinAttack(_) => EventType::NumberPinAttack,
            Self::EndpointDisabled(_) => EventType::EndpointDisabled,
        }
    }
}

/// An active allocation, without its PIN: an event passes through more systems than the response to a create.
#[derive(Serialize)]
pub(crate) struct AllocationData<'a> {
    #[serde(serialize_with = "serialized::number")]
    pub(crate) virtual_number: PhoneNumber,
    /// Numbers of the A-party.
    #[serde(serialize_with = "serialized::numbers")]
    pub(crate) from: &'a [PhoneNumber],
    /// Numbers of the B-party.
    #[serde(serialize_with = "serialized::numbers")]
    pub(crate) to: &'a [PhoneNumber],
    pub(crate) status: &'static str,
    pub(crate) created_at: LocalTime,
    pub(crate) expires_at: LocalTime,
    pub(crate) max_pin_attempts: u8,
    pub(crate) record: bool,
}

/// An allocation after a change.
#[derive(Serialize)]
pub(crate) struct ChangedAllocationData<'a> {
    #[serde(flatten)]
    pub(crate) allocation: AllocationData<'a>,
    /// Names of the changed fields.
    pub(crate) changed: &'a [&'a str],
}

/// An expired allocation.
#[derive(Serialize)]
pub(crate) struct ExpiredAllocationData {
    pub(crate) virtual_number: String,
    pub(crate) expires_at: String,
}

/// A deleted allocation.
#[derive(Serialize)]
pub(crate) struct DeletedAllocationData {
    pub(crate) virtual_number: String,
    pub(crate) deleted_at: String,
}

/// Wrong PINs of an allocation and their limit.
#[derive(Serialize)]
pub(crate) struct PinAttemptsData {
    pub(crate) virtual_number: String,
    pub(crate) failed_pin_attempts: u8,
    pub(crate) max_pin_attempts: u8,
}

/// A virtual number.
#[derive(Serialize)]
pub(crate) struct VirtualNumberData {
    pub(crate) virtual_number: String,
}

/// State of a call at the time of the event.
#[derive(Serialize)]
pub(crate) struct CallData {
    pub(crate) call_sid: String,
    pub(crate) virtual_number: String,
    /// Caller; `None` if withheld or unknown.
    pub(crate) from: Option<String>,
    /// Dialled number; `None` before the first dial.
    pub(crate) to: Option<String>,
    pub(crate) direction: &'static str,
    pub(crate) start_time: String,
    pub(crate) current_time: String,
    pub(crate) call_type: Option<&'static str>,
    pub(crate) dial_call_status: Option<&'static str>,
    /// Whole seconds of the dialled leg, once the call has ended.
    pub(crate) dial_call_duration: Option<u64>,
    /// Whole seconds of the conversation, once the call has ended.
    pub(crate) on_call_duration: Option<u64>,
    pub(crate) recording_url: Option<String>,
    pub(crate) pin_attempts: u32,
    pub(crate) hangup_by: Option<&'static str>,
}

/// An ended call.
#[derive(Serialize)]
pub(crate) struct CompletedCallData {
    #[serde(flatten)]
    pub(crate) call: CallData,
    /// Reason for the result.
    pub(crate) cause: Option<&'static str>,
    /// Sentence that explains the result.
    pub(crate) why: Option<String>,
}

/// A call with a refused PIN.
#[derive(Serialize)]
pub(crate) struct RefusedCallData {
    #[serde(flatten)]
    pub(crate) call: CallData,
    /// Reason of the refusal.
    pub(crate) reason: &'static str,
}

/// A finished recording.
#[derive(Serialize)]
pub(crate) struct RecordingData {
    pub(crate) call_sid: String,
    pub(crate) virtual_number: String,
    pub(crate) recording_url: Option<String>,
    /// Duration in whole seconds.
    pub(crate) recording_duration: u64,
}

/// Capacity of a virtual number.
#[derive(Serialize)]
pub(crate) struct CapacityData<'a> {
    pub(crate) virtual_number: &'a str,
    pub(crate) active_allocations: i64,
    pub(crate) max_active: i64,
}

/// A disabled webhook endpoint.
#[derive(Serialize)]
pub(crate) struct EndpointData<'a> {
    pub(crate) endpoint_id: &'a str,
    pub(crate) url: &'a str,
    pub(crate) failing_since: String,
}
