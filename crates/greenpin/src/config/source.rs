//! Keys and values as they were written, each with the place that it stands at.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Fault};
use super::values::{Raw, Refusal};

const PREFIX: &str = "GREENPIN_";

/// All that was written and not yet taken. Keys are dotted paths: `trunks.0.name`.
#[derive(Debug, Default)]
pub(super) struct Source {
    written: BTreeMap<String, (Raw, String)>,
    known: BTreeSet<String>,
    faults: Vec<Fault>,
}

impl Source {
    /// Reads a TOML text.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let place = |offset: usize| {
            let line = text.get(..offset).unwrap_or(text).matches('\n').count() + 1;
            format!("{name}:{line}")
        };
        let table = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            ConfigError::Syntax(Fault {
                origin: place(offset),
                message: error.message().to_owned(),
            })
        })?;
        let mut source = Self::default();
        source.add_table("", table.get_ref(), &place);
        Ok(source)
    }

    fn add_table(&mut self, path: &str, table: &DeTable<'_>, place: &dyn Fn(usize) -> String) {
        for (key, value) in table {
            let path = if path.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{path}.{}", key.get_ref())
            };
            self.add(path, value.get_ref(), place(value.span().start), place);
        }
    }

    fn add(
        &mut self,
        path: String,
        value: &DeValue<'_>,
        origin: String,
        place: &dyn Fn(usize) -> String,
    ) {
        match value {
            DeValue::Table(table) => self.add_table(&path, table, place),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (index, item) in items.iter().enumerate() {
                    let origin = place(item.span().start);
                    self.add(format!("{path}.{index}"), item.get_ref(), origin, place);
                }
            }
            value => drop(self.written.insert(path, (Raw::of(value), origin))),
        }
    }

    /// Lets the environment replace what is written: `GREENPIN_SECTION__KEY`.
    pub(super) fn overlay(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in environment {
            if let Some(path) = name.strip_prefix(PREFIX).filter(|path| path.contains("__")) {
                let path = path.to_ascii_lowercase().replace("__", ".");
                self.written.insert(path, (Raw::Environment(value), name));
            }
        }
    }

    /// How many tables an array holds: one more than its highest index.
    pub(super) fn count(&self, array: &str) -> usize {
        let prefix = format!("{array}.");
        let indices = self
            .written
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix)?.split('.').next()?.parse().ok());
        indices
            .max()
            .map_or(0, |highest: usize| highest.min(999) + 1)
    }

    /// Takes a value, if one was written. One that breaks the rule is a fault.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Raw) -> Result<T, Refusal>,
    ) -> Option<T> {
        self.known.insert(key.to_owned());
        let (raw, origin) = self.written.remove(key)?;
        match read(&raw) {
            Ok(value) => Some(value),
            Err(Refusal(rule)) => {
                self.faults.push(Fault {
                    origin,
                    message: format!("{key} {rule}"),
                });
                None
            }
        }
    }

    /// Takes a value, or the default.
    pub(super) fn or<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Raw) -> Result<T, Refusal>,
        default: T,
    ) -> T {
        self.get(key, read).unwrap_or(default)
    }

    /// Notes that something is missing or does not go together.
    pub(super) fn fault(&mut self, key: &str, rule: &str) {
        let told = self
            .faults
            .iter()
            .any(|fault| fault.message.starts_with(key));
        if !told {
            self.faults.push(Fault {
                origin: String::new(),
                message: format!("{key} {rule}"),
            });
        }
    }

    /// The configuration, unless something was wrong or nobody asked for a key that was written.
    pub(super) fn finish<T>(mut self, config: T) -> Result<T, ConfigError> {
        let unknown: Vec<Fault> = self
            .written
            .iter()
            .map(|(key, (_, origin))| Fault {
                origin: origin.clone(),
                message: self.unknown(key),
            })
            .collect();
        self.faults.extend(unknown);
        if self.faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Faults(self.faults))
        }
    }

    fn unknown(&self, key: &str) -> String {
        let nearest = self
            .known
            .iter()
            .min_by_key(|known| strsim::damerau_levenshtein(known, key));
        match nearest {
            Some(nearest) => format!("unknown key {key}: did you mean {nearest}?"),
            None => format!("unknown key {key}"),
        }
    }
}
