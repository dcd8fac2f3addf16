//! The OpenAPI document: documentation of the routes, plus the parts common to all operations.
//!
//! - `problems`: error responses of an operation.
//! - `sharing`: repeated parts of operations as components.
//! - `schemas`: schemas without a Rust type.
//! - `serve`: `GET /openapi.json`.
//! - `events`: events and webhooks.
//! - `docs_page`: `GET /docs`.

pub(crate) mod docs_page;
mod events;
pub(crate) mod problems;
pub(crate) mod schemas;
pub(crate) mod serve;
pub(crate) mod sharing;

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::Code;

/// Codes of every authenticated operation.
const COMMON_CODES: &[Code] = &[
    Code::Internal,
    Code::Overloaded,
    Code::StoreUnreachable,
    Code::StoreUnavailable,
    Code::Draining,
];
const TENANT_CODES: &[Code] = &[
    Code::Unauthorized,
    Code::ForeignTenant,
    Code::TenantSuspended,
    Code::RateLimited,
];
const OPERATOR_CODES: &[Code] = &[
    Code::OperatorUnauthorized,
    Code::OperatorApiOff,
    Code::RateLimited,
];
/// Codes of writes of a tenant. A request with an idempotency key has its body read first.
const IDEMPOTENCY_CODES: &[Code] = &[
    Code::InvalidRequest,
    Code::RequestTimeout,
    Code::IdempotencyKeyReused,
    Code::IdempotencyKeyInUse,
    Code::BodyTooLarge,
];
const BODY_CODES: &[Code] = &[
    Code::InvalidEncoding,
    Code::InvalidJson,
    Code::InvalidRequest,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
];

/// Codes of operations with an empty body. They ignore its `Content-Type`, and decode it.
const EMPTY_BODY_CODES: &[Code] = &[
    Code::InvalidEncoding,
    Code::InvalidJson,
    Code::InvalidRequest,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
];
const FILE_CODES: &[Code] = &[
    Code::InvalidEncoding,
    Code::InvalidRequest,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
];
/// Schemas of optional bodies.
const OPTIONAL_BODIES: &[&str] = &[
    "/Nothing",
    "/CreateCredential",
    "/RotateCredential",
    "/RotateSecret",
    "/LinkRecording",
];
const SCHEMA_NAME: &str = "/application~1json/schema/$ref";
const EMPTY_BODY: &str = "#/components/schemas/Nothing";

/// Path parameters by name, with pattern, example and description. A test fails for a parameter missing here.
const PATH_PARAMETERS: &[(&str, &str, &str, &str)] = &[
    (
        "tenant_id",
        "^[a-z0-9][a-z0-9_-]{0,63}$",
        "acme",
        "Id of the tenant. In the tenant API it must match the credentials.",
    ),
    (
        "greenpin_id",
        "^gp_[0-9a-hjkmnp-tv-z]{26}$",
        "gp_01jxs0d4e8v6m2q9r7t5w3y1zk",
        "Id of an allocation.",
    ),
    (
        "call_sid",
        "^call_[0-9a-hjkmnp-tv-z]{26}$",
        "call_01jxs0h2c6p4n8b5d9f3g7k1ma",
        "Id of a call.",
    ),
    (
        "account_sid",
        "^[A-Za-z0-9_.-]{1,64}$",
        "AC-acme",
        "User name of a credential.",
    ),
    (
        "virtual_number",
        r"^\+[1-9][0-9]{6,14}$",
        "+914000000001",
        "A virtual number. The `+` can be literal or encoded as `%2B`.",
    ),
    ("name", "^[a-z_]{1,40}$", "goodbye", "Name of a prompt."),
    (
        "node",
        "^[A-Za-z0-9.:_-]{1,64}$",
        "node-1",
        "Name of a node.",
    ),
    (
        "link",
        "^[a-z0-9_-]{1,64}\\.call_[0-9a-hjkmnp-tv-z]{26}\\.[0-9]{1,12}\\.[A-Za-z0-9_-]{43}$",
        "acme.call_01jxs0h2f1r8s4t6v9w2x5y7za.1781500000.x0Zq3mK5vT7yB9cD1fG2hJ4kL6nP8qR0sT2uV4wX6yZ",
        "Last path segment of a link.",
    ),
    (
        "event_id",
        "^evt_[0-9a-hjkmnp-tv-z]{26}$",
        "evt_01jxs0h2f1r8s4t6v9w2x5y7za",
        "Id of an event.",
    ),
    (
        "endpoint_id",
        "^ep_[0-9a-hjkmnp-tv-z]{26}$",
        "ep_01jxs0b7a3c5e9g1j4k6m8n2pq",
        "Id of a webhook endpoint.",
    ),
];

