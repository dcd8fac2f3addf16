//! Rows that the writer keeps between transactions.

use super::Tx;
use crate::store::core::error::StoreError;

/// Rows that the writer thread keeps between transactions, so that most jobs read nothing twice.
pub(crate) trait WriterCache: Default + Sized {
    /// Starts a transaction. `version` changes whenever another process may have changed a cached row; `is_alone`: no
    /// other node has written since the transaction before this one.
    fn begin(&self, version: i64, is_alone: bool);

    /// Writes deferred changes, at the end of a transaction.
    fn flush(&self, tx: &Tx<'_, Self>) -> Result<(), StoreError>;

    /// Writes deferred changes and evicts their rows: the next job may change them without the cache.
    fn flush_and_evict(&self, tx: &Tx<'_, Self>) -> Result<(), StoreError>;

    /// Evicts every row. A transaction that is rolled back may have been the only one that saw them.
    fn clear(&self);

    /// Returns whether this transaction has changed rows that other processes cache.
    fn was_changed(&self) -> bool;
}
