//! `GET /docs`: the OpenAPI document as an HTML page without scripts or external resources.

mod operation;
mod schema;

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::serve::{Asset, entity_tag};
use crate::http::OPENAPI_IN_FULL;

const STYLE: &str = include_str!("style.css");
/// Tag with the error codes.
const ERRORS: &str = "Errors";

static PAGE: LazyLock<String> = LazyLock::new(|| page(&OPENAPI_IN_FULL).into_string());

static ASSET: LazyLock<Asset> = LazyLock::new(|| Asset {
    media_type: "text/html; charset=utf-8",
    tag: entity_tag(&PAGE),
    body: &PAGE,
});

/// Content security policy: the page loads and executes nothing, has no frames, and uses only its own style sheet.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Read the API reference
///
/// This document as an HTML page.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "docs",
    tag = "Server",
    responses(
        (status = 200, description = "The page.", content_type = "text/html", body = String),
        (status = 304, description = "Your copy is current."),
    )
)]
pub(in crate::http) async fn docs(headers: HeaderMap) -> Response {
    let mut response = ASSET.response(&headers);
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response.headers_mut().insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

/// Accessors for the document.
#[derive(Clone, Copy)]
struct Document<'a>(&'a Value);

impl<'a> Document<'a> {
    fn at(self, pointer: &str) -> &'a Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn list(self, pointer: &str) -> impl Iterator<Item = &'a Value> {
        self.at(pointer).as_array().into_iter().flatten()
    }

    /// Returns the operations of a tag as `(method, path, operation)`.
    fn operations(self, tag: &str) -> Vec<(&'a str, &'a str, &'a Value)> {
        let paths = self.at("/paths").as_object().into_iter().flatten();
        let all = paths.flat_map(|(path, item)| {
            let operations = item.as_object().into_iter().flatten();
            operations.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        });
        let mut of_tag: Vec<_> = all
            .filter(|(_, _, operation)| text(operation, "/tags/0") == tag)
            .collect();
        let order = |method: &str| {
            ["post", "get", "put", "delete"]
                .iter()
                .position(|known| *known == method)
        };
        of_tag.sort_by_key(|(method, path, _)| (path.matches('/').count(), *path, order(method)));
        of_tag
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Renders CommonMark as HTML. All input is part of the program, so it is trusted.
fn markdown(text: &str) -> Markup {
    let mut output = String::new();
    let parser = pulldown_cmark::Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES);
    pulldown_cmark::html::push_html(&mut output, parser);
    PreEscaped(output)
}

fn page(document: &Value) -> Markup {
    let view = Document(document);
    let tags: Vec<&Value> = view.list("/tags").collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "greenpin API reference" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the reference" }
                (table_of_contents(view, &tags))
                main id="main" {
                    h1 { "greenpin API reference" }
                    p.faint {
                        "Version " (text(document, "/info/version")) " · "
                        a href="/openapi.json" { "openapi.json" } " (OpenAPI 3.1)"
                    }
                    (markdown(text(document, "/info/description")))
                    (credentials_section(view))
                    @for tag in tags { (tag_section(view, tag)) }
                    (schema::all_schemas(view))
                }
            }
        }
    }
}

fn table_of_contents(document: Document<'_>, tags: &[&Value]) -> Markup {
    html! {
        nav aria-label="Contents" {
            a.home href="#main" { "greenpin" }
            ul {
                li { a href="#credentials" { "Credentials" } }
                li { a href="#errors" { "Errors" } }
                li { a href="#schemas" { "Schemas" } }
            }
            @for tag in tags.iter().map(|tag| text(tag, "/name")).filter(|tag| *tag != ERRORS) {
                div.part { (tag) }
                ul {
                    @for (method, _, operation) in document.operations(tag) {
                        li {
                            a href={ "#" (text(operation, "/operationId")) } {
                                span class={ "method " (method) } { (method.to_uppercase()) }
                                span { (text(operation, "/summary")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn credentials_section(document: Document<'_>) -> Markup {
    html! {
        section id="credentials" {
            h2 { a href="#credentials" { "Credentials" } }
            @for (name, scheme) in document.at("/components/securitySchemes").as_object().into_iter().flatten() {
                (markdown(&format!(
                    "**HTTP {}** (`{name}`). {}", text(scheme, "/scheme"), text(scheme, "/description"),
                )))
            }
            pre { code {
                "curl -u \"$ACCOUNT_SID:$TOKEN\" http://127.0.0.1:8080/v1/tenants/acme/greenpin \\\n"
                "  -H 'content-type: application/json' \\\n"
                "  -d '{\"caller_id_number\": \"+914000000001\", \"from\": \"+919900000001\", \"to\": \"+918800000001\"}'"
            } }
        }
    }
}

fn tag_section(document: Document<'_>, tag: &Value) -> Markup {
    let name = text(tag, "/name");
    let described = text(tag, "/description");
    html! {
        section id=(name.to_lowercase()) {
            h2 { a href={ "#" (name.to_lowercase()) } { (name) } }
            @if name == ERRORS {
                // This table replaces the one in the description, and adds an anchor to each code.
                (markdown(described.split("\n\n").next().unwrap_or_default()))
                (error_table(document))
            } @else {
                (markdown(described))
                @for (method, path, operation) in document.operations(name) {
                    (operation::operation(document, method, path, operation))
                }
            }
        }
    }
}

fn error_table(document: Document<'_>) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "Code" } th { "Status" } th { "Meaning" } } }
            tbody {
                @for code in document.list("/x-error-codes") {
                    tr id={ "error-" (text(code, "/code")) } {
                        td { code { (text(code, "/code")) } }
                        td.status { (code.pointer("/status").unwrap_or(&Value::Null)) }
                        td { (markdown(text(code, "/description"))) }
                    }
                }
            }
        } }
    }
}
