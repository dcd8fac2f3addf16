//! Error responses of operations in the OpenAPI document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::{RefOr, Response, ResponseBuilder};

use crate::http::Code;

/// Extensions with the codes of a response and of its `errors`, until [`complete`] expands them.
const CODES: &str = "x-codes";
const FIELD_CODES: &str = "x-field-codes";

/// Declares a set of problems for `#[utoipa::path(responses(…))]`: the codes of the response, and those of its
/// `errors`. Codes common to all operations, such as missing credentials or overload, are added later.
macro_rules! problems {
    ($($name:ident: [$($code:ident),* $(,)?] $(fields [$($field:ident),* $(,)?])?;)*) => { $(
        pub(in crate::http) enum $name {}

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                use $crate::http::Code;
                $crate::http::openapi::problems::responses(&[$(Code::$code),*], &[$($(Code::$field),*)?])
            }
        }
    )* };
}
pub(in crate::http) use problems;

problems! {
    QueryProblems: [InvalidRequest] fields [InvalidValue];
    ResourceQueryProblems: [InvalidRequest, NotFound] fields [InvalidValue];
}

/// Returns a response for each status of the codes, for [`complete`] to expand.
pub(in crate::http) fn responses(
    codes: &[Code],
    fields: &[Code],
) -> BTreeMap<String, RefOr<Response>> {
    let mut responses = BTreeMap::new();
    for code in codes {
        let of_status = |codes: &[Code]| -> Value {
            codes
                .iter()
                .filter(|other| other.status() == code.status())
                .map(|code| code.as_str())
                .collect()
        };
        let extensions = ExtensionsBuilder::new()
            .add(CODES, of_status(codes))
            .add(FIELD_CODES, field_codes(code.status(), fields));
        let response = ResponseBuilder::new()
            .extensions(Some(extensions.build()))
            .build();
        responses.insert(code.status().to_string(), RefOr::T(response));
    }
    responses
}

/// Returns the codes of `errors`. Malformed fields (400) can appear together with violated rules (422), but not
/// the reverse.
fn field_codes(status: u16, fields: &[Code]) -> Value {
    let allowed = fields.iter().filter(|field| match status {
        400 => true,
        status => field.status() == status,
    });
    allowed.map(|code| code.as_str()).collect()
}

/// Adds common codes to the responses of an operation.
pub(crate) fn add_codes(responses: &mut Map<String, Value>, codes: &[Code]) {
    for code in codes {
        let response = responses
            .entry(code.status().to_string())
            .or_insert_with(|| json!({}));
        // A response with its own schema is not a problem document.
        if response.get("content").is_some() {
            continue;
        }
        let Some(response) = response.as_object_mut() else {
            continue;
        };
        let listed = response.entry(CODES).or_insert_with(|| json!([]));
        if let Some(listed) = listed.as_array_mut()
            && !listed.contains(&code.as_str().into())
        {
            listed.push(code.as_str().into());
        }
    }
}

/// Expands a response that holds only codes.
pub(crate) fn complete(status: &str, response: &mut Map<String, Value>) {
    let mut taken = |name| response.shift_remove(name).as_ref().and_then(codes);
    let (codes, fields) = (taken(CODES), taken(FIELD_CODES).unwrap_or_default());
    let Some(codes) = codes else { return };
    let titles: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.as_str(), code.title()))
        .collect();
    response.insert("description".into(), titles.join(" ").into());
    response.insert("headers".into(), headers(status));
    let mut narrowed = json!({
        "status": { "const": codes.first().map(|code| code.status()) },
        "code": { "enum": codes.iter().map(|code| code.as_str()).collect::<Value>() },
    });
    if let (false, Some(narrowed)) = (fields.is_empty(), narrowed.as_object_mut()) {
        let fields: Value = fields.iter().map(|code| code.as_str()).collect();
        let code = json!({ "properties": { "code": { "enum": fields } } });
        narrowed.insert("errors".into(), json!({ "items": code }));
    }
    let content = json!({
        "schema": { "$ref": "#/components/schemas/Problem", "properties": narrowed },
    });
    response.insert(
        "content".into(),
        json!({ "application/problem+json": content }),
    );
}

fn codes(listed: &Value) -> Option<Vec<Code>> {
    let listed = listed.as_array()?;
    Some(
        Code::ALL
            .iter()
            .copied()
            .filter(|code| listed.contains(&code.as_str().into()))
            .collect(),
    )
}

fn headers(status: &str) -> Value {
    match status {
        "401" => json!({ "WWW-Authenticate": { "$ref": "#/components/headers/WwwAuthenticate" } }),
        "416" => json!({ "Content-Range": { "$ref": "#/components/headers/UnsatisfiedRange" } }),
        "429" | "503" => json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } }),
        _ => json!({}),
    }
}
