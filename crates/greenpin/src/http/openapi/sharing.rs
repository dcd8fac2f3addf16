//! Moves the repeated parts of the document, such as error responses, to its components.

use std::collections::HashMap;
use std::io;

use axum::http::StatusCode;
use serde::Serialize as _;
use serde_json::ser::Formatter;
use serde_json::{Map, Value, json};

/// Deepest level of the written document with a line for each member.
const MAX_LINE_DEPTH: usize = 3;

/// Parts that operations refer to, by name.
#[derive(Default)]
struct Shared {
    /// Number of uses of each part, by its text.
    uses: HashMap<String, usize>,
    parts: Map<String, Value>,
}

impl Shared {
    fn count(&mut self, part: &Value) {
        *self.uses.entry(part.to_string()).or_default() += 1;
    }

    /// Replaces a part with several uses with a reference to `#/components/{folder}/{name}`.
    fn replace(&mut self, folder: &str, name: &str, part: &mut Value) {
        if self
            .uses
            .get(&part.to_string())
            .is_none_or(|uses| *uses < 2)
        {
            return;
        }
        let mut free = name.to_owned();
        let mut suffix = 2;
        while self.parts.get(&free).is_some_and(|other| other != part) {
            free = format!("{name}{suffix}");
            suffix += 1;
        }
        let reference = json!({ "$ref": format!("#/components/{folder}/{free}") });
        self.parts.insert(free, std::mem::replace(part, reference));
    }
}

/// Replaces error responses and parameters that several operations have with references.
pub(crate) fn share(mut document: Value) -> Value {
    for (folder, visit) in [
        ("responses", visit_problems as Visit),
        ("parameters", visit_parameters as Visit),
    ] {
        let mut shared = Shared::default();
        visit(&mut document, &mut |_, part| shared.count(part));
        visit(&mut document, &mut |name, part| {
            shared.replace(folder, name, part);
        });
        shared.parts.sort_keys();
        if let Some(components) = document
            .get_mut("components")
            .and_then(Value::as_object_mut)
        {
            match components.get_mut(folder).and_then(Value::as_object_mut) {
                Some(parts) => parts.extend(shared.parts),
                None => drop(components.insert(folder.into(), shared.parts.into())),
            }
        }
    }
    document
}

/// Function that passes each part of one kind to another function, with its name.
type Visit = fn(&mut Value, &mut dyn FnMut(&str, &mut Value));

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let items = paths.into_iter().flatten();
    items
        .filter_map(|(_, item)| item.as_object_mut())
        .flatten()
        .map(|(_, operation)| operation)
}

fn visit_problems(document: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
    for operation in operations(document) {
        let responses = operation
            .get_mut("responses")
            .and_then(Value::as_object_mut);
        for (status, response) in responses.into_iter().flatten() {
            if let Some(name) = problem_name(status, response) {
                visit(&name, response);
            }
        }
    }
}

/// Returns the name of an error response: its codes, such as `ForeignTenantOrTenantSuspended`, or the meaning of its status
/// if it has more than two.
fn problem_name(status: &str, response: &Value) -> Option<String> {
    let codes = response
        .pointer("/content/application~1problem+json/schema/properties/code/enum")?
        .as_array()?;
    let status = StatusCode::from_bytes(status.as_bytes()).ok();
    let reason = status.and_then(|status| status.canonical_reason());
    if let Some(reason) = reason.filter(|_| codes.len() > 2) {
        return Some(reason.replace(' ', ""));
    }
    let names = codes.iter().filter_map(Value::as_str).map(camel_case);
    Some(names.collect::<Vec<_>>().join("Or"))
}

fn visit_parameters(document: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
    for operation in operations(document) {
        let parameters = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let name = parameter.get("name").and_then(Value::as_str);
            let name = camel_case(name.unwrap_or_default());
            visit(&name, parameter);
        }
    }
}

/// Returns words such as `request_id` in the form `RequestId`.
pub(super) fn camel_case(words: &str) -> String {
    let words = words.split(['_', '-']);
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        first.chain(letters).collect::<String>()
    };
    words.map(capital).collect()
}

/// Writes JSON with a line for each member of the upper levels, so that a change shows as few short lines.
pub(crate) fn write(document: &Value) -> String {
    let mut octets = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut octets, Lines { depth: 0 });
    // Writing to a vector does not fail.
    let _ = document.serialize(&mut writer);
    String::from_utf8(octets).unwrap_or_default() + "\n"
}

struct Lines {
    depth: usize,
}

impl Lines {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        if self.depth > MAX_LINE_DEPTH {
            return Ok(());
        }
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b" "))
    }

    fn end<W: ?Sized + io::Write>(&mut self, writer: &mut W, end: &[u8]) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if self.depth < MAX_LINE_DEPTH {
            self.line(writer)?;
        }
        writer.write_all(end)
    }

    fn member<W: ?Sized + io::Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.line(writer)
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.member(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.member(writer, first)
    }
}
