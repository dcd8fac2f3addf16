//! Keys and values as written, each with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Fault};
use super::values::{InvalidValue, RawValue};

const PREFIX: &str = "GREENPIN_";
/// Arrays of tables.
const ARRAYS: &[&str] = &["trunks"];

/// Values that are written and not yet read. Keys are dotted paths: `trunks.0.name`.
#[derive(Debug, Default)]
pub(super) struct Source {
    written: BTreeMap<String, (RawValue, String)>,
    /// Places of all values and tables that were written.
    origins: BTreeMap<String, String>,
    known: BTreeSet<String>,
    /// Variables of the environment that start like ours and name no section.
    without_section: Vec<String>,
    faults: Vec<Fault>,
}

impl Source {
    /// Parses a TOML text.
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
        self.origins.insert(path.clone(), origin.clone());
        match value {
            DeValue::Table(_) if ARRAYS.contains(&path.as_str()) => {
                let message = format!("{path} must be an array of tables: write [[{path}]]");
                self.faults.push(Fault { origin, message });
            }
            DeValue::Table(table) => self.add_table(&path, table, place),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (index, item) in items.iter().enumerate() {
                    let origin = place(item.span().start);
                    self.add(format!("{path}.{index}"), item.get_ref(), origin, place);
                }
            }
            value => drop(self.written.insert(path, (RawValue::of(value), origin))),
        }
    }

    /// Overrides values by environment variables: `GREENPIN_SECTION__KEY`. Variables of other
    /// programs may contain any bytes; ours must be UTF-8.
    pub(super) fn overlay(&mut self, environment: impl IntoIterator<Item = (OsString, OsString)>) {
        for (name, value) in environment {
            let is_text = name.to_str().is_some();
            let name = name.to_string_lossy().into_owned();
            let Some(path) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if !path.contains("__") {
                self.without_section.push(name);
                continue;
            }
            let path = path.to_ascii_lowercase().replace("__", ".");
            match value.into_string() {
                Ok(value) if is_text => {
                    self.origins.insert(path.clone(), name.clone());
                    self.written
                        .insert(path, (RawValue::Environment(value), name));
                }
                _ => self.faults.push(Fault {
                    origin: name,
                    message: format!("{path} must be UTF-8"),
                }),
            }
        }
    }

    /// Returns a fault for each variable of the environment that would be a key if it had two underscores.
    fn single_underscores(&self) -> Vec<Fault> {
        let key_of = |variable: &String| {
            let path = variable.strip_prefix(PREFIX)?.to_ascii_lowercase();
            self.known.iter().find(|key| key.replace('.', "_") == path)
        };
        let variables = self.without_section.iter();
        let meant = variables.filter_map(|variable| Some((variable, key_of(variable)?)));
        meant
            .map(|(variable, key)| Fault {
                origin: variable.clone(),
                message: format!(
                    "is not read: did you mean {PREFIX}{}?",
                    key.replace('.', "__").to_ascii_uppercase()
                ),
            })
            .collect()
    }

    /// Returns all values as written that are not yet read.
    pub(super) fn values(&self) -> BTreeMap<String, RawValue> {
        let written = self.written.iter();
        written
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect()
    }

    /// Returns the number of tables in an array: its highest index plus one.
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

    /// Reads a value, if there is one. A value that breaks its rule is noted as a fault.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        read: impl Fn(&RawValue) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        self.known.insert(key.to_owned());
        let (raw, origin) = self.written.remove(key)?;
        match read(&raw) {
            Ok(value) => Some(value),
            Err(InvalidValue(rule)) => {
                self.faults.push(Fault {
                    origin,
                    message: format!("{key} {rule}"),
                });
                None
            }
        }
    }

    /// Reads a value, or returns the default.
    pub(super) fn get_or<T>(
        &mut self,
        key: &str,
        read: impl Fn(&RawValue) -> Result<T, InvalidValue>,
        default: T,
    ) -> T {
        self.get(key, read).unwrap_or(default)
    }

    /// Notes a fault if one of two values is given without the other.
    pub(super) fn require_both(&mut self, [first, second]: [(&str, bool); 2]) {
        let (missing, given) = match (first.1, second.1) {
            (false, true) => (first.0, second.0),
            (true, false) => (second.0, first.0),
            (true, true) | (false, false) => return,
        };
        self.faults.push(Fault {
            origin: self.origin(given),
            message: format!("{missing} must be given together with {given}"),
        });
    }

    /// Notes a fault: a missing value, or values that exclude each other.
    pub(super) fn fault(&mut self, key: &str, rule: &str) {
        let told = self
            .faults
            .iter()
            .any(|fault| fault.message.starts_with(key));
        if !told {
            self.faults.push(Fault {
                origin: self.origin(key),
                message: format!("{key} {rule}"),
            });
        }
    }

    /// Returns the place of a key, or of the table that it is missing from; empty if neither was written.
    fn origin(&self, key: &str) -> String {
        let tables = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let mut written = tables.filter_map(|key| self.origins.get(key));
        written.next().cloned().unwrap_or_default()
    }

    /// Returns the configuration, or every fault. A key that was not read is unknown, which is a
    /// fault.
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
        self.faults.extend(self.single_underscores());
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
