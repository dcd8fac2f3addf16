//! `/calls`: call records, recordings and links to recordings.
//!
//! - `list`, `read`: call records.
//! - `trace`, `trace_pcap`, `trace_text`: the trace of a call as JSON, capture and lines.
//! - `recording`, `recording_link`: the audio, and links to it.

pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod recording;
pub(crate) mod recording_link;
pub(crate) mod trace;
pub(crate) mod trace_pcap;
pub(crate) mod trace_text;
