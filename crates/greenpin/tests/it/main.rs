//! Tests of the real program on loopback, over HTTP, SIP and RTP.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

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
