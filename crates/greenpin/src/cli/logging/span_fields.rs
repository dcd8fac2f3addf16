//! Fields of a span as JSON.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// Writes the fields of a span as a JSON object. Each request has a span, so the text is written directly: the format
/// of the library builds a map of values first.
#[derive(Default)]
pub(super) struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        write_object(writer, "{", |object| fields.record(object))
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let (start, separator) = match current.fields.strip_suffix('}') {
            Some(start) if start != "{" => (start.len(), ","),
            _ => (0, "{"),
        };
        current.fields.truncate(start);
        write_object(current.as_writer(), separator, |object| {
            fields.record(object);
        })
    }
}

/// Writes the fields that `record` visits, and the end of the object.
fn write_object<'writer>(
    writer: Writer<'writer>,
    separator: &'static str,
    record: impl FnOnce(&mut ObjectWriter<'writer>),
) -> fmt::Result {
    let mut object = ObjectWriter {
        writer,
        separator,
        result: Ok(()),
    };
    record(&mut object);
    object.result?;
    if object.separator == "{" {
        object.writer.write_char('{')?;
    }
    object.writer.write_char('}')
}

/// Writer of the fields of an object.
struct ObjectWriter<'writer> {
    writer: Writer<'writer>,
    /// Text before the next field.
    separator: &'static str,
    result: fmt::Result,
}

impl ObjectWriter<'_> {
    fn write_field(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.result.is_ok() {
            let separator = std::mem::replace(&mut self.separator, ",");
            self.result = write!(self.writer, "{separator}\"{}\":{value}", field.name());
        }
    }
}

impl Visit for ObjectWriter<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write_field(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write_field(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write_field(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if value.bytes().all(is_plain) {
            self.write_field(field, format_args!("\"{value}\""));
        } else {
            let quoted = serde_json::to_string(value).unwrap_or_default();
            self.write_field(field, format_args!("{quoted}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn fields_of_a_span_are_values_of_a_json_object() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .fmt_fields(SpanFields)
            .with_writer(move || LineSink(sink.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!(
                "request",
                path = "/a \"quoted\" \u{e9}",
                size = 7,
                is_new = true,
                late = tracing::field::Empty,
                method = %"GET",
            );
            let empty = tracing::info_span!(parent: &span, "empty", late = tracing::field::Empty);
            empty.in_scope(|| tracing::info!("first"));
            span.record("late", -1);
            empty.record("late", "now");
            empty.in_scope(|| tracing::info!("second"));
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let spans: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["spans"].take())
            .collect();
        let request = serde_json::json!({
            "name": "request", "path": "/a \"quoted\" \u{e9}", "size": 7, "is_new": true, "method": "GET",
        });
        let mut changed = request.clone();
        changed["late"] = (-1).into();
        assert_eq!(spans[0], serde_json::json!([request, { "name": "empty" }]));
        assert_eq!(
            spans[1],
            serde_json::json!([changed, { "name": "empty", "late": "now" }])
        );
    }

    struct LineSink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for LineSink {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