const INTRODUCTION: &str = "\
Self-hosted masked calls. An **allocation** connects an A-party (`from`) and a B-party (`to`) through a **virtual \
number** for a limited time. A party calls the number, enters the PIN of the allocation and is connected to the other \
side. Neither side sees the number of the other.

Requests and responses are JSON in UTF-8. A request has at most 64 KiB. A successful response is `{\"response\": …}`. \
Every response has an `X-Request-Id`: include it in support requests. Times are RFC 3339 in whole seconds, with the \
offset of the tenant's time zone. Telephone numbers are in E.164 form.

Unknown fields and query parameters are rejected by name, so a misspelt name is never ignored.";

const ERRORS: &str = "\
Errors are `application/problem+json` (RFC 9457). `code` is stable and the only part for programs to evaluate. \
`errors` lists all faults of a request, each with its `field`, the `code` of the rule and the rule in words. Errors \
never contain a PIN, a token or a telephone number. `x-error-codes` of this document lists every code with its status \
and meaning.";

/// Completes the documentation of the routes to the served document.
pub(crate) fn complete(routes: &OpenApi, requests: &[(&'static str, Value)]) -> Value {
    let mut routes = serde_json::to_value(routes).unwrap_or_default();
    let mut paths = routes.get_mut("paths").map(Value::take).unwrap_or_default();
    let derived = routes
        .pointer_mut("/components/schemas")
        .map(Value::take)
        .unwrap_or_default();
    for (path, item) in paths.as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            operation
                .as_object_mut()
                .into_iter()
                .for_each(|operation| complete_operation(method, path, operation));
        }
    }
    let schemas = schemas(derived, &paths, requests);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "greenpin",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Self-hosted masked calls",
            "description": INTRODUCTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "Server of this document" }],
        "tags": tags(),
        "paths": paths,
        "webhooks": events::webhooks(),
        "components": {
            "schemas": schemas,
            "headers": headers(),
            "parameters": events::webhook_headers(),
            "securitySchemes": security_schemes(),
        },
        "x-error-codes": error_codes(),
    })
}

fn tags() -> Value {
    json!([
        { "name": "Allocations", "description": "An allocation connects two sides by a PIN on a virtual number for a limited time." },
        { "name": "Numbers", "description": "The virtual numbers of the tenant's pool." },
        { "name": "Calls", "description": "Call records and recordings." },
        { "name": "Events", "description": "The event log, in order of time. The same events are sent to webhooks: each type has its schema and an entry in `webhooks`. Endpoints with the format `flat` get all fields on one level." },
        { "name": "Settings", "description": "Settings, prompts and webhook endpoints of a tenant." },
        { "name": "Tenants", "description": "For operators: tenants and their credentials. Times are in UTC." },
        { "name": "Pools", "description": "For operators: the virtual numbers of all tenants." },
        { "name": "Node", "description": "For operators: this process, its calls, and the audit log." },
        { "name": "Server", "description": "Health, metrics and documentation. No credentials required." },
        { "name": "Errors", "description": ERRORS },
    ])
}

/// Kind of an operation, which decides its credentials, headers and common errors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Operation of a tenant; `true` for a write.
    Tenant(bool),
    Operator,
    Public,
}

