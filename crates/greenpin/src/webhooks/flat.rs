//! Flat form of an event: the fields of `data` and of the envelope on one level, as many
//! integrators parse them.

use serde_json::{Map, Value};

/// Returns the flat body of an event; `None` if the text is no event. If `data` and the envelope
/// have a field of the same name, the envelope's wins.
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
