//! SQL of the master keys.

use crate::store::Timestamp;
use crate::store::core::row::row;
use crate::store::core::statement::statements;

row! {
    /// Master key of the database.
    pub(crate) struct MasterKeyRow from master_key_columns {
        generation: i64,
        master_id: String,
        begun_at: Timestamp,
        /// `None` while a rotation is under way.
        finished_at: Option<Timestamp>,
    }
}

row! {
    /// Derived keys of a generation, encrypted with a master key.
    pub(crate) struct DerivedKeysRow from derived_keys_columns {
        generation: i64,
        master_id: String,
        sealed: String,
    }
}

statements! {
    /// Digest of the master key in a database of an earlier version.
    LEGACY_KEY = "SELECT digest FROM master_key";
    MASTER_KEYS = concat!("SELECT ", master_key_columns!(), " FROM master_keys ORDER BY generation");
    MASTER_KEY_INSERT: ExactlyOne =
        "INSERT INTO master_keys (generation, master_id, begun_at, finished_at) VALUES ($1, $2, $3, $4)";
    NEWEST_GENERATION = "SELECT COALESCE(MAX(generation), 0) AS generation FROM master_keys";
    DERIVED_KEYS = concat!("SELECT ", derived_keys_columns!(), " FROM derived_keys ORDER BY generation");
    DERIVED_KEYS_INSERT: ExactlyOne = "INSERT INTO derived_keys (generation, master_id, sealed) VALUES ($1, $2, $3)";
}
