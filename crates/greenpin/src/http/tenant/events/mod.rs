//! `/events`: the event log, replay, and webhook deliveries.

pub(crate) mod deliveries;
pub(crate) mod log;
pub(crate) mod of_subject;
pub(crate) mod stream;
