//! `/events`: the event log, replay, and webhook deliveries.

pub(crate) mod deliveries;
pub(crate) mod log;
