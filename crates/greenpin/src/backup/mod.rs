//! Backup of an SQLite store into a folder, and its restoration.
//!
//! | file | content |
//! |---|---|
//! | `greenpin.db` | copy of the database |
//! | `recordings.jsonl` | one line for each recording |
//! | `recordings/` | files of the recordings, if they were copied |
//! | `manifest.json` | version, time, sizes, checksums, check of the master key; written last |
//!
//! The folder gets its name when it is complete. The master key is not in it.

mod checksum;
mod create;
mod error;
mod manifest;
mod restore;

pub(crate) use self::create::{BackupSource, create};
pub(crate) use self::error::BackupError;
pub(crate) use self::manifest::Manifest;
pub(crate) use self::restore::{RestoreTarget, VerifiedBackup};

/// Bytes that a step has processed, and of how many in total.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) step: Step,
    pub(crate) bytes: u64,
    pub(crate) total: u64,
}

/// Long step of a backup or a restoration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Database,
    Recordings,
    Verification,
}

#[cfg(test)]
mod tests;
