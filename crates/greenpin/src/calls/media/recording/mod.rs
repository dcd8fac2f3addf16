//! Recordings: the writer thread, the file formats, and the recovery after a crash.

pub(crate) mod audio_file;
mod opus_file;
pub(crate) mod recovery;
mod unfinished_recording;
pub(crate) mod writer;
