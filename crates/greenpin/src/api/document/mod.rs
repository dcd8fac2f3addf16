//! The OpenAPI document: what the routes say of themselves, and what goes without saying at each.

pub(super) mod page;
pub(super) mod problems;
pub(super) mod schemas;
pub(super) mod serve;

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::Code;

/// Any authenticated call can meet these.
const ANYWHERE: &[Code] = &[Code::Internal, Code::Overloaded, Code::Draining];
const WITH_CREDENTIALS: &[Code] = &[Code::Unauthorized];
const OF_TENANTS: &[Code] = &[Code::ForeignTenant];
const WITH_BODY: &[Code] = &[
    Code::InvalidJson,
    Code::InvalidRequest,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
];

/// A body that can be left out is read whatever it says it is.
const WITH_EMPTY_BODY: &[Code] =
    &[Code::InvalidJson, Code::InvalidRequest, Code::RequestTimeout, Code::BodyTooLarge];
const SCHEMA_NAME: &str = "/application~1json/schema/$ref";
const NOTHING: &str = "#/components/schemas/Nothing";

/// The parameters of paths, by name. A route whose path holds another one fails a test.
const PATH_PARAMETERS: &[(&str, &str, &str, &str)] = &[
    (
        "tenant_id",
        "^[a-z0-9][a-z0-9_-]{0,63}$",
        "acme",
        "The tenant's name. It must be the one of the credentials.",
    ),
    (
        "greenpin_id",
        "^gp_[0-9a-hjkmnp-tv-z]{26}$",
        "gp_01jxs0d4e8v6m2q9r7t5w3y1zk",
        "The id of an allocation.",
    ),
    ("call_sid", "^call_[0-9a-hjkmnp-tv-z]{26}$", "call_01jxs0h2c6p4n8b5d9f3g7k1ma", "The id of a call."),
    ("event_id", "^evt_[0-9a-hjkmnp-tv-z]{26}$", "evt_01jxs0h2f1r8s4t6v9w2x5y7za", "The id of an event."),
];

const INTRODUCTION: &str = "\
Masked calls that you run yourself. An **allocation** ties an A-party (`from`) and a B-party (`to`) together on a \
**virtual number** for a while: whoever calls the number and enters the allocation's PIN is connected to the other \
side, and neither side sees the other's number.

Requests and answers are JSON in UTF-8, a request at most 64 KiB. A success is `{\"response\": …}`. Every answer \
carries `X-Request-Id`: quote it when you ask for help. Times are RFC 3339 in whole seconds, with the offset of the \
tenant's time zone. Telephone numbers are E.164.

An unknown field or query parameter is refused by name, so that a misspelt one does not pass silently.";

const ERRORS: &str = "\
An error is `application/problem+json` (RFC 9457). `code` is stable: a program should look at it alone. `errors` \
names every fault of a body at once, each with its `field`, the `code` of the rule and the rule in words. No error \
repeats a PIN, a token, or a telephone number.\n\n| code | status | when |\n|---|---|---|\n";

/// Completes what the routes say of themselves to the document that is served.
pub(super) fn complete(routes: &OpenApi) -> Value {
    let mut routes = serde_json::to_value(routes).unwrap_or_default();
    let mut paths = routes.get_mut("paths").map(Value::take).unwrap_or_default();
    let derived = routes.pointer_mut("/components/schemas").map(Value::take).unwrap_or_default();
    for (path, item) in paths.as_object_mut().into_iter().flatten() {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            operation.as_object_mut().into_iter().for_each(|operation| complete_operation(path, operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "greenpin",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Masked calls that a company runs itself",
            "description": INTRODUCTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that this document came from" }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas(derived),
            "headers": headers(),
            "securitySchemes": security_schemes(),
        },
        "x-error-codes": error_codes(),
    })
}

fn tags() -> Value {
    let errors = Code::ALL.iter().fold(ERRORS.to_owned(), |table, code| {
        table + &format!("| `{}` | {} | {} |\n", code.as_str(), code.status(), code.description())
    });
    json!([
        { "name": "Allocations", "description": "One PIN on one virtual number, tying two sides together for a while." },
        { "name": "Numbers", "description": "The virtual numbers of the tenant's pool." },
        { "name": "Calls", "description": "Call records, and what was recorded." },
        { "name": "Events", "description": "Everything that happened, in the order in which it happened; the same events go to webhooks." },
        { "name": "Settings", "description": "What a tenant can set for itself." },
        { "name": "Server", "description": "For those who run the server. No credentials." },
        { "name": "Errors", "description": errors },
    ])
}

