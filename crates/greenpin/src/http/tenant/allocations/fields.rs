//! Fields of requests about allocations. The body readers, the OpenAPI schemas and the options of `greenpin
//! allocation create` follow from the declarations here.

use std::time::Duration;

use call::{PhoneNumber, Pin};
use serde_json::{Map, Value};

use crate::http::middleware::field::{
    Boolean, Clearable, Field, Integer, Number, Numbers, Parsed, RequestBody, ShortText,
    SmallInteger, request_body,
};
use crate::http::middleware::problem::{Code, Problem};
use crate::http::middleware::validation::Fields;
use crate::http::tenant::settings::fields::{MAX_DURATION, MIN_DURATION};
use crate::store::{AllocationChange, NewAllocation, TenantSettings};

/// Maximum number of telephone numbers on each side of an allocation.
const MAX_NUMBERS: usize = 10;
/// Default duration of an allocation, in seconds: one day, clamped to the tenant's limits.
const DEFAULT_DURATION: u32 = NewAllocation::DEFAULT_DURATION;
/// Default number of wrong PINs before an allocation is locked.
const DEFAULT_PIN_ATTEMPTS: u8 = NewAllocation::DEFAULT_PIN_ATTEMPTS;

const CALLER_ID_NUMBER: Field<Number> = Field::new(
    "caller_id_number",
    Number,
    "Virtual number for the parties to call. It must be in the tenant's pool.",
)
.required()
.with_example(r#""+914000000001""#)
.on_command_line_as("VN");

const FROM: Field<Numbers> = Field::new(
    "from",
    Numbers {
        min: 1,
        max: MAX_NUMBERS,
    },
    "A-party: the numbers of the agent or seller, called in this order. A string is accepted as a list of one.",
)
.required()
.with_example(r#"["+919900000001"]"#);

const TO: Field<Numbers> = Field::new(
    "to",
    Numbers {
        min: 0,
        max: MAX_NUMBERS,
    },
    "B-party: the numbers of the customer. None of them may be in `from`. If empty, anyone with the PIN is connected to `from`. It must not be empty on a shared number with PINs of fewer than six digits.",
)
.with_example(r#"["+918800000001"]"#);

const DURATION: Field<Integer> = Field::new(
    "duration",
    Integer {
        min: MIN_DURATION,
        max: MAX_DURATION,
    },
    "Seconds until the allocation expires. The tenant's `min_duration` and `max_duration` can narrow the range.",
)
.with_default("86400")
.with_example("3600");

const MAX_PIN_ATTEMPTS: Field<SmallInteger> = Field::new(
    "max_pin_attempts",
    SmallInteger { min: 1, max: 10 },
    "Number of wrong PINs that locks the allocation.",
)
.with_default("3");

const RECORD: Field<Boolean> =
    Field::new("record", Boolean, "Record every call of the allocation.").with_default("false");

const CUSTOM_FIELD: Field<ShortText> = Field::new(
    "custom_field",
    ShortText { max: 256 },
    "Your own text, such as an order id. Every event of the allocation includes it.",
)
.with_default("null")
.with_example(r#""order_id=12345""#);

const GREENPIN_ID: Field<Parsed<String>> = Field::new(
    "greenpin_id",
    Parsed {
        parse: |text| Some(text.to_owned()),
        rule: "must be a string",
        schema: r##"{ "$ref": "#/components/schemas/AllocationId" }"##,
    },
    "The allocation to change.",
)
.required();

const VIRTUAL_NUMBER: Field<Number> =
    Field::new("virtual_number", Number, "Number to call.").required();

const CALLER: Field<Number> =
    Field::new("caller", Number, "Number of the caller; `null`: withheld.")
        .with_example(r#""+918800000001""#);

const DIGITS: Field<Parsed<Pin>> = Field::new(
    "digits",
    Parsed {
        parse: |text| Pin::parse(text).ok(),
        rule: "must be 1 to 8 digits",
        schema: r#"{ "type": "string", "pattern": "^[0-9]{1,8}$" }"#,
    },
    "Digits pressed by the caller. Digits after a complete PIN are ignored, as in a call.",
)
.with_example(r#""4821""#);

request_body! {
    /// Allocation to create. `null` in an optional field counts as omitted.
    CreateAllocation {
        caller_id_number: Number = CALLER_ID_NUMBER,
        from: Numbers = FROM,
        to: Numbers = TO,
        duration: Integer = DURATION,
        max_pin_attempts: SmallInteger = MAX_PIN_ATTEMPTS,
        record: Boolean = RECORD,
        custom_field: ShortText = CUSTOM_FIELD,
    }
    example r#"{
        "caller_id_number": "+914000000001",
        "from": ["+919900000001"],
        "to": ["+918800000001"],
        "duration": 3600,
        "max_pin_attempts": 3,
        "record": false,
        "custom_field": "order_id=12345"
    }"#
}

request_body! {
    /// Changes to an allocation. Fields that are omitted or `null` stay unchanged, except `custom_field`: `null`
    /// clears it.
    UpdateAllocation {
        from: Numbers = FROM.for_change().with_doc("A-party: replaces the stored list."),
        to: Numbers = TO.with_doc("B-party: replaces the stored list. No number may be on both sides after the change."),
        duration: Integer = DURATION.for_change(),
        max_pin_attempts: SmallInteger = MAX_PIN_ATTEMPTS.for_change(),
        record: Boolean = RECORD.for_change(),
        custom_field: Clearable<ShortText> = CUSTOM_FIELD.clearable(),
    }
    example r#"{ "to": ["+918800000001"], "duration": 7200 }"#
}

request_body! {
    /// One item of a bulk change.
    UpdateItem {
        greenpin_id: Parsed<String> = GREENPIN_ID,
        ..change: UpdateAllocation,
    }
    example r#"{ "greenpin_id": "gp_01jxs0d4e8v6m2q9r7t5w3y1zk", "duration": 7200 }"#
}

impl CreateAllocation {
    /// Reads the body of a create request. The tenant's limits narrow the duration.
    ///
    /// # Errors
    /// All faults of the body together.
    pub(crate) fn parse(
        object: Map<String, Value>,
        settings: &TenantSettings,
    ) -> Result<NewAllocation, Problem> {
        let mut fields = Fields::new(object);
        narrow_duration(&mut fields, settings);
        let request = Self::read(&mut fields);
        let (from, to) = (request.from, request.to.unwrap_or_default());
        reject_both_sides(&mut fields, from.as_deref().unwrap_or_default(), &to);
        reject_denied(&mut fields, settings, from.as_deref(), Some(&to));
        fields.finish()?;
        let internal = || Problem::plain(Code::Internal);
        let default = DEFAULT_DURATION
            .max(settings.min_duration)
            .min(settings.max_duration);
        Ok(NewAllocation {
            virtual_number: request.caller_id_number.ok_or_else(internal)?,
            from: from.ok_or_else(internal)?,
            to,
            duration: Duration::from_secs(request.duration.unwrap_or(default).into()),
            max_pin_attempts: request.max_pin_attempts.unwrap_or(DEFAULT_PIN_ATTEMPTS),
            record: request.record.unwrap_or(false),
            custom_field: request.custom_field,
        })
    }
}

impl UpdateAllocation {
    /// Reads the fields of a change. Records faults in `fields`.
    pub(crate) fn parse(fields: &mut Fields, settings: &TenantSettings) -> AllocationChange {
        narrow_duration(fields, settings);
        Self::read(fields).into_change(fields, settings)
    }

    /// Checks the rules between fields and returns the change.
    pub(crate) fn into_change(
        self,
        fields: &mut Fields,
        settings: &TenantSettings,
    ) -> AllocationChange {
        reject_denied(fields, settings, self.from.as_deref(), self.to.as_deref());
        reject_both_sides(
            fields,
            self.from.as_deref().unwrap_or_default(),
            self.to.as_deref().unwrap_or_default(),
        );
        for name in ["caller_id_number", "virtual_number", "pin"] {
            fields.reject_unchangeable(name);
        }
        AllocationChange {
            from: self.from,
            to: self.to,
            duration: self
                .duration
                .map(|seconds| Duration::from_secs(seconds.into())),
            max_pin_attempts: self.max_pin_attempts,
            record: self.record,
            custom_field: self.custom_field,
        }
    }
}

/// Narrows the range of `duration` to the tenant's limits.
pub(crate) fn narrow_duration(fields: &mut Fields, settings: &TenantSettings) {
    fields.narrow(DURATION.name, settings.min_duration, settings.max_duration);
}

/// Records a fault for each number in both `from` and `to`.
fn reject_both_sides(fields: &mut Fields, from: &[PhoneNumber], to: &[PhoneNumber]) {
    for (index, number) in to.iter().enumerate() {
        if from.contains(number) {
            fields.add_fault(format!("to[{index}]"), Code::OnBothSides, "is also in from");
        }
    }
}

/// Records a fault for each number that the tenant may not dial.
fn reject_denied(
    fields: &mut Fields,
    settings: &TenantSettings,
    from: Option<&[PhoneNumber]>,
    to: Option<&[PhoneNumber]>,
) {
    for (name, numbers) in [(FROM.name, from), (TO.name, to)] {
        for (index, number) in numbers.unwrap_or_default().iter().enumerate() {
            if !settings.destinations.permit(*number) {
                fields.add_fault(
                    format!("{name}[{index}]"),
                    Code::DestinationNotAllowed,
                    "is a destination that the operator has denied",
                );
            }
        }
    }
}

request_body! {
    /// Hypothetical call.
    ResolveRequest {
        virtual_number: Number = VIRTUAL_NUMBER,
        caller: Number = CALLER,
        digits: Parsed<Pin> = DIGITS,
    }
    example r#"{ "virtual_number": "+914000000001", "caller": "+918800000001", "digits": "4821" }"#
}
