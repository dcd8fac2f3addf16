//! Values serialized as their texts, without a `String` for each of them.

use std::fmt;

use call::PhoneNumber;
use serde::{Serialize, Serializer};

use crate::store::LocalTime;

/// Serializes a value as its text.
pub(crate) fn text<S: Serializer>(
    value: &impl fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Serializes a complete number.
pub(crate) fn number<S: Serializer>(
    number: &PhoneNumber,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&number.exposed())
}

/// Serializes complete numbers.
pub(crate) fn numbers<S: Serializer>(
    numbers: &[PhoneNumber],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(numbers.iter().map(|number| Text(number.exposed())))
}

struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text(&self.0, serializer)
    }
}

impl Serialize for LocalTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text(self, serializer)
    }
}