fn complete_operation(path: &str, operation: &mut Map<String, Value>) {
    let admin = path.starts_with("/v1/admin");
    let tenant = path.starts_with("/v1/tenants");
    if admin || tenant {
        let scheme = if admin { "operator" } else { "tenant" };
        operation.insert("security".into(), json!([{ scheme: [] }]));
    } else {
        operation.insert("security".into(), json!([]));
    }
    describe_path(path, operation);
    let body = operation.get_mut("requestBody").and_then(Value::as_object_mut);
    let body = body.map(|body| {
        let named = body.get("content").and_then(|content| content.pointer(SCHEMA_NAME)?.as_str());
        let needed = named != Some(NOTHING);
        body.insert("required".into(), needed.into());
        if needed { WITH_BODY } else { WITH_EMPTY_BODY }
    });
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    if admin || tenant {
        problems::add(responses, ANYWHERE);
        problems::add(responses, WITH_CREDENTIALS);
    }
    if tenant {
        problems::add(responses, OF_TENANTS);
    }
    if let Some(codes) = body {
        problems::add(responses, codes);
    }
    responses.sort_keys();
    for (status, response) in responses.iter_mut() {
        let Some(response) = response.as_object_mut() else { continue };
        problems::complete(status, response);
        let headers = response.entry("headers").or_insert_with(|| json!({}));
        if let Some(headers) = headers.as_object_mut() {
            headers.insert("X-Request-Id".into(), json!({ "$ref": "#/components/headers/RequestId" }));
        }
    }
}

/// Puts the parameters of the path before those of the query.
fn describe_path(path: &str, operation: &mut Map<String, Value>) {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
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
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
}

/// Every schema in the order of its name: those that types derive, and those of bodies that are read field by field.
fn schemas(derived: Value) -> Value {
    let mut schemas = match derived {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    };
    for (name, schema) in &mut schemas {
        name_what_is_wrapped(name, schema);
        let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
        fields.into_iter().flatten().for_each(|(_, field)| describe_nullable(field));
    }
    schemas.extend(schemas::requests().into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.insert("Problem".into(), problem());
    schemas.sort_keys();
    schemas.into()
}

/// A wrapper's schema comes with the wrapped one written out; this names it instead.
fn name_what_is_wrapped(name: &str, schema: &mut Value) {
    let reference = |wrapped: &str| json!({ "$ref": format!("#/components/schemas/{wrapped}") });
    let (place, wrapped) = match (name.strip_prefix("Success_"), name.strip_prefix("Page_")) {
        (Some(wrapped), _) => ("/properties/response", wrapped),
        (_, Some(wrapped)) => ("/properties/response/items", wrapped),
        _ => return,
    };
    if let Some(inlined) = schema.pointer_mut(place) {
        *inlined = match wrapped.strip_prefix("Vec_") {
            Some(item) => json!({ "type": "array", "items": reference(item) }),
            None => reference(wrapped),
        };
    }
}

/// What is said of a field that can be `null` is said of the field, not of one of its forms.
fn describe_nullable(field: &mut Value) {
    let said = field.pointer_mut("/oneOf/0").and_then(Value::as_object_mut);
    let said = said.and_then(|named| named.shift_remove("description"));
    if let (Some(said), Some(field)) = (said, field.as_object_mut()) {
        field.insert("description".into(), said);
    }
}

fn problem() -> Value {
    let code = json!({
        "type": "string",
        "pattern": "^[a-z0-9_]+$",
        "description": "What kind of error: one of the codes under Errors. Later versions may add codes.",
        "examples": ["rule_violated"],
    });
    json!({
        "type": "object",
        "description": "An error, as in RFC 9457.",
        "required": ["type", "title", "status", "detail", "code", "request_id", "errors"],
        "properties": {
            "type": { "type": "string", "format": "uri", "description": "The code as a URI.", "examples": ["urn:greenpin:error:rule_violated"] },
            "title": { "type": "string", "description": "What the code means, in a few words." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "The status of the answer." },
            "detail": { "type": "string", "description": "What was wrong this time, for people." },
            "code": code,
            "request_id": { "type": "string", "description": "The same as `X-Request-Id`." },
            "errors": {
                "type": "array",
                "description": "Every fault of the body; empty when the error is not of single fields.",
                "items": {
                    "type": "object",
                    "title": "Fault",
                    "required": ["field", "code", "message"],
                    "properties": {
                        "field": { "type": "string", "description": "Which field, such as `from[1]`.", "examples": ["duration"] },
                        "code": code,
                        "message": { "type": "string", "description": "The rule, for people.", "examples": ["must be 300 to 14688000"] },
                    },
                },
            },
        },
    })
}

fn headers() -> Value {
    json!({
        "RequestId": {
            "description": "The id of this request. It is in the server's log, too.",
            "schema": { "type": "string", "pattern": "^req_[0-9a-f]{32}$" },
        },
        "RetryAfter": {
            "description": "Seconds after which it makes sense to try again.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "WwwAuthenticate": {
            "description": "Which credentials are asked for.",
            "schema": { "type": "string" },
        },
        "UnsatisfiedRange": {
            "description": "`bytes */LENGTH`: how long the recording is.",
            "schema": { "type": "string", "pattern": r"^bytes \*/[0-9]+$" },
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "tenant": {
            "type": "http", "scheme": "basic",
            "description": "A tenant's credentials: the Account SID as user, its token as password.",
        },
        "operator": {
            "type": "http", "scheme": "bearer",
            "description": "For `/v1/admin`: the operator's token, `http.operator_token` of the configuration.",
        },
    })
}

fn error_codes() -> Value {
    let entry = |code: &Code| {
        json!({
            "code": code.as_str(),
            "status": code.status(),
            "title": code.title(),
            "description": code.description(),
        })
    };
    Code::ALL.iter().map(entry).collect()
}
