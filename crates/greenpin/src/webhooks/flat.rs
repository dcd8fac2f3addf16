//! The flat form of an event: the fields of `data` beside those of the envelope, as many integrators parse them already.

use serde_json::{Map, Value};

/// An event's body with everything on one level; `None` if it is no event. Where `data` has a field of the
/// envelope's name, the envelope's stays.
pub(super) fn body(event: &str) -> Option<String> {
    let mut flat: Map<String, Value> = serde_json::from_str(event).ok()?;
    let Value::Object(data) = flat.shift_remove("data")? else {
        return None;
    };
    for (name, value) in data {
        flat.entry(name).or_insert(value);
    }
    serde_json::to_string(&flat).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_on_one_level_in_its_order() {
        let event = r#"{"event_id":"evt_1","type":"call.completed","sequence":7,"custom_field":null,"data":{"call_sid":"call_1","to":null,"type":"other"}}"#;
        let flat = r#"{"event_id":"evt_1","type":"call.completed","sequence":7,"custom_field":null,"call_sid":"call_1","to":null}"#;
        assert_eq!(body(event).as_deref(), Some(flat));
    }

    #[test]
    fn what_is_no_event_has_no_flat_form() {
        for other in ["", "[]", "{}", r#"{"data":3}"#] {
            assert_eq!(body(other), None, "{other}");
        }
    }
}
