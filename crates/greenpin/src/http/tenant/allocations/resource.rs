//! Allocations in responses.

use std::fmt;

use call::PhoneNumber;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::http::middleware::problem::{Problem, not_found};
use crate::http::openapi::schemas::{AllocationId, AllocationStatus, E164, Moment, PinText};
use crate::store::{Allocation, GreenpinId, LocalTime, Timestamp, serialized};

/// Parses an id of a path. An invalid id is not found.
pub(crate) fn greenpin_id(text: &str) -> Result<GreenpinId, Problem> {
    GreenpinId::parse(text).ok_or_else(not_found)
}

/// A new allocation.
#[derive(Serialize, ToSchema)]
#[schema(description = "A new allocation.", examples(created_example))]
pub(crate) struct CreatedAllocation<'a> {
    #[schema(value_type = AllocationId)]
    greenpin_id: &'a str,
    /// Virtual number that the parties call.
    #[serde(serialize_with = "serialized::number")]
    #[schema(value_type = E164)]
    virtual_number: PhoneNumber,
    /// PIN that the parties enter. Share it only with them.
    #[schema(value_type = PinText)]
    pin: &'a str,
    /// A-party: the numbers of the agent or seller.
    #[serde(serialize_with = "serialized::numbers")]
    #[schema(value_type = Vec<E164>, min_items = 1, max_items = 10)]
    from: &'a [PhoneNumber],
    /// B-party: the numbers of the customer. If empty, anyone with the PIN is connected.
    #[serde(serialize_with = "serialized::numbers")]
    #[schema(value_type = Vec<E164>, max_items = 10)]
    to: &'a [PhoneNumber],
    /// Status of the allocation.
    #[schema(value_type = AllocationStatus)]
    status: &'static str,
    /// `true` after `max_pin_attempts` wrong PINs. A locked allocation accepts no PIN.
    locked: bool,
    /// Time of creation.
    #[schema(value_type = Moment)]
    created_at: LocalTime,
    /// Expiry. Calls after this time are not connected.
    #[schema(value_type = Moment)]
    expires_at: LocalTime,
    /// Number of wrong PINs that locks the allocation.
    #[schema(minimum = 1, maximum = 10)]
    max_pin_attempts: u8,
    /// `true` if calls are recorded.
    record: bool,
    /// Your own text.
    #[schema(required, max_length = 256)]
    custom_field: Option<&'a str>,
    /// Link for phones to dial the number and the PIN in one tap.
    #[schema(value_type = String, pattern = r"^tel:\+[1-9][0-9]{6,14},,[0-9]{4,8}$")]
    #[serde(serialize_with = "serialized::text")]
    dial_uri: DialUri<'a>,
}

/// An allocation.
#[derive(Serialize, ToSchema)]
#[schema(as = Allocation, description = "An allocation with its counters.")]
pub(crate) struct AllocationDetails<'a> {
    #[serde(flatten)]
    created: CreatedAllocation<'a>,
    /// Number of calls in which both sides were connected.
    call_count: u64,
    /// Number of all calls to the allocation.
    attempt_count: u64,
    /// Number of wrong PINs counted towards `max_pin_attempts`.
    #[schema(maximum = 10)]
    failed_pin_attempts: u8,
    /// Time of the last change.
    #[schema(value_type = Moment)]
    updated_at: LocalTime,
    /// Time of the deletion. Omitted if the allocation has not been deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Moment, required = false)]
    deleted_at: Option<String>,
}

/// `tel:` link of an allocation: the number, two pauses and the PIN.
struct DialUri<'a>(&'a Allocation);

impl fmt::Display for DialUri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.virtual_number.exposed();
        write!(f, "tel:{number},,{}", self.0.pin.expose())
    }
}

fn created_example() -> Value {
    json!({
        "greenpin_id": "gp_01jxs0d4e8v6m2q9r7t5w3y1zk",
        "virtual_number": "+914000000001",
        "pin": "4821",
        "from": ["+919900000001"],
        "to": ["+918800000001"],
        "status": "active",
        "locked": false,
        "created_at": "2026-06-15T10:30:00+05:30",
        "expires_at": "2026-06-15T11:30:00+05:30",
        "max_pin_attempts": 3,
        "record": false,
        "custom_field": "order_id=12345",
        "dial_uri": "tel:+914000000001,,4821",
    })
}

impl<'a> CreatedAllocation<'a> {
    pub(crate) fn from_allocation(
        allocation: &'a Allocation,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Self {
        Self {
            greenpin_id: allocation.greenpin_id.as_str(),
            dial_uri: DialUri(allocation),
            virtual_number: allocation.virtual_number,
            pin: allocation.pin.expose(),
            from: &allocation.from,
            to: &allocation.to,
            status: allocation.status(now).as_str(),
            locked: allocation.is_locked(),
            created_at: allocation.created_at.in_zone(zone),
            expires_at: allocation.expires_at.in_zone(zone),
            max_pin_attempts: allocation.max_pin_attempts,
            record: allocation.record,
            custom_field: allocation.custom_field.as_deref(),
        }
    }
}

impl<'a> AllocationDetails<'a> {
    pub(crate) fn from_allocation(
        allocation: &'a Allocation,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Self {
        Self {
            created: CreatedAllocation::from_allocation(allocation, zone, now),
            call_count: allocation.call_count,
            attempt_count: allocation.attempt_count,
            failed_pin_attempts: allocation.failed_pin_attempts,
            updated_at: allocation.updated_at.in_zone(zone),
            deleted_at: allocation
                .deleted_at
                .map(|deleted_at| deleted_at.rfc3339(zone)),
        }
    }
}
