//! Masked calls: PINs, hunting, settings, draining.

mod call_settings;
mod capacity;
mod destinations;
mod digits;
mod drain;
mod masked_call;
