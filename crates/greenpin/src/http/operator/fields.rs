//! Fields of the operator's request bodies.

use crate::destinations::DestinationChange;
use crate::http::middleware::field::{
    Clearable, Field, Integer, Keyword, Number, Parsed, Prefixes, ShortText, SmallInteger,
    request_body,
};
use crate::http::tenant::settings::fields::TIMEZONE;
use crate::store::{NumberMode, TenantId, is_account_sid};

const TENANT_ID: Field<Parsed<TenantId>> = Field::new(
    "tenant_id",
    Parsed {
        parse: TenantId::parse,
        rule: "must be a tenant id",
        schema: r#"{ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" }"#,
    },
    "Id of the tenant.",
)
.required()
.with_example(r#""acme""#);

const NEW_TENANT_ID: Field<Parsed<TenantId>> = Field::new(
    "tenant_id",
    Parsed {
        parse: TenantId::parse,
        rule: "must be 1 to 64 of a-z, 0-9, '-' and '_', the first a letter or digit",
        schema: r#"{ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" }"#,
    },
    "Id of the tenant.",
)
.required()
.with_example(r#""acme""#);

const ACCOUNT_SID: Field<Parsed<String>> = Field::new(
    "account_sid",
    Parsed {
        parse: parse_account_sid,
        rule: "must be 1 to 64 letters, digits, '-', '_' and '.'",
        schema: r#"{ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" }"#,
    },
    "User name of the credential. Omitted: generated.",
)
.with_example(r#""AC-acme-2""#);

const LABEL: Field<ShortText> = Field::new(
    "label",
    ShortText { max: 100 },
    "Label of the credential, for people.",
)
.with_example(r#""dispatch service""#);

const MODE: Field<Keyword<NumberMode>> = Field::new(
    "mode",
    Keyword {
        words: &[
            ("exclusive", NumberMode::Exclusive),
            ("shared", NumberMode::Shared),
        ],
        schema: "SharingMode",
    },
    "Number of active allocations allowed: one (`exclusive`) or many (`shared`). Default of a new number: `exclusive`.",
);

const PIN_LENGTH: Field<SmallInteger> = Field::new(
    "pin_length",
    SmallInteger { min: 4, max: 8 },
    "Number of digits of each PIN. Exclusive numbers always use 4.",
);

const MAX_ACTIVE: Field<Integer> = Field::new(
    "max_active",
    Integer {
        min: 1,
        max: 50_000_000,
    },
    "Maximum number of active allocations, at most half of all PINs of this length.",
);

fn parse_account_sid(text: &str) -> Option<String> {
    is_account_sid(text).then(|| text.to_owned())
}

request_body! {
    /// Tenant to create.
    CreateTenant {
        tenant_id: Parsed<TenantId> = NEW_TENANT_ID,
        account_sid: Parsed<String> = ACCOUNT_SID,
        timezone: Parsed<String> = TIMEZONE
            .with_doc("IANA time zone of the tenant's timestamps.")
            .with_default(r#""Asia/Kolkata""#),
    }
}

request_body! {
    /// Changes to the destination rules of a tenant. Omitted fields stay unchanged.
    ChangeDestinations {
        allow: Prefixes = Field::new(
            "allow",
            Prefixes,
            "Allowed prefixes: replaces the stored list. If the list is not empty, numbers without a prefix in it are denied.",
        )
        .with_example(r#"["+91", "+44"]"#),
        deny: Prefixes = Field::new("deny", Prefixes, "Denied prefixes: replaces the stored list.")
            .with_example(r#"["+4470"]"#),
        max_calls_per_country_hour: Clearable<Integer> = Field::new(
            "max_calls_per_country_hour",
            Integer { min: 1, max: u32::MAX },
            "Maximum number of dialled legs per country, hour and node; `null`: no limit.",
        )
        .with_example("200")
        .clearable(),
    }
}

impl From<ChangeDestinations> for DestinationChange {
    fn from(request: ChangeDestinations) -> Self {
        Self {
            allow: request.allow,
            deny: request.deny,
            max_calls_per_country_hour: request.max_calls_per_country_hour,
        }
    }
}

request_body! {
    /// Credential to create.
    CreateCredential {
        account_sid: Parsed<String> = ACCOUNT_SID,
        label: ShortText = LABEL,
    }
}

request_body! {
    /// Credential that replaces another.
    RotateCredential {
        account_sid: Parsed<String> = ACCOUNT_SID,
        label: ShortText = LABEL,
        overlap: Integer = Field::new(
            "overlap",
            Integer {
                min: 0,
                max: 7_776_000,
            },
            "Seconds until the old credential becomes invalid. Omitted: valid until revoked.",
        ),
    }
}

request_body! {
    /// Number to add to a tenant's pool.
    AddNumber {
        tenant_id: Parsed<TenantId> = TENANT_ID,
        virtual_number: Number = Field::new("virtual_number", Number, "The virtual number.").required(),
        ..change: ChangeNumber,
    }
}

request_body! {
    /// Changes to a number. Omitted fields stay unchanged.
    ChangeNumber {
        mode: Keyword<NumberMode> = MODE,
        pin_length: SmallInteger = PIN_LENGTH,
        max_active: Integer = MAX_ACTIVE,
    }
}

request_body! {
    /// New tenant of a number.
    MoveNumber {
        tenant_id: Parsed<TenantId> = TENANT_ID,
    }
}
