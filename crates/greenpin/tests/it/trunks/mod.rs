//! Trunks: selection, registration, DNS, TLS, callers.

mod baresip_phone;
mod callers;
mod dns;
mod kamailio_carrier;
mod selection;
mod state;
mod tls;
