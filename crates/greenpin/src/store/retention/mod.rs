//! Removal of data: past a tenant's retention, or of an erased tenant.

pub(crate) mod enforce;
mod erasure;
pub(crate) mod sql;

pub use self::enforce::{RecordingStorage, StoredRecording};
pub use self::erasure::{EraseError, ErasureReceipt};
