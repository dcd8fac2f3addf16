//! Masked calls: PINs, hunting, settings, draining.

mod address_families;
mod call_settings;
mod capacity;
mod destinations;
mod digits;
mod drain;
mod listen_addresses;
mod masked_call;
mod trace;
