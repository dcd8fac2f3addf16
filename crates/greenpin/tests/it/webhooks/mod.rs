//! Events and their delivery to webhook endpoints.
//!
//! - `event_log`: reading events.
//! - `endpoints`: settings of endpoints.
//! - `delivery`, `attempts`: successful and failed deliveries.
//! - `crash_recovery`: kills of the server.

mod attempts;
mod crash_recovery;
mod delivery;
mod endpoints;
mod event_log;
