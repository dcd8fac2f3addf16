//! `/calls`: call records, recordings and links to them.

pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod recording;
pub(crate) mod recording_link;
