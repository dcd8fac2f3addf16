//! Integration tests of the server binary on loopback, over HTTP, SIP and RTP.
//!
//! - `support/`: the server, parties, webhook receivers and external programs.
//! - `api/`, `operator/`: the HTTP APIs and the command line.
//! - `calls/`, `trunks/`, `media/`: masked calls, carriers and audio.
//! - `webhooks/`, `storage/`, `security/`: deliveries, durability, and attacks.
//! - `interop/`: programs of other projects.
//! - `architecture`, `docs`: the sources and the documentation.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing
)]
// A trunk of the operator API has more fields than `json!` expands by default.
#![recursion_limit = "256"]

mod api;
mod architecture;
mod calls;
mod docs;
mod interop;
mod media;
mod operator;
mod security;
mod storage;
mod support;
mod trunks;
mod webhooks;
