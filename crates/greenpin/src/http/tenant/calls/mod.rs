//! `/calls`: call records, recordings and links to recordings.
//!
//! - `list`, `read`: call records.
//! - `why`: the sentence that explains a result.
//! - `recording`, `recording_link`: the audio, and links to it.

pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod recording;
pub(crate) mod recording_link;
pub(crate) mod why;
