//! The greenpin server: HTTP API, telephony engine, store, webhooks and command line in one binary.

pub mod api;
mod backoff;
pub mod cli;
pub mod config;
pub mod engine;
mod membership;
mod metrics;
pub mod pool_import;
pub mod prompt_file;
mod random;
pub mod recordings;
mod retention;
mod sealed_file;
pub mod server;
pub mod store;
mod token_bucket;
mod trust;
pub use sealed_file::RecordingKey;
pub mod webhooks;
