//! The server as its users meet it: the real program on loopback, spoken to over HTTP, SIP and RTP.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod abuse;
mod api;
mod architecture;
mod bucket;
mod calls;
mod change;
mod cluster;
mod comfort_noise;
mod commands;
mod deliveries;
mod dial_plan;
mod digits;
mod direct;
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
mod opus;
mod party;
mod peers;
mod ports;
mod postgres;
mod receiver;
mod resolve;
mod rtpengine;
mod scenarios;
mod server;
mod sipp;
mod srtp;
mod stage;
mod storm;
mod tail;
mod tenants;
mod torture;
mod trunk_callers;
mod trunk_carrier;
mod trunk_dns;
mod trunk_phone;
mod trunk_state;
mod trunk_tls;
mod trunks;
mod webhooks;
