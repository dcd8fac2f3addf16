//! What the operator API asks for and answers.

use serde_json::{Value, json};

const TENANT: &str = "^[a-z0-9][a-z0-9_-]{0,63}$";
const ACCOUNT_SID: &str = "^[A-Za-z0-9_.-]{1,64}$";

/// The schemas of `/v1/admin`, by name.
pub(crate) fn schemas() -> Vec<(&'static str, Value)> {
    [requests(), tenants(), numbers(), node()].concat()
}

fn text(pattern: &str, description: &str, example: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "description": description, "examples": [example] })
}

/// The same, or not given.
fn optional(mut schema: Value) -> Value {
    if let Some(place) = schema.get_mut("type") {
        *place = json!([place.take(), "null"]);
    }
    schema
}

fn named(schema: &str, description: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}"), "description": description })
}

fn nullable(schema: &str, description: &str) -> Value {
    json!({
        "oneOf": [{ "$ref": format!("#/components/schemas/{schema}") }, { "type": "null" }],
        "description": description,
    })
}

fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn words(words: &[&str], description: &str) -> Value {
    json!({ "type": "string", "enum": words, "description": description })
}

fn truth(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

/// An object whose fields are all there, but for those that `left_out` names.
fn answer(description: &str, properties: Value, left_out: &[&str]) -> Value {
    let names = properties
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys());
    let required: Value = names
        .filter(|name| !left_out.contains(&name.as_str()))
        .map(String::as_str)
        .collect();
    json!({ "type": "object", "description": description, "required": required, "properties": properties })
}

/// An object to be sent: fields that are not known are refused.
fn request(description: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}

fn requests() -> Vec<(&'static str, Value)> {
    let account_sid = || {
        optional(text(
            ACCOUNT_SID,
            "The user name of the credential; left out: one is drawn.",
            "AC-acme-2",
        ))
    };
    let label = || json!({ "type": ["string", "null"], "maxLength": 100, "pattern": "^[^\\u0000]*$", "description": "What it is for, in your words.", "examples": ["dispatch service"] });
    let tenant = || text(TENANT, "The tenant's name.", "acme");
    let pool = || {
        let mode = json!({
            "oneOf": [{ "$ref": "#/components/schemas/SharingMode" }, { "type": "null" }],
            "description": "How many active allocations it takes. A new number is `exclusive` unless told otherwise.",
        });
        let length = json!({ "type": ["integer", "null"], "minimum": 4, "maximum": 8, "description": "Digits of each PIN; an exclusive number has 4." });
        let most = json!({ "type": ["integer", "null"], "minimum": 1, "maximum": 50_000_000, "description": "Active allocations at once, at most half of the PINs that there are." });
        (mode, length, most)
    };
    let (mode, pin_length, max_active) = pool();
    vec![
        (
            "CreateTenant",
            request(
                "A tenant to make.",
                &["tenant_id"],
                json!({
                    "tenant_id": tenant(),
                    "account_sid": account_sid(),
                    "timezone": optional(json!({ "type": "string", "description": "IANA name of the zone that its times are written in.", "default": "Asia/Kolkata", "examples": ["Asia/Kolkata"] })),
                }),
            ),
        ),
        (
            "CreateCredential",
            request(
                "A credential to make.",
                &[],
                json!({ "account_sid": account_sid(), "label": label() }),
            ),
        ),
        (
            "RotateCredential",
            request(
                "What comes in the place of a credential.",
                &[],
                json!({
                    "account_sid": account_sid(),
                    "label": label(),
                    "overlap": { "type": ["integer", "null"], "minimum": 0, "maximum": 7_776_000, "description": "Seconds that the old one still lives; left out: until it is revoked." },
                }),
            ),
        ),
        (
            "AddNumber",
            request(
                "A number for a tenant's pool.",
                &["tenant_id", "virtual_number"],
                json!({
                    "tenant_id": tenant(),
                    "virtual_number": named("E164", "The virtual number."),
                    "mode": mode, "pin_length": pin_length, "max_active": max_active,
                }),
            ),
        ),
        ("ChangeNumber", {
            let (mode, pin_length, max_active) = pool();
            request(
                "What to change; what is left out stays.",
                &[],
                json!({ "mode": mode, "pin_length": pin_length, "max_active": max_active }),
            )
        }),
        (
            "MoveNumber",
            request(
                "Where a number goes.",
                &["tenant_id"],
                json!({ "tenant_id": tenant() }),
            ),
        ),
    ]
}

