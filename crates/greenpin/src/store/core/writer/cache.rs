//! Interface of the rows that the writer caches between transactions.

use super::Tx;
use crate::store::core::error::StoreError;

/// Rows that the writer thread caches between transactions, so that most jobs read no row twice.
pub(crate) trait WriterCache: Default + Sized {
    /// Starts a transaction. `version` changes after another process may have changed a cached row. `is_alone`: no
    /// other node has written since the previous transaction.
    fn begin(&self, version: i64, is_alone: bool);

    /// Writes deferred changes at the end of a transaction.
    fn flush(&self, tx: &Tx<'_, Self>) -> Result<(), StoreError>;

    /// Writes deferred changes and evicts their rows, because the next job may change them without the cache.
    fn flush_and_evict(&self, tx: &Tx<'_, Self>) -> Result<(), StoreError>;

    /// Evicts every row. They may have been read in a transaction that is rolled back.
    fn clear(&self);

    /// Returns whether this transaction has changed rows that other processes cache.
    fn was_changed(&self) -> bool;
}
