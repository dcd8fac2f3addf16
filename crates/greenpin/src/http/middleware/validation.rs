//! Reads the fields of an object and collects every fault, so that a response reports all of them.

use call::PhoneNumber;
use serde_json::{Map, Value};

use crate::destinations::{MAX_PREFIXES, NumberPrefix};
use crate::store::GuessOdds;

use super::problem::{Code, FieldError, Problem};

/// Fields of a request, with the faults found so far.
pub(crate) struct Fields {
    object: Map<String, Value>,
    known: Vec<&'static str>,
    faults: Vec<FieldError>,
    narrowed: Vec<(String, u32, u32)>,
    choices: Vec<(String, Vec<String>)>,
}

/// Value of a field. `None` if the field is absent or invalid; an invalid field has recorded a fault.
pub(crate) type FieldValue<T> = Option<T>;

impl Fields {
    pub(crate) fn new(object: Map<String, Value>) -> Self {
        Self {
            object,
            known: Vec::new(),
            faults: Vec::new(),
            narrowed: Vec::new(),
            choices: Vec::new(),
        }
    }

    /// Narrows the range of an integer for this request, for example to the tenant's limits. `path` is a name, or
    /// names of nested objects joined by dots.
    pub(crate) fn narrow(&mut self, path: &str, min: u32, max: u32) {
        self.narrowed.push((path.to_owned(), min, max));
    }

    /// Sets the allowed values of a text field, if they are known only at run time, such as the languages of the
    /// prompts.
    pub(crate) fn set_choices(&mut self, path: &str, words: &[String]) {
        self.choices.push((path.to_owned(), words.to_vec()));
    }

    /// Removes and returns a field. `null` counts as absent.
    pub(crate) fn remove(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// Returns `true` if a field is present and not `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    /// Returns `true` if a field is `null`.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(Value::is_null)
    }

    /// Rejects a field of the resource if the request cannot change it.
    pub(crate) fn reject_unchangeable(&mut self, name: &'static str) {
        if self.object.remove(name).is_some() {
            self.add_fault(name, Code::UnknownField, "cannot be changed");
        }
    }

    /// Records a fault.
    pub(crate) fn add_fault(
        &mut self,
        field: impl Into<String>,
        code: Code,
        message: impl Into<String>,
    ) {
        self.faults.push(FieldError {
            field: field.into(),
            code,
            message: message.into(),
        });
    }

    pub(crate) fn boolean(&mut self, name: &'static str) -> FieldValue<bool> {
        let value = self.remove(name)?;
        let read = value.as_bool();
        self.or_wrong_type(name, read, "must be true or false")
    }

    pub(crate) fn text(&mut self, name: &'static str) -> FieldValue<String> {
        match self.remove(name)? {
            // PostgreSQL does not store this character.
            Value::String(text) if text.contains('\0') => {
                self.add_fault(name, Code::InvalidValue, "must not contain U+0000");
                None
            }
            Value::String(text) => Some(text),
            _ => self.or_wrong_type(name, None, "must be a string"),
        }
    }

    /// Reads a text of at most `max_length` Unicode characters.
    pub(crate) fn short_text(&mut self, name: &'static str, longest: usize) -> FieldValue<String> {
        let text = self.text(name)?;
        if text.chars().count() > longest {
            self.add_fault(
                name,
                Code::TooLong,
                format!("must have at most {longest} characters"),
            );
            return None;
        }
        Some(text)
    }

    /// Reads an integer in an inclusive range.
    pub(crate) fn integer(&mut self, name: &'static str, min: u32, max: u32) -> FieldValue<u32> {
        let value = self.remove(name)?;
        let narrowed = self.narrowed.iter().find(|(path, ..)| path == name);
        let (min, max) =
            narrowed.map_or((min, max), |(_, low, high)| (min.max(*low), max.min(*high)));
        let whole = value.as_f64().filter(|value| value.fract() == 0.0);
        let Some(whole) = whole else {
            return self.or_wrong_type(name, None, "must be an integer");
        };
        // JSON has one number type, so 3 and 3.0 are equal. The range is checked before the cast.
        let in_type = (0.0..=f64::from(u32::MAX)).contains(&whole);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let read = in_type.then_some(whole as u32);
        let read = read.filter(|value| (min..=max).contains(value));
        if read.is_none() {
            self.add_fault(name, Code::OutOfRange, format!("must be {min} to {max}"));
        }
        read
    }

    /// Reads one of a fixed set of strings.
    pub(crate) fn odds(&mut self, name: &'static str) -> FieldValue<GuessOdds> {
        let value = self.remove(name)?;
        let Some(number) = value.as_f64() else {
            return self.or_wrong_type(name, None, "must be a number");
        };
        let odds = GuessOdds::new(number);
        if odds.is_none() {
            self.add_fault(name, Code::OutOfRange, "must be above 0 and at most 1");
        }
        odds
    }

