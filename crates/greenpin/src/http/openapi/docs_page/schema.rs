//! Schemas on the page: type names, rules, tables of fields, and examples.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::{Document, markdown, text};

const COMPONENTS: &str = "#/components/schemas/";

impl<'a> Document<'a> {
    /// Follows a reference. Returns any other value unchanged.
    pub(crate) fn resolved(self, value: &'a Value) -> &'a Value {
        match value.pointer("/$ref").and_then(Value::as_str) {
            Some(reference) => self.at(reference.trim_start_matches('#')),
            None => value,
        }
    }

    /// Returns the properties of an object, including those of `allOf`, with `true` for required ones.
    fn properties(self, schema: &'a Value) -> Vec<(&'a str, &'a Value, bool)> {
        let schema = self.resolved(schema);
        let parts = schema
            .pointer("/allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let of_parts = parts.flat_map(|part| self.properties(part));
        let required = schema.pointer("/required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|required| required.contains(&name.into()));
        let own = schema
            .pointer("/properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        of_parts
            .chain(own.map(|(name, property)| (&**name, property, is_required(name))))
            .collect()
    }

    fn has_fields(self, schema: &'a Value) -> bool {
        !self.properties(schema).is_empty()
    }

    /// Returns the variants of a value.
    fn forms(self, schema: &'a Value) -> Vec<&'a Value> {
        match schema.pointer("/oneOf").and_then(Value::as_array) {
            Some(forms) => forms.iter().collect(),
            None => vec![schema],
        }
    }
}

/// Renders every schema with fields.
pub(crate) fn all_schemas(document: Document<'_>) -> Markup {
    let schemas = document
        .at("/components/schemas")
        .as_object()
        .into_iter()
        .flatten();
    html! {
        section id="schemas" {
            h2 { a href="#schemas" { "Schemas" } }
            @for (name, schema) in schemas.filter(|(_, schema)| document.has_fields(schema)) {
                article id={ "schema-" (name) } {
                    h3 { a href={ "#schema-" (name) } { (name) } }
                    (markdown(text(schema, "/description")))
                    (fields(document, schema))
                }
            }
        }
    }
}

/// Renders the table of an object's fields.
pub(crate) fn fields(document: Document<'_>, schema: &Value) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "Field" } th { "Type" } th { "Meaning" } } }
            tbody {
                @for (name, property, required) in document.properties(schema) {
                    tr {
                        td { code { (name) } @if required { span.required { "required" } } }
                        td { (type_name(document, property)) }
                        td { (description(document, property)) (rules(document, property)) }
                    }
                }
            }
        } }
    }
}

/// Renders the description of a field, or that of its type.
fn description(document: Document<'_>, property: &Value) -> Markup {
    let own = text(property, "/description");
    markdown(if own.is_empty() {
        text(document.resolved(property), "/description")
    } else {
        own
    })
}

/// Renders the name of a type. Objects link to their fields.
pub(crate) fn type_name(document: Document<'_>, schema: &Value) -> Markup {
    let reference = text(schema, "/$ref").strip_prefix(COMPONENTS);
    let resolved = document.resolved(schema);
    if let Some(name) = reference.filter(|_| document.has_fields(schema)) {
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    let forms = document.forms(resolved);
    html! {
        @if forms.len() > 1 {
            @for (index, form) in forms.iter().enumerate() {
                @if index > 0 { " or " }
                (type_name(document, form))
            }
        } @else {
            (plain_type(document, resolved))
        }
    }
}

fn plain_type(document: Document<'_>, schema: &Value) -> Markup {
    let types: Vec<&str> = match schema.pointer("/type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(name)) => vec![name],
        _ => vec!["any"],
    };
    html! {
        @for (index, name) in types.iter().enumerate() {
            @if index > 0 { " or " }
            @match schema.pointer("/items").filter(|_| *name == "array") {
                Some(items) => { "array of " (type_name(document, items)) },
                None => (name),
            }
        }
    }
}

/// Renders ranges, lengths, allowed values, default and example.
pub(crate) fn rules(document: Document<'_>, schema: &Value) -> Markup {
    let mut phrases: Vec<String> = Vec::new();
    collect_rules(document, schema, &mut phrases);
    let default = schema
        .pointer("/default")
        .filter(|default| !default.is_null());
    let examples = schema
        .pointer("/examples/0")
        .or(document.resolved(schema).pointer("/examples/0"));
    html! {
        @if !phrases.is_empty() { p.rules { (phrases.join("; ")) } }
        @if let Some(default) = default { p.rules { "Default " code { (default) } } }
        @if let Some(example) = examples { p.rules { "Example " code { (example) } } }
    }
}

fn collect_rules(document: Document<'_>, schema: &Value, phrases: &mut Vec<String>) {
    let resolved = document.resolved(schema);
    for form in document.forms(resolved) {
        let form = document.resolved(form);
        if document.has_fields(form) {
            continue;
        }
        let range = |min: &str, max: &str| (form.get(min).cloned(), form.get(max).cloned());
        let rules = [
            between(range("minimum", "maximum"), ""),
            between(range("minLength", "maxLength"), " characters"),
            between(range("minItems", "maxItems"), " items"),
            form.get("uniqueItems").map(|_| "no repeats".to_owned()),
            form.get("enum")
                .and_then(Value::as_array)
                .map(|words| list_words(words)),
            form.get("pattern")
                .and_then(Value::as_str)
                .map(|pattern| format!("matches {pattern}")),
        ];
        for rule in rules.into_iter().flatten() {
            if !phrases.contains(&rule) {
                phrases.push(rule);
            }
        }
        if let Some(items) = form.get("items") {
            collect_rules(document, items, phrases);
        }
    }
}

fn between(range: (Option<Value>, Option<Value>), unit: &str) -> Option<String> {
    match range {
        (Some(min), Some(max)) => Some(format!("{min} to {max}{unit}")),
        (Some(min), None) => Some(format!("{min}{unit} or more")),
        (None, Some(max)) => Some(format!("at most {max}{unit}")),
        (None, None) => None,
    }
}

fn list_words(words: &[Value]) -> String {
    let words: Vec<String> = words
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    format!("one of {}", words.join(", "))
}

/// Returns an example: the schema's own, or one built from its parts.
pub(crate) fn example(document: Document<'_>, schema: &Value) -> Value {
    let resolved = document.resolved(schema);
    let declared = schema
        .pointer("/examples/0")
        .or(resolved.pointer("/examples/0"));
    if let Some(declared) = declared {
        return declared.clone();
    }
    let properties = document.properties(resolved);
    if !properties.is_empty() {
        let mut object: Map<String, Value> = Map::new();
        // The example of a part takes precedence over those of its fields.
        for part in resolved
            .pointer("/allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Value::Object(part) = example(document, part) {
                object.extend(part);
            }
        }
        for (name, property, _) in properties {
            if !object.contains_key(name) {
                object.insert(name.to_owned(), example(document, property));
            }
        }
        return object.into();
    }
    plain_example(document, resolved)
}

fn plain_example(document: Document<'_>, schema: &Value) -> Value {
    if let Some(form) = schema.pointer("/oneOf/0") {
        return example(document, form);
    }
    if let Some(word) = schema.get("default").or(schema.pointer("/enum/0")) {
        return word.clone();
    }
    let name = schema
        .pointer("/type/0")
        .or(schema.get("type"))
        .and_then(Value::as_str);
    match name {
        Some("array") => schema
            .get("items")
            .map_or(json!([]), |items| json!([example(document, items)])),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("object") => json!({}),
        Some("string") => json!("text"),
        _ => Value::Null,
    }
}
