//! Errors of the configuration, in words for the person who wrote it.

use std::fmt;
use std::path::PathBuf;

/// Errors of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{0}")]
    Syntax(Fault),
    /// Keys or values are wrong. The list is complete.
    #[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
}

impl ConfigError {
    /// Returns the faults, each with its place.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Unreadable { path, source } => vec![Fault {
                origin: path.display().to_string(),
                message: format!("cannot be read: {source}"),
            }],
            Self::Syntax(fault) => vec![fault.clone()],
            Self::Faults(faults) => faults.clone(),
        }
    }
}

/// One fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Place of the value: `file:line` or an environment variable; empty if there is no value.
    pub origin: String,
    /// The key and the rule that it breaks. Never the value, which may be a secret.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.origin.is_empty() {
            write!(f, "{}: ", self.origin)?;
        }
        f.write_str(&self.message)
    }
}
