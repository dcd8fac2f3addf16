//! Recordings: the writer thread, the file formats, and the recovery after a crash.

pub(crate) mod audio_file;
mod opus_file;
mod partial_recording;
pub(crate) mod recovery;
pub(crate) mod writer;
