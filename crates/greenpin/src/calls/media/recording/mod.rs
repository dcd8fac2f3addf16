//! Recordings: written, completed after a crash.

mod opus_file;
pub(crate) mod recovery;
pub(crate) mod unfinished;
pub(crate) mod writer;