impl Audience {
    fn new(method: &str, path: &str) -> Self {
        if path.starts_with("/v1/admin") {
            Self::Operator
        } else if path.starts_with("/v1/tenants") {
            Self::Tenant(method != "get")
        } else {
            Self::Public
        }
    }

    fn security(self) -> Value {
        match self {
            Self::Tenant(_) => json!([{ "tenant": [] }]),
            Self::Operator => json!([{ "operator": [] }]),
            Self::Public => json!([]),
        }
    }
}

fn complete_operation(method: &str, path: &str, operation: &mut Map<String, Value>) {
    let audience = Audience::new(method, path);
    operation.insert("security".into(), audience.security());
    add_path_parameters(path, operation);
    if audience == Audience::Tenant(true) {
        add_idempotency_key(operation);
    }
    let body_codes = operation
        .get_mut("requestBody")
        .and_then(Value::as_object_mut)
        .map(complete_body);
    let Some(responses) = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    match audience {
        Audience::Tenant(_) => problems::add_codes(responses, TENANT_CODES),
        Audience::Operator => problems::add_codes(responses, OPERATOR_CODES),
        Audience::Public => {}
    }
    if audience != Audience::Public {
        problems::add_codes(responses, COMMON_CODES);
    }
    if audience == Audience::Tenant(true) {
        problems::add_codes(responses, IDEMPOTENCY_CODES);
    }
    if let Some(codes) = body_codes {
        problems::add_codes(responses, codes);
    }
    if path.contains("/recording") {
        add_ogg(responses);
    }
    responses.sort_keys();
    for (status, response) in responses.iter_mut() {
        if let Some(response) = response.as_object_mut() {
            problems::complete(status, response);
            add_headers(audience, status, response);
        }
    }
}

/// Sets `required` of a request body and returns the codes of its faults.
fn complete_body(body: &mut Map<String, Value>) -> &'static [Code] {
    let schema = body
        .get("content")
        .and_then(|content| content.pointer(SCHEMA_NAME)?.as_str());
    let required = !schema.is_some_and(|schema| {
        OPTIONAL_BODIES
            .iter()
            .any(|optional| schema.ends_with(optional))
    });
    let codes = match schema {
        Some(EMPTY_BODY) => EMPTY_BODY_CODES,
        Some(_) => BODY_CODES,
        None => FILE_CODES,
    };
    body.insert("required".into(), required.into());
    codes
}

/// Adds the headers common to all responses of an audience.
fn add_headers(audience: Audience, status: &str, response: &mut Map<String, Value>) {
    let headers = response.entry("headers").or_insert_with(|| json!({}));
    let Some(headers) = headers.as_object_mut() else {
        return;
    };
    let mut add = |name: &str, component: &str| {
        let reference = json!({ "$ref": format!("#/components/headers/{component}") });
        headers.insert(name.into(), reference);
    };
    add("X-Request-Id", "RequestId");
    let Audience::Tenant(is_write) = audience else {
        return;
    };
    // Requests rejected before the rate limit carry no rate limit headers.
    if !matches!(status, "401" | "403" | "429" | "500" | "503") {
        for name in ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"] {
            add(name, name.trim_start_matches("RateLimit-"));
        }
    }
    if is_write && status.starts_with('2') {
        add("Idempotency-Replayed", "IdempotencyReplayed");
    }
}

/// Adds Ogg Opus to responses with a recording, for operators with that setting.
fn add_ogg(responses: &mut Map<String, Value>) {
    let contents = responses
        .values_mut()
        .filter_map(|response| response.get_mut("content")?.as_object_mut());
    for content in contents.filter(|content| content.contains_key("audio/wav")) {
        let description = "An Ogg Opus file (RFC 7845).";
        let schema = json!({
            "type": "string", "format": "binary", "description": description, "contentMediaType": "audio/ogg",
        });
        content.insert("audio/ogg".into(), json!({ "schema": schema }));
    }
}

fn add_idempotency_key(operation: &mut Map<String, Value>) {
    let key = json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Unique key of this write, chosen by you. The response is stored for 24 hours, and a repeated request with the same key gets it without a second execution.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$" },
        "example": "order-12345-allocate",
    });
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    parameters
        .as_array_mut()
        .into_iter()
        .for_each(|parameters| parameters.push(key.clone()));
}

