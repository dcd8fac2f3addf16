//! Shared parts of the tests.
//!
//! - `server`, `call_setup`, `operator_api`, `http_client`: the server and its APIs.
//! - `party/`: a telephone written for the tests.
//! - `webhook_inbox`, `failing_receiver`, `documented_events`: webhook receivers, and the schemas of events.
//! - `process`, `sipp`, `postgres`, `ports`: external programs.
//! - `tls`, `loud_audio`, `stored_call`, `time_limit`: certificates, audio, calls without a telephone, and a time limit
//!   for each test.

pub mod call_setup;
pub mod database_proxy;
pub mod documented_events;
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
pub mod stored_call;
pub mod time_limit;
pub mod tls;
pub mod webhook_inbox;