    pub(crate) fn word<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&str, T)],
    ) -> FieldValue<T> {
        let text = self.text(name)?;
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, meaning)| *meaning);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.add_fault(
                name,
                Code::InvalidValue,
                format!("must be one of: {}", words.join(", ")),
            );
        }
        found
    }

    /// Reads a field with a nested object.
    pub(crate) fn nested<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> FieldValue<T> {
        let object = match self.remove(name)? {
            Value::Object(object) => object,
            _ => return self.or_wrong_type(name, None, "must be an object"),
        };
        let mut inner = Self::new(object);
        let below = |path: &str| {
            path.strip_prefix(name)?
                .strip_prefix('.')
                .map(ToOwned::to_owned)
        };
        inner.narrowed = self
            .narrowed
            .iter()
            .filter_map(|(path, min, max)| Some((below(path)?, *min, *max)))
            .collect();
        inner.choices = self
            .choices
            .iter()
            .filter_map(|(path, words)| Some((below(path)?, words.clone())))
            .collect();
        let value = read(&mut inner);
        let Err(faults) = inner.into_faults() else {
            return Some(value);
        };
        for FieldError {
            field,
            code,
            message,
        } in faults
        {
            self.add_fault(format!("{name}.{field}"), code, message);
        }
        None
    }

    /// Reads a required field.
    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> FieldValue<T>,
    ) -> FieldValue<T> {
        if !self.has(name) {
            self.remove(name);
            self.add_fault(name, Code::Required, "is required");
            return None;
        }
        read(self, name)
    }

    pub(crate) fn number(&mut self, name: &'static str) -> FieldValue<PhoneNumber> {
        let text = self.text(name)?;
        self.e164(name, &text)
    }

    /// Reads one of the values set by [`Fields::set_choices`].
    pub(crate) fn choice(&mut self, name: &'static str) -> FieldValue<String> {
        let text = self.text(name)?;
        let words = self.choices.iter().find(|(path, _)| path == name);
        let words = words.map(|(_, words)| words.clone()).unwrap_or_default();
        if !words.contains(&text) {
            self.add_fault(
                name,
                Code::InvalidValue,
                format!("must be one of: {}", words.join(", ")),
            );
            return None;
        }
        Some(text)
    }

    /// Reads a text with a parser. `rule` is the error message.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
        rule: &str,
    ) -> FieldValue<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.add_fault(name, Code::InvalidValue, rule);
        }
        value
    }

    /// Reads a list of `min` (0 or 1) to `max` distinct numbers, or a single number. An empty list counts as absent.
    pub(crate) fn numbers(
        &mut self,
        name: &'static str,
        min: usize,
        max: usize,
    ) -> FieldValue<Vec<PhoneNumber>> {
        let items = match self.remove(name)? {
            Value::String(text) => return self.e164(name, &text).map(|number| vec![number]),
            Value::Array(items) => items,
            _ => return self.or_wrong_type(name, None, "must be an array of strings, or a string"),
        };
        if items.len() > max {
            self.add_fault(
                name,
                Code::TooMany,
                format!("must have at most {max} numbers"),
            );
        }
        if items.len() < min {
            self.add_fault(name, Code::Required, "is required");
        }
        let mut numbers = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let field = format!("{name}[{index}]");
            let number = match item.as_str() {
                Some(text) => self.e164(&field, text),
                None => self.or_wrong_type(&field, None, "must be a string"),
            };
            if number.is_some_and(|number| numbers.contains(&Some(number))) {
                self.add_fault(field, Code::Repeated, "is already in the list");
            }
            numbers.push(number);
        }
        numbers.into_iter().collect()
    }

    /// Reads a list of distinct prefixes of numbers.
    pub(crate) fn prefixes(&mut self, name: &'static str) -> FieldValue<Vec<NumberPrefix>> {
        let Value::Array(items) = self.remove(name)? else {
            return self.or_wrong_type(name, None, "must be an array of strings");
        };
        if items.len() > MAX_PREFIXES {
            let rule = format!("must have at most {MAX_PREFIXES} prefixes");
            self.add_fault(name, Code::TooMany, rule);
            return None;
        }
        let mut prefixes: Vec<NumberPrefix> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let field = format!("{name}[{index}]");
            match item.as_str().map(str::parse::<NumberPrefix>) {
                Some(Ok(prefix)) if prefixes.contains(&prefix) => {
                    self.add_fault(field, Code::Repeated, "is already in the list");
                }
                Some(Ok(prefix)) => prefixes.push(prefix),
                Some(Err(rule)) => self.add_fault(field, Code::InvalidValue, rule.to_string()),
                None => self.add_fault(field, Code::WrongType, "must be a string"),
            }
        }
        Some(prefixes)
    }

    fn e164(&mut self, field: &str, text: &str) -> FieldValue<PhoneNumber> {
        let read = PhoneNumber::parse(text);
        read.map_err(|rule| self.add_fault(field, Code::NotE164, format!("E.164: {rule}")))
            .ok()
    }

    fn or_wrong_type<T>(&mut self, field: &str, read: Option<T>, rule: &str) -> FieldValue<T> {
        if read.is_none() {
            self.add_fault(field, Code::WrongType, rule);
        }
        read
    }

    /// Returns an error if there are faults or unread fields.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        self.into_faults().map_err(Problem::from_fields)
    }

    /// Returns every fault. Each unread field is a fault.
    pub(crate) fn into_faults(mut self) -> Result<(), Vec<FieldError>> {
        let unknown: Vec<String> = self.object.keys().cloned().collect();
        for name in unknown {
            let message = match nearest(&name, &self.known) {
                Some(near) => format!("is unknown; did you mean {near}?"),
                None => "is unknown".to_owned(),
            };
            self.add_fault(name, Code::UnknownField, message);
        }
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(self.faults)
        }
    }
}

/// Returns the most similar known name, if at most a third of its characters differ.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let ranked = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate));
    ranked
        .min()
        .filter(|(distance, candidate)| {
            distance.saturating_mul(3) <= name.len().max(candidate.len())
        })
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_near_is_suggested() {
        let known = ["from", "to", "duration", "max_pin_attempts"];
        for (name, near) in [
            ("max_pin_attempt", Some("max_pin_attempts")),
            ("maxPinAttempts", Some("max_pin_attempts")),
            ("form", Some("from")),
            ("too", Some("to")),
            ("foo", None),
            ("x", None),
            ("record", None),
        ] {
            assert_eq!(nearest(name, &known), near, "{name}");
        }
    }
}
