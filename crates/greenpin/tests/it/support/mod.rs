//! Parts that many tests share: the server, parties, receivers, programs.

pub mod call_setup;
pub mod failing_receiver;
pub mod http_client;
pub mod loud_audio;
pub mod operator_api;
pub mod party;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod server;
pub mod sipp;
pub mod time_limit;
pub mod tls;
pub mod webhook_inbox;