fn tenants() -> Vec<(&'static str, Value)> {
    let token = || {
        text(
            "^[!-~]{1,256}$",
            "The password. It is shown here and never again.",
            "3q2-7wYfT1s0Xo9aVbKc5LdMnEpRgHiJ",
        )
    };
    let sid = || text(ACCOUNT_SID, "The user name.", "AC-acme");
    let name = || text(TENANT, "The tenant's name.", "acme");
    vec![
        (
            "MadeTenant",
            answer(
                "A tenant that was made, with its first credential.",
                json!({
                    "tenant_id": name(), "account_sid": sid(), "token": token(),
                    "status": words(&["active"], "A new tenant is active."),
                }),
                &[],
            ),
        ),
        (
            "Tenant",
            answer(
                "A tenant.",
                json!({
                    "tenant_id": name(),
                    "status": words(&["active", "suspended", "erasing", "erased"], "Where it stands."),
                    "timezone": { "type": "string", "description": "The zone that its times are written in." },
                    "numbers": count("Numbers of its pool."),
                    "credentials": count("Credentials that are live."),
                    "created_at": named("Moment", "When it was made."),
                    "suspended_at": nullable("Moment", "Since when it is suspended."),
                    "erased_at": nullable("Moment", "When its data was erased."),
                    "active_allocations": count("Allocations that are active. Left out in lists."),
                    "erasure": named("Erasure", "The receipt, if its data was erased."),
                }),
                &["active_allocations", "erasure"],
            ),
        ),
        (
            "Erasure",
            answer(
                "What was erased.",
                json!({
                    "erasure_id": text("^era_[0-9a-hjkmnp-tv-z]{26}$", "The receipt's id.", "era_01jxs0q5w8e2r4t6y8u3i5o7pa"),
                    "tenant_id": name(),
                    "begun_at": named("Moment", "When it was begun."),
                    "finished_at": nullable("Moment", "When it was finished; `null`: it was cut short, ask again to go on."),
                    "erased": { "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 }, "description": "How many of each kind are gone." },
                }),
                &[],
            ),
        ),
        (
            "Credential",
            answer(
                "A credential, without its token: nobody has that any more.",
                json!({
                    "account_sid": sid(),
                    "label": { "type": ["string", "null"], "description": "What it is for." },
                    "live": truth("Whether it opens anything."),
                    "created_at": named("Moment", "When it was made."),
                    "last_used_at": nullable("Moment", "The minute of its last use."),
                    "revoked_at": nullable("Moment", "When it was, or will be, dead."),
                }),
                &[],
            ),
        ),
        (
            "MadeCredential",
            answer(
                "A credential that was made.",
                json!({ "account_sid": sid(), "token": token() }),
                &[],
            ),
        ),
        (
            "RotatedCredential",
            answer(
                "A credential in the place of another.",
                json!({
                    "account_sid": sid(), "token": token(),
                    "replaces": { "type": "string", "description": "The user name of the old one." },
                    "replaced_until": nullable("Moment", "How long the old one lives; `null`: until it is revoked."),
                }),
                &[],
            ),
        ),
        (
            "RevokedCredential",
            answer(
                "A credential that is dead.",
                json!({
                    "account_sid": { "type": "string", "description": "Its user name." }, "revoked_at": named("Moment", "Since when."),
                }),
                &[],
            ),
        ),
        (
            "AuditEntry",
            answer(
                "An act of an operator.",
                json!({
                    "audit_id": text("^aud_[0-9a-hjkmnp-tv-z]{26}$", "Its id.", "aud_01jxs0r7t9y2u4i6o8p3a5s7da"),
                    "occurred_at": named("Moment", "When."),
                    "actor": words(&["operator", "command line"], "Who."),
                    "act": { "type": "string", "description": "What was done.", "examples": ["tenant.suspend"] },
                    "tenant_id": { "type": ["string", "null"], "description": "To which tenant." },
                    "object": { "type": ["string", "null"], "description": "To what; numbers by their last two digits." },
                    "request_id": { "type": ["string", "null"], "description": "By which request." },
                }),
                &[],
            ),
        ),
    ]
}

fn numbers() -> Vec<(&'static str, Value)> {
    vec![
        (
            "PoolNumber",
            answer(
                "A number of a pool.",
                json!({
                    "virtual_number": named("E164", "The number."),
                    "tenant_id": { "type": "string", "description": "Whose it is." },
                    "mode": named("SharingMode", "How many active allocations it takes."),
                    "pin_length": { "type": "integer", "minimum": 4, "maximum": 8, "description": "Digits of each PIN." },
                    "max_active": { "type": "integer", "minimum": 1, "description": "Active allocations at once." },
                    "active": count("Allocations that are active on it."),
                    "quarantined": truth("Whether it takes no new allocations."),
                    "quarantined_at": nullable("Moment", "Since when."),
                    "created_at": named("Moment", "When it was added."),
                }),
                &[],
            ),
        ),
        (
            "RemovedNumber",
            answer(
                "A number that is in no pool any more.",
                json!({
                    "virtual_number": named("E164", "The number."), "status": words(&["removed"], "It is gone."),
                }),
                &[],
            ),
        ),
        (
            "ImportReport",
            answer(
                "What an import did, or would do.",
                json!({
                    "tenant_id": { "type": "string", "description": "Whose pool it is." },
                    "dry_run": truth("Whether nothing was to be added."),
                    "lines": count("Lines with a number."),
                    "added": count("Numbers that were, or would be, added."),
                    "refused": { "type": "array", "items": { "$ref": "#/components/schemas/RefusedLine" }, "description": "Lines at fault." },
                }),
                &[],
            ),
        ),
        (
            "RefusedLine",
            answer(
                "A line of an import that is at fault.",
                json!({
                    "line": { "type": "integer", "minimum": 1, "description": "Where it stands; the header is line 1." },
                    "field": { "type": "string", "description": "The column at fault; empty: the line as a whole." },
                    "code": { "type": "string", "description": "What kind of fault." },
                    "message": { "type": "string", "description": "The rule, for people." },
                }),
                &[],
            ),
        ),
    ]
}

fn node() -> Vec<(&'static str, Value)> {
    vec![
        (
            "Trunk",
            answer(
                "A carrier as it is configured, without its password, and how it is.",
                json!({
                    "name": { "type": "string", "description": "Its name." },
                    "peer": { "type": ["string", "null"], "description": "Where calls go out to." },
                    "outbound_proxy": { "type": ["string", "null"], "description": "Where requests are sent instead." },
                    "accept_from": { "type": "array", "items": { "type": "string" }, "description": "Networks that calls are accepted from." },
                    "accept_username": { "type": ["string", "null"], "description": "Whom calls are accepted from anywhere else." },
                    "keep_alive": { "type": "integer", "minimum": 0, "maximum": 3600, "description": "Seconds between two questions whether it is alive; 0: it is not asked." },
                    "register": truth("Whether we register with it."),
                    "country": { "type": ["string", "null"], "description": "The country of numbers without `+`." },
                    "symmetric_rtp": truth("Whether audio is taken from where it comes."),
                    "media": { "type": "string", "enum": ["relay", "direct"], "description": "Whether its gateway may exchange audio with another one past us." },
                    "srtp": { "type": "string", "enum": ["off", "optional", "required"], "description": "Whether audio is encrypted." },
                    "username": { "type": ["string", "null"], "description": "What it knows us by when it asks." },
                    "priority": { "type": "integer", "minimum": 0, "maximum": 65535, "description": "Trunks with a lower number are tried first." },
                    "weight": { "type": "integer", "minimum": 1, "maximum": 100, "description": "How often it is chosen among those of the same priority." },
                    "number_format": { "type": "string", "enum": ["e164", "digits", "00", "national"], "description": "The form in which it wants numbers." },
                    "prefix": { "type": "string", "maxLength": 16, "description": "Digits before a number that is dialled by it." },
                    "codecs": { "type": "array", "items": { "type": "string", "enum": ["pcma", "pcmu", "g722", "opus"] }, "description": "Codecs that are offered and taken, the preferred one first; none: all." },
                    "caller_from": { "type": "string", "enum": ["p-asserted-identity", "p-preferred-identity", "remote-party-id", "from"], "description": "The header that tells who calls." },
                    "called_from": { "type": "string", "enum": ["request-uri", "to"], "description": "What tells who is called." },
                    "max_calls": { "type": ["integer", "null"], "minimum": 1, "description": "Legs of it at once, both ways; `null`: no limit of its own." },
                    "max_calls_per_second": { "type": ["integer", "null"], "minimum": 1, "description": "New legs of it a second, both ways; `null`: no limit of its own." },
                    "state": { "type": ["string", "null"], "enum": ["up", "away", null], "description": "Whether it answers; one that is not asked is up. `null`: not known." },
                    "registered": { "type": ["boolean", "null"], "description": "Whether it has taken our registration; `null`: we do not register, or it is not known." },
                }),
                &[],
            ),
        ),
        (
            "Node",
            answer(
                "A process of greenpin.",
                json!({
                    "name": { "type": "string", "description": "Its name in call records." },
                    "version": { "type": "string", "description": "Its version." },
                    "started_at": named("Moment", "Since when it runs."),
                    "calls": count("Calls under way on it."),
                    "draining": truth("Whether it takes nothing new."),
                }),
                &[],
            ),
        ),
        (
            "LiveCall",
            answer(
                "A call under way.",
                json!({
                    "call_sid": named("CallId", "Its id."),
                    "tenant_id": { "type": ["string", "null"], "description": "Whose number was called; `null`: that is being looked up." },
                    "state": words(&["collecting", "dialling", "bridged", "ending"], "How far it is."),
                    "since": named("Moment", "When it came in."),
                }),
                &[],
            ),
        ),
        (
            "EndedCall",
            answer(
                "A call that is being hung up.",
                json!({
                    "call_sid": named("CallId", "Its id."), "state": words(&["ending"], "It ends."),
                }),
                &[],
            ),
        ),
    ]
}
