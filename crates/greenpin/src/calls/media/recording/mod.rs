//! Recordings: the writer thread, the file formats, and the recovery after a crash.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "sizes of the server's own files, bounded by the duration of a call"
)]

pub(crate) mod audio_file;
mod opus_file;
pub(crate) mod recovery;
mod unfinished_recording;
pub(crate) mod writer;
