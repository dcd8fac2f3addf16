//! One operation on the page.

use maud::{Markup, html};
use serde_json::Value;

use super::schema::{example, fields, rules, type_name};
use super::{Document, markdown, text};

const PROBLEM: &str = "/content/application~1problem+json";
const JSON: &str = "/content/application~1json";

pub(crate) fn operation(
    document: Document<'_>,
    method: &str,
    path: &str,
    operation: &Value,
) -> Markup {
    let id = text(operation, "/operationId");
    let body = operation.pointer("/requestBody/content/application~1json/schema");
    html! {
        article id=(id) {
            h3 { a href={ "#" (id) } { (text(operation, "/summary")) } }
            div.call {
                span class={ "method " (method) } { (method.to_uppercase()) }
                code { (path) }
            }
            (markdown(text(operation, "/description")))
            (parameters(document, operation))
            @if let Some(schema) = body {
                h4 { "Request body: " (type_name(document, schema)) }
                (fields(document, schema))
                (example_block("Example request", &example(document, schema), true))
            }
            (successes(document, operation))
            (problems(document, operation))
        }
    }
}

fn parameters(document: Document<'_>, operation: &Value) -> Markup {
    let parameters: Vec<&Value> = operation
        .pointer("/parameters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    html! {
        @if !parameters.is_empty() {
            h4 { "Parameters" }
            div.wide { table {
                thead { tr { th { "Name" } th { "In" } th { "Type" } th { "Meaning" } } }
                tbody {
                    @for parameter in parameters {
                        @let schema = parameter.pointer("/schema").unwrap_or(&Value::Null);
                        tr {
                            td {
                                code { (text(parameter, "/name")) }
                                @if parameter.pointer("/required") == Some(&true.into()) {
                                    span.required { "required" }
                                }
                            }
                            td { (text(parameter, "/in")) }
                            td { (type_name(document, schema)) }
                            td {
                                (markdown(text(parameter, "/description")))
                                (rules(document, schema))
                            }
                        }
                    }
                }
            } }
        }
    }
}

fn responses(operation: &Value) -> impl Iterator<Item = (&String, &Value)> {
    operation
        .pointer("/responses")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn successes(document: Document<'_>, operation: &Value) -> Markup {
    html! {
        h4 { "Responses" }
        @for (status, response) in responses(operation).filter(|(_, response)| response.pointer(PROBLEM).is_none()) {
            @let schema = response.pointer(JSON).and_then(|content| content.pointer("/schema"));
            p {
                span.status { (status) } " " (text(response, "/description"))
                @if let Some(schema) = schema.filter(|schema| schema.pointer("/$ref").is_some()) {
                    " → " (type_name(document, schema))
                }
            }
            @if let Some(schema) = schema.filter(|schema| schema.pointer("/$ref").is_some()) {
                (example_block("Example response", &example(document, schema), false))
            }
            (headers(document, response))
        }
    }
}

fn headers(document: Document<'_>, response: &Value) -> Markup {
    let all = response
        .pointer("/headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let headers: Vec<_> = all.filter(|(name, _)| *name != "X-Request-Id").collect();
    html! {
        @for (name, header) in headers {
            @let header = document.resolved(header);
            p.rules { "Header " code { (name) } ": " (markdown_line(text(header, "/description"))) }
        }
    }
}

fn markdown_line(line: &str) -> Markup {
    let parts = line.split('`').enumerate();
    html! { @for (index, part) in parts { @if index % 2 == 1 { code { (part) } } @else { (part) } } }
}

fn example_block(title: &str, example: &Value, open: bool) -> Markup {
    html! {
        details open[open] {
            summary { (title) }
            pre { code { (serde_json::to_string_pretty(example).unwrap_or_default()) } }
        }
    }
}

fn problems(document: Document<'_>, operation: &Value) -> Markup {
    let all: Vec<(&String, &Value)> = responses(operation)
        .filter(|(_, response)| response.pointer(PROBLEM).is_some())
        .collect();
    html! {
        @if !all.is_empty() {
            h4 { "Errors: " (type_name(document, &serde_json::json!({ "$ref": "#/components/schemas/Problem" }))) }
            div.wide { table {
                thead { tr { th { "Status" } th { "Code" } th { "Codes in " code { "errors" } } } }
                tbody {
                    @for (status, response) in all {
                        @let narrowed = response.pointer(PROBLEM).and_then(|content| content.pointer("/schema/properties"));
                        tr {
                            td.status { (status) }
                            td { (code_links(narrowed, "/code/enum")) }
                            td { (code_links(narrowed, "/errors/items/properties/code/enum")) }
                        }
                    }
                }
            } }
        }
    }
}

/// Renders codes as links to their descriptions.
fn code_links(narrowed: Option<&Value>, pointer: &str) -> Markup {
    let codes = narrowed
        .and_then(|narrowed| narrowed.pointer(pointer))
        .and_then(Value::as_array);
    let codes = codes.into_iter().flatten().filter_map(Value::as_str);
    html! { @for code in codes { a href={ "#error-" (code) } { code { (code) } } " " } }
}
