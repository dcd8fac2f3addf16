//! Events and their delivery to webhook endpoints.

mod attempts;
mod delivery;
mod endpoints;
mod event_log;
mod kills;