/// Inserts the path parameters before the query parameters.
fn add_path_parameters(path: &str, operation: &mut Map<String, Value>) {
    let names = path
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next());
    let known = names.filter_map(|name| PATH_PARAMETERS.iter().find(|(known, ..)| *known == name));
    let mut parameters: Vec<Value> = known
        .map(|(name, pattern, example, description)| {
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "description": description,
                "schema": { "type": "string", "pattern": pattern },
                "example": example,
            })
        })
        .collect();
    if let Some(Value::Array(queries)) = operation.remove("parameters") {
        parameters.extend(queries);
    }
    // `false` is the default.
    let optional = parameters
        .iter_mut()
        .filter(|parameter| parameter.pointer("/required") == Some(&Value::Bool(false)));
    optional
        .filter_map(Value::as_object_mut)
        .for_each(|parameter| {
            parameter.shift_remove("required");
        });
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
}

/// Returns all schemas sorted by name: those derived from types, and those of request bodies.
fn schemas(derived: Value, paths: &Value, requests: &[(&'static str, Value)]) -> Value {
    let mut schemas = match derived {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    };
    // The library inlines the contents of a wrapper. Wrappers are rebuilt with references instead.
    schemas.retain(|name, _| wrapper(name).is_none() && !name.starts_with("Vec_"));
    schemas.extend(events::schemas());
    schemas
        .iter_mut()
        .for_each(|(_, schema)| describe_nullable_fields(schema));
    schemas.extend(wrappers(paths));
    schemas.extend(
        requests
            .iter()
            .cloned()
            .chain(schemas::parameter_schemas())
            .map(|(name, schema)| (name.to_owned(), schema)),
    );
    schemas.insert("Problem".into(), problem());
    schemas.insert("ErrorCode".into(), error_code());
    schemas.sort_keys();
    schemas.into()
}

/// Returns the wrappers referenced by responses.
fn wrappers(paths: &Value) -> Map<String, Value> {
    let operations = paths
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(_, item)| item.as_object())
        .flatten();
    let responses = operations
        .filter_map(|(_, operation)| operation.get("responses")?.as_object())
        .flatten();
    let named = responses
        .filter_map(|(_, response)| response.pointer("/content/application~1json/schema/$ref"));
    let names = named.filter_map(|name| name.as_str()?.strip_prefix("#/components/schemas/"));
    names
        .filter_map(|name| Some((name.to_owned(), wrapper(name)?)))
        .collect()
}

/// Returns a reference to a schema.
fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn wrapper(name: &str) -> Option<Value> {
    let list = |item: &str| json!({ "type": "array", "items": reference(item) });
    let wrapped = name.strip_prefix("Success_");
    if let Some(wrapped) = wrapped {
        let response = wrapped
            .strip_prefix("Vec_")
            .map_or_else(|| reference(wrapped), list);
        return Some(json!({
            "type": "object",
            "required": ["response"],
            "properties": { "response": response },
        }));
    }
    let next_cursor =
        json!({ "type": ["string", "null"], "description": "`null` on the last page." });
    name.strip_prefix("Page_").map(|item| {
        json!({
            "type": "object",
            "required": ["response", "next_cursor"],
            "properties": { "response": list(item), "next_cursor": next_cursor },
        })
    })
}

fn describe_nullable_fields(schema: &mut Value) {
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    fields
        .into_iter()
        .flatten()
        .for_each(|(_, field)| describe_nullable(field));
    let parts = schema.get_mut("allOf").and_then(Value::as_array_mut);
    parts
        .into_iter()
        .flatten()
        .for_each(describe_nullable_fields);
}

/// Moves the description of a nullable field from one of its variants to the field.
fn describe_nullable(field: &mut Value) {
    let description = field.pointer_mut("/oneOf/0").and_then(Value::as_object_mut);
    let description = description.and_then(|named| named.shift_remove("description"));
    if let (Some(description), Some(field)) = (description, field.as_object_mut()) {
        field.insert("description".into(), description);
    }
}

fn problem() -> Value {
    let code = json!({
        "$ref": "#/components/schemas/ErrorCode",
    });
    let example = json!({
        "type": "urn:greenpin:error:invalid_request",
        "title": Code::InvalidRequest.title(),
        "status": Code::InvalidRequest.status(),
        "detail": "See errors: duration",
        "code": "invalid_request",
        "request_id": "req_5b1c0f6ad8e94c2e9f3a7d10b64c8e21",
        "errors": [{ "field": "duration", "code": "out_of_range", "message": "must be 300 to 14688000" }],
    });
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "examples": [example],
        "required": ["type", "title", "status", "detail", "code", "request_id", "errors"],
        "properties": {
            "type": { "type": "string", "format": "uri", "description": "The code as a URI.", "examples": ["urn:greenpin:error:rule_violated"] },
            "title": { "type": "string", "description": "Short meaning of the code." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "HTTP status of the response." },
            "detail": { "type": "string", "description": "Explanation of this error, for people." },
            "code": code,
            "request_id": { "type": "string", "description": "Id of the request, equal to `X-Request-Id`." },
            "refused": {
                "type": "array",
                "description": "With `import_refused`: the rejected lines.",
                "items": { "$ref": "#/components/schemas/RefusedLine" },
            },
            "allocation": {
                "type": "object",
                "title": "BusyAllocation",
                "description": "With `virtual_number_busy`: the allocation that holds the number.",
                "required": ["greenpin_id", "expires_at"],
                "properties": {
                    "greenpin_id": { "$ref": "#/components/schemas/AllocationId" },
                    "expires_at": { "$ref": "#/components/schemas/Moment" },
                },
            },
            "errors": {
                "type": "array",
                "description": "All faults of the request's fields; empty for other errors.",
                "items": {
                    "type": "object",
                    "title": "Fault",
                    "required": ["field", "code", "message"],
                    "properties": {
                        "field": { "type": "string", "description": "Path of the field, such as `from[1]`.", "examples": ["duration"] },
                        "code": code,
                        "message": { "type": "string", "description": "Rule in words, for people.", "examples": ["must be 300 to 14688000"] },
                    },
                },
            },
        },
    })
}

