//! Events and their delivery to webhook endpoints.

mod attempts;
mod crash_recovery;
mod delivery;
mod endpoints;
mod event_log;
