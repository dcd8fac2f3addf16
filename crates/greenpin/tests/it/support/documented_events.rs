//! Comparison of events with their schemas in the OpenAPI document.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(greenpin::http::openapi()).unwrap());

/// Checks that an event has exactly the fields that the OpenAPI document says for its type.
pub fn assert_documented(event: &Value) {
    let kind = event["type"].as_str().unwrap();
    let schema = &DOCUMENT["components"]["schemas"]["Event"]["discriminator"]["mapping"][kind];
    let schema = resolve(schema.as_str().unwrap());
    assert_eq!(names(event), properties(schema), "{kind}");
    let data = schema["allOf"][1]["properties"]["data"]["$ref"].as_str();
    let data = properties(resolve(data.unwrap()));
    assert_eq!(names(&event["data"]), data, "data of {kind}");
}

fn resolve(reference: &str) -> &'static Value {
    DOCUMENT
        .pointer(reference.trim_start_matches('#'))
        .unwrap_or_else(|| panic!("{reference} is not in the document"))
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// Returns the names of the properties of a schema, which are all required.
fn properties(schema: &Value) -> BTreeSet<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return properties(resolve(reference));
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().flat_map(properties).collect();
    }
    let required = schema["required"].as_array().unwrap();
    let required = required
        .iter()
        .map(|name| name.as_str().unwrap().to_owned());
    let required: BTreeSet<String> = required.collect();
    assert_eq!(names(&schema["properties"]), required);
    required
}