fn error_code() -> Value {
    json!({
        "type": "string",
        "description": "Error code, listed under Errors. Later versions may add codes.",
        "enum": Code::ALL.iter().map(|code| code.as_str()).collect::<Value>(),
    })
}

fn headers() -> Value {
    json!({
        "RequestId": {
            "description": "Id of this request. The server's log contains it, too.",
            "schema": { "type": "string", "pattern": "^req_[0-9a-f]{32}$" },
        },
        "RetryAfter": {
            "description": "Seconds to wait before a retry.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "Limit": {
            "description": "Maximum burst of requests.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "Remaining": {
            "description": "Requests left in the current burst.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Reset": {
            "description": "Seconds until the full burst is available again.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "IdempotencyReplayed": {
            "description": "The response was stored earlier. This request was not executed.",
            "schema": { "type": "string", "enum": ["true"] },
        },
        "WwwAuthenticate": {
            "description": "Required authentication scheme.",
            "schema": { "type": "string" },
        },
        "UnsatisfiedRange": {
            "description": "`bytes */LENGTH`, with the length of the recording.",
            "schema": { "type": "string", "pattern": r"^bytes \*/[0-9]+$" },
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "tenant": {
            "type": "http", "scheme": "basic",
            "description": "Credentials of a tenant: the account SID as user name, its token as password.",
        },
        "operator": {
            "type": "http", "scheme": "bearer",
            "description": "For `/v1/admin`: the operator token, `http.operator_token` in the configuration.",
        },
    })
}

fn error_codes() -> Value {
    let entry = |code: &Code| {
        json!({
            "code": code.as_str(),
            "status": code.status(),
            "description": code.description(),
        })
    };
    Code::ALL.iter().map(entry).collect()
}
