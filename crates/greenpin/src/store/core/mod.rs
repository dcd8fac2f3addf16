//! Engine of the store: databases, the writer, readers, encryption at rest. It does not depend on any resource.

pub(crate) mod checkpoint;
pub(crate) mod crypto;
pub(crate) mod database;
pub(crate) mod error;
pub(crate) mod ids;
pub(crate) mod key_binding;
pub(crate) mod key_sql;
pub(crate) mod last_digits;
pub(crate) mod reader;
pub(crate) mod row;
pub(crate) mod schema;
pub(crate) mod serialized;
pub(crate) mod sql;
pub(crate) mod statement;
pub(crate) mod stored;
pub(crate) mod timestamp;
pub(crate) mod write_scope;
pub(crate) mod writer;
