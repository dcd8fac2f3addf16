//! The greenpin server: HTTP API, telephony engine, store, webhooks and command line in one binary.

mod backup;
pub mod calls;
pub mod cli;
pub mod config;
mod crypto;
pub mod destinations;
mod doctor;
pub mod http;
mod limits;
mod metrics;
pub mod numbering;
pub mod prompt_file;
pub mod recordings;
pub mod server;
pub mod store;
pub mod supervision;
pub mod webhooks;

pub use crypto::encrypted_file::RecordingKey;
