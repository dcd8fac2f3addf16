//! Reads that are sent before the job that needs their rows.

use super::{OwnedValue, Params};
use crate::store::core::statement::Statement;

/// A read by the unique keys of its rows.
#[derive(Debug, Clone)]
pub(crate) struct ReadAhead {
    pub(crate) statement: &'static Statement,
    pub(crate) params: Vec<OwnedValue>,
}

impl ReadAhead {
    /// Creates a read. A job uses its rows only if it runs the statement with the same parameters.
    pub(crate) fn new(statement: &'static Statement, params: impl Params) -> Self {
        Self {
            statement,
            params: params.with(|params| params.iter().map(OwnedValue::from).collect()),
        }
    }
}
