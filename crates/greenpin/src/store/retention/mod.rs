//! What is removed: data older than its tenant's retention, and all data of an erased tenant.

pub(crate) mod enforce;
mod erasure;
pub(crate) mod sql;

pub use self::enforce::{RecordingStorage, StoredRecording};
pub use self::erasure::{EraseError, ErasureReceipt};
