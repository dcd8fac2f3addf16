//! The server as its users meet it: the real program on loopback, spoken to over HTTP, SIP and RTP.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod api;
mod architecture;
mod calls;
mod change;
mod cluster;
mod commands;
mod deliveries;
mod dial_plan;
mod digits;
mod docs;
mod drain;
mod durability;
mod endpoints;
mod hook;
mod http;
mod idempotency;
mod leak;
mod limits;
mod masked_call;
mod metrics;
mod numbers;
mod openapi;
mod operator;
mod party;
mod postgres;
mod receiver;
mod resolve;
mod server;
mod sipp;
mod srtp;
mod storm;
mod tail;
mod tenants;
mod trunks;
mod webhooks;
