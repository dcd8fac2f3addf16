//! Trunks.
//!
//! - `selection`, `state`: choice of a trunk, keep-alive and registration.
//! - `callers`: identification and limits.
//! - `dns`, `tls`: domain names and certificates.
//! - `baresip_phone`, `kamailio_carrier`: independent programs.

mod baresip_phone;
mod callers;
mod dns;
mod kamailio_carrier;
mod selection;
mod state;
mod tls;
