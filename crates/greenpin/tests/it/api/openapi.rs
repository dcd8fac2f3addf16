//! The OpenAPI document is complete, committed and served.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use greenpin::http::{self, Code};
use serde_json::Value;

use crate::support::http_client::{HttpResponse, raw, raw_text, request};
use crate::support::server::Server;

fn document() -> Value {
    serde_json::from_str(http::openapi()).unwrap()
}

/// Returns a part of an operation, or the component that it refers to.
fn resolve<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    let reference = part["$ref"].as_str();
    reference.map_or(part, |reference| {
        document.pointer(reference.trim_start_matches('#')).unwrap()
    })
}

/// Returns each operation as `(method, path, operation)`.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (&**method, &**path, operation))
        })
        .collect()
}

#[test]
fn the_committed_document_matches_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == http::openapi(),
        "docs/openapi.json is not what the code says. Make it anew and look at the difference:\n\
         cargo run --release -- openapi > docs/openapi.json && git diff docs/openapi.json"
    );
}

#[test]
fn the_document_is_small_enough_for_tools_and_people() {
    assert!(
        http::openapi().len() <= 250_000,
        "{}",
        http::openapi().len()
    );
}

#[test]
fn every_reference_has_a_target() {
    fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        assert!(
            document
                .pointer(reference.trim_start_matches('#'))
                .is_some(),
            "{reference}"
        );
    }
}

#[test]
fn every_operation_has_an_id_a_summary_and_descriptions_of_parameters_and_responses() {
    let document = document();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(
            names.insert(operation["operationId"].as_str().unwrap()),
            "{place}"
        );
        assert!(
            !operation["summary"].as_str().unwrap_or_default().is_empty(),
            "{place}"
        );
        let tags = document["tags"].as_array().unwrap();
        assert!(
            tags.iter().any(|tag| tag["name"] == operation["tags"][0]),
            "{place}: unknown tag"
        );
        let parameters = operation["parameters"].as_array();
        let parameters: Vec<_> = parameters
            .into_iter()
            .flatten()
            .map(|parameter| resolve(&document, parameter))
            .collect();
        let in_path = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .count();
        assert_eq!(
            in_path,
            path.matches('{').count(),
            "{place}: unknown path parameter"
        );
        for parameter in &parameters {
            assert!(
                !parameter["description"]
                    .as_str()
                    .unwrap_or_default()
                    .is_empty(),
                "{place} {parameter}"
            );
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            assert!(
                !response["description"]
                    .as_str()
                    .unwrap_or_default()
                    .is_empty(),
                "{place} {status} has no description"
            );
        }
    }
}

#[test]
fn every_field_of_every_schema_is_described() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let parts = schema["allOf"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![schema.clone()]);
        for (field, property) in parts
            .iter()
            .filter_map(|part| part["properties"].as_object())
            .flatten()
        {
            let named = property["$ref"]
                .as_str()
                .or(property["items"]["$ref"].as_str());
            let described = property["description"].is_string()
                || named.is_some()
                || property["const"].is_string();
            assert!(described, "{name}.{field} has no description: {property}");
        }
    }
}

#[test]
fn every_operation_with_credentials_documents_their_rejection() {
    let document = document();
    // A signed link needs no credentials.
    let needs_them = |path: &str| path.starts_with("/v1") && path != "/v1/recordings/{link}";
    for (method, path, operation) in operations(&document)
        .into_iter()
        .filter(|(_, path, _)| needs_them(path))
    {
        let place = format!("{method} {path}");
        assert!(operation["security"][0].is_object(), "{place}");
        for status in ["401", "500", "503"] {
            let response = resolve(&document, &operation["responses"][status]);
            let content = &response["content"]["application/problem+json"];
            assert!(
                content["schema"]["$ref"].is_string(),
                "{place} lacks {status}"
            );
        }
    }
}

#[test]
fn every_code_is_listed_and_every_code_of_a_response_is_used_by_an_operation() {
    let document = document();
    let listed = document["x-error-codes"].as_array().unwrap();
    let codes: Vec<&str> = listed
        .iter()
        .map(|entry| entry["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        Code::ALL
            .iter()
            .map(|code| code.as_str())
            .collect::<Vec<_>>()
    );
    assert!(
        listed
            .iter()
            .all(|entry| !entry["description"].as_str().unwrap().is_empty())
    );
    let shared = &document["components"]["responses"];
    let text = document["paths"].to_string() + &shared.to_string();
    // A wrong method, and a head that cannot be read, reach no operation.
    let without_operation = [
        "method_not_allowed",
        "malformed_request",
        "uri_too_long",
        "header_too_large",
    ];
    for code in codes
        .into_iter()
        .filter(|code| !without_operation.contains(code))
    {
        assert!(
            text.contains(&format!("\"{code}\"")),
            "no call answers {code}"
        );
    }
}

fn get(server: &Server, headers: &str) -> HttpResponse {
    raw(server.http, &request("GET", "/openapi.json", headers, b""))
}

#[test]
fn the_document_is_served_with_an_etag() {
    let server = Server::with("");
    let first = get(&server, "");
    assert_eq!(
        (first.status, first.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(first.body, document());
    let tag = first.header("etag").unwrap().to_owned();
    let again = get(&server, &format!("if-none-match: \"other\", {tag}\r\n"));
    assert_eq!(
        (again.status, again.header("etag"), &again.body),
        (304, Some(&*tag), &Value::Null)
    );
    assert_eq!(get(&server, "if-none-match: \"other\"\r\n").status, 200);
}

fn docs(server: &Server) -> (HttpResponse, String) {
    raw_text(server.http, &request("GET", "/docs", "", b""))
}

#[test]
fn the_page_lists_every_operation_code_and_schema_and_loads_nothing() {
    let server = Server::with("");
    let (response, page) = docs(&server);
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = response.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    for unwanted in ["<script", "src=", "@import", "url(", "<link", "style=\""] {
        assert!(!page.contains(unwanted), "the page has {unwanted}");
    }
    let document = document();
    for (_, _, operation) in operations(&document) {
        assert!(page.contains(&format!(
            "id=\"{}\"",
            operation["operationId"].as_str().unwrap()
        )));
    }
    for code in Code::ALL {
        assert!(
            page.contains(&format!("id=\"error-{}\"", code.as_str())),
            "{code:?}"
        );
    }
}

#[test]
fn every_link_of_the_page_has_a_target_on_it() {
    let (_, page) = docs(&Server::with(""));
    let links = page
        .split("href=\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let mut count = 0;
    for target in links {
        assert_eq!(
            page.matches(&format!("id=\"{target}\"")).count(),
            1,
            "#{target}"
        );
        count += 1;
    }
    assert!(count > 100);
}
