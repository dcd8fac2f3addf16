//! Manifest of a backup.

use serde::{Deserialize, Serialize};

use crate::store::KeyCheck;

/// Format of the folder.
pub(super) const FORMAT: u32 = 1;
/// Name of the manifest.
pub(super) const MANIFEST: &str = "manifest.json";
/// Name of the copy of the database.
pub(super) const DATABASE: &str = "greenpin.db";
/// Name of the index of the recordings.
pub(super) const INDEX: &str = "recordings.jsonl";
/// Name of the folder with copied recordings.
pub(super) const RECORDINGS: &str = "recordings";

/// Content of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Format of the folder.
    pub(crate) format: u32,
    /// Version of the program that made it.
    pub(crate) greenpin_version: String,
    /// Version of the database's schema.
    pub(crate) schema_version: i64,
    /// Time of its start, RFC 3339.
    pub(crate) created_at: String,
    /// Check of the master key.
    pub(crate) key_check: KeyCheck,
    /// Copy of the database.
    pub(crate) database: FileEntry,
    /// Recordings.
    pub(crate) recordings: RecordingsEntry,
}

/// File of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    /// Name in the folder.
    pub(crate) name: String,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub(crate) sha256: String,
}

/// Recordings of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordingsEntry {
    /// Index of the recordings.
    pub(crate) index: FileEntry,
    /// Number of call records with a recording.
    pub(crate) count: u64,
    /// Number of these whose file was found.
    pub(crate) files: u64,
    /// Length of these files in bytes.
    pub(crate) bytes: u64,
    /// The files are in the backup.
    pub(crate) copied: bool,
}

/// Line of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexLine {
    pub(crate) tenant_id: String,
    pub(crate) call_sid: String,
    /// Location in the call record: a file, or `s3://BUCKET/KEY`.
    pub(crate) location: String,
    /// File; `None` for an object in a bucket, or a file that does not exist any more.
    pub(crate) file: Option<FileEntry>,
}
